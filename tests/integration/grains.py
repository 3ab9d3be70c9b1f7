"""Grains for the tests of clusters: each answers a few messages and tells a `Diary` what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dbgrains import ClusterKind, GrainCell, Props, Started, Stopped, Stopping


@dataclass
class Say:
    """Remember a word, and answer with all words so far."""

    word: str


@dataclass
class Wait:
    """Answer when the test opens the door."""

    word: str = "waited"


@dataclass
class Raise:
    """Raise a ValueError with this text."""

    text: str


@dataclass
class Silent:
    """Get no answer."""


@dataclass
class Leave:
    """Deactivate after this turn."""


@dataclass
class Ask:
    """Ask another grain, and answer with its answer."""

    kind: str
    identity: str
    word: str
    reenter: bool = False


@dataclass
class Self:
    """Answer with what the grain knows of itself."""


MESSAGES = (Say, Wait, Raise, Silent, Leave, Ask, Self)


@dataclass
class Diary:
    """What happened to the grains of a test, and the door that `Wait` waits for."""

    events: list[tuple[str, str]] = field(default_factory=list)
    door: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    cells: dict[str, GrainCell] = field(default_factory=dict)
    """The latest activation of each identity."""
    on_started: Callable[[GrainCell], Any] | None = None
    on_stopping: Callable[[GrainCell], Any] | None = None

    def of(self, identity: str) -> list[str]:
        return [event for who, event in self.events if who == identity]

    def queued(self, identity: str) -> int:
        """Messages that wait behind the turn of a grain."""
        return len(self.cells[identity].box or ())


class Grain:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.words: list[str] = []

    async def receive(self, context: GrainCell) -> Any:
        message = context.message
        diary = self.diary
        note = lambda event: diary.events.append((context.identity, event))  # noqa: E731
        match message:
            case Started():
                note("started")
                diary.cells[context.identity] = context
                if diary.on_started is not None:
                    await diary.on_started(context)
            case Stopping():
                note("stopping")
                if diary.on_stopping is not None:
                    await diary.on_stopping(context)
            case Stopped():
                note("stopped")
            case Say(word):
                note(word)
                self.words.append(word)
                return self.words
            case Wait(word):
                note(word)
                diary.waiting += 1
                try:
                    await diary.door.wait()
                finally:
                    diary.waiting -= 1
                note(f"{word} done")
                return word
            case Raise(text):
                raise ValueError(text)
            case Leave():
                context.deactivate()
                return "left"
            case Ask(kind, identity, word, reenter):
                if reenter:
                    context.cluster_request_reenter(identity, kind, Say(word), lambda done: done.result())
                    return None
                return await context.cluster.request(identity, kind, Say(word))
            case Self():
                return [
                    context.kind,
                    context.identity,
                    context.system.id,
                    str(context.self),
                    str(context.cluster_identity),
                ]
        return None


class QuickGrain:
    """Cannot wait, so its turns run in their callers' steps."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.words: list[str] = []

    def receive(self, context: GrainCell) -> Any:
        message = context.message
        if type(message) is Say:
            self.words.append(message.word)
            return self.words
        if type(message) is Raise:
            raise ValueError(message.text)
        if isinstance(message, Started | Stopped):
            self.diary.events.append((context.identity, type(message).__name__.lower()))
        if type(message) is Leave:
            context.deactivate()
            return "left"
        return None


def kinds(diary: Diary, **options: Any) -> list[ClusterKind]:
    """`slow` may wait, `quick` cannot."""
    return [
        ClusterKind("slow", Props.from_producer(lambda: Grain(diary)), **options),
        ClusterKind("quick", Props.from_producer(lambda: QuickGrain(diary)), **options),
    ]
