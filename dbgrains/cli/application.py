"""The commands of `dbgrains`, one function each."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Annotated

import structlog
import typer
from rich.console import Console

from dbgrains.demo.application import EXIT_COULD_NOT_RUN
from dbgrains.demo.screen import LiveScreen, PlainScreen, Screen, SilentScreen
from dbgrains.demo.story import Plan, play
from dbgrains.errors import DbgrainsError
from dbgrains.run import loop_factory
from dbgrains.testing.redis_server import RedisServerError

EXIT_BROKEN = 1
"""The demo ran, and a promise was broken."""

EXIT_INTERRUPTED = 130
LOG_WIDTH = 120

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@application.callback()
def dbgrains() -> None:
    """Virtual actors for Python, placed by leases in Redis."""


@application.command()
def demo(
    members: Annotated[int, typer.Option(help="Member processes.")] = Plan.members,
    counters: Annotated[int, typer.Option(help="Counters that are spread over them.")] = Plan.counters,
    seconds: Annotated[float, typer.Option(help="How long the counters are incremented.")] = Plan.seconds,
    redis: Annotated[str | None, typer.Option(help="Use this server instead of an embedded one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report, as one JSON object.")] = False,
) -> None:
    """A cluster of several processes; one of them is killed, and nothing that was acknowledged is lost.

    Exits with 0 only if every acknowledged increment is accounted for.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    screen: Screen = SilentScreen() if as_json else LiveScreen(console) if console.is_terminal else PlainScreen(console)
    # The story is told by the screen; what the library logs beside it is for when something goes wrong.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        plan = Plan(members=members, counters=counters, seconds=seconds, redis_url=redis)
        with screen, asyncio.Runner(loop_factory=loop_factory()) as runner:
            report = runner.run(play(plan, screen))
            screen.finish(report)
    except KeyboardInterrupt:
        console.print("Interrupted; all processes are gone.")
        sys.exit(EXIT_INTERRUPTED)
    except (DbgrainsError, RedisServerError, TimeoutError) as error:
        print(f"The demo could not run: {str(error) or type(error).__name__}", file=sys.stderr)
        sys.exit(EXIT_COULD_NOT_RUN)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    sys.exit(0 if report.ok else EXIT_BROKEN)
