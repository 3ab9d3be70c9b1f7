"""Where ids that must never repeat come from.

Not from a system's seeded generator: two processes with one seed would have one id. A simulation, which is all
the processes there are, brings its own.
"""

from __future__ import annotations

import secrets
import time

from dbgrains.sansio.identity import ulid


def draw_ulid() -> str:
    """A ULID of now, with the operating system's randomness."""
    return ulid(time.time_ns() // 1_000_000, secrets.randbits(80))
