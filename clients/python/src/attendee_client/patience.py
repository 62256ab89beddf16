"""Whether a call that failed is made again, and after how long."""

from dataclasses import dataclass
from datetime import timedelta

from attendee_client.errors import Busy, Trouble

# Both say that nothing was done: too many requests, and nobody there to take this one.
_NOTHING_WAS_DONE = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Patience:
    """Up to `retries` more attempts, with pauses that double from `first_pause`.

    The service's own Retry-After counts instead where it says one; a pause beyond `longest_pause` is not waited out:
    the error goes to the caller.
    """

    retries: int = 3
    first_pause: timedelta = timedelta(seconds=0.5)
    longest_pause: timedelta = timedelta(seconds=30)

    def pause(self, trouble: Trouble, *, failed: int, is_repeatable: bool, luck: float) -> timedelta | None:
        """How long to wait after the `failed`-th attempt; None to give up. `luck`, from 0 to 1, spreads the crowd.

        A call that is not repeatable, such as the creation of a bot, is made again only if nothing can have been done.
        """
        was_refused = isinstance(trouble, Busy) and trouble.status in _NOTHING_WAS_DONE
        if failed > self.retries or not (is_repeatable or was_refused):
            return None
        asked = trouble.retry_after if isinstance(trouble, Busy) else None
        pause = asked if asked is not None else self.first_pause * 2 ** (failed - 1)
        return None if pause > self.longest_pause else pause * (1 + 0.25 * luck)
