"""Writes the OpenAPI document to the file that is named: `python -m attendee.api.openapi docs/openapi.json`."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from attendee.api.app import create_app
from attendee.bots.schedule import LaunchTimes
from attendee.clock import now
from attendee.meetings import MeetingLinks
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.limits import Limits
from attendee.sync.schedule import Intervals


def document() -> dict[str, Any]:
    """The document of this version. No database is opened for it."""
    app = create_app(
        database=Database("sqlite:///unused.sqlite3"),
        key_ring=KeyRing([KeyRing.generate_key()]),
        clock=now,
        meeting_links=MeetingLinks(),
        allow_insecure_webhooks=False,
        intervals=Intervals(*(timedelta(minutes=30) for _ in range(5))),
        launch_times=LaunchTimes(None),
        heartbeat=timedelta(minutes=2),
        limits=Limits(),
    )
    return app.openapi()


def text() -> str:
    """The document as it is checked in."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
