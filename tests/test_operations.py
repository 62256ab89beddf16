"""`docs/operations.md` and the alert rules: what they name exists, and what they tell to do works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from attendee import metrics
from tests.command_line import CommandLine
from tests.conftest import PostgresqlCluster, _postgresql_programs

_ROOT = Path(__file__).parents[1]
_PAGE = (_ROOT / "docs" / "operations.md").read_text()
_ALERTS = _ROOT / "deploy" / "alerts.yml"


def _names() -> set[str]:
    """Every name that a scrape can have."""
    names = set()
    for family in metrics.registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


def test_alerts_name_metrics_that_exist_and_say_what_to_do() -> None:
    """An alert on a metric that is called otherwise by now would be silent for ever."""
    (group,) = yaml.safe_load(_ALERTS.read_text())["groups"]
    for rule in group["rules"]:
        named = set(re.findall(r"attendee_\w+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= _names(), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_every_metric_is_explained() -> None:
    """And none that there is not."""
    explained = set(re.findall(r"`(attendee_\w+)`", _PAGE))
    ours = {family.name for family in metrics.registry.collect() if family.name.startswith("attendee_")}
    plain = {re.sub(r"_(total|info)$", "", name) for name in explained}
    assert plain == {re.sub(r"_info$", "", name) for name in ours}


def _commands(what: str) -> str:
    (block,) = re.findall(rf"<!-- {what} -->\n```sh\n(.*?)```", _PAGE, re.DOTALL)
    assert isinstance(block, str)
    return block


def _run(block: str, *, directory: Path, **settings: str) -> None:
    programs = f"{Path(sys.executable).parent}:{_postgresql_programs()}:{os.environ['PATH']}"
    environment = {"PATH": programs, **{f"ATTENDEE_{name}": value for name, value in settings.items()}}
    done = subprocess.run(
        ["sh", "-euc", block], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_sqlite_backup_is_restored_as_the_page_says(tmp_path: Path) -> None:
    """Database and key come back together, into an empty place, while the old ones are gone."""
    attendee = CommandLine(tmp_path)
    attendee.document("projects", "create", "acme")
    _run(_commands("backup sqlite"), directory=tmp_path)
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    attendee.document("projects", "create", "somebody else's")
    _run(_commands("restore sqlite"), directory=tmp_path)
    assert [project["name"] for project in attendee.document("projects", "list")["results"]] == ["acme"]


def test_a_postgresql_backup_is_restored_as_the_page_says(
    tmp_path: Path, postgresql_url: str, postgresql_cluster: PostgresqlCluster
) -> None:
    """Into an empty database, with the key of the old one."""
    key = CommandLine(tmp_path).document("encryption", "generate")["key"]
    old = CommandLine(tmp_path, {"DATABASE_URL": postgresql_url, "ENCRYPTION_KEYS": key})
    old.document("projects", "create", "acme")
    _run(_commands("backup postgresql"), directory=tmp_path, DATABASE_URL=postgresql_url)
    url = postgresql_cluster.url(postgresql_cluster.create_database())
    _run(_commands("restore postgresql"), directory=tmp_path, DATABASE_URL=url, ENCRYPTION_KEYS=key)
    new = CommandLine(tmp_path, {"DATABASE_URL": url, "ENCRYPTION_KEYS": key})
    assert [project["name"] for project in new.document("projects", "list")["results"]] == ["acme"]


@pytest.mark.parametrize("typed", ["Acme", "acme"])
def test_a_project_is_deleted_once_its_name_was_typed(tmp_path: Path, typed: str) -> None:
    """Anything else deletes nothing."""
    attendee = CommandLine(tmp_path)
    attendee.document("projects", "create", "acme")
    done = subprocess.run(
        [sys.executable, "-m", "attendee", "projects", "delete", "acme"],
        cwd=tmp_path,
        input=f"{typed}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (typed == "acme"), done.stderr
    assert len(attendee.document("projects", "list")["results"]) == (typed != "acme")
