"""What members say to each other about members, and what a `Membership` wants done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dbgrains.sansio.block_entries import BlockEntry
from dbgrains.sansio.failure_detector import Contact
from dbgrains.sansio.gossip_state import Digest, News, Update, Wanted
from dbgrains.sansio.topology import Member, Topology


@dataclass(frozen=True, slots=True)
class GossipRequest:
    """News, and what the sender holds, so that the answer brings what it lacks. Without either it is a ping."""

    cluster: str
    sender: str
    news: tuple[News, ...] = ()
    digest: Digest | None = None


@dataclass(frozen=True, slots=True)
class GossipReply:
    """What the sender of a digest lacks, and what it should tell in turn."""

    news: tuple[News, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    refused: str = ""
    """Why nothing was taken; names both values."""

    blocked: bool = False
    """The refusal says that the sender is blocked."""


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Please try to reach this member."""

    cluster: str
    sender: str
    target: Member


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """How that went."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this and bring the answer (`answered`), or what became of it (`failed`)."""

    member: Member
    request: GossipRequest
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this; nobody waits for an answer."""

    member: Member
    request: GossipRequest


@dataclass(frozen=True, slots=True)
class AskOthers:
    """Let these try to reach the target, and bring what they say (`others_tried`)."""

    target: Member
    helpers: tuple[Member, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Learned:
    """An entry of another member, or an own one, is new."""

    update: Update


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """The members are these now."""

    topology: Topology


@dataclass(frozen=True, slots=True)
class SuspicionChanged:
    """A member is suspected, or not any more."""

    member_id: str
    suspected: bool


@dataclass(frozen=True, slots=True)
class BlockChanged:
    """An incarnation was blocked, or cleared."""

    member_id: str
    entry: BlockEntry


@dataclass(frozen=True, slots=True)
class Lost:
    """The others have blocked this incarnation."""

    reason: str


Step: TypeAlias = Ask | Tell | AskOthers | Learned | ViewChanged | SuspicionChanged | BlockChanged | Lost
