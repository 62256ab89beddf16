"""Settings: what is read, and what is said of those that can't be used."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from attendee.settings import Settings, WrongSetting, find_misspelt, read_settings
from attendee.store.columns import KeyRing


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests, and no `.env` of theirs."""
    for name in os.environ:
        if name.startswith("ATTENDEE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_has_to_be_set() -> None:
    """On a laptop every setting has a value that works."""
    settings = read_settings()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, Path("data"))
    assert settings.database_url is None
    assert settings.sync_interval_seconds == 1800


def test_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` is read too, and a variable of the environment overrides it; one that is empty is as good as unset."""
    (tmp_path / ".env").write_text("ATTENDEE_PORT=1111\nATTENDEE_HOST=127.0.0.2\nATTENDEE_LOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("ATTENDEE_PORT", "2222")
    monkeypatch.setenv("ATTENDEE_SANDBOX_PORT", "")
    settings = read_settings()
    assert (settings.port, settings.host, settings.log_level) == (2222, "127.0.0.2", "debug")
    assert settings.sandbox_port == 8100


def test_variables_that_are_not_known_stop_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A setting of a later version may stand there already."""
    monkeypatch.setenv("ATTENDEE_PUBLIC_URL", "https://example.com")
    (tmp_path / ".env").write_text("ATTENDEE_NOT_YET_KNOWN=http\nOTHER=1\n")
    assert read_settings() == Settings()


def test_variables_that_are_nearly_settings_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment and in `.env`; what our clients, bots and later versions call theirs is none of them."""
    monkeypatch.setenv("ATTENDEE_SYNC_INTERVAL", "60")
    (tmp_path / ".env").write_text("attendee_public_uri=https://example.com\nATTENDEE_NOT_YET_KNOWN=1\nPUBLIC_URI=x\n")
    others = "API_KEY URL WEBHOOK_SECRET BOT_ID BOT_NAME BOT_ORDER BOT_SETTINGS JOIN_AT LAUNCH_ID MEETING_URL"
    for other in (*others.split(), "REPORT_TOKEN", "REPORT_URL"):
        monkeypatch.setenv(f"ATTENDEE_{other}", "some")
    assert find_misspelt() == [
        ("ATTENDEE_PUBLIC_URI", "ATTENDEE_PUBLIC_URL"),
        ("ATTENDEE_SYNC_INTERVAL", "ATTENDEE_SYNC_INTERVAL_SECONDS"),
    ]


@pytest.mark.parametrize(
    ("runner", "missing"),
    [
        ("http", "BOT_RUNNER_URL"),
        ("process", "BOT_RUNNER_COMMAND"),
        ("remote", "BOT_RUNNER_URL"),
        ("remote", "BOT_RUNNER_KEY"),
    ],
)
def test_a_runner_that_lacks_a_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, runner: str, missing: str
) -> None:
    """Found out at the start, and not when the first bot is late."""
    given = {
        "BOT_RUNNER_URL": "http://127.0.0.1:1",
        "BOT_RUNNER_KEY": "key",
        "BOT_RUNNER_COMMAND": "bot --name 'Note taker'",
    }
    for name, value in ({"BOT_RUNNER": runner} | given).items():
        monkeypatch.setenv(f"ATTENDEE_{name}", value)
    assert read_settings().bot_runner == runner
    monkeypatch.delenv(f"ATTENDEE_{missing}")
    with pytest.raises(WrongSetting, match=f"^ATTENDEE_{missing} is not set: ATTENDEE_BOT_RUNNER={runner} needs it$"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "http", "ATTENDEE_PORT is 'http': it must be a whole number"),
        ("PORT", "70000", "ATTENDEE_PORT is '70000': it must be less than or equal to 65535"),
        (
            "CERTIFICATE_AUTHORITIES",
            "no.pem",
            "ATTENDEE_CERTIFICATE_AUTHORITIES is 'no.pem': it can't be read (No such file or directory)",
        ),
        (
            "WEBHOOK_PROXY",
            "me:hush@proxy:3128",
            "ATTENDEE_WEBHOOK_PROXY is wrong: it must be a proxy's address, such as http://proxy.example.com:3128",
        ),
        ("ALLOW_INSECURE_WEBHOOKS", "mostly", "ATTENDEE_ALLOW_INSECURE_WEBHOOKS is 'mostly': it must be true or false"),
        (
            "BOT_RUNNER_COMMAND",
            "bot --name 'Notes",
            "ATTENDEE_BOT_RUNNER_COMMAND is wrong: it must be a command as a shell takes it (No closing quotation)",
        ),
        ("BOT_RUNNER_COMMAND", " ", "ATTENDEE_BOT_RUNNER_COMMAND is wrong: it must not be empty"),
        ("LOG_FORMAT", "xml", "ATTENDEE_LOG_FORMAT is 'xml': it must be 'console' or 'json'"),
        ("WORKER_CONCURRENCY", "0", "ATTENDEE_WORKER_CONCURRENCY is '0': it must be greater than or equal to 1"),
        (
            "GOOGLE_API_URL",
            "googleapis.com",
            (
                "ATTENDEE_GOOGLE_API_URL is 'googleapis.com': it must be an address that begins with https:// or "
                "http://, such as https://example.com"
            ),
        ),
        (
            "MEETING_HOSTS",
            "meet.example.com",
            (
                "ATTENDEE_MEETING_HOSTS is 'meet.example.com': 'meet.example.com' must be a service and a host of it, "
                "such as jitsi=meet.example.com"
            ),
        ),
        (
            "MEETING_HOSTS",
            "jitsi=https://meet.example.com/rooms",
            (
                "ATTENDEE_MEETING_HOSTS is 'jitsi=https://meet.example.com/rooms': 'https://meet.example.com/rooms' is "
                "no host for jitsi; it must be such as meet.example.com"
            ),
        ),
        (
            "ENCRYPTION_KEYS",
            "hush",
            (
                "ATTENDEE_ENCRYPTION_KEYS is wrong: key 1 is not 32 bytes in base64; `attendee encryption generate` "
                "makes one"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str) -> None:
    """The line names the variable, what is wrong and what would be right; the value of a secret is not in it."""
    monkeypatch.setenv(f"ATTENDEE_{name}", value)
    with pytest.raises(WrongSetting) as wrong:
        read_settings()
    assert str(wrong.value) == line


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start the service once for every mistake."""
    monkeypatch.setenv("ATTENDEE_PORT", "x")
    monkeypatch.setenv("ATTENDEE_LOG_LEVEL", "loud")
    with pytest.raises(WrongSetting, match=r"^ATTENDEE_PORT .*; ATTENDEE_LOG_LEVEL ") as wrong:
        read_settings()
    assert "\n" not in str(wrong.value)


def test_file_that_is_no_text_is_told_of(tmp_path: Path) -> None:
    """A `.env` that can't be read is a wrong setting as well."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WrongSetting, match=r"^\.env can't be read"):
        read_settings()


def test_keys_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several keys are one variable; spaces and a comma at the end do no harm."""
    first, second = KeyRing.generate_key(), KeyRing.generate_key()
    monkeypatch.setenv("ATTENDEE_ENCRYPTION_KEYS", f"{first}, {second},")
    keys = read_settings().encryption_keys
    assert keys is not None
    assert [key.get_secret_value().strip() for key in keys] == [first, second]


def test_hosts_of_meetings_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is a service and a host, and one service may have several."""
    monkeypatch.setenv("ATTENDEE_MEETING_HOSTS", "jitsi=meet.example.com, sandbox = http://127.0.0.1:8100,jitsi=m:1,")
    assert read_settings().meeting_hosts == (
        ("jitsi", "meet.example.com"),
        ("sandbox", "http://127.0.0.1:8100"),
        ("jitsi", "m:1"),
    )


def test_services_of_the_runner_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of services, in any case; one that is none is told of."""
    monkeypatch.setenv("ATTENDEE_BOT_RUNNER_SERVICES", "zoom, Teams,")
    assert read_settings().bot_runner_services == ("zoom", "teams")
    monkeypatch.setenv("ATTENDEE_BOT_RUNNER_SERVICES", "zooom")
    with pytest.raises(WrongSetting, match=r"^ATTENDEE_BOT_RUNNER_SERVICES .*no service 'zooom'; there are .*zoom"):
        read_settings()


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the keys nor the password of the database are in what a log or a debugger shows."""
    key = KeyRing.generate_key()
    monkeypatch.setenv("ATTENDEE_ENCRYPTION_KEYS", key)
    monkeypatch.setenv("ATTENDEE_DATABASE_URL", "postgresql://me:hush@127.0.0.1/db")
    shown = repr(read_settings())
    assert key not in shown
    assert "hush" not in shown


def test_settings_do_not_change() -> None:
    """They are read once; nobody can change them on the way."""
    settings: Any = read_settings()
    with pytest.raises(ValidationError):
        settings.port = 1


def test_every_setting_says_what_it_is() -> None:
    """The documentation is made from the descriptions."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
