"""Latencies as counts in buckets: constant memory, whatever the number of calls."""

from __future__ import annotations

import math
from typing import Final

BUCKETS_PER_DOUBLING: Final = 8
"""Neighbouring buckets differ by 9 %, which is as exactly as the demo needs to know."""

SMALLEST_S: Final = 10e-6
BUCKETS: Final = 27 * BUCKETS_PER_DOUBLING
"""Up to 20 minutes."""


class Latencies:
    """How long calls took."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.count = 0
        self.longest_s = 0.0

    def add(self, seconds: float) -> None:
        """One call took this long."""
        bucket = math.ceil(math.log2(max(seconds, SMALLEST_S) / SMALLEST_S) * BUCKETS_PER_DOUBLING)
        self._counts[min(bucket, BUCKETS - 1)] += 1
        self.count += 1
        self.longest_s = max(self.longest_s, seconds)

    def quantile_s(self, fraction: float) -> float:
        """The upper bound of the bucket below which `fraction` of the calls stayed; 0 while there are none."""
        wanted, seen = fraction * self.count, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(SMALLEST_S * float(2 ** (bucket / BUCKETS_PER_DOUBLING)), self.longest_s)
        return 0.0

    def __repr__(self) -> str:
        return f"Latencies({self.count}, p50={self.quantile_s(0.5):.6f}, p99={self.quantile_s(0.99):.6f})"
