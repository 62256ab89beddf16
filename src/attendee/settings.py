"""What an operator can set: the environment and a `.env` file, read once into one frozen object."""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, NoDecode, SettingsConfigDict

from attendee.meetings import MeetingLinks
from attendee.outgoing import trust
from attendee.store.columns import KeyRing

_PREFIX = "ATTENDEE_"
# A setting without its unit is still recognised, ATTENDEE_API_KEY and the like, which clients have, are not.
_ALIKE = 0.75
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# A command may have a password among its arguments, a proxy one in its address.
_SECRETS = frozenset(
    {"database_url", "encryption_keys", "bot_runner_key", "bot_runner_command", "webhook_proxy", "platform_proxy"}
)
# Where Pydantic's own words would puzzle who reads them.
_IN_OUR_WORDS = {
    "int_parsing": "it must be a whole number",
    "bool_parsing": "it must be true or false",
    "string_too_short": "it must not be empty",
}


class WrongSetting(Exception):
    """A setting can't be used. The text is one line that names the variable, what is wrong and what would be right."""


def _http_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError("it must be an address that begins with https:// or http://, such as https://example.com")
    return address.rstrip("/")


def _reachable_by_platforms(address: str | None) -> str | None:
    if address is None:
        return None
    parts = urlsplit(_http_address(address))
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ValueError("Google and Microsoft call https addresses only (http is for loopback); https://... is right")
    return address.rstrip("/")


def _between_commas(value: Any) -> Any:
    return tuple(part for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _as_in_a_shell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        words = tuple(shlex.split(value))
    except ValueError as wrong:
        raise ValueError(f"it must be a command as a shell takes it ({wrong})") from None
    if not words:
        raise ValueError("it must not be empty")
    return words


def _hosts_of_services(value: Any) -> Any:
    return tuple(_host_of_service(pair) for pair in _between_commas(value)) if isinstance(value, str) else value


def _host_of_service(pair: str) -> tuple[str, str]:
    service, separator, host = (part.strip() for part in pair.partition("="))
    if not separator:
        raise ValueError(f"{pair.strip()!r} must be a service and a host of it, such as jitsi=meet.example.com")
    return service, host


def _of_known_services(hosts: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    MeetingLinks(extra_hosts=hosts)
    return hosts


def _names_of_services(names: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in names)
    MeetingLinks(joinable=names)
    return names


def _keys_that_open(keys: tuple[SecretStr, ...] | None) -> tuple[SecretStr, ...] | None:
    if keys is not None:
        KeyRing([key.get_secret_value() for key in keys])
    return keys


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(text.strip(), strict=False)) for text in texts)
    except ValueError as wrong:
        raise ValueError(f"{wrong}; addresses and networks are right, such as 10.0.0.7,10.1.0.0/16") from None


def _http_proxy(address: SecretStr | None) -> SecretStr | None:
    if address is not None:
        try:
            _http_address(address.get_secret_value())
        except ValueError:
            raise ValueError("it must be a proxy's address, such as http://proxy.example.com:3128") from None
    return address


def _with_authorities(file: Path | None) -> Path | None:
    try:
        trust(file)
    except OSError as trouble:
        raise ValueError(f"it can't be read ({trouble.strerror})") from None
    return file


def _lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_HttpAddress = Annotated[str, AfterValidator(_http_address)]
_Proxy = Annotated[SecretStr | None, AfterValidator(_http_proxy)]
_Days = Annotated[int, Field(ge=1, le=3650)]
# Zero takes a port that is free.
_Port = Annotated[int, Field(ge=0, le=65_535)]


class Settings(BaseSettings):
    """Every setting of this version. Variables that it does not know are none of its business."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(
        default=None,
        description="The database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (`sslmode` is understood). "
        "Unset, it is a SQLite file in the data directory.",
    )
    data_dir: Path = Field(
        default=Path("data"),
        description="The directory of the SQLite file, of the encryption key that is generated beside it, and of what "
        "bots of the runner `process` are given and say.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="The address that `serve` listens on.")
    port: _Port = Field(default=8000, description="The port that `serve` listens on; 0 takes one that is free.")
    public_url: Annotated[str | None, AfterValidator(_reachable_by_platforms)] = Field(
        default=None,
        description="The https address (http for loopback) at which Google and Microsoft reach this service. Without "
        "it calendars are polled only.",
    )
    encryption_keys: Annotated[
        tuple[SecretStr, ...] | None, NoDecode, BeforeValidator(_between_commas), AfterValidator(_keys_that_open)
    ] = Field(
        default=None,
        description="What encrypts the stored secrets: 32 bytes each in base64, between commas; the first encrypts, "
        "all decrypt. Required with PostgreSQL; with SQLite one is generated into the data directory.",
    )
    sync_interval_seconds: int = Field(
        default=1800, ge=1, le=86_400, description="How often a calendar is asked what has changed, in seconds."
    )
    push_sync_interval_seconds: int = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="How often a calendar whose push channel works is asked all the same, in seconds.",
    )
    sync_interval_near_seconds: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="How often a calendar without a push channel is asked while one of its bots joins within 15 "
        "minutes, in seconds.",
    )
    sync_interval_soon_seconds: int = Field(
        default=300, ge=1, le=86_400, description="The same while one of its bots joins within 2 hours."
    )
    sync_debounce_seconds: float = Field(
        default=1,
        ge=0,
        le=60,
        description="How long pushes of one calendar are gathered after a sync before they cause another, in seconds.",
    )
    sync_window_past_days: int = Field(
        default=1, ge=0, le=365, description="How many days back events are kept in sync."
    )
    sync_window_future_days: int = Field(
        default=28, ge=1, le=365, description="How many days ahead events are kept in sync."
    )
    worker_concurrency: int = Field(
        default=32,
        ge=1,
        le=1000,
        description="How many syncs one process has in flight, and how many deliveries to one receiver.",
    )
    bot_launch_lead_seconds: int = Field(
        default=300,
        ge=0,
        le=3600,
        description="How long before it joins a bot is handed to the runner, in seconds; bots that join at the same "
        "minute are spread over the first third of it.",
    )
    bot_runner: Annotated[Literal["none", "process", "http", "remote"], BeforeValidator(_lower_case)] = Field(
        default="none",
        description="What runs bots: `none`; `process`, a command on this machine; `http`, a fleet of your own; or "
        "`remote`, another server with the same bots API.",
    )
    bot_runner_command: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_as_in_a_shell)] = Field(
        default=None,
        description="What `process` starts for each bot: split as a shell would, run without one.",
    )
    bot_runner_url: _HttpAddress | None = Field(
        default=None, description="Where the fleet or the other server is; `/api/v1/...` is appended for the latter."
    )
    bot_runner_key: SecretStr | None = Field(
        default=None, description="A bearer token for the fleet, if it wants one; the other server's API key."
    )
    bot_runner_services: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_between_commas), AfterValidator(_names_of_services)
    ] = Field(
        default=(),
        description="The meeting services that the runner's bots can join, between commas, such as zoom,teams. Unset, "
        "they are all.",
    )
    runner_report_url: _HttpAddress | None = Field(
        default=None,
        description="The address that runners report to; unset, it is PUBLIC_URL, and without that http://HOST:PORT.",
    )
    bot_heartbeat_seconds: int = Field(
        default=120, ge=1, le=86_400, description="How long a bot in a meeting may say nothing, in seconds."
    )
    bots_at_once_per_project: int = Field(
        default=100, ge=1, le=10_000, description="How many launches of one project are told to the runner at once."
    )
    project_posts_per_minute: int = Field(
        default=3000, ge=1, description="How many POSTs of one project are let through in a minute, by all processes."
    )
    calendars_per_project: int | None = Field(
        default=None, ge=0, description="How many calendars one project may have. Unset, it may have any number."
    )
    webhooks_per_project: int = Field(default=10, ge=0, description="How many webhooks one project may have.")
    bots_per_project: int | None = Field(
        default=None,
        ge=0,
        description="How many bots of one project may be unfinished at once. Unset, it may have any number.",
    )
    trusted_proxies: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_between_commas), AfterValidator(_networks)
    ] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="The addresses and networks, between commas, of the proxies in front of this service: from them "
        "alone X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are believed.",
    )
    allow_insecure_webhooks: bool = Field(
        default=False,
        description="Whether webhooks may go to plain http and to private addresses: for work on one machine.",
    )
    webhook_proxy: _Proxy = Field(
        default=None,
        description="The http proxy that webhooks go through. It looks up the names, so it alone decides where one may "
        "go: it must refuse private addresses itself. Unset, there is none, whatever HTTPS_PROXY says.",
    )
    platform_proxy: _Proxy = Field(
        default=None,
        description="The http proxy that Google and Microsoft are reached through. Unset, there is none, whatever "
        "HTTPS_PROXY says. Bot runners are always reached directly.",
    )
    certificate_authorities: Annotated[Path | None, AfterValidator(_with_authorities)] = Field(
        default=None,
        description="A PEM file of certificate authorities that are trusted beside the system's, wherever this service "
        "connects to over https.",
    )
    meeting_hosts: Annotated[
        tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_hosts_of_services), AfterValidator(_of_known_services)
    ] = Field(
        default=(),
        description="Hosts of your own where meetings are held: pairs of a service and a host (or host:port, or an "
        "origin such as http://127.0.0.1:8100) between commas, such as jitsi=meet.example.com.",
    )
    keep_events_days: _Days = Field(
        default=90,
        description="How long an event is kept after it has ended and last changed, in days; longer than "
        "SYNC_WINDOW_PAST_DAYS. What lies in the window is never purged.",
    )
    keep_bots_days: _Days = Field(
        default=90, description="How long a bot that has finished is kept, with its steps and its history, in days."
    )
    keep_deliveries_days: _Days = Field(
        default=30,
        description="How long a webhook that was delivered, has failed or is held for a paused subscription is kept, "
        "with its attempts, in days.",
    )
    keep_activity_days: _Days = Field(
        default=90, description="How long the history of events and bots is kept, in days; it goes with them, too."
    )
    keep_syncs_days: _Days = Field(default=30, description="How long the history of syncs is kept, in days.")
    metrics_port: _Port | None = Field(
        default=None,
        description="Where `worker` answers /metrics and /healthz on HOST; unset, nowhere. `serve` has them on PORT.",
    )
    google_api_url: _HttpAddress = Field(
        default="https://www.googleapis.com",
        description="Where Google's API is; `/calendar/v3` is appended.",
    )
    google_token_url: _HttpAddress = Field(
        default="https://oauth2.googleapis.com/token", description="Where Google gives out access tokens."
    )
    microsoft_graph_url: _HttpAddress = Field(
        default="https://graph.microsoft.com/v1.0", description="Where Microsoft Graph is; `/me/...` is appended."
    )
    microsoft_token_url: _HttpAddress = Field(
        default="https://login.microsoftonline.com/common/oauth2/v2.0/token",
        description="Where Microsoft gives out access tokens.",
    )
    sandbox_port: _Port = Field(
        default=8100, description="The loopback port that `sandbox` listens on; 0 takes one that is free."
    )
    log_format: Annotated[Literal["console", "json"] | None, BeforeValidator(_lower_case)] = Field(
        default=None, description="`console` or `json`. Unset, it is `console` on a terminal and `json` elsewhere."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower_case)] = Field(
        default="info", description="The least important messages that are logged: debug, info, warning or error."
    )


def read_settings() -> Settings:
    """The settings as they are now. Raises WrongSetting."""
    try:
        settings = Settings()
    except ValidationError as wrong:
        raise WrongSetting("; ".join(_explained(error) for error in wrong.errors())) from None
    except (UnicodeDecodeError, OSError) as trouble:
        raise WrongSetting(f".env can't be read: {trouble}") from None
    _check_runner(settings)
    if settings.keep_events_days <= settings.sync_window_past_days:
        raise WrongSetting(
            f"{_PREFIX}KEEP_EVENTS_DAYS is {settings.keep_events_days}: "
            f"it must be more than {_PREFIX}SYNC_WINDOW_PAST_DAYS ({settings.sync_window_past_days})"
        )
    return settings


def find_misspelt() -> Sequence[tuple[str, str]]:
    """Variables that set nothing and are nearly called as a setting is, each with that setting's variable.

    Others that begin alike are left alone: they may be a later version's settings, or a client's. Raises OSError and
    UnicodeDecodeError where `.env` can't be read.
    """
    fields = list(Settings.model_fields)
    given = {*EnvSettingsSource(Settings).env_vars, *DotEnvSettingsSource(Settings).env_vars}
    names = sorted(name.removeprefix(_PREFIX.lower()) for name in given if name.startswith(_PREFIX.lower()))
    return [
        (f"{_PREFIX}{name.upper()}", f"{_PREFIX}{meant.upper()}")
        for name in names
        if name not in fields
        for meant in get_close_matches(name, fields, n=1, cutoff=_ALIKE)
    ]


def _check_runner(settings: Settings) -> None:
    """Whether the chosen runner has what it needs: found out now, not when the first bot is late."""
    needs = {
        "process": ("bot_runner_command",),
        "http": ("bot_runner_url",),
        "remote": ("bot_runner_url", "bot_runner_key"),
    }
    for name in needs.get(settings.bot_runner, ()):
        if getattr(settings, name) is None:
            chosen = f"{_PREFIX}BOT_RUNNER={settings.bot_runner}"
            raise WrongSetting(f"{_PREFIX}{name.upper()} is not set: {chosen} needs it")


def _explained(error: ErrorDetails) -> str:
    field = str(error["loc"][0])
    name = f"{_PREFIX}{field.upper()}"
    message = _IN_OUR_WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "it must be", 1)
    value = error["input"]
    if field in _SECRETS or not isinstance(value, str):
        return f"{name} is wrong: {message}"
    return f"{name} is {value!r}: {message}"
