"""What is deployed agrees with what is built: commands, settings, versions, and how little the containers may do."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from attendee import __version__
from attendee.api import openapi
from attendee.settings import Settings
from attendee.store.database import Database
from tests.api.serving import new_app, served_app
from tests.commands import misuse

_ROOT = Path(__file__).parent.parent
_DEPLOY = _ROOT / "deploy"
_DOCKERFILE = (_ROOT / "Dockerfile").read_text()
_COMPOSE = yaml.safe_load((_ROOT / "compose.yaml").read_text())
_UNITS = sorted((_DEPLOY / "systemd").glob("*.service"))
_MANIFESTS = [
    document
    for path in sorted((_DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
_OURS = {name: service for name, service in _COMPOSE["services"].items() if service["image"].startswith("attendee:")}


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in _MANIFESTS:
        if document["kind"] in {"Deployment", "Job"}:
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def _containers() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, pod in _pods():
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            yield f"{name}/{container['name']}", container


def test_every_command_is_one() -> None:
    """What a container or a unit starts is a command with options that it takes."""
    commands = {"Dockerfile": json.loads(re.findall(r"^CMD (.+)$", _DOCKERFILE, re.MULTILINE)[-1])}
    commands |= {f"compose {name}": service["command"] for name, service in _OURS.items()}
    commands |= {name: container["args"] for name, container in _containers()}
    for unit in _UNITS:
        (line,) = re.findall(r"^ExecStart=/opt/attendee/bin/attendee (.+)$", unit.read_text(), re.MULTILINE)
        commands[unit.name] = line.split()
    assert {where: misuse(arguments) for where, arguments in commands.items() if misuse(arguments)} == {}
    assert str(misuse(["serve", "--worker-only"])).startswith("No such option: --worker-only")


def test_every_setting_is_one() -> None:
    """A variable that begins with our prefix, wherever it is set, is read by this version."""
    text = _DOCKERFILE + (_ROOT / "compose.yaml").read_text()
    text += "".join(path.read_text() for path in _DEPLOY.rglob("*") if path.is_file())
    set_there = set(re.findall(r"\bATTENDEE_([A-Z][A-Z_]+)\b", text))
    assert "DATABASE_URL" in set_there
    assert {name.lower() for name in set_there} <= set(Settings.model_fields)


def test_everything_is_of_this_version() -> None:
    """Images and the migration's Job are named by the version that is in the tree."""
    images = {service["image"] for service in _OURS.values()} | {one["image"] for _, one in _containers()}
    assert images == {f"attendee:{__version__}"}
    (kustomization,) = [document for document in _MANIFESTS if document["kind"] == "Kustomization"]
    assert kustomization["images"] == [{"name": "attendee", "newName": "attendee", "newTag": __version__}]
    (job,) = [document for document in _MANIFESTS if document["kind"] == "Job"]
    assert job["metadata"]["name"] == f"attendee-migrate-{__version__.replace('.', '-')}"
    files = {path.name for path in (_DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def test_containers_may_do_little() -> None:
    """Nobody is root, no container can write outside of /tmp or gain a right, and secrets come by reference only."""
    assert re.findall(r"^USER (.+)$", _DOCKERFILE, re.MULTILINE) == ["10001"]
    for name, service in _OURS.items():
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"]), name  # noqa: S108  # in a container
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name, pod in _pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
    for name, container in _containers():
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["envFrom"] == [
            {"configMapRef": {"name": "attendee"}},
            {"secretRef": {"name": "attendee"}},
        ], name
        assert {"requests", "limits"} == container["resources"].keys(), name
    assert not [document for document in _MANIFESTS if document["kind"] == "Secret"]


def test_probes_ask_what_the_api_answers() -> None:
    """Their paths are routes; what they call a port is one."""
    (api,) = [one for _, one in _containers() if "readinessProbe" in one]
    ports = {port["name"] for port in api["ports"]}
    for probe in ("readinessProbe", "livenessProbe"):
        asked = api[probe]["httpGet"]
        assert asked["path"] in openapi.document()["paths"]
        assert asked["port"] in ports


@pytest.mark.xdist_group("processes")
async def test_the_images_health_check_tells_the_states_apart(sqlite_url: str) -> None:
    """It ends with 0 while the API is ready and with another status when nobody answers."""
    (written,) = re.findall(r"^HEALTHCHECK .*? CMD (.+)$", _DOCKERFILE, re.MULTILINE)
    python, option, program = json.loads(written)
    assert (python, option) == ("python", "-c")
    database = Database(sqlite_url)
    async with served_app(new_app(database)) as url:
        port = url.rpartition(":")[2]
        here = [sys.executable, "-c", program.replace("8000", port)]
        assert await _status(here) == 0
    await database.close()
    assert await _status(here) != 0


async def _status(command: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    return await process.wait()


def test_the_image_is_built_from_what_is_there() -> None:
    """Each source of a COPY exists and is let in by .dockerignore, which keeps everything else out."""
    sources = [
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.+)$", _DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    everything, *let_in = [
        line for line in (_ROOT / ".dockerignore").read_text().splitlines() if not line.startswith(("#", "**/"))
    ]
    assert everything == "*"
    assert sorted(let_in) == sorted(f"!{source}" for source in sources)
    assert [source for source in sources if not (_ROOT / source).exists()] == []


def test_the_images_lock_is_part_of_the_lock() -> None:
    """The same versions with the same hashes, for what the package needs and what builds it; nothing to test with."""
    locked, of_image = (
        {
            entry.split(" ", 1)[0]: set(re.findall(r"--hash=(\S+)", entry))
            for entry in re.split(r"^(?=[\w.-]+==)", path.read_text(), flags=re.MULTILINE)[1:]
        }
        for path in (_ROOT / "requirements.lock", _DEPLOY / "requirements.lock")
    )
    assert of_image.items() <= locked.items()
    assert all(of_image.values())
    names = {requirement.partition("==")[0] for requirement in of_image}
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    assert {re.split(r"[^\w.-]", requirement)[0] for requirement in needed} <= names
    assert not {"pytest", "mypy", "sphinx"} & names


def test_units_differ_in_what_they_run_alone() -> None:
    """What holds for one process of ours on a machine holds for the other."""
    units = [
        [line for line in unit.read_text().splitlines() if not line.startswith(("#", "Description=", "ExecStart="))]
        for unit in _UNITS
    ]
    assert len(units) == 2
    assert units[0] == units[1]
