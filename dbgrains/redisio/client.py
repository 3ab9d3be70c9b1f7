"""A client for scripts: two lanes, one deadline, one breaker.

Leases have a lane of their own, so that a renewal never waits behind a batch of claims, and they pass the
breaker: they are sent anyway, and their outcome is what opens and closes it. Everything else fails at once
while the server is known to be away. A third lane, without a connection until somebody uses it, has each of its
writes confirmed by a replica: nothing else should wait for those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from dbgrains.errors import StorageError, StorageUnavailableError
from dbgrains.redisio.errors import FAILURES, translated
from dbgrains.redisio.lane import Command, Lane
from dbgrains.redisio.script import Script
from dbgrains.redisio.target import RedisTarget
from dbgrains.sansio.breaker import Breaker

START_ATTEMPTS: Final = 3
_CONFIRMATION: Final = 0.6
"""How much of an operation's time the replicas get to confirm a write."""

log = structlog.get_logger()

ClientFactory: TypeAlias = Callable[[], Redis]
"""Makes a client that may hold one connection, without retries; each call makes another one."""

Check: TypeAlias = Callable[["RedisClient"], Awaitable[None]]
"""Looks at one server; raises what makes it unusable."""


class ScriptClient(Protocol):
    """What runs scripts, wherever the servers are; raises StorageError subclasses only."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def connect(self, check: Check) -> None:
        """Find the servers and have `check` look at each. One that turns up later is checked then, and logged."""

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int] = (),
        *,
        weight: int = 1,
        lease: bool = False,
    ) -> Any:
        """The script's reply. `weight` is how many records it handles, `lease` chooses the lane."""

    async def run_confirmed(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int] = ()
    ) -> tuple[Any, int]:
        """The script's reply, and how many replicas have confirmed what it wrote."""

    async def command(self, *words: str | bytes | int, lease: bool = False) -> Any:
        """The reply to a plain command whose second word is its key."""


class RedisClient:
    """The ScriptClient of one server.

    `needed` says which permissions to grant, for the error text when one is missing. `in_cluster`: it is a node of
    a Redis Cluster.
    """

    def __init__(
        self,
        target: RedisTarget,
        *,
        timeout_s: float,
        needed: str,
        connections: int = 3,
        factory: ClientFactory | None = None,
        in_cluster: bool = False,
    ) -> None:
        self.target = target
        self.in_cluster = in_cluster
        self.primary_may_move = in_cluster
        """Whether finding a replica where the primary should be is a matter of waiting."""
        self.can_run_read_only = False
        """Whether scripts that only read may be sent as such; set when the server's version is known."""
        self._timeout_s = timeout_s
        self._needed = needed
        self._breaker = Breaker()
        self._last_failure = ""
        connect = factory or self._connect
        wait = ("WAIT", 1, max(1, round(timeout_s * _CONFIRMATION * 1000)))
        self._leases = Lane("leases", connect, self._heard, connections=1, timeout_s=timeout_s)
        self._rest = Lane("rest", connect, self._heard, connections=connections, timeout_s=timeout_s)
        self._confirmed = Lane("confirmed", connect, self._heard, connections=1, timeout_s=timeout_s, afterword=wait)
        self._lanes = (self._leases, self._rest, self._confirmed)

    @property
    def is_away(self) -> bool:
        """Whether the server is known not to answer."""
        return self._breaker.is_open

    def start(self) -> None:
        for lane in self._lanes:
            lane.start()

    async def stop(self) -> None:
        await asyncio.gather(*(lane.stop() for lane in self._lanes))

    async def connect(self, check: Check) -> None:
        """See that the server answers, and have it checked; a few attempts, because it may be starting as we are."""
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                await self.command("PING", lease=True)
                await check(self)
            except StorageUnavailableError as error:
                if attempt == START_ATTEMPTS:
                    text = f"{error} (attempt {attempt}/{START_ATTEMPTS})"
                    raise StorageUnavailableError(text, retry_after_s=error.retry_after_s) from error
                await asyncio.sleep(self._timeout_s / 2)
            else:
                return

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int] = (),
        *,
        weight: int = 1,
        lease: bool = False,
    ) -> Any:
        """The script's reply. `weight` is how many records it handles, `lease` chooses the lane."""
        return await self._send(self.script_command(script, keys, arguments, weight=weight), lease=lease)

    async def run_confirmed(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int] = ()
    ) -> tuple[Any, int]:
        """The script's reply, and how many replicas have confirmed what it wrote."""
        reply = await self.exchange(self.script_command(script, keys, arguments), confirmed=True)
        return self.confirmation(reply)

    async def command(self, *words: str | bytes | int, lease: bool = False) -> Any:
        """The reply to a plain command."""
        return await self._send(Command(words), lease=lease)

    def script_command(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[str | bytes | int] = (),
        *,
        weight: int = 1,
        asking: bool = False,
    ) -> Command:
        """How this server is told to run a script."""
        rest = (len(keys), *keys, *arguments)
        by_hash, by_text = ("EVALSHA", "EVAL")
        if script.reads_only and self.can_run_read_only:
            by_hash, by_text = ("EVALSHA_RO", "EVAL_RO")
        if asking:  # in full at once: a second attempt would need another permission to ask
            return Command((by_text, script.text, *rest), weight=weight, asking=True)
        return Command((by_hash, script.sha, *rest), (by_text, script.text, *rest), weight=weight)

    async def exchange(self, command: Command, *, lease: bool = False, confirmed: bool = False) -> Any:
        """Whatever the server replies, an error reply as an object. Raises when there is no reply."""
        if not lease:
            self._breaker, wait_s = self._breaker.admit(asyncio.get_running_loop().time())
            if wait_s > 0:
                raise StorageUnavailableError(
                    f"redis: {self.target} does not answer: {self._last_failure}", retry_after_s=wait_s
                )
        lane = self._leases if lease else self._confirmed if confirmed else self._rest
        try:
            return await lane.send(command)
        except FAILURES as error:
            raise self.translated(error) from error

    def confirmation(self, answer: tuple[Any, Any]) -> tuple[Any, int]:
        """An answer of the lane whose writes are confirmed; raises what either part says is wrong."""
        reply, replicas = answer
        for part in answer:
            if isinstance(part, Exception):
                raise self.translated(part) from part
        return reply, int(replicas)

    async def _send(self, command: Command, *, lease: bool) -> Any:
        reply = await self.exchange(command, lease=lease)
        if isinstance(reply, Exception):
            raise self.translated(reply) from reply
        return reply

    def translated(self, error: BaseException) -> StorageError:
        """Our error for what the client library raised or the server replied."""
        if isinstance(error, StorageError):
            return error
        return translated(error, self.target, needed=self._needed)

    def _heard(self, error: BaseException | None) -> None:
        was_open = self._breaker.is_open
        if error is None:
            self._breaker = self._breaker.succeeded()
            if was_open:
                log.info("redis answers again", server=str(self.target))
            return
        self._last_failure = self.target.without_secrets(str(error) or type(error).__name__)
        self._breaker = self._breaker.failed(asyncio.get_running_loop().time())
        if self._breaker.is_open and not was_open:
            log.warning("redis does not answer", server=str(self.target), error=self._last_failure)

    def _connect(self) -> Redis:
        return connection_to(self.target, self._timeout_s)

    def __repr__(self) -> str:
        return f"RedisClient({self.target}, {'away' if self._breaker.is_open else 'ready'})"


def connection_to(target: RedisTarget, timeout_s: float) -> Redis:
    """A client with one connection that tries nothing twice."""
    return Redis(
        **target.options(),
        max_connections=1,
        protocol=2,  # no push messages, hence no maintenance notifications
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
    )
