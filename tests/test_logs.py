"""What a log line looks like, in a process of its own: how a process logs is the whole process's affair."""

import json
import subprocess
import sys
from typing import Any

_PROGRAM = """
import logging
import structlog
from attendee import logs

logs.configure(format="json", level="info")
log = structlog.get_logger("attendee.test")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    log.info("synced", events=3, refresh_token="hush", webhook_secret="hush")
    logging.getLogger("library").warning("it took %d s", 5)
log.debug("too much")
logging.getLogger("uvicorn.error").info("Started server process")
password = "hush"
try:
    raise RuntimeError("lost")
except RuntimeError:
    log.exception("failed")
"""


def test_lines_are_json_without_secrets() -> None:
    """Ours and those of libraries are alike: the request's id is on them, no secret is, and chatter is left out."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    ours, library, failure = (_line(line) for line in done.stderr.splitlines())
    assert (ours["message"], ours["level"], ours["request_id"], ours["events"]) == ("synced", "info", "r-1", 3)
    assert (ours["refresh_token"], ours["webhook_secret"]) == ("***", "***")
    assert (library["message"], library["logger"], library["request_id"]) == ("it took 5 s", "library", "r-1")
    assert "RuntimeError: lost" in failure["exception"]
    assert "hush" not in done.stderr.replace('password = "hush"', "")


def _line(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    assert parsed.pop("timestamp").endswith("Z")
    return parsed
