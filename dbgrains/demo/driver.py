"""A client that increments counters until it is told to stop, and prints what it sees once a second.

    python -m dbgrains.demo.driver --redis redis://localhost:6379

Told to stop (SIGTERM, Ctrl-C, or after `--seconds`), it finishes the calls under way, reads every counter and says
whether anything that was acknowledged is missing; its exit code says the same.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from dbgrains.cluster.cluster import Cluster
from dbgrains.demo.application import CLUSTER, EXIT_COULD_NOT_RUN, client_cluster, read_counters
from dbgrains.demo.ledger import Ledger
from dbgrains.demo.load import Load
from dbgrains.errors import DbgrainsError
from dbgrains.run import Signals, loop_factory

REPORT_INTERVAL_S = 1.0


async def drive(redis_url: str, cluster_name: str, counters: int, seconds: float | None) -> int:
    """Increment `counters` counters for `seconds`, or until a signal; the exit code."""
    asked = asyncio.Event()
    names = [f"load-{number}" for number in range(counters)]
    with Signals(asked):
        async with client_cluster(redis_url, cluster_name) as cluster:
            ledger = Ledger(await read_counters(cluster, names))
            meter = _Meter(cluster)
            load = Load(cluster, names, ledger, on_answer=meter.answered)
            meter.load = load
            load.start()
            reporting = asyncio.create_task(meter.report())
            try:
                async with asyncio.timeout(seconds):
                    await asked.wait()
            except TimeoutError:
                pass
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
                await load.stop()
            found = ledger.check(await read_counters(cluster, names))
    for discrepancy in found[:20]:
        print(discrepancy)
    told = f"{ledger.acknowledged:,} increments acknowledged, {ledger.unknown} of unknown outcome"
    print(f"{told}: {f'{len(found)} counters are wrong' if found else 'every one is accounted for'}")
    return 1 if found else 0


class _Meter:
    """Counts what happened since the last line."""

    def __init__(self, cluster: Cluster) -> None:
        self.load: Load | None = None
        self._cluster = cluster
        self._errors = Counter[str]()
        self._answers = 0

    def answered(self, counter: str, member_id: str) -> None:
        self._answers += 1

    async def report(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            assert self.load is not None
            now, latencies = time.monotonic(), self.load.take_latencies()
            errors = self.load.progress.errors - self._errors
            line = [
                f"{self._answers / (now - last):,.0f} calls/s",
                f"p50 {1000 * latencies.quantile_s(0.5):.1f} ms",
                f"p99 {1000 * latencies.quantile_s(0.99):.1f} ms",
                f"members {len(self._cluster.member_list.members)}",
                *([f"waiting {self.load.waiting}"] if self.load.waiting else []),
                *(f"{name} {count}" for name, count in sorted(errors.items())),
            ]
            print("  ".join(line), flush=True)
            last, self._answers = now, 0
            self._errors = self.load.progress.errors.copy()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dbgrains.demo.driver", description="Increment counters.")
    parser.add_argument("--redis", required=True, metavar="URL")
    parser.add_argument("--cluster", default=CLUSTER)
    parser.add_argument("--counters", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=None, help="stop by itself after this long")
    options = parser.parse_args()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(drive(options.redis, options.cluster, options.counters, options.seconds))
    except DbgrainsError as error:
        print(f"The load could not run: {error}", file=sys.stderr)
        return EXIT_COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
