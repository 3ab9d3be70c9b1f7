"""The command that tells the demo's story."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dbgrains.cli.options import AsJson
from dbgrains.cli.output import EXIT_BAD_NEWS, EXIT_GOOD, carry_out, console, could_not_run, show_json
from dbgrains.demo.report import Report
from dbgrains.demo.screen import LiveScreen, PlainScreen, Screen, SilentScreen
from dbgrains.demo.story import Plan, play
from dbgrains.errors import ConfigError


def demo(
    members: Annotated[int, typer.Option(help="Member processes.")] = Plan.members,
    counters: Annotated[int, typer.Option(help="Counters that are spread over them.")] = Plan.counters,
    seconds: Annotated[float, typer.Option(help="How long the counters are incremented.")] = Plan.seconds,
    redis: Annotated[str | None, typer.Option(help="Use this server instead of an embedded one.")] = None,
    lookup: Annotated[str, typer.Option(help="How grains are found: db, partition or consistent-hash.")] = Plan.lookup,
    as_json: AsJson = False,
) -> None:
    """A cluster of several processes; one of them is killed, and nothing that was acknowledged is lost.

    Exits with 0 only if every acknowledged increment is accounted for.
    """
    terminal = console()
    screen: Screen = (
        SilentScreen() if as_json else LiveScreen(terminal) if terminal.is_terminal else PlainScreen(terminal)
    )
    try:
        plan = Plan(members=members, counters=counters, seconds=seconds, redis_url=redis, lookup=lookup)
    except ConfigError as error:
        could_not_run(str(error), type(error).__name__, as_json=as_json)

    async def performance() -> Report:
        with screen:
            report = await play(plan, screen)
            screen.finish(report)
        return report

    report = carry_out(performance, as_json=as_json)
    if as_json:
        show_json(report.as_json())
    sys.exit(EXIT_GOOD if report.ok else EXIT_BAD_NEWS)
