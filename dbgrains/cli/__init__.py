"""The command `dbgrains`; needs the `cli` extra. `application` has its commands."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without the extra, say which one is missing."""
    try:
        from dbgrains.cli.application import application
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.exit(f"The command line needs the package {error.name!r}: pip install 'dbgrains[cli,embedded]'")
    application(prog_name="dbgrains")
