"""What all commands share: how an answer is shown, and what an exit code means.

With `--json` standard output holds exactly one JSON value, an error included; without it, tables for people. Logs and
progress go to standard error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

import structlog
from rich.console import Console
from rich.table import Table

from dbgrains.errors import DbgrainsError
from dbgrains.run import loop_factory
from dbgrains.testing.member_process import ProcessFailedError
from dbgrains.testing.redis_server import RedisServerError

EXIT_GOOD: Final = 0
EXIT_BAD_NEWS: Final = 1
"""The command did its work, and found what should not be: nothing there, a promise broken, a check failed."""
EXIT_COULD_NOT_RUN: Final = 2
"""A wrong argument, or something that it needs is not there: Redis, a member, permission."""
EXIT_INTERRUPTED: Final = 130
LOG_WIDTH: Final = 120

T = TypeVar("T")


def console(*, stderr: bool = False) -> Console:
    """Where tables go; lines of a log are not wrapped at the eighty columns of a terminal that isn't there."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=LOG_WIDTH)


def carry_out(work: Callable[[], Coroutine[Any, Any, T]], *, as_json: bool) -> T:
    """Run a command's work on an event loop; errors end the process with a sentence instead of a traceback."""
    # What the library logs on the way is for when something goes wrong.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(work())
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (DbgrainsError, RedisServerError, ProcessFailedError, TimeoutError) as error:
        could_not_run(str(error) or type(error).__name__, type(error).__name__, as_json=as_json)


def could_not_run(text: str, kind: str, *, as_json: bool) -> NoReturn:
    """Say why, and end."""
    if as_json:
        show_json({"error": {"type": kind, "text": text}})
    else:
        print(text, file=sys.stderr)
    sys.exit(EXIT_COULD_NOT_RUN)


def show_json(value: object) -> None:
    """The one JSON value of a command."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(title: str, *columns: str) -> Table:
    """A table whose columns named with a leading > are numbers."""
    found = Table(title=title, title_justify="left")
    for column in columns:
        found.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return found


def duration(seconds: float) -> str:
    """3.2 s, 4 min, 5 h, 2 d."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
