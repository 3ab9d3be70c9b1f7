"""A client for scripts: two lanes, one deadline, one breaker.

Leases have a lane of their own, so that a renewal never waits behind a batch of claims, and they pass the
breaker: they are sent anyway, and their outcome is what opens and closes it. Everything else fails at once
while the server is known to be away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

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

_START_ATTEMPTS: Final = 3

log = structlog.get_logger()

ClientFactory = Callable[[], Redis]
"""Makes a client that may hold one connection, without retries; each call makes another one."""


class RedisClient:
    """Runs scripts and commands on one server; raises StorageError subclasses only.

    `needed` says which permissions to grant, for the error text when one is missing.
    """

    def __init__(
        self,
        target: RedisTarget,
        *,
        timeout_s: float,
        needed: str,
        connections: int = 3,
        factory: ClientFactory | None = None,
    ) -> None:
        self.target = target
        self.can_run_read_only = False
        """Whether scripts that only read may be sent as such; set when the server's version is known."""
        self._timeout_s = timeout_s
        self._needed = needed
        self._breaker = Breaker()
        self._last_failure = ""
        connect = factory or self._connect
        self._leases = Lane("leases", connect, self._heard, connections=1, timeout_s=timeout_s)
        self._rest = Lane("rest", connect, self._heard, connections=connections, timeout_s=timeout_s)

    def start(self) -> None:
        self._leases.start()
        self._rest.start()

    async def stop(self) -> None:
        await asyncio.gather(self._leases.stop(), self._rest.stop())

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
        rest = (len(keys), *keys, *arguments)
        by_hash, by_text = ("EVALSHA", "EVAL")
        if script.reads_only and self.can_run_read_only:
            by_hash, by_text = ("EVALSHA_RO", "EVAL_RO")
        command = Command((by_hash, script.sha, *rest), (by_text, script.text, *rest), weight=weight)
        return await self._send(command, lease=lease)

    async def command(self, *words: str | bytes | int, lease: bool = False) -> Any:
        """The reply to a plain command."""
        return await self._send(Command(words), lease=lease)

    async def first_contact(self) -> None:
        """See that the server answers; a few attempts, because it may be starting as we are."""
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                await self.command("PING", lease=True)
            except StorageUnavailableError as error:
                if attempt == _START_ATTEMPTS:
                    text = f"{error} (attempt {attempt}/{_START_ATTEMPTS})"
                    raise StorageUnavailableError(text, retry_after_s=error.retry_after_s) from error
                await asyncio.sleep(self._timeout_s / 2)
            else:
                return

    async def _send(self, command: Command, *, lease: bool) -> Any:
        if not lease:
            self._breaker, wait_s = self._breaker.admit(asyncio.get_running_loop().time())
            if wait_s > 0:
                raise StorageUnavailableError(
                    f"redis: {self.target} does not answer: {self._last_failure}", retry_after_s=wait_s
                )
        lane = self._leases if lease else self._rest
        try:
            reply = await lane.send(command)
        except FAILURES as error:
            raise self.translated(error) from error
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
        return Redis(
            **self.target.options(),
            max_connections=1,
            protocol=2,  # no push messages, hence no maintenance notifications
            retry=Retry(NoBackoff(), 0),
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            socket_keepalive=True,
        )

    def __repr__(self) -> str:
        return f"RedisClient({self.target}, {'away' if self._breaker.is_open else 'ready'})"
