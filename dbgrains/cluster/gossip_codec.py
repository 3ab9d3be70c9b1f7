"""What members say to each other about members, as bytes.

The package's own entries are typed on the wire, so that a later version can add fields to them; the values of
applications travel as the link's serializers write them, and are not read before somebody asks for them.
Whatever cannot be read (a state of a newer version, a broken row) is left out: gossip must not stop for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError

from dbgrains.sansio.block_entries import BlockEntry
from dbgrains.sansio.failure_detector import Contact
from dbgrains.sansio.gossip_state import HASHES_END, NO_STATE, NOTHING, Digest, Entry, News, State, Wanted
from dbgrains.sansio.grain_contract import Fingerprints
from dbgrains.sansio.heartbeat import ActorStatistics, GossipKeys, MemberHeartbeat, MemberState
from dbgrains.sansio.membership_messages import GossipReply, GossipRequest, ProbeReply, ProbeRequest
from dbgrains.sansio.token_floor import TokenFloors
from dbgrains.sansio.topology import Member
from dbgrains.wire import gossip_pb2 as wire

ENTRY_BYTES: Final = 256
"""What an entry weighs at most beside its names and texts."""

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_STATES: Final = {state.value: state for state in MemberState}


@dataclass(frozen=True, slots=True)
class Value:
    """An application's value, as it travels."""

    type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """An entry of a kind that a later version has; passed on as it came."""

    entry: bytes


def size_of(value: object) -> int:
    """What an entry weighs in a message: about, and not less. Nothing is encoded for it."""
    if isinstance(value, MemberHeartbeat):
        return ENTRY_BYTES + (len(value.encoded) or _size_of_heartbeat(value))
    if isinstance(value, Value):
        return ENTRY_BYTES + len(value.payload) + _width(value.type)
    if isinstance(value, Unread):
        return len(value.entry)
    if isinstance(value, TokenFloors):
        return ENTRY_BYTES + 10 * len(value.by_shard)
    if isinstance(value, Fingerprints):
        return ENTRY_BYTES + sum(32 + _width(kind) + _width(print_) for kind, print_ in value.by_kind.items())
    if isinstance(value, tuple):
        return ENTRY_BYTES + sum(64 + _width(id_) + _width(block.by) + _width(block.reason) for id_, block in value)
    if isinstance(value, Mapping):
        return ENTRY_BYTES + sum(32 + _width(id_) for id_ in value)
    return ENTRY_BYTES


def _size_of_heartbeat(heartbeat: MemberHeartbeat) -> int:
    member, counts = heartbeat.member, heartbeat.actor_statistics.actor_count
    return (
        _width(member.id) + _width(member.address) + _width(heartbeat.version) + _width(heartbeat.stalled)
        + sum(8 + _width(kind) for kind in member.kinds)
        + sum(16 + _width(kind) for kind in counts)
        + sum(16 + _width(name) + _width(text) for name, text in member.labels.items())
    )  # fmt: skip


def _width(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def request_to_wire(request: GossipRequest) -> wire.GossipRequest:
    """As it is sent."""
    out = wire.GossipRequest(cluster=request.cluster, sender=request.sender, news=_news_to_wire(request.news))
    digest = request.digest
    if digest is not None:
        out.digest.low = digest.low
        out.digest.high = digest.high % HASHES_END
        out.digest.hashes.extend(digest.hashes)
        out.digest.versions.extend(digest.versions)
    return out


def request_from_wire(data: wire.GossipRequest, known: State = NO_STATE) -> GossipRequest:
    """As it was sent, without what is `known`: a good part of what comes was told by others before."""
    digest = None
    if data.HasField("digest"):
        told = data.digest
        count = min(len(told.hashes), len(told.versions))
        digest = Digest(
            told.low, told.high or HASHES_END, tuple(told.hashes[:count]), tuple(told.versions[:count])
        )  # fmt: skip
    return GossipRequest(data.cluster, data.sender, _news_from_wire(data.news, known), digest)


def reply_to_wire(reply: GossipReply) -> wire.GossipReply:
    """As it is sent."""
    return wire.GossipReply(
        news=_news_to_wire(reply.news),
        wanted_hashes=[wanted.owner_hash for wanted in reply.wanted],
        wanted_versions=[wanted.version for wanted in reply.wanted],
        refused=reply.refused,
        blocked=reply.blocked,
    )


def reply_from_wire(data: wire.GossipReply, known: State = NO_STATE) -> GossipReply:
    """As it was sent, without what is `known`."""
    wanted = tuple(Wanted(*pair) for pair in zip(data.wanted_hashes, data.wanted_versions, strict=False))
    return GossipReply(_news_from_wire(data.news, known), wanted, data.refused, data.blocked)


def probe_to_wire(probe: ProbeRequest) -> wire.ProbeRequest:
    """As it is sent."""
    return wire.ProbeRequest(cluster=probe.cluster, sender=probe.sender, target=_member_to_wire(probe.target))


def probe_from_wire(data: wire.ProbeRequest) -> ProbeRequest:
    """As it was sent."""
    return ProbeRequest(data.cluster, data.sender, _member_from_wire(data.target))


def tried_to_wire(reply: ProbeReply) -> wire.ProbeReply:
    """As it is sent."""
    return wire.ProbeReply(contact=reply.contact.value)


def tried_from_wire(data: wire.ProbeReply) -> Contact | None:
    """What the helper found; None for a word that this version does not know."""
    try:
        return Contact(data.contact)
    except ValueError:
        return None


def _news_to_wire(news: Iterable[News]) -> list[wire.News]:
    return [
        wire.News(owner=item.owner, since=item.since, entries=[_entry_to_wire(*entry) for entry in item.entries])
        for item in news
    ]


def _entry_to_wire(key: str, entry: Entry) -> wire.Entry:
    value = entry.value
    if isinstance(value, Unread):
        return wire.Entry.FromString(value.entry)
    out = wire.Entry(key=key, sequence=entry.sequence)
    if isinstance(value, MemberHeartbeat):
        out.heartbeat = value.encoded or _heartbeat_to_bytes(value)
    elif isinstance(value, Value):
        out.other.type = value.type
        out.other.payload = value.payload
    elif isinstance(value, int):
        out.topology_hash = value
    elif isinstance(value, Fingerprints):
        out.contracts.SetInParent()
        out.contracts.fingerprints.update(value.by_kind)
    elif isinstance(value, TokenFloors):
        out.tokens.largest.extend(value.by_shard)
        out.tokens.SetInParent()
    elif isinstance(value, Mapping):
        out.suspects.incarnations.update(value)
        out.suspects.SetInParent()
    elif isinstance(value, tuple):
        out.blocks.SetInParent()
        for member_id, block in value:
            out.blocks.blocks.add(
                member_id=member_id, version=block.version, blocked=block.blocked, since=block.since,
                reason=block.reason, by=block.by,
            )  # fmt: skip
    return out


def _heartbeat_to_bytes(heartbeat: MemberHeartbeat) -> bytes:
    return wire.Heartbeat(
        member=_member_to_wire(heartbeat.member),
        state=heartbeat.state.value,
        incarnation=heartbeat.incarnation,
        actor_count=dict(heartbeat.actor_statistics.actor_count),
        loop_lag_s=heartbeat.loop_lag_s,
        version=heartbeat.version,
        stalled=heartbeat.stalled,
    ).SerializeToString()


def _member_to_wire(member: Member) -> wire.Member:
    return wire.Member(
        id=member.id, address=member.address, kinds=sorted(member.kinds), labels=dict(member.labels)
    )  # fmt: skip


def _news_from_wire(data: Iterable[wire.News], known: State) -> tuple[News, ...]:
    news = []
    for item in data:
        owner = item.owner
        held = known.get(owner, NOTHING).version
        entries = []
        for entry in item.entries:
            sequence = entry.sequence
            if sequence > held:
                entries.append((entry.key, Entry(sequence, _value_from_wire(entry))))
        if entries:
            news.append(News(owner, item.since, tuple(entries)))
    return tuple(news)


def _value_from_wire(entry: wire.Entry) -> object:
    match entry.WhichOneof("value"):
        case "heartbeat":
            try:
                return _heartbeat_from_bytes(entry.heartbeat)
            except DecodeError:
                return Unread(entry.SerializeToString())
        case "topology_hash":
            return entry.topology_hash
        case "suspects":
            return dict(entry.suspects.incarnations)
        case "blocks":
            return tuple(
                (block.member_id, BlockEntry(block.version, block.blocked, block.since, block.reason, block.by))
                for block in entry.blocks.blocks
            )
        case "contracts":
            return Fingerprints(dict(entry.contracts.fingerprints))
        case "tokens":
            return TokenFloors(tuple(entry.tokens.largest))
        case "other" if not entry.key.startswith(GossipKeys.PREFIX):
            return Value(entry.other.type, entry.other.payload)
    return Unread(entry.SerializeToString())


def _heartbeat_from_bytes(encoded: bytes) -> MemberHeartbeat:
    data = wire.Heartbeat.FromString(encoded)
    return MemberHeartbeat(
        _member_from_wire(data.member),
        # A later version's word for one that runs, or it would not say so.
        _STATES.get(data.state, MemberState.ACTIVE),
        data.incarnation,
        ActorStatistics(dict(data.actor_count)),
        data.loop_lag_s,
        data.version,
        data.stalled,
        encoded,
    )


def _member_from_wire(data: wire.Member) -> Member:
    labels = data.labels
    return Member(data.id, data.address, frozenset(data.kinds), dict(labels) if labels else _NO_LABELS)
