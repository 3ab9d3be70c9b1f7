"""The commands of `dbgrains`, one function each in the files beside this one."""

from __future__ import annotations

import typer

from dbgrains.cli.bench_command import bench
from dbgrains.cli.cluster_commands import activations, members, where
from dbgrains.cli.demo_command import demo
from dbgrains.cli.doctor_command import doctor
from dbgrains.cli.drain_command import drain

application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@application.callback()
def dbgrains() -> None:
    """Virtual actors for Python, placed by leases in Redis."""


for command in (demo, members, where, activations, drain, bench, doctor):
    application.command()(command)
