"""A member of the demo, as a process: python -m dbgrains.demo.member --redis redis://localhost:6379

It hosts counters until it is signalled, then drains and leaves. Started by a parent (`--with-parent`, used by
`dbgrains demo`) it also leaves when that one ends, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import Final

from dbgrains.cluster.cluster import Cluster
from dbgrains.config import RemoteConfig
from dbgrains.demo.application import CLUSTER, EXIT_COULD_NOT_RUN, LOOKUPS, member_cluster
from dbgrains.errors import DbgrainsError
from dbgrains.run import loop_factory, serve
from dbgrains.testing.member_process import announce, parent_gone

READY_INTERVAL_S: Final = 1.0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dbgrains.demo.member", description="Host counters.")
    parser.add_argument("--redis", required=True, metavar="URL")
    parser.add_argument("--cluster", default=CLUSTER)
    parser.add_argument("--lookup", choices=LOOKUPS, default="db", help="how grains are found")
    parser.add_argument("--node", default=None, help="first part of the member's id; default: the host's name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is advertised by host name")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--insecure", action="store_true", help="permit plain text on an address that is not loopback")
    parser.add_argument("--hard-fence", choices=("kill", "off"), default=None, help="default: as its kinds need it")
    parser.add_argument("--ready-file", type=Path, default=None, help="touched every second while this is a member")
    parser.add_argument("--with-parent", action="store_true", help="announce, and leave when standard input ends")
    options = parser.parse_args()

    async def until(cluster: Cluster) -> None:
        tasks = []
        if options.ready_file:
            tasks.append(asyncio.create_task(_stay_ready(options.ready_file)))
        if options.with_parent:
            tasks.append(asyncio.create_task(parent_gone()))
            announce(member_id=cluster.system.id, address=cluster.system.address)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    remote = RemoteConfig(
        host=options.host,
        port=options.port,
        advertised_host=socket.gethostname() if options.host == "0.0.0.0" else None,
        insecure=options.insecure,
    )
    cluster = member_cluster(
        options.redis, options.cluster, options.node, remote, options.lookup, hard_fence=options.hard_fence
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(serve(cluster, until=until if options.ready_file or options.with_parent else None))
    except DbgrainsError as error:
        print(f"This member could not start: {error}", file=sys.stderr)
        return EXIT_COULD_NOT_RUN


async def _stay_ready(path: Path) -> None:
    """Touch `path` for as long as the loop runs: its age is how long ago this member was well."""
    while True:
        await asyncio.to_thread(path.touch)
        await asyncio.sleep(READY_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main())
