"""What a batching producer decides: when a batch is full, and what follows on a batch that failed.

decision                        the batch                       the producer
------------------------------  ------------------------------  ------------------
FAIL_BATCH_AND_STOP (default)   fails                           stops, all else fails
FAIL_BATCH_AND_CONTINUE         fails                           goes on with the next one
RETRY_BATCH_IMMEDIATELY         is published again              waits with it
retry_batch_after(seconds)      is published again after that   waits with it
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

from dbgrains.errors import ConfigError


class BatchAction(Enum):
    """What to do with a batch that could not be published."""

    FAIL_AND_STOP = "fail_and_stop"
    FAIL_AND_CONTINUE = "fail_and_continue"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class PublishingErrorDecision:
    """What an error handler answers. Use the three constants, or `retry_batch_after`."""

    action: BatchAction
    delay_s: float = 0.0

    FAIL_BATCH_AND_STOP: ClassVar[PublishingErrorDecision]
    FAIL_BATCH_AND_CONTINUE: ClassVar[PublishingErrorDecision]
    RETRY_BATCH_IMMEDIATELY: ClassVar[PublishingErrorDecision]

    @staticmethod
    def retry_batch_after(delay_s: float) -> PublishingErrorDecision:
        """Publish the batch again after so many seconds; what was cancelled meanwhile is left out."""
        if not 0 <= delay_s < math.inf:
            raise ConfigError(f"retry_batch_after: got {delay_s!r}; expected a number of seconds >= 0")
        return PublishingErrorDecision(BatchAction.RETRY, float(delay_s))


PublishingErrorDecision.FAIL_BATCH_AND_STOP = PublishingErrorDecision(BatchAction.FAIL_AND_STOP)
PublishingErrorDecision.FAIL_BATCH_AND_CONTINUE = PublishingErrorDecision(BatchAction.FAIL_AND_CONTINUE)
PublishingErrorDecision.RETRY_BATCH_IMMEDIATELY = PublishingErrorDecision(BatchAction.RETRY)


@dataclass(frozen=True, slots=True)
class Again:
    """Publish it once more after this long."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Its messages fail; with `stops` all others do, too."""

    stops: bool


AfterError: TypeAlias = Again | Failed


def after_error(decision: PublishingErrorDecision, *, closing: bool, left: int) -> AfterError:
    """What follows on `decision` for a batch of which `left` messages are still wanted.

    A producer that is closing, or that nobody waits for any more, does not retry for ever.
    """
    match decision.action:
        case BatchAction.FAIL_AND_STOP:
            return Failed(stops=True)
        case BatchAction.RETRY if left and not closing:
            return Again(decision.delay_s)
        case _:
            return Failed(stops=False)


def batch_length(sizes: Iterable[int], count_max: int, bytes_max: int) -> int:
    """How many of the messages that wait belong to the next batch; at least one if any waits.

    A single message that is larger than a batch may be has a batch of its own.
    """
    total = count = 0
    for size in sizes:
        total += size
        if count >= count_max or (count and total > bytes_max):
            break
        count += 1
    return count
