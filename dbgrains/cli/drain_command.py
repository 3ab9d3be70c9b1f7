"""The command that makes one member leave."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dbgrains.cli.observer import Address, Observer, observing
from dbgrains.cli.options import (
    DEFAULT_REDIS_URL,
    DEFAULT_TIMEOUT_S,
    AsJson,
    Authority,
    Certificate,
    ClusterName,
    Key,
    RedisUrl,
    Timeout,
    address_of,
)
from dbgrains.cli.output import EXIT_BAD_NEWS, EXIT_GOOD, carry_out, console, show_json
from dbgrains.cluster.operator_messages import DescribeMember, DrainBegun, DrainMember, MemberDescription
from dbgrains.errors import DbgrainsError, RequestTimeoutError
from dbgrains.sansio.topology import Member

LOOK_INTERVAL_S: Final = 0.2
BEYOND_BUDGET_S: Final = 5.0
"""What leaving takes beside its grains: releases, goodbyes."""


def drain(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Its id, or how that begins.")],
    cluster: ClusterName,
    force: Annotated[bool, typer.Option("--force", help="Also when nobody else hosts one of its kinds.")] = False,
    redis: RedisUrl = DEFAULT_REDIS_URL,
    as_json: AsJson = False,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    tls_certificate: Certificate = None,
    tls_key: Key = None,
    tls_ca: Authority = None,
) -> None:
    """Make a member leave in good order, as SIGTERM does: it finishes its turns and gives its grains back.

    Waits until it is gone. Exits with 1 when it still is there after its budget, with 2 when it refuses.
    """
    address = address_of(redis, cluster, timeout, tls_certificate, tls_key, tls_ca)
    found = carry_out(lambda: _drain(address, member, force, quiet=as_json), as_json=as_json)
    if as_json:
        show_json(found)
    elif found["left"]:
        console().print(
            f"{found['member']} has left after {found['seconds']:.1f} s; it hosted {found['activations']} grains."
        )
    else:
        console().print(f"{found['member']} is still there after {found['seconds']:.1f} s.")
    sys.exit(EXIT_GOOD if found["left"] else EXIT_BAD_NEWS)


async def _drain(address: Address, name: str, force: bool, *, quiet: bool) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console(stderr=True), disable=quiet,
    )  # fmt: skip
    async with observing(address) as observer:
        member = observer.member(name)
        began = loop.time()
        begun = await observer.ask(member, DrainMember(member.id, force=force, asked_by=_who_asks()), DrainBegun)
        deadline = began + begun.budget_s + BEYOND_BUDGET_S
        remaining: int | None = begun.activations
        with progress:
            bar = progress.add_task("grains that have ended", total=begun.activations)
            while remaining is not None and loop.time() < deadline:
                await asyncio.sleep(LOOK_INTERVAL_S)
                remaining = await _remaining(observer, member, remaining)
                progress.update(bar, completed=begun.activations - (remaining or 0))
        return {
            "member": member.id,
            "left": remaining is None,
            "activations": begun.activations,
            "seconds": round(loop.time() - began, 3),
        }


async def _remaining(observer: Observer, member: Member, before: int) -> int | None:
    """Grains that have not ended; None once the member is gone. It leaves the list first, so that says nothing."""
    try:
        told = await observer.ask(member, DescribeMember(), MemberDescription)
    except RequestTimeoutError:
        return before
    except DbgrainsError:
        return None
    return sum(told.activations.values())


def _who_asks() -> str:
    user = os.environ.get("USER") or os.environ.get("USERNAME") or "somebody"
    return f"{user} on {socket.gethostname()}"
