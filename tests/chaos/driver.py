"""A client of the chaos tests: calls its counters again and again, and writes down what became of each call.

One line per call: begun, ended, identity, outcome, value, token, member. The outcome is `ok`, or the error's name and
what is known of the call.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dbgrains import ActorFailedError, Cluster, RequestError
from dbgrains.testing.member_process import announce, parent_gone
from tests.chaos.member import Count, Increment, cluster_of, kind_of, now, parser

TIMEOUT_S = 20.0
"""Above every fail-over: a call waits for its grain to come back, and how long it waited is what is measured."""

DECLINED_PAUSE_S = 0.1


async def drive(cluster: Cluster, identity: str, pause_s: float, log: list[str]) -> None:
    """One identity's calls, one after another."""
    while True:
        begun = now()
        try:
            count = await cluster.request(identity, kind_of(identity), Increment(), timeout=TIMEOUT_S)
        except RequestError as error:
            inner = f"({error.type_name})" if isinstance(error, ActorFailedError) else ""
            outcome = f"{type(error).__name__}{inner}:{error.outcome.value} 0 0 -"
            await asyncio.sleep(DECLINED_PAUSE_S)
        else:
            assert isinstance(count, Count)
            outcome = f"ok {count.value} {count.token} {count.member}"
        log.append(f"{begun:.6f} {now():.6f} {identity} {outcome}\n")
        await asyncio.sleep(pause_s)


async def serve() -> None:
    """Until the parent closes our input."""
    made = parser()
    made.add_argument("--calls", required=True)
    made.add_argument("--identities", required=True)
    made.add_argument("--pause", type=float, required=True)
    options = made.parse_args()
    log: list[str] = []
    cluster = cluster_of(options, client=True)
    await cluster.start_client()
    with Path(options.calls).open("a", buffering=1) as file:  # noqa: ASYNC230  some lines now and then
        drivers = [
            asyncio.create_task(drive(cluster, identity, options.pause, log))
            for identity in options.identities.split(",")
        ]
        gone = asyncio.create_task(parent_gone())
        announce(ready=True)
        while not gone.done():
            await asyncio.wait([gone], timeout=0.2)
            written, log[:] = "".join(log), []
            file.write(written)
        for task in drivers:
            task.cancel()
        await asyncio.gather(*drivers, return_exceptions=True)
        file.write("".join(log))
    await cluster.shutdown()


if __name__ == "__main__":
    asyncio.run(serve())
    sys.exit(0)
