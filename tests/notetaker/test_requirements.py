"""The example stands alone: what it needs is in its own list, and nothing of ours is."""

import ast
import re
import sys
from pathlib import Path

import pytest

from notetaker.settings import WrongSetting, read_settings

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "notetaker"
_CLIENT, *_REQUIREMENTS = (_EXAMPLE / "requirements.txt").read_text().splitlines()
_NEEDED = {"ATTENDEE_API_KEY": "key", "ATTENDEE_WEBHOOK_SECRET": "c2VjcmV0"}


def test_pins_are_those_of_the_lock() -> None:
    """Whoever copies the list gets the versions that are tested here; it names no registry."""
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (_ROOT / "requirements.lock").read_text(), re.MULTILINE))
    pins = dict(line.split("==") for line in _REQUIREMENTS)
    assert pins.items() <= locked.items()
    assert (_EXAMPLE / _CLIENT).resolve() == _ROOT / "clients" / "python"


def test_imports_are_listed() -> None:
    """It imports the standard library, itself, the service's client, and what its list names; never the service."""
    imported = set()
    for path in _EXAMPLE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    foreign = imported - sys.stdlib_module_names - {"notetaker", "attendee_client"}
    # Those two are used without being imported: one reads forms, the other has the time zones.
    assert foreign | {"python-multipart", "tzdata"} == {line.partition("==")[0] for line in _REQUIREMENTS}


def test_without_settings_it_is_the_sandbox() -> None:
    """The two secrets of the service are all that it asks for; both platforms are then the sandbox's."""
    settings = read_settings(_NEEDED)
    assert {name: platform.client_id for name, platform in settings.platforms.items()} == {
        "google": "sandbox-client",
        "microsoft": "sandbox-client",
    }
    assert all(platform.token_url.startswith("http://127.0.0.1:8100/") for platform in settings.platforms.values())


def test_real_platforms_are_those_with_a_client() -> None:
    """One client id and secret make that platform real, and leave the other out; secrets are not printed."""
    settings = read_settings(_NEEDED | {"GOOGLE_CLIENT_ID": "mine", "GOOGLE_CLIENT_SECRET": "hush"})
    assert list(settings.platforms) == ["google"]
    assert settings.platforms["google"].token_url == "https://oauth2.googleapis.com/token"
    assert settings.sandbox_url is None
    assert "hush" not in repr(settings)
    assert "c2VjcmV0" not in repr(settings)


@pytest.mark.parametrize("missing", ["ATTENDEE_API_KEY", "ATTENDEE_WEBHOOK_SECRET", "MICROSOFT_CLIENT_SECRET"])
def test_missing_setting_is_named(missing: str) -> None:
    """In one line that says where to get it."""
    environment = _NEEDED | {"MICROSOFT_CLIENT_ID": "mine", "MICROSOFT_CLIENT_SECRET": "hush", missing: ""}
    with pytest.raises(WrongSetting, match=f"{missing} is not set"):
        read_settings(environment)
