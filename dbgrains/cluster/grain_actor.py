"""GrainActor: the actor around a grain's object. It turns messages into method calls and hooks.

Two of them, because what cannot wait need not pay for waiting: when no method and no hook of a class contains an await,
its turns run in their callers' steps, one after the other, and nothing of interleaving concerns them.

A method that raises fails its call, not its grain: the caller gets a GrainError, and the object goes on as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from dbgrains.actor.can_wait import Handling, cannot_wait, handling_of, may_wait
from dbgrains.actor.messages import Restarting, Started, Stopped, Stopping
from dbgrains.actor.turn import INLINE, step_to_end
from dbgrains.cluster.call_chain import CURRENT, Turn
from dbgrains.cluster.grain_method import UnfitValue
from dbgrains.cluster.grain_streams import StreamCancel, StreamNext, check_stream_count, open_stream, stream_message
from dbgrains.cluster.grain_work import GrainRun, LaterAnswer
from dbgrains.errors import ConfigError, DbgrainsError
from dbgrains.sansio.interleaving import Admission, Mode

if TYPE_CHECKING:
    from dbgrains.cluster.grain_base import GrainBase
    from dbgrains.cluster.grain_context import GrainContext
    from dbgrains.cluster.grain_factory import Finish
    from dbgrains.cluster.grain_kind import GrainKind
    from dbgrains.cluster.grain_method import CallMessage, GrainMethod


class Entry:
    """How one class of grains does one method, for calls with values or for calls with bytes."""

    __slots__ = (
        "answers_later",
        "bare_results",
        "begin",
        "function",
        "is_simple",
        "message_result",
        "method",
        "oneway",
        "waits",
    )

    def __init__(self, method: GrainMethod, cls: type[GrainBase], values_count: int | None) -> None:
        self.method = method
        self.oneway = method.oneway
        function = getattr(cls, method.attribute, None)
        if not callable(function):
            raise ConfigError(f"{cls.__module__}.{cls.__qualname__} has no method {method.attribute!r}")
        later = _later_form(method, cls)
        self.answers_later = later is not None
        """It takes `respond` and `on_error`, and what it returns is no answer."""
        self.function: Callable[..., Any] = function if later is None else later
        self.waits = (
            method.is_stream or self.answers_later or handling_of(self.function) is not Handling.ASYNC_CANNOT_WAIT
        )
        """A turn of it may wait."""
        self.is_simple = (
            method.mode is Mode.EXCLUSIVE and not method.is_stream and not method.oneway and not self.answers_later
        )
        """There is nothing about it but to call it."""
        self.begin = _beginning(self.function, method, values_count)
        """`begin(grain, call)` calls it. UnfitValue when the bytes of the call are no arguments."""
        self.bare_results = method.bare_results
        self.message_result = method.message_result


def _beginning(
    function: Callable[..., Any], method: GrainMethod, values_count: int | None
) -> Callable[[object, Any], Any]:
    """`function` with the arguments of a call. The usual ones are written out: a `*` takes the interpreter longer."""
    match None if method.keywords else values_count:
        case 0:
            return lambda grain, _: function(grain)
        case 1:
            return lambda grain, call: function(grain, call.a0)
        case 2:
            return lambda grain, call: function(grain, call.a0, call.a1)
        case 3:
            return lambda grain, call: function(grain, call.a0, call.a1, call.a2)
        case _:
            return lambda grain, call: method.invoke(function, grain, call)


def _later_form(method: GrainMethod, cls: type[GrainBase]) -> Callable[..., Any] | None:
    """The form of a method that answers later, where a generated base offers it and `cls` has overridden it."""
    name = f"{method.attribute}_reenter"
    for owner in cls.__mro__:
        form: Callable[..., Any] | None = vars(owner).get(name)
        if form is not None:
            offered = any(getattr(vars(base).get(name), "__dbgrains_default__", False) for base in cls.__mro__)
            return form if offered and not getattr(form, "__dbgrains_default__", False) else None
    return None


def entries_of(methods: Iterable[GrainMethod], cls: type[GrainBase]) -> Mapping[type, Entry]:
    """What a class does for each class of calls. ConfigError when it lacks a method."""
    return {
        call_class: Entry(method, cls, values_count)
        for method in methods
        for call_class, values_count in method.call_classes()
    }


class GrainActor:
    """What both have."""

    __slots__ = ("_entries", "_grain", "_kind")

    def __init__(self, kind: GrainKind, grain: GrainBase | None, entries: Mapping[type, Entry]) -> None:
        self._kind = kind
        self._grain = grain
        self._entries = entries

    @property
    def grain(self) -> GrainBase | None:
        """The object; None before it was made."""
        return self._grain

    def receive(self, context: GrainContext) -> Any:
        """One turn."""
        raise NotImplementedError

    def _at_once(self, context: GrainContext, entry: Entry, message: CallMessage) -> Any:
        """A method that cannot wait: from its first line to its last."""
        method = entry.method
        try:
            value = step_to_end(entry.begin(self._grain, message))
            return method.accepted if method.oneway else method.reply(value)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            return self._failed(context, method, error)

    def _answer(self, context: GrainContext, method: GrainMethod, value: Any) -> Any:
        try:
            return method.reply(value)
        except UnfitValue as unfit:
            return self._failed(context, method, unfit)

    def _failed(self, context: GrainContext, method: GrainMethod, error: Exception) -> Any:
        failed = context.method_error(method, error)
        if method.oneway:
            return method.accepted
        context.fail_call(failed)
        return None

    def _message_failed(self, context: GrainContext, error: Exception) -> None:
        """`on_receive` raised."""
        context.fail_call(context.message_error(error))

    def _hook(self, message: object) -> Callable[[], Awaitable[None]] | None:
        """The hook for a message about the grain's life."""
        grain = self._grain
        if grain is None:
            return None
        if isinstance(message, Started):
            return grain.on_started
        if isinstance(message, Stopping):
            return grain.on_stopping
        if isinstance(message, Stopped):
            return grain.on_stopped
        return None


class QuickGrainActor(GrainActor):
    """Of a class in which nothing can wait."""

    __slots__ = ()

    @cannot_wait
    async def receive(self, context: GrainContext) -> Any:
        """One turn."""
        message = context._message
        entry = self._entries.get(message.__class__)
        if entry is None:
            return self._other(context, message)
        if entry.oneway:
            return self._at_once(context, entry, message)
        # The commonest turn of all, with nothing that it does not need.
        try:
            value = await entry.begin(self._grain, message)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            return self._failed(context, entry.method, error)
        result = entry.message_result
        if result is None:
            if value.__class__ in entry.bare_results:
                return value
        elif value.__class__ is result.cls:
            if context._sender is INLINE and result.copy is not None:
                return result.copy(value)
            try:
                return result.pack(value)
            except Exception:  # noqa: BLE001  packed once more, to say what is wrong
                return self._answer(context, entry.method, value)
        return self._answer(context, entry.method, value)

    def _other(self, context: GrainContext, message: Any) -> Any:
        if isinstance(message, StreamNext | StreamCancel):
            stream_message(context, message, context.sender)
            return None
        if isinstance(message, Started | Stopping | Stopped | Restarting):
            hook = self._hook(message)
            if hook is not None:
                step_to_end(hook())
            return None
        assert self._grain is not None
        try:
            return step_to_end(self._grain.on_receive(message))
        except Exception as error:  # noqa: BLE001 - whatever it raises is for the sender
            self._message_failed(context, error)
            return None


class WaitingGrainActor(GrainActor):
    """Of a class with a method or hook that may wait, or whose making takes time."""

    __slots__ = ("_finish", "_resources")

    def __init__(self, kind: GrainKind, made: GrainBase | Finish, entries: Mapping[type, Entry] | None = None) -> None:
        super().__init__(kind, None if callable(made) else made, entries or {})
        self._finish: Finish | None = made if callable(made) else None
        self._resources: AsyncExitStack | None = None

    @may_wait
    def receive(self, context: GrainContext) -> Any:
        """One turn."""
        message = context._message
        entry = self._entries.get(message.__class__)
        if entry is None:
            return self._other(context, message)
        work = context._work
        if entry.is_simple and (work is None or not work.beside):  # it has nobody to mind
            return self._turn(context, entry, message) if entry.waits else self._at_once(context, entry, message)
        return self._beside_others(context, entry, message)

    # --- methods ------------------------------------------------------------------------------------------

    async def _turn(self, context: GrainContext, entry: Entry, message: CallMessage) -> Any:
        """A method in a turn of the mailbox: nothing else is taken from there meanwhile."""
        method = entry.method
        work = context._work or context.work
        turn = work.turn = Turn(work, method.name, method.mode, context._headers)
        # Each turn says at its beginning whose it is, so nothing has to be taken back at its end.
        CURRENT.set(turn)
        try:
            value = await entry.begin(self._grain, message)
            if value.__class__ in entry.bare_results:
                return value
            return method.accepted if method.oneway else method.reply(value)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            return self._failed(context, method, error)
        finally:
            turn.is_over = True
            work.turn = None
            if work.changed is not None:
                work.tell()

    def _beside_others(self, context: GrainContext, entry: Entry, message: CallMessage) -> Any:
        """A method that is not alone, or need not be."""
        method = entry.method
        if method.oneway:
            context.respond(method.accepted)
        match context.admission(method, context.headers, others_wait=False):
            case Admission.CYCLE:
                context.fail_call(context.cycle(method, context.headers))
                return None
            case Admission.WAIT:
                return self._when_clear(context, entry, message)
        if method.is_stream:
            return self._open(context, entry, message, answer=context.fail_call)
        if entry.answers_later:
            return self._later(context, entry, message)
        if not entry.waits:
            return self._at_once(context, entry, message)
        if method.mode is Mode.EXCLUSIVE:
            return self._turn(context, entry, message)
        return self._beside(context, entry, message)

    async def _when_clear(self, context: GrainContext, entry: Entry, message: CallMessage) -> Any:
        """Wait, first in the line, until those that are in the way have ended."""
        method, work = entry.method, context.work
        work.waiting += 1
        try:
            while (verdict := context.admission(method, context.headers, others_wait=False)) is Admission.WAIT:
                await work.change()
        finally:
            work.waiting -= 1
        if verdict is Admission.CYCLE:
            context.fail_call(context.cycle(method, context.headers))
        elif not context.may_answer:
            context.fail_call(context.not_started_fenced())
        elif context.has_given_up():
            return None
        elif entry.answers_later:
            return self._later(context, entry, message)
        elif entry.waits:
            return await self._turn(context, entry, message)
        else:
            return self._at_once(context, entry, message)
        return None

    def _beside(self, context: GrainContext, entry: Entry, message: CallMessage) -> Any:
        """Run a method beside the mailbox: this turn ends when the method waits."""
        work, workers, method = context.work, context.system.workers, entry.method
        worker = workers.lend()
        if worker is None:
            return self._turn(context, entry, message)
        run = GrainRun(context, work.begin_beside(method, context.headers, method.mode), None)
        body = self._body(context, entry, message, run)
        try:
            yielded = worker.step(body)
        except StopIteration as ended:
            workers.take_back(worker)
            work.end_beside(run.turn)
            if isinstance(ended.value, DbgrainsError):
                context.fail_call(ended.value)
                return None
            return ended.value
        except BaseException:
            workers.take_back(worker)
            work.end_beside(run.turn)
            raise
        if not method.oneway:
            run.sender = context.sender
        work.add_run(run)
        workers.wait_for(worker, run, body, yielded)
        return None

    def run_let_in(self, context: GrainContext, run: GrainRun, message: CallMessage) -> None:
        """Begin a run that did not come through the mailbox."""
        entry = self._entries[message.__class__]
        system = context.system
        worker = system.workers.lend()
        if worker is None:
            run.answer(context.refusal())
            run.end()
            return
        if entry.method.is_stream:
            system.workers.take_back(worker)
            opened = self._open(context, entry, message, answer=run.answer)
            if opened is not None:
                run.answer(opened)
            run.end()
            return
        body = self._body(context, entry, message, run)
        system.in_turn = True
        try:
            yielded = worker.step(body)
        except StopIteration as ended:
            system.workers.take_back(worker)
            run.resume(ended.value, None)
        except BaseException as error:  # noqa: BLE001 - as in any turn: its caller is told, and its cell decides
            system.workers.take_back(worker)
            run.resume(None, error)
        else:
            system.workers.wait_for(worker, run, body, yielded)
        finally:
            system.in_turn = False

    async def _body(self, context: GrainContext, entry: Entry, message: CallMessage, run: GrainRun) -> Any:
        """The method itself; its answer, or the error that its caller gets."""
        method = entry.method
        CURRENT.set(run.turn)
        try:
            if entry.answers_later:
                later = LaterAnswer(context, method, run.sender)
                run.is_over = True
                await self._take(entry, message, later)
                return None
            return method.reply(await entry.begin(self._grain, message))
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            return context.method_error(method, error)

    async def _later(self, context: GrainContext, entry: Entry, message: CallMessage) -> None:
        """A method that answers by `respond` or `on_error`."""
        method, work = entry.method, context.work
        later = LaterAnswer(context, method, None if method.oneway else context.sender)
        turn = work.turn = Turn(work, method.name, method.mode, context.headers)
        CURRENT.set(turn)
        try:
            await self._take(entry, message, later)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            later.on_error(error)
        finally:
            turn.is_over = True
            work.turn = None
            work.tell()

    async def _take(self, entry: Entry, message: CallMessage, later: LaterAnswer) -> None:
        def function(grain: object, *args: Any, **kwargs: Any) -> Any:
            return entry.function(grain, *args, **kwargs, respond=later.respond, on_error=later.on_error)

        result = entry.method.invoke(function, self._grain, message)
        if inspect.isawaitable(result):
            await result

    def _open(
        self, context: GrainContext, entry: Entry, message: CallMessage, *, answer: Callable[[DbgrainsError], None]
    ) -> Any:
        """Begin a stream; None when it was refused, which was told."""
        method = entry.method
        try:
            check_stream_count(context)
            generator = entry.begin(self._grain, message)
        except DbgrainsError as error:
            answer(error)
        except Exception as error:  # noqa: BLE001 - whatever a method raises is for its caller
            answer(context.method_error(method, error))
        else:
            return open_stream(
                context, method, generator, context.work.begin_beside(method, context.headers, Mode.FREE)
            )
        return None

    # --- everything else ----------------------------------------------------------------------------------

    def _other(self, context: GrainContext, message: Any) -> Any:
        if isinstance(message, StreamNext | StreamCancel):
            stream_message(context, message, context.sender)
            return None
        if isinstance(message, Started):
            return self._start(context)
        if isinstance(message, Stopped | Restarting):
            return self._end(message)
        hook = self._hook(message)
        return hook() if hook is not None else self._receive(context, message)

    async def _start(self, context: GrainContext) -> None:
        if self._finish is not None:
            self._resources = AsyncExitStack()
            try:
                grain = await self._finish(self._resources)
                self._entries, _ = self._kind.plan(type(grain))
                grain.context = context
                self._grain = grain
                await grain.on_started()
            except BaseException:
                await self._close_resources()
                raise
        else:
            assert self._grain is not None
            await self._grain.on_started()

    async def _end(self, message: Stopped | Restarting) -> None:
        hook = self._hook(message)
        try:
            if hook is not None:
                await hook()
        finally:
            await self._close_resources()

    async def _close_resources(self) -> None:
        resources, self._resources = self._resources, None
        if resources is not None:
            await resources.aclose()

    async def _receive(self, context: GrainContext, message: Any) -> Any:
        assert self._grain is not None
        try:
            return await self._grain.on_receive(message)
        except Exception as error:  # noqa: BLE001 - whatever it raises is for the sender
            self._message_failed(context, error)
            return None
