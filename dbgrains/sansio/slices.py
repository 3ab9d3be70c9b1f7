"""How much work to do before the event loop gets its turn: so much that it takes a few milliseconds.

What a piece of it costs is not known before, and differs by a factor of a thousand. So a slice that took too long is
followed by one that fits, and one that was used up in little time by a larger one.
"""

from __future__ import annotations

from typing import Final

SLICE_S: Final = 0.005
"""What a slice may take: as long as the loop is kept from everything else."""

COUNT_MIN: Final = 16
COUNT_MAX: Final = 4_096
COUNT_FIRST: Final = 512


def next_slice(count: int, done: int, took_s: float) -> int:
    """The size of the next slice, after one of at most `count` pieces of which `done` took `took_s`."""
    if took_s > SLICE_S:
        return max(COUNT_MIN, min(count, int(done * SLICE_S / took_s)))
    if done >= count and 2 * took_s <= SLICE_S:
        return min(COUNT_MAX, 2 * count)
    return count
