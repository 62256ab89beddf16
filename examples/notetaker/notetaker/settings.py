"""What can be set, all of it by the environment. With nothing set, everything but the API key points to a sandbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from notetaker.platforms import Platform, google, microsoft, sandbox_google, sandbox_microsoft


class WrongSetting(Exception):
    """A setting is missing. The text says which, and where to get it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that differs between a laptop and production; secrets are never printed with it."""

    host: str
    port: int
    url: str
    database: Path
    service_url: str
    api_key: str = field(repr=False)
    webhook_secrets: Sequence[str] = field(repr=False)
    platforms: Mapping[str, Platform]
    sandbox_url: str | None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in these variables. Raises WrongSetting."""
    port = int(environment.get("NOTETAKER_PORT", "8200"))
    sandbox_url, platforms = _platforms(environment)
    return Settings(
        host=environment.get("NOTETAKER_HOST", "127.0.0.1"),
        port=port,
        url=environment.get("NOTETAKER_URL", f"http://127.0.0.1:{port}").rstrip("/"),
        database=Path(environment.get("NOTETAKER_DATABASE", "notetaker.sqlite3")),
        service_url=environment.get("ATTENDEE_URL", "http://127.0.0.1:8000").rstrip("/"),
        api_key=_required(environment, "ATTENDEE_API_KEY", "attendee keys create"),
        # Two of them, with a comma between, while the project's secret is being changed.
        webhook_secrets=_required(environment, "ATTENDEE_WEBHOOK_SECRET", "attendee webhooks create").split(","),
        platforms=platforms,
        sandbox_url=sandbox_url,
    )


def _required(environment: Mapping[str, str], name: str, command: str) -> str:
    if not environment.get(name):
        raise WrongSetting(f"{name} is not set: `{command}` prints it.")
    return environment[name]


def _platforms(environment: Mapping[str, str]) -> tuple[str | None, Mapping[str, Platform]]:
    """The real platforms that have an OAuth client, by name; both of the sandbox's if none has."""
    real: dict[str, Platform] = {}
    for name, make in (("google", google), ("microsoft", microsoft)):
        client_id = environment.get(f"{name.upper()}_CLIENT_ID")
        if client_id:
            secret = _required(environment, f"{name.upper()}_CLIENT_SECRET", "the platform's console")
            real[name] = make(client_id, secret)
    if real:
        return None, real
    sandbox_url = environment.get("SANDBOX_URL", "http://127.0.0.1:8100").rstrip("/")
    return sandbox_url, {"google": sandbox_google(sandbox_url), "microsoft": sandbox_microsoft(sandbox_url)}
