"""What becomes of messages that an at-least-once subscriber has not handled.

    it failed or did not answer, attempts left      Retry after a pause that doubles
    it failed itself, no attempts left              GiveUp on the one message that it failed on
    it could not be reached, no attempts left       GiveUp on all that is left of the batch

Attempts are counted at one position: a message that is handled at last begins a new count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Retry:
    """Send it again after this long."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Move so many messages to the dead-letter topic and go on behind them."""

    count: int


Next: TypeAlias = Retry | GiveUp


def after_failure(
    attempts: int, left: int, *, ran: bool, attempts_max: int, retry_min_s: float, retry_max_s: float, jitter: float
) -> Next:
    """What follows on failure number `attempts` at a position with `left` messages from there to the batch's end.

    `ran`: the subscriber itself failed on the first of them. `jitter` is a random number from [0, 1).
    """
    if attempts >= attempts_max:
        return GiveUp(1 if ran else left)
    pause_s = min(retry_max_s, retry_min_s * 2.0 ** min(attempts - 1, 32))
    return Retry(pause_s * (0.75 + 0.5 * jitter))
