"""How tests wait: for a condition, never for a time. Users' tests have the same."""

from dbgrains.testing.waiting import until

__all__ = ["until"]
