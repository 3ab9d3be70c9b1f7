"""What the traces of the processes prove."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Effect:
    """A turn had an effect."""

    at: float
    identity: str
    token: int
    member: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a client."""

    begun: float
    ended: float
    identity: str
    outcome: str
    value: int
    token: int
    member: str

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


def effects_of(path: Path) -> list[Effect]:
    """All effects, as they happened."""
    found = []
    for line in path.read_text().splitlines():
        at, identity, token, member = line.split()
        found.append(Effect(float(at), identity, int(token), member))
    return sorted(found, key=lambda effect: effect.at)


class CallLog:
    """What clients wrote down, read as far as it was not read before."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """By their end."""
        self._offsets: dict[Path, int] = {}

    def read(self, paths: Iterable[Path]) -> None:
        """Take what is new. A last line that is not finished is left for the next time."""
        new = []
        for path in paths:
            offset = self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset)
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(text)
            for line in text.decode().splitlines():
                begun, ended, identity, outcome, value, token, member = line.split()
                new.append(Call(float(begun), float(ended), identity, outcome, int(value), int(token), member))
        self.calls = sorted([*self.calls, *new], key=lambda call: call.ended) if new else self.calls


def double_activations(effects: list[Effect]) -> list[str]:
    """Effects under a token below one that acted before (I3), and tokens of two members (I2)."""
    newest: dict[str, Effect] = {}
    owners: dict[tuple[str, int], str] = {}
    found = []
    for effect in effects:
        before = newest.get(effect.identity)
        if before is not None and effect.token < before.token:
            found.append(f"{effect} after {before}")
        else:
            newest[effect.identity] = effect
        owner = owners.setdefault((effect.identity, effect.token), effect.member)
        if owner != effect.member:
            found.append(f"{effect} has a token of {owner}")
    return found


def lost_updates(calls: list[Call]) -> list[str]:
    """Acknowledged increments that a later one did not see: a value was given twice, or fell."""
    found = []
    by_identity: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.ok and call.identity.startswith("n"):
            by_identity[call.identity].append(call)
    for identity, acknowledged in by_identity.items():
        values = [call.value for call in acknowledged]
        if len(set(values)) != len(values):
            found.append(f"{identity}: a value was acknowledged twice")
        highest_ended: list[tuple[float, int]] = []
        highest = 0
        for call in acknowledged:
            seen = [value for ended, value in highest_ended if ended < call.begun]
            if seen and call.value <= seen[-1]:
                found.append(f"{identity}: {call.value} was counted after {seen[-1]} was acknowledged")
            if call.value > highest:
                highest = call.value
                highest_ended.append((call.ended, highest))
                del highest_ended[:-50]
    return found


def recovery_s(calls: list[Call], at: float) -> float:
    """After a fault at `at`: how long until 99 of 100 identities had answered a call made after it."""
    first: dict[str, float] = {}
    identities = {call.identity for call in calls}
    for call in calls:
        if call.ok and call.begun >= at and call.identity not in first:
            first[call.identity] = call.ended - at
    times = sorted(first.get(identity, float("inf")) for identity in identities)
    return times[min(len(times) - 1, int(len(times) * 0.99))]


def longest_s(calls: list[Call], since: float, until: float, identities: set[str] | None = None) -> float:
    """The longest call that was under way in that time."""
    times = [
        call.ended - call.begun
        for call in calls
        if call.ended > since and call.begun < until and (identities is None or call.identity in identities)
    ]
    return max(times, default=0.0)


def p99_s(calls: list[Call], since: float, until: float, identities: set[str]) -> float:
    """What 99 of 100 calls that began in that time took at most."""
    times = sorted(
        call.ended - call.begun for call in calls if since <= call.begun <= until and call.identity in identities
    )
    return times[int(len(times) * 0.99)] if times else 0.0


def failures(calls: list[Call], since: float, until: float, identities: set[str] | None = None) -> list[Call]:
    """Calls of that time that failed."""
    return [
        call
        for call in calls
        if not call.ok and since <= call.ended <= until and (identities is None or call.identity in identities)
    ]


def owners(calls: list[Call], before: float) -> dict[str, str]:
    """Who answered last for each identity, before that time."""
    return {call.identity: call.member for call in calls if call.ok and call.ended < before}
