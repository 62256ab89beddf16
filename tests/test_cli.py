"""The command line as its users have it: processes, their output, their exit status."""

import base64
import re
import signal
import socket
import sys
from io import StringIO
from pathlib import Path

import pytest

from attendee import __version__
from attendee.__main__ import main
from attendee.store.columns import KeyRing
from tests.command_line import CommandLine, status_of
from tests.conftest import PostgresqlCluster

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def attendee(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def attendee_on_postgresql(tmp_path: Path, postgresql_cluster: PostgresqlCluster) -> CommandLine:
    """A command line whose database is empty: there is no schema in it."""
    url = postgresql_cluster.url(postgresql_cluster.create_database())
    return CommandLine(tmp_path, {"DATABASE_URL": url, "ENCRYPTION_KEYS": KeyRing.generate_key()})


def test_documents_of_the_short_commands(attendee: CommandLine) -> None:
    """Each prints one JSON document of the promised shape, on a database that it makes itself."""
    project = attendee.document("projects", "create", "Café 7")
    assert list(project) == ["id", "name"]
    assert re.fullmatch(r"proj_[A-Za-z0-9]{16}", project["id"])
    listed = attendee.document("projects", "list")["results"]
    assert [(one["id"], one["name"]) for one in listed] == [(project["id"], "Café 7")]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", listed[0]["created_at"])

    key = attendee.document("keys", "create", "--project", "Café 7", "--name", "laptop")
    assert list(key) == ["id", "key", "project_id"]
    assert key["project_id"] == project["id"]
    disabled = attendee.document("keys", "disable", key["id"])
    assert attendee.document("keys", "list") == {"results": [disabled]}
    assert (disabled["name"], disabled["disabled_at"] is None) == ("laptop", False)
    assert key["key"] not in str(disabled)


def test_documents_of_webhooks(attendee: CommandLine) -> None:
    """The secret is shown when a webhook is made and not again; one that is deleted is no longer listed."""
    attendee.document("projects", "create", "app")
    triggers = ("calendar.events_update", "calendar.state_change")
    asked = ("--url", "https://example.com/hook", "--trigger", triggers[0], "--trigger", triggers[1])
    webhook = attendee.document("webhooks", "create", "--project", "app", *asked)
    assert list(webhook) == ["id", "url", "triggers", "secret"]
    assert (webhook["url"], webhook["triggers"]) == ("https://example.com/hook", list(triggers))
    assert len(base64.b64decode(webhook["secret"], validate=True)) == 32

    listed = attendee.document("webhooks", "list", "--project", "app")["results"]
    assert [one["id"] for one in listed] == [webhook["id"]]
    assert webhook["secret"] not in str(listed)
    assert attendee.document("webhooks", "delete", webhook["id"]) == {"id": webhook["id"], "deleted": True}
    assert attendee.document("webhooks", "list") == {"results": []}
    assert attendee.complaint("webhooks", "delete", webhook["id"]) == "Webhook not found"


def test_documents_of_users(attendee: CommandLine) -> None:
    """A link instead of a password, for an owner or for a member of a project; who is disabled is listed as such."""
    attendee.document("projects", "create", "app")
    owner = attendee.document("users", "create", "--email", "Ada@example.com")
    assert list(owner) == ["id", "email", "link"]
    assert owner["email"] == "ada@example.com"
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/links/[\w-]{43}", owner["link"])
    member = attendee.document("users", "create", "--email", "ben@example.com", "--project", "app", "--role", "admin")
    again = attendee.document("users", "reset-password", "ben@example.com")
    assert again["link"] != member["link"]
    disabled = attendee.document("users", "disable", "ben@example.com")
    assert disabled["disabled_at"] is not None
    listed = attendee.document("users", "list")["results"]
    assert [(one["email"], one["is_owner"]) for one in listed] == [
        ("ada@example.com", True),
        ("ben@example.com", False),
    ]
    assert listed[1] == disabled
    assert attendee.complaint("users", "reset-password", "ben@example.com").startswith("ben@example.com is disabled")
    assert attendee.document("users", "enable", "ben@example.com")["disabled_at"] is None


def test_a_signing_secret_rotates(attendee: CommandLine) -> None:
    """The new one is printed; a second rotation has to wait for the end of the first, unless nothing is to overlap."""
    attendee.document("projects", "create", "app")
    new = attendee.document("webhooks", "rotate-secret", "--project", "app")["secret"]
    assert len(base64.b64decode(new, validate=True)) == 32
    assert "still signs until" in attendee.complaint("webhooks", "rotate-secret", "--project", "app")
    arguments = ("--project", "app", "--overlap-hours", "0")
    assert attendee.document("webhooks", "rotate-secret", *arguments)["secret"] != new


def test_what_is_refused_is_said_in_one_line(attendee: CommandLine) -> None:
    """What a rule refuses is one line on stderr, and a status that is not 0."""
    attendee.document("projects", "create", "app")
    assert "exists already" in attendee.complaint("projects", "create", "app")
    assert "There is no project named 'nobody'" in attendee.complaint("keys", "create", "--project", "nobody")
    webhook = ("webhooks", "create", "--project", "app", "--url", "http://localhost/hook")
    refusal = attendee.complaint(*webhook, "--trigger", "bot.state_change")
    assert "must begin with https://" in refusal
    assert "ATTENDEE_ALLOW_INSECURE_WEBHOOKS" in refusal


def test_what_a_script_wants_is_alone_on_stdout(attendee: CommandLine) -> None:
    """`KEY=$(attendee keys create ...)` has the key; what a person should know besides is on stderr."""
    made = attendee.run("projects", "create", "app")
    assert re.fullmatch(r"proj_\w{16}\n", made.stdout)
    assert "attendee keys create --project app" in made.stderr
    key = attendee.run("keys", "create", "--project", "app")
    assert re.fullmatch(r"att_[\w-]{43}\n", key.stdout)
    assert "not shown again" in key.stderr


def test_a_question_that_nobody_answers_stops_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal nothing is deleted, and it is said how it would be."""
    monkeypatch.setattr(sys, "stdin", StringIO())
    assert main(["projects", "delete", "app"]) == 1
    question, *_, said = capsys.readouterr().err.splitlines()
    assert "--yes" in question
    assert said == "attendee: Stopped."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "No such command 'fly'. See `attendee --help`."),
        (["projects"], "Missing command"),
        (["projects", "create"], "Missing argument 'name'"),
        (["webhooks", "create", "--project", "app", "--url", "https://a.example"], "calendar.events_update, calendar."),
        (["webhooks", "create", "--trigger", "weather"], "'weather' is not one of 'calendar.events_update'"),
        (["serve", "--port", "1"], "No such option: --port"),
    ],
)
def test_misuse_is_said_in_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """A command that does not exist, or lacks something, has status 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments it says what it can do."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"attendee {__version__}\n"
    assert main([]) == 0
    said = capsys.readouterr().out
    for command in ("serve", "worker", "sandbox", "demo", "migrate", "projects", "keys", "webhooks", "encryption"):
        assert re.search(rf"^\s+{command}\s", said, re.MULTILINE)


def test_wrong_setting_stops_a_command(attendee: CommandLine) -> None:
    """The status is 2 and the line names the variable; a key can still be generated, to set it right."""
    wrong = {"PORT": "http", "ENCRYPTION_KEYS": "hush"}
    assert "ATTENDEE_PORT is 'http'" in attendee.complaint("serve", status=2, **wrong)
    line = attendee.complaint("projects", "list", status=2, DATABASE_URL="mysql://127.0.0.1/db")
    assert line.startswith("ATTENDEE_DATABASE_URL is wrong: mysql is not a database that is known here")
    generated = attendee.run("encryption", "generate", **wrong).stdout.strip()
    assert repr(KeyRing([generated])) == "KeyRing(1 keys, ***)"
    assert list(attendee.directory.iterdir()) == []


def test_unreachable_database_is_said_in_one_line(attendee: CommandLine) -> None:
    """The line has no password in it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = attendee.complaint("serve", DATABASE_URL=f"postgresql://me:hush@127.0.0.1:{port}/db", PORT="0")
    assert line.startswith("The database can't be reached")
    assert "hush" not in line
    assert "can't be" in attendee.complaint("projects", "list", DATABASE_URL="sqlite:////nowhere/at/all.sqlite3")


def test_generated_key_is_the_owners_alone(attendee: CommandLine) -> None:
    """On SQLite nobody has to make a key; the one that is made can be read by its owner only."""
    attendee.document("projects", "create", "app")
    path = attendee.directory / "data" / "encryption.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_wrong_key_stops_the_start_and_changes_nothing(attendee: CommandLine) -> None:
    """Keys that don't open what is stored would only add to it what nobody can open."""
    attendee.document("projects", "create", "app")
    path = attendee.directory / "data" / "encryption.key"
    right = path.read_text()
    other = KeyRing.generate_key()
    for command in (("serve",), ("projects", "create", "other")):
        assert "don't open with ATTENDEE_ENCRYPTION_KEYS" in attendee.complaint(*command, ENCRYPTION_KEYS=other)

    path.write_text(other)
    assert f"don't open with {Path('data/encryption.key')}" in attendee.complaint("serve")
    path.write_text("hush")
    assert "is damaged" in attendee.complaint("serve")
    path.unlink()
    assert "is missing" in attendee.complaint("serve")
    assert not path.exists()
    path.write_text(right)
    assert [one["name"] for one in attendee.document("projects", "list")["results"]] == ["app"]


def test_keys_are_rotated(attendee: CommandLine) -> None:
    """With the new key in front everything is sealed anew; from then on the old one is not needed."""
    attendee.document("projects", "create", "app")
    old = (attendee.directory / "data" / "encryption.key").read_text().strip()
    new = KeyRing.generate_key()
    attendee.settings["ENCRYPTION_KEYS"] = new
    assert "don't open with ATTENDEE_ENCRYPTION_KEYS" in attendee.complaint("encryption", "rotate")
    attendee.settings["ENCRYPTION_KEYS"] = f"{new},{old}"
    assert attendee.document("encryption", "rotate") == {"resealed": 1, "unopened": 0}
    attendee.settings["ENCRYPTION_KEYS"] = new
    assert "The other keys may go" in attendee.run("encryption", "rotate").stdout


def test_serving_on_sqlite(attendee: CommandLine) -> None:
    """`serve` makes all it needs, says where it is, and the short commands work beside it; SIGTERM ends it with 0."""
    with attendee.running("serve", PORT="0") as serving:
        address = serving.address()
        assert "attendee projects create NAME" in serving.hears("keys create")
        assert status_of(f"{address}/readyz") == 200
        assert status_of(f"{address}/api/v1/calendars") == 401
        links = re.findall(rf"{address}/links/\S+", serving.said)
        assert [status_of(link) for link in links] == [200]
        assert status_of(f"{address}/sign-in") == 200

        attendee.document("projects", "create", "app")
        key = attendee.document("keys", "create", "--project", "app")
        assert status_of(f"{address}/api/v1/calendars", key=key["key"]) == 200
        attendee.document("keys", "disable", key["id"])
        assert status_of(f"{address}/api/v1/calendars", key=key["key"]) == 401

        assert "already serves attendee.sqlite3" in attendee.complaint("serve", PORT="0")
        port = address.rpartition(":")[2]
        assert f"Port {port} of 127.0.0.1 is in use" in attendee.complaint("serve", PORT=port)
        assert serving.end() == 0
        assert key["key"] not in serving.said


def test_serving_without_a_worker(attendee: CommandLine) -> None:
    """API and dashboard alone; with a project and an owner, nothing needs to be explained. Ctrl-C ends it with 0."""
    attendee.document("projects", "create", "app")
    attendee.document("users", "create", "--email", "ada@example.com")
    with attendee.running("serve", "--no-worker", PORT="0") as serving:
        assert status_of(f"{serving.address()}/healthz") == 200
        assert serving.end(by=signal.SIGINT) == 0
        assert "There is no project" not in serving.said
        assert "/links/" not in serving.said


def test_worker_needs_postgresql(attendee: CommandLine) -> None:
    """SQLite has one process; nothing is made where there was nothing."""
    assert "ATTENDEE_DATABASE_URL" in attendee.complaint("worker")
    assert list(attendee.directory.iterdir()) == []


def test_migrating_sqlite(attendee: CommandLine) -> None:
    """`--check` fails, and makes nothing, until the schema is there."""
    assert "run `attendee migrate` first" in attendee.complaint("migrate", "--check")
    assert list(attendee.directory.iterdir()) == []
    assert attendee.document("migrate") == {"schema": "current"}
    assert attendee.document("migrate", "--check") == {"schema": "current"}


def test_postgresql_is_migrated_on_purpose(attendee_on_postgresql: CommandLine) -> None:
    """Nothing but `migrate` touches the schema: all others stop with that hint, or with one that a key is needed."""
    attendee = attendee_on_postgresql
    for command in (("serve",), ("projects", "list"), ("migrate", "--check")):
        assert "run `attendee migrate` first" in attendee.complaint(*command, PORT="0")
    attendee.document("migrate")
    attendee.document("migrate", "--check")
    line = attendee.complaint("worker", status=2, ENCRYPTION_KEYS="")
    assert line.startswith("ATTENDEE_ENCRYPTION_KEYS is not set")
    assert not (attendee.directory / "data").exists()


def test_workers_beside_each_other_on_postgresql(attendee_on_postgresql: CommandLine) -> None:
    """Any number of processes serve and work on one database, and each ends with 0 when it is told to."""
    attendee = attendee_on_postgresql
    attendee.document("migrate")
    with (
        attendee.running("serve", PORT="0") as first,
        attendee.running("serve", "--no-worker", PORT="0") as second,
        attendee.running("worker") as third,
    ):
        assert [status_of(f"{one.address()}/readyz") for one in (first, second)] == [200, 200]
        third.hears("The worker is up")
        assert [one.end() for one in (first, second, third)] == [0, 0, 0]


def test_sandbox(attendee: CommandLine) -> None:
    """The sandbox has a person of each platform in it, and says so when its port is taken."""
    with attendee.running("sandbox", SANDBOX_PORT="0") as sandbox:
        address = sandbox.address()
        for person in ("ada.lind@acme.example", "mia@customer.example"):
            assert status_of(f"{address}/people/{person}") == 200
        port = address.rpartition(":")[2]
        assert f"Port {port} of 127.0.0.1 is in use" in attendee.complaint("sandbox", SANDBOX_PORT=port)
        assert sandbox.end(by=signal.SIGINT) == 0
