"""The primary that Sentinels watch: asking them where it is, and following it when it changes.

All Sentinels are asked, again and again, by a task of its own, and at once after anything failed. The answer with
the largest configuration epoch counts, and an epoch is never left for an earlier one: a Sentinel that was cut off
while the others agreed on a new primary cannot lead a member back to the old one. While no Sentinel answers, the
primary stays who it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from dbgrains.errors import StorageConfigError, StorageError, StorageUnavailableError
from dbgrains.redisio.client import START_ATTEMPTS, Check, RedisClient, connection_to
from dbgrains.redisio.deployment import WatchedPrimary
from dbgrains.redisio.errors import FAILURES
from dbgrains.redisio.lane import Command, Lane
from dbgrains.redisio.lookout import Lookout
from dbgrains.redisio.reply import as_text
from dbgrains.redisio.target import RedisTarget
from dbgrains.sansio.breaker import Breaker

_LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a Sentinel says that the primary is."""

    epoch: int
    host: str
    port: int


def newest(known: Sighting | None, sightings: Iterable[Sighting]) -> Sighting | None:
    """The sighting to believe: of the latest epoch; within one epoch the known one stays."""
    for sighting in sightings:
        if known is None or sighting.epoch > known.epoch:
            known = sighting
    return known


def sighting_of(master: Any, address: Any) -> Sighting:
    """What a Sentinel answered to `SENTINEL MASTER` and then to `SENTINEL GET-MASTER-ADDR-BY-NAME`.

    The epoch is from the first. The address is from the second: in the middle of a fail-over the first shows the new
    epoch with the old address. Asked in this order they may show the old epoch with the new address, which harms
    nobody: the next round finds both. ValueError when they are something else.
    """
    words = [as_text(word) for word in master] if isinstance(master, list) else []
    fields = dict(zip(words[::2], words[1::2], strict=False))
    match address:
        case [bytes(host), bytes(port)] if "config-epoch" in fields:
            return Sighting(int(fields["config-epoch"]), host.decode(), int(port))
        case _:
            raise ValueError(f"not what a Sentinel answers: {master!r:.80}, {address!r:.80}")


class SentinelClient(RedisClient):
    """The ScriptClient of whatever server is the primary now."""

    def __init__(self, watched: WatchedPrimary, *, timeout_s: float, needed: str, connections: int = 3) -> None:
        super().__init__(watched.primary, timeout_s=timeout_s, needed=needed, connections=connections)
        self.primary_may_move = True
        self._watched = watched
        self._known: Sighting | None = None
        self._problems: dict[str, Exception] = {}
        self._lookout = Lookout(self._ask_all, every_s=_LOOK_EVERY_S, where=str(watched))
        self._check: Check | None = None
        self._sentinels = [(target, self._lane(target, timeout_s)) for target in watched.sentinels]

    def start(self) -> None:
        super().start()
        for _, lane in self._sentinels:
            lane.start()
        self._lookout.start()

    async def stop(self) -> None:
        await self._lookout.stop()
        await asyncio.gather(*(lane.stop() for _, lane in self._sentinels))
        await super().stop()

    async def connect(self, check: Check) -> None:
        """Learn where the primary is, see that it answers, and have it checked; and so each one after it."""
        for attempt in range(1, START_ATTEMPTS + 1):
            await self._ask_all()
            if self._known is not None:
                break
            if attempt == START_ATTEMPTS or self._is_unknown_name():
                raise self._nobody_knows(attempt)
            await asyncio.sleep(self._timeout_s / 2)
        await super().connect(check)
        self._check = check

    async def exchange(self, command: Command, *, lease: bool = False, confirmed: bool = False) -> Any:
        try:
            reply = await super().exchange(command, lease=lease, confirmed=confirmed)
        except StorageUnavailableError:
            self._lookout.ask()
            raise
        if isinstance(reply, redis_errors.ReadOnlyError):
            self._lookout.ask()
        return reply

    async def _ask_all(self) -> None:
        answers = await asyncio.gather(*(self._ask(target, lane) for target, lane in self._sentinels))
        self._follow(newest(self._known, [answer for answer in answers if answer is not None]))

    async def _ask(self, target: RedisTarget, lane: Lane) -> Sighting | None:
        try:
            name = self._watched.name
            questions = [("SENTINEL", "MASTER", name), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)]
            replies = await asyncio.gather(*[lane.send(Command(words)) for words in questions])
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            sighting = sighting_of(*replies)
        except (*FAILURES, StorageError, ValueError) as error:
            self._problems[str(target)] = error
            return None
        self._problems.pop(str(target), None)
        return sighting

    def _follow(self, sighting: Sighting | None) -> None:
        before, self._known = self._known, sighting
        if sighting is None or (before is not None and (before.host, before.port) == (sighting.host, sighting.port)):
            return
        self.target = self._watched.at(sighting.host, sighting.port)
        self._breaker = Breaker()
        for lane in self._lanes:
            lane.reconnect()
        if before is None:
            return
        log.warning(
            "the sentinels name another redis primary",
            name=self._watched.name,
            server=str(self.target),
            before=f"{before.host}:{before.port}",
            epoch=sighting.epoch,
        )
        if self._check is not None:
            self._lookout.spawn(self._inspect(self._check), name="redis check of a new primary")

    async def _inspect(self, check: Check) -> None:
        try:
            await check(self)
        except StorageUnavailableError as error:
            log.info("the new redis primary could not be checked yet", server=str(self.target), error=str(error))
        except StorageError as error:
            log.error("the new redis primary is not fit for leases", server=str(self.target), error=str(error))

    def _connect(self) -> Redis:
        if self._known is None:
            raise redis_errors.ConnectionError("no Sentinel has said yet where the primary is")
        return super()._connect()

    def _lane(self, target: RedisTarget, timeout_s: float) -> Lane:
        def ignore(_: BaseException | None) -> None:
            """Each question's outcome is its answer."""

        return Lane("sentinel", lambda: connection_to(target, timeout_s), ignore, connections=1, timeout_s=timeout_s)

    def _is_unknown_name(self) -> bool:
        return len(self._problems) == len(self._sentinels) and all(
            "no such master" in str(problem).lower() for problem in self._problems.values()
        )

    def _nobody_knows(self, attempts: int) -> StorageError:
        if self._is_unknown_name():
            return StorageConfigError(
                f"redis: no Sentinel knows a primary named {self._watched.name!r}; use the name of their "
                f"`sentinel monitor` line: {self._watched}"
            )
        said = "; ".join(f"{target}: {problem}" for target, problem in self._problems.items())
        secret = self._watched.sentinels[0]
        return StorageUnavailableError(
            f"redis: no Sentinel says where primary {self._watched.name!r} is: {secret.without_secrets(said)} "
            f"(attempt {attempts}/{START_ATTEMPTS})"
        )

    def __repr__(self) -> str:
        return f"SentinelClient({self._watched}, {self.target if self._known else 'unknown'})"
