"""What members say to each other about grains, beside the users' own messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Touch:
    """A request that only activates: it is answered with the activation's PID, and the grain never sees it."""
