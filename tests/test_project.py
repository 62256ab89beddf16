"""What must hold for the repository as a whole."""

import re
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import InternetRefused

_ROOT = Path(__file__).parent.parent
_LOCK = (_ROOT / "requirements.lock").read_text()
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())


def test_lock_names_no_registry_and_no_path() -> None:
    """The lock works with any registry and on any machine: it names packages, versions and hashes only."""
    assert not re.findall(
        r"^.*(?:://|--index|--extra-index|--find-links|-[ief] |@ |file:|^\s*[./~]).*$", _LOCK, re.MULTILINE
    )
    assert not re.findall(r"^(?!\s*#).*/.*$", _LOCK, re.MULTILINE)


def test_every_requirement_of_the_lock_has_a_hash() -> None:
    """A download that is not the file that was locked can be refused."""
    requirements = re.split(r"^(?=[\w.-]+==)", _LOCK, flags=re.MULTILINE)[1:]
    assert requirements
    assert [entry.splitlines()[0] for entry in requirements if "--hash=sha256:" not in entry] == []


def test_every_dependency_is_locked() -> None:
    """A dependency in pyproject.toml, for running, developing or building, is pinned by the lock."""
    project = _PROJECT["project"]
    stated = [
        *_PROJECT["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
    ]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in stated}
    assert names <= set(re.findall(r"^([\w.-]+)==", _LOCK, re.MULTILINE))


@pytest.mark.parametrize("target", ["demo", "test"])
def test_commands_of_the_readme_are_targets(target: str) -> None:
    """Both commands that the README begins with are in it, and `make` alone lists them."""
    assert f"make {target}" in (_ROOT / "README.md").read_text()
    listed = subprocess.run(["make", "--no-print-directory"], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^\s+make {target}\s+\S", listed.stdout, re.MULTILINE)


def test_no_test_reaches_the_internet() -> None:
    """Neither names nor addresses of other machines are within a test's reach; those of this one are."""
    with pytest.raises(InternetRefused):
        socket.getaddrinfo("example.com", 443)
    with socket.socket() as client, pytest.raises(InternetRefused):
        client.connect(("192.0.2.1", 443))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_every_claim_about_security_names_its_test() -> None:
    """Each point of docs/security.md names at least one, and all that are named exist."""
    page = (_ROOT / "docs/security.md").read_text()
    points = re.findall(r"^- .*(?:\n  .*)*", page, re.MULTILINE)
    assert len(points) > 20
    named = {point: re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", point) for point in points}
    assert [point for point, tests in named.items() if not tests] == []
    unknown = [
        f"{path}::{name}"
        for tests in named.values()
        for path, name in tests
        if not re.search(rf"^(?:async )?def {name}\(", (_ROOT / path).read_text(), re.MULTILINE)
    ]
    assert unknown == []
