"""What the scripts' replies mean, as values of the storage's interface."""

from __future__ import annotations

from typing import Any

from dbgrains.errors import StorageConfigError, StorageCorruptError
from dbgrains.lookups.identity_storage import (
    Claimed,
    ClaimReply,
    Corrupt,
    Held,
    LeaseCode,
    LeaseReply,
    Quarantined,
    Record,
    SaveCode,
    SaveReply,
    StaleRequest,
    SweepCode,
    SweepReply,
)
from dbgrains.redisio.reply import as_text
from dbgrains.storage.redis_keys import ShardKeys


def seconds(microseconds: int) -> float:
    """The scripts count microseconds."""
    return microseconds / 1_000_000


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def number(key: str, value: bytes | None) -> int:
    """A number in a hash field of `key`; 0 when there is none."""
    if value is None:
        return 0
    if not value.isdigit():
        raise StorageCorruptError(f"redis: {key} holds {value!r:.40} where a number is expected")
    return int(value)


def _not_understood(script: str, reply: object) -> StorageConfigError:
    return StorageConfigError(f"redis: script {script} answered {reply!r:.120}, which is not one of its answers")


def _corrupt(names: ShardKeys, key: str, text: object) -> Corrupt:
    return Corrupt(
        f"redis: {as_text(names.record(key))} is not an activation record, delete or rename it: {as_text(text)}"
    )


def lease_reply(reply: list[Any]) -> LeaseReply:
    """Of `join` and `renew`."""
    match reply:
        case [bytes(code), int(now), int(ends), int(opens), int(generation), int(token), int(view)]:
            return LeaseReply(
                LeaseCode(code.decode()),
                now=seconds(now),
                expires_at=seconds(ends),
                open_at=seconds(opens),
                generation=generation,
                token_floor=token,
                view=view,
            )
        case other:
            raise _not_understood("join or renew", other)


def claim_reply(answer: int | list[Any], names: ShardKeys, key: str) -> ClaimReply:
    """Of `claim`, about one record."""
    if type(answer) is int:  # nearly always
        return Claimed(answer, "")
    match answer:
        case [b"OK", int(token), bytes(previous)]:
            return Claimed(token, previous.decode(errors="replace"))
        case [b"HELD", int(token), bytes(owner), bytes(address), int(left)]:
            return Held(token, owner.decode(errors="replace"), address.decode(errors="replace"), seconds(left))
        case [b"QUAR", int(remaining)]:
            return Quarantined(seconds(remaining))
        case [b"STALE", int(token)]:
            return StaleRequest(token)
        case [b"BAD", text]:
            return _corrupt(names, key, text)
        case other:
            raise _not_understood("claim", other)


def save_reply(reply: list[Any]) -> SaveReply:
    """Of `save`."""
    match [_plain(part) for part in reply]:
        case ["FENCED", str(owner)]:
            return SaveReply(SaveCode.FENCED, owner=owner)
        case [str(code), int(found)]:
            return SaveReply(SaveCode(code), version=found)
        case other:
            raise _not_understood("save", other)


def sweep_reply(reply: list[Any]) -> SweepReply:
    """Of `sweep`."""
    match [_plain(part) for part in reply]:
        case ["OK", int(deleted), int(left)]:
            return SweepReply(SweepCode.DONE, deleted, left)
        case [str(code)]:
            return SweepReply(SweepCode(code))
        case other:
            raise _not_understood("sweep", other)


def record(answer: list[Any], names: ShardKeys, key: str) -> Record | Corrupt | None:
    """Of `lookup`, about one record."""
    match answer:
        case []:
            return None
        case [b"BAD", text]:
            return _corrupt(names, key, text)
        case [bytes(owner), int(token), bytes(address), int(live), int(age_us)]:
            return Record(
                owner.decode(errors="replace"),
                token,
                address.decode(errors="replace"),
                live == 1,
                lease_age_s=None if age_us < 0 else age_us / 1e6,
            )
        case other:
            raise _not_understood("lookup", other)
