"""How an error looks in a log: its traceback as text.

Loggers that render exceptions themselves like to print the local variables of every frame. In an actor these are
messages and state, which are secret, and a system, which is endless.
"""

from __future__ import annotations

import traceback

_FRAMES_MAX = 12


def traceback_of(error: BaseException) -> str:
    """The innermost frames of `error` and of what caused it."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-_FRAMES_MAX))
