"""Processes are killed at random and every promise is kept. `make chaos` does the same for longer, and with more."""

import pytest

from tests.chaos.promises import broken_promises
from tests.chaos.run import Plan


# Half a minute, but it takes five processes, which a busy machine starts slowly.
@pytest.mark.timeout(300)
async def test_every_promise_outlasts_chaos() -> None:
    """Views equal the platforms', no webhook is lost, no calendar is synced twice at once, no bot is orphaned.

    Bots get to their meetings, each by one launch, and are called off with their event.
    Two that serve and two that work are killed at random under a load of changes, and their database once.
    """
    plan = Plan(
        seed=20_261_123,
        seconds=12,
        calendars=30,
        serving=2,
        working=2,
        kill_every_seconds=2,
        changes_a_second=20,
        hurries=True,
    )
    assert await broken_promises(plan, print) == []
