"""Streams: the items of an async generator of a grain, fetched in batches.

The call that opens one is answered with the place of its activation and a number; the caller asks there for items, and
is answered as soon as there is one, with all that are ready. So nothing is ever sent that nobody has asked for: a slow
reader makes the generator wait when `ITEMS_MAX` items lie ready. A reader that ends early says so; one that says
nothing for `READER_TIMEOUT_S` is taken for gone.

The generator runs beside the turns of its grain, like a `@reentrant` method: whatever it shares with them may change at
each of its awaits and yields.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from dbgrains.actor.pid import PID
from dbgrains.actor.process import ReplyTo, Sender
from dbgrains.actor.turn import GatedReply
from dbgrains.cluster.call_chain import CURRENT, Turn
from dbgrains.errors import (
    DbgrainsError,
    NotHereError,
    Outcome,
    OverloadedError,
    SerializationError,
    StreamLostError,
)

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.grain_context import GrainContext
    from dbgrains.cluster.grain_method import CallMessage, GrainMethod

ITEMS_MAX: Final = 64
"""Items that lie ready before the generator has to wait; also the most in one answer."""
BYTES_MAX: Final = 256 * 1024
"""The same for their bytes: an item is taken as long as those before it are less."""
READER_TIMEOUT_S: Final = 60.0
STREAMS_MAX: Final = 1_000
"""Open streams of one activation."""


class StreamOpened(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a call that opens a stream: where to ask for its items."""

    stream: int
    address: str
    process_id: str
    member_id: str


class StreamNext(msgspec.Struct, frozen=True, array_like=True):
    """Asks for items. Answered with none after `wait_ms`, so that no deadline passes while there are none."""

    stream: int
    wait_ms: int


class StreamItems(msgspec.Struct, frozen=True, array_like=True):
    """Some items, each in its method's own bytes."""

    payloads: list[bytes]
    is_last: bool


class StreamCancel(msgspec.Struct, frozen=True, array_like=True):
    """The reader wants no more."""

    stream: int


STREAM_MESSAGES: Final = (StreamOpened, StreamNext, StreamItems, StreamCancel)


class Requests(Protocol):
    """What calls are made through: a cluster, or the cluster as an activation sees it."""

    @property
    def system(self) -> ActorSystem: ...

    async def request(self, identity: str, kind: str, message: object, timeout: float | None = None) -> Any: ...


class StreamSource:
    """An open stream in its grain."""

    __slots__ = (
        "_bytes",
        "_context",
        "_error",
        "_idle",
        "_items",
        "_method",
        "_poll",
        "_reader",
        "_room",
        "_task",
        "_turn",
        "id",
        "is_over",
    )

    def __init__(self, context: GrainContext, method: GrainMethod, generator: AsyncGenerator[Any, None], turn: Turn):
        self.id = turn.number = turn.number or context.work.number_turn()
        self.is_over = False
        """There will be no more items."""
        self._context = context
        self._method = method
        self._turn = turn
        self._items: deque[bytes] = deque()
        self._bytes = 0
        self._error: DbgrainsError | None = None
        self._reader: ReplyTo | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        loop = context.system.loop
        self._idle: asyncio.TimerHandle | None = loop.call_later(READER_TIMEOUT_S, self.close)
        self._task = loop.create_task(self._run(generator), name=f"dbgrains stream {turn.method}")
        self._task.add_done_callback(self._ended)
        context.work.add_stream(self)

    def next(self, reader: ReplyTo, wait_s: float) -> None:
        """Somebody asks for items."""
        self._answer([])  # who asked before has given up
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._reader = reader
        self._serve()
        if self._reader is not None:
            self._poll = self._context.system.loop.call_later(wait_s, self._answer, [])

    def close(self) -> None:
        """Nobody reads it any more, or its grain ends."""
        self._task.cancel()
        reader = self._take_reader()
        if reader is not None:
            reader.fail(_lost(self._context))
        self._forget()

    async def _run(self, generator: AsyncGenerator[Any, None]) -> None:
        CURRENT.set(self._turn)
        result = self._method.result
        assert result is not None
        try:
            async with aclosing(generator):
                async for item in generator:
                    payload = result.pack(item)
                    self._items.append(payload)
                    self._bytes += len(payload)
                    self._serve()
                    while len(self._items) >= ITEMS_MAX or self._bytes >= BYTES_MAX:
                        self._room = self._context.system.loop.create_future()
                        await self._room
        except SerializationError as error:
            error.outcome = Outcome.RAN
            self._error = error
        except Exception as error:  # noqa: BLE001 - whatever the generator raises is for its reader
            self._error = self._context.method_error(self._method, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = _lost(self._context)
            self._context.broke(error)
        self.is_over = True
        self._context.work.end_beside(self._turn)
        self._serve()

    def _serve(self) -> None:
        """Answer the reader, if there is something to answer."""
        if self._reader is None or not (self._items or self.is_over):
            return
        taken: list[bytes] = []
        size_bytes = 0
        while self._items and len(taken) < ITEMS_MAX and (not taken or size_bytes + len(self._items[0]) <= BYTES_MAX):
            taken.append(self._items.popleft())
            size_bytes += len(taken[-1])
        self._bytes -= size_bytes
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if not taken and self._error is not None:
            reader = self._take_reader()
            if reader is not None:
                reader.fail(self._error)
            self._forget()
        else:
            self._answer(taken)

    def _answer(self, payloads: list[bytes]) -> None:
        reader = self._take_reader()
        if reader is None:
            return
        is_last = self.is_over and not self._items and self._error is None
        reader.reply(StreamItems(payloads, is_last))
        if is_last:
            self._forget()
        else:
            self._idle = self._context.system.loop.call_later(READER_TIMEOUT_S, self.close)

    def _take_reader(self) -> ReplyTo | None:
        reader, self._reader = self._reader, None
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        return reader

    def _forget(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._context.work.end_stream(self)


def open_stream(context: GrainContext, method: GrainMethod, generator: AsyncGenerator[Any, None], turn: Turn) -> Any:
    """Begin to run `generator`. Returns what its caller is answered."""
    source = StreamSource(context, method, generator, turn)
    pid = context.self
    return StreamOpened(source.id, pid.address, pid.id, pid.member_id)


def check_stream_count(context: GrainContext) -> None:
    """OverloadedError when the activation has as many open streams as it may have."""
    if len(context.work.streams) >= STREAMS_MAX:
        raise OverloadedError(f"{context.describe()} has {STREAMS_MAX} open streams")


def stream_message(context: GrainContext, message: StreamNext | StreamCancel, sender: Sender) -> None:
    """A reader asks, or has had enough."""
    source = context.work.streams.get(message.stream)
    if isinstance(message, StreamCancel):
        if source is not None:
            source.close()
    elif isinstance(sender, ReplyTo):
        if context.gate is not None and not isinstance(sender, GatedReply):
            sender = GatedReply(context, sender)
        if source is None:
            sender.fail(_lost(context))
        else:
            source.next(sender, max(0, message.wait_ms) / 1000)


async def read_stream(
    requests: Requests, method: GrainMethod, identity: str, message: CallMessage, timeout_s: float
) -> AsyncIterator[Any]:
    """The items, on the caller's side. `timeout_s` limits each exchange, not the whole.

    Close it (`contextlib.aclosing`) when it is left early and the moment matters; a generator that is dropped is closed
    by the event loop.
    """
    opened = await requests.request(identity, method.kind, message, timeout_s)
    if type(opened) is not StreamOpened:
        raise SerializationError(
            f"{method.full_name} was answered with {type(opened).__name__}, not with a stream", outcome=Outcome.RAN
        )
    pid = PID(opened.address, opened.process_id, opened.member_id)
    root = requests.system.root
    ask = StreamNext(opened.stream, int(timeout_s * 500))
    result = method.result
    assert result is not None
    is_open = True
    try:
        while is_open:
            try:
                batch: StreamItems = await root.request_async(pid, ask, timeout_s)
            except NotHereError as error:
                is_open = False
                raise StreamLostError(f"{method.full_name} of {identity!r:.80}: its grain is gone") from error
            is_open = not batch.is_last
            for payload in batch.payloads:
                yield result.unpack(payload)
    finally:
        if is_open:
            root.send(pid, StreamCancel(opened.stream))


def _lost(context: GrainContext) -> StreamLostError:
    return StreamLostError(f"{context.describe()} has given the stream up: it ended, or nobody read it for too long")
