"""How everything is logged: one stream of structured lines on stderr, for people on a terminal, as JSON elsewhere."""

import logging
import re
import sys
from collections.abc import Sequence

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Values under such names are never written, whoever logs them by mistake.
_SECRET_NAME = re.compile(r"secret|token|password|authorization|api_key|signature", re.IGNORECASE)
# What a platform, a runner or a driver says may name people and hold the links of their meetings.
_EMAIL = re.compile(r"[^\s<>()\[\]\"',;:=]+@[^\s<>()\[\]\"',;:=]+")
_ADDRESS = re.compile(r"(https?://[^\s/?#\"'<>@]+)[/?#][^\s\"'<>]*", re.IGNORECASE)
# Control characters, line ends of every kind, and marks that turn the direction of writing.
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Libraries whose every step would be logged otherwise; their warnings are heard.
_TALKATIVE = ("uvicorn", "alembic", "asyncio", "aiosqlite", "aiohttp")


def configure(*, format: str | None, level: str) -> None:  # noqa: A002  # named as the setting is
    """Logs from now on in this format ("console", "json", None for what suits stderr), from this level up.

    What is bound with `structlog.contextvars` (the id of a request) is on every line.
    """
    is_console = sys.stderr.isatty() if format is None else format == "console"
    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _without_secrets,
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Plain text: a formatter of Rich's would print the values of variables, and with them secrets.
                structlog.processors.format_exc_info,
                _without_people,
                *(_for_people() if is_console else _for_programs()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _for_people() -> Sequence[Processor]:
    return (_on_one_line, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0))


def _for_programs() -> Sequence[Processor]:
    return (
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_json),
    )


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in event:
        if _SECRET_NAME.search(name):
            event[name] = "***"
    return event


def _without_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _ADDRESS.sub(r"\1/***", _EMAIL.sub("***", value))
    return event


def _on_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """No text that somebody else wrote begins a line of its own, or tells the terminal what to do."""
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = _UNPRINTED.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
    return event


def _json(event: EventDict, default: object = None) -> str:  # noqa: ARG001  # structlog passes its own; ours is `str`
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
