"""What a setting must be, and the error that says so."""

from __future__ import annotations

import math
from typing import Final

from dbgrains.errors import ConfigError

REQUEST_TIMEOUT_S_MAX: Final = 3600.0


def check_positive(name: str, value: object, *, maximum: float = math.inf) -> float:
    """`value` as a float when it is a number > 0 and <= `maximum`; ConfigError naming the rule otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: got {value!r} ({type(value).__name__}); expected a number > 0")
    if not 0 < value <= maximum:  # false for nan as well
        limit = f" and <= {maximum:g}" if maximum != math.inf else ""
        raise ConfigError(f"{name}: got {value!r}; expected a number > 0{limit}")
    return float(value)


def check_count(name: str, value: object, *, minimum: int = 1) -> int:
    """`value` when it is a whole number >= `minimum`; ConfigError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigError(f"{name}: got {value!r}; expected a whole number >= {minimum}")
    return value
