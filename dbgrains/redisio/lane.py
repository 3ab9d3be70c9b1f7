"""A lane: a few connections that share one bounded queue of commands.

A caller never runs the client library itself. It leaves a command in the queue and awaits a plain future; the
lane's own tasks talk to the server. So cancelling a caller cannot leave a connection with half a reply in it,
and a command ends at its deadline whatever the connection does. What is queued while a connection is busy
leaves together, as one pipeline. A connection that failed is thrown away whole, never repaired; and so is one
whose server says that it is no primary (any more): the next one may lead elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from dbgrains.errors import StorageUnavailableError
from dbgrains.redisio.errors import FAILURES, is_missing_script

_PIPELINE_WEIGHT_MAX: Final = 512
_GRACE: Final = 0.05
_ASKING: Final = ("ASKING",)

log = structlog.get_logger()


class Command:
    """One command on its way: its words, what to send instead when its script is unknown, and its answer.

    The answer is whatever the server replied, which may be an exception object; the future itself fails only
    when there is no reply. `asking` sends it to a node of a Redis Cluster that is just taking over its slot.
    """

    __slots__ = ("answer", "asking", "deadline", "timer", "unknown_script", "weight", "words")

    def __init__(
        self,
        words: tuple[Any, ...],
        unknown_script: tuple[Any, ...] | None = None,
        *,
        weight: int = 1,
        asking: bool = False,
    ) -> None:
        self.words = words
        self.unknown_script = unknown_script
        self.weight = weight
        self.asking = asking
        self.deadline = 0.0
        self.answer: asyncio.Future[Any]
        self.timer: asyncio.TimerHandle

    def finish(self, reply: Any) -> None:
        self.timer.cancel()
        if not self.answer.done():
            self.answer.set_result(reply)

    def fail(self, error: BaseException) -> None:
        self.timer.cancel()
        if not self.answer.done():
            self.answer.set_exception(error)


class Lane:
    """`connections` connections that `connect` makes, each serving the queue in its own task.

    `on_outcome(error)` hears of each exchange: None, or why there was no reply. With an `afterword`, that command
    follows each exchange on its connection, and each answer is a pair of the command's reply and the afterword's.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Redis],
        on_outcome: Callable[[BaseException | None], None],
        *,
        connections: int,
        timeout_s: float,
        waiting_max: int = 1024,
        afterword: tuple[Any, ...] | None = None,
    ) -> None:
        self.name = name
        self._afterword = afterword
        self._version = 0
        self._connect = connect
        self._on_outcome = on_outcome
        self._connections = connections
        self._timeout_s = timeout_s
        self._waiting_max = waiting_max
        self._waiting: deque[Command] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._serve(), name=f"redis {self.name} {n}") for n in range(self._connections)
        ]

    async def stop(self) -> None:
        """End the tasks and the connections; what waits fails."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft().fail(self._stopped())
        await asyncio.gather(*self._closing, return_exceptions=True)

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Queue `command`; the future has the reply, or fails at the deadline."""
        if not self._tasks:
            raise self._stopped()
        if len(self._waiting) >= self._waiting_max:
            raise StorageUnavailableError(
                f"redis: {len(self._waiting)} operations wait already", retry_after_s=self._timeout_s
            )
        loop = asyncio.get_running_loop()
        command.answer = loop.create_future()
        command.deadline = loop.time() + self._timeout_s
        # The exchange ends at the deadline by itself; the timer is for commands that no exchange has taken.
        command.timer = loop.call_at(command.deadline + self._timeout_s * _GRACE, self._expire, command)
        self._waiting.append(command)
        self._wake()
        return command.answer

    def reconnect(self) -> None:
        """Send what comes from now on by new connections: they may lead to another server."""
        self._version += 1

    def _wake(self) -> None:
        while self._idle:
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _expire(self, command: Command) -> None:
        command.fail(self._late())

    def _late(self) -> redis_errors.TimeoutError:
        return redis_errors.TimeoutError(f"no answer within {self._timeout_s:g} s")

    def _stopped(self) -> StorageUnavailableError:
        return StorageUnavailableError("redis: the storage is not running")

    async def _serve(self) -> None:
        client: Redis | None = None
        version = self._version
        task = asyncio.current_task()
        assert task is not None
        try:
            # Not for ever: redis-py may turn a cancellation that meets its connecting into another error.
            while not task.cancelling():
                commands = self._take()
                if not commands:
                    waiter = asyncio.get_running_loop().create_future()
                    self._idle.append(waiter)
                    await waiter
                    continue
                if client is not None and version != self._version:
                    self._discard(client)
                    client = None
                try:
                    if client is None:
                        version = self._version
                        client = self._connect()
                    if not await self._exchange(client, commands):
                        self._discard(client)
                        client = None
                except Exception as error:  # noqa: BLE001  whatever it was: those who wait hear of it, and we go on
                    self._failed(commands, error)
                    if client is not None:
                        self._discard(client)
                        client = None
                except asyncio.CancelledError:
                    self._end(commands, self._stopped())
                    raise
        finally:
            if client is not None:
                self._discard(client)

    def _take(self) -> list[Command]:
        """The commands to send together; those that nobody waits for any more, or whose time is up, are dropped."""
        taken: list[Command] = []
        weight, now = 0, asyncio.get_running_loop().time()
        while self._waiting and (not taken or weight + self._waiting[0].weight <= _PIPELINE_WEIGHT_MAX):
            command = self._waiting.popleft()
            if command.answer.done():
                command.timer.cancel()
                continue
            if command.deadline <= now:
                command.fail(self._late())
                continue
            taken.append(command)
            weight += command.weight
        if self._waiting:
            self._wake()
        return taken

    async def _exchange(self, client: Redis, commands: list[Command]) -> bool:
        """Send, receive and tell; whether the connection is worth keeping."""
        async with asyncio.timeout_at(commands[-1].deadline):
            replies = await _ask_each(client, commands)
            await _ask_unknown_scripts(client, commands, replies)
            is_primary = not any(isinstance(reply, redis_errors.ReadOnlyError) for reply in replies)
            if self._afterword is not None:
                [after] = await _ask(client, [self._afterword])
                replies = [(reply, after) for reply in replies]
        self._on_outcome(None)
        for command, reply in zip(commands, replies, strict=True):
            command.finish(reply)
        return is_primary

    def _failed(self, commands: list[Command], error: Exception) -> None:
        failure = self._late() if isinstance(error, TimeoutError) else error
        if isinstance(failure, FAILURES):
            self._on_outcome(failure)
        self._end(commands, failure)

    def _end(self, commands: list[Command], error: BaseException) -> None:
        for command in commands:
            command.fail(error)

    def _discard(self, client: Redis) -> None:
        task = asyncio.create_task(_close(client), name=f"redis {self.name} close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def __repr__(self) -> str:
        return f"Lane({self.name!r}, waiting={len(self._waiting)}, connections={len(self._tasks)})"


async def _ask_each(client: Redis, commands: list[Command]) -> list[Any]:
    """The replies to the commands, in order."""
    if not any(command.asking for command in commands):
        return await _ask(client, [command.words for command in commands])
    words: list[tuple[Any, ...]] = []
    for command in commands:
        words += [_ASKING, command.words] if command.asking else [command.words]
    replies = await _ask(client, words)
    return [reply for word, reply in zip(words, replies, strict=True) if word is not _ASKING]


async def _ask(client: Any, words: list[tuple[Any, ...]]) -> list[Any]:
    """The replies in order; an error reply is an exception object in its place."""
    if len(words) == 1:
        try:
            return [await client.execute_command(*words[0])]
        except redis_errors.ResponseError as error:
            return [error]
    pipeline = client.pipeline(transaction=False)
    for one in words:
        pipeline.execute_command(*one)
    return list(await pipeline.execute(raise_on_error=False))


async def _ask_unknown_scripts(client: Redis, commands: list[Command], replies: list[Any]) -> None:
    """Send in full, once, the scripts that the server turned out not to know (it restarted, say)."""
    unknown = [
        (n, command.unknown_script)
        for n, (command, reply) in enumerate(zip(commands, replies, strict=True))
        if command.unknown_script is not None and is_missing_script(reply)
    ]
    if unknown:
        answers = await _ask(client, [words for _, words in unknown])
        for (n, _), answer in zip(unknown, answers, strict=True):
            replies[n] = answer


async def _close(client: Redis) -> None:
    try:
        await client.aclose()
    except FAILURES as error:
        log.debug("closing a redis connection failed", error=str(error))
