"""When a bot falls due: pure arithmetic over instants."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

# Its calendar is asked so long before the launch: nearly every sync has ended by then, and none holds a launch up.
ASKED_BEFORE = timedelta(seconds=10)
# Launches that fall on the same minute begin within this part of the lead.
_SPREAD = 1 / 3


@dataclass(frozen=True, slots=True)
class LaunchTimes:
    """`lead` is how long before it joins a bot is handed to the runner; None where there is no runner."""

    lead: timedelta | None

    def launch_at(self, bot_id: str, join_at: datetime) -> datetime:
        """When the bot is handed to the runner: inside the lead, at a place of its own by its id.

        However many bots join at the full hour, the runner is asked for them one after the other.
        """
        if self.lead is None:
            return join_at
        digest = hashlib.blake2b(bot_id.encode(), digest_size=8).digest()
        return join_at - self.lead * (1 - _SPREAD * int.from_bytes(digest) / 2**64)

    def is_near(self, join_at: datetime, *, now: datetime) -> bool:
        """Whether the lead of a bot that joins then has begun."""
        return self.lead is not None and join_at - self.lead <= now

    def first_due(self, bot_id: str, *, join_at: datetime, has_link: bool, has_event: bool) -> datetime:
        """When a bot that waits first needs something: to have its calendar asked, to be launched, or to be told off.

        One without a link has until `join_at` to get one.
        """
        if not has_link or self.lead is None:
            return join_at
        launch_at = self.launch_at(bot_id, join_at)
        return launch_at - ASKED_BEFORE if has_event else launch_at
