"""Backoff: how long to wait before the next attempt.

Exponential, because a fault that survived ten attempts will survive the eleventh; capped, because somebody waits
for the end of the fault; jittered, because all who wait for the same thing must not come back together.
"""

from __future__ import annotations


def backoff_s(attempt: int, *, first_s: float, max_s: float, jitter: float, random: float) -> float:
    """The pause before attempt number `attempt + 1`, where attempt 0 is the first that failed.

    `first_s` doubles with each attempt up to `max_s`. `jitter` is the part of it, 0 to 1, that is drawn anew by
    `random` (0 to 1): with jitter 0.5 the pause is between half and all of it. Never above `max_s`.
    """
    if attempt >= 64 or first_s >= max_s:  # also keeps 2 ** attempt in reach of a float
        pause = max_s
    else:
        pause = min(max_s, first_s * 2.0**attempt)
    return pause * (1.0 - jitter * random)
