"""One process of `simulated_members`: the machine of a real member, and what becomes of the process around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dbgrains.sansio.membership import Membership
from dbgrains.sansio.topology import Member, Topology


@dataclass
class Traffic:
    """What one member has sent."""

    messages: int = 0
    states: int = 0
    """Member states in them."""

    digests: int = 0
    """Versions in them."""

    bytes: int = 0
    """Encoded; only counted with `through_wire`."""


@dataclass
class SimulatedMember:
    """One process: an address that stays, and an incarnation that may not."""

    number: int
    address: str
    machine: Membership
    member: Member
    is_up: bool = True
    answers_refusal: bool = True
    """When it is down: whether its machine still refuses connections. A machine without power does not."""

    frozen: bool = False
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    """What arrived while it was frozen."""

    wall_offset_s: float = 0.0
    listed: tuple[Member, ...] | None = None
    """What the provider tells it instead of the truth."""

    list_hangs: bool = False
    lost: list[str] = field(default_factory=list)
    """Why its incarnations ended."""

    traffic: Traffic = field(default_factory=Traffic)

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def view(self) -> Topology:
        return self.machine.view

    def in_turn(self, machine: Membership, happens: Callable[[], object]) -> None:
        """In this incarnation, while it runs; after it was frozen, if it is."""
        if not self.is_up or self.machine is not machine:
            return
        if self.frozen:
            self.waiting.append(lambda: self.in_turn(machine, happens))
        else:
            happens()
