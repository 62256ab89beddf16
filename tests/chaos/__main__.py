"""`make chaos`: two minutes of kills with 300 calendars. `make soak`: twenty minutes of load, and nobody is killed.

SEED, SECONDS and CALENDARS in the environment say otherwise.
"""

import asyncio
import os
import secrets
import signal
import sys

from tests.chaos.promises import broken_promises
from tests.chaos.run import Plan


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a command's words


def main() -> int:
    """The exit status: 0 if every promise was kept."""
    soaks = sys.argv[1:] == ["soak"]
    plan = Plan(
        seed=int(os.environ.get("SEED") or secrets.randbelow(2**32)),
        seconds=float(os.environ.get("SECONDS") or (1200 if soaks else 120)),
        calendars=int(os.environ.get("CALENDARS") or 300),
        serving=1 if soaks else 2,
        working=1 if soaks else 3,
        kill_every_seconds=None if soaks else 2,
        changes_a_second=25,
    )
    _tell(f"SEED={plan.seed} SECONDS={plan.seconds:g} CALENDARS={plan.calendars}")
    # SIGTERM ends it as Ctrl-C does, so that nothing is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broken = asyncio.run(broken_promises(plan, _tell))
    for promise in broken:
        _tell(f"BROKEN: {promise}")
    _tell(f"{'Broken' if broken else 'Every promise was kept'} (SEED={plan.seed}).")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
