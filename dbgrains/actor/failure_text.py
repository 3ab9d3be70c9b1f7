"""How an error looks in a log: its type and text, and its traceback as text, both of bounded length.

Nothing in this package logs with `exc_info`. How that is rendered is up to the application, and a renderer that shows
the local variables of every frame (structlog's default where rich is installed) meets messages and state, which are
secret, and an actor system, which is endless: it can keep the event loop for seconds, leases included.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

FRAMES_MAX = 12
"""Of each error, the innermost."""
LINKS_MAX = 5
"""Errors of a chain of causes, the last one first."""
ERROR_CHARACTERS_MAX = 1000
TRACEBACK_CHARACTERS_MAX = 16_000


def failure_fields(error: BaseException) -> dict[str, str]:
    """The fields that say what went wrong: log.error("renewal failed", **failure_fields(error))."""
    return {"error": _headline(error), "traceback": traceback_of(error)}


def traceback_of(error: BaseException) -> str:
    """The innermost frames of `error`, below those of what caused it."""
    texts = [
        "".join([*traceback.format_tb(link.__traceback__, limit=-FRAMES_MAX), _headline(link)])
        for link in _chain(error)
    ]
    return "\n\nthat led to\n\n".join(reversed(texts))[-TRACEBACK_CHARACTERS_MAX:]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what caused it; of a group, the first one."""
    link: BaseException | None = error
    for _ in range(LINKS_MAX):
        if link is None:
            return
        yield link
        if link.__cause__ is not None:
            link = link.__cause__
        elif isinstance(link, BaseExceptionGroup):
            link = link.exceptions[0]
        else:
            link = None if link.__suppress_context__ else link.__context__


def _headline(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
    except Exception as defect:  # noqa: BLE001  an error that cannot even be printed must not become a second one
        text = f"(its text is not to be had: {type(defect).__name__})"
    if len(text) > ERROR_CHARACTERS_MAX:
        text = f"{text[:ERROR_CHARACTERS_MAX]}... ({len(text)} characters)"
    return f"{name}: {text}" if text else name
