"""A process that answers, with nothing but a remote: python -m tests.multiprocess.remote_peer."""

from __future__ import annotations

import asyncio
import logging
import signal

import structlog
import uvloop

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.remote.remote import Remote
from dbgrains.testing.member_process import announce, parent_gone


async def main() -> None:
    """Until SIGTERM, or until the parent is gone: `echo` answers everything, `keep` keeps its callers waiting."""
    async with ActorSystem("peer") as system:
        address = await Remote(system).start()
        kept: list[object] = []

        def echo(context: ActorCell) -> None:
            if isinstance(context.message, str | bytes | int):
                context.respond(context.message)

        def keep(context: ActorCell) -> None:
            kept.append(context.sender)

        system.root.spawn_named(Props.from_function(echo), "echo")
        system.root.spawn_named(Props.from_function(keep), "keep")
        leave = asyncio.create_task(parent_gone())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.cancel)
        announce(address=address, member_id=system.id)
        await asyncio.wait({leave})


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    uvloop.run(main())
