"""Gossip, as an application uses it: publish keys of your own, read everybody's, wait until all say the same.

    await cluster.gossip.set_state("shop:version", Version(text="1.4"))
    versions = await cluster.gossip.get_state(Version, "shop:version")        # {member_id: Version}

What this process publishes belongs to it, not to one incarnation: a member that joins again says it again. Values
travel as messages do, so their types are registered the same way. The first read of a key is as good as the last
round of gossip; nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dbgrains.cluster.consensus_check import ConsensusCheck
from dbgrains.cluster.gossip_codec import Value
from dbgrains.errors import ConfigError, MessageError, MessageTooLargeError
from dbgrains.remote.serializer import Serializers
from dbgrains.sansio.gossip_state import Entry, Update
from dbgrains.sansio.heartbeat import GossipKeys
from dbgrains.sansio.identity import check_name

if TYPE_CHECKING:
    from dbgrains.actor.system import ActorSystem
    from dbgrains.cluster.gossiper import Gossiper
    from dbgrains.config import ClusterConfig

KEYS_MAX: Final = 1_000
"""Keys that one member may publish."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GossipEntry:
    """One member's value of one key."""

    value: Any
    """None when its type is not known here."""

    sequence: int
    """Larger for each later value of that member."""

    age_s: float
    """Since it was heard of here; its way took a few rounds."""


@dataclass(frozen=True, slots=True)
class GossipUpdate:
    """On the system's event stream: a member, or this one, has published a new value."""

    member_id: str
    key: str
    value: Any
    sequence: int


class Gossip:
    """What the members publish, seen from here."""

    def __init__(self, system: ActorSystem, config: ClusterConfig, serializers: Serializers) -> None:
        self._system = system
        self._config = config
        self._serializers = serializers
        self._own: dict[str, Value] = {}
        self._checks: dict[ConsensusCheck, None] = {}
        self._gossiper: Gossiper | None = None

    # --- for applications ---------------------------------------------------------------------------------

    async def set_state(self, key: str, value: object) -> None:
        """Publish `value` under `key`. Members that hear of it later than of a newer one never see it.

        Raises ConfigError for a key that can't be used, and a MessageError for a value that can't travel.
        """
        self._check_key(key)
        if self._gossiper is not None and self._gossiper.is_client:
            raise ConfigError(f"gossip key {key!r}: a client publishes nothing; ask a grain to do it")
        wire_type, payload = self._serializers.encode(value)
        limit = self._config.gossip.message_bytes_max // 4
        if len(payload) > limit:
            raise MessageTooLargeError(
                f"gossip key {key!r}: its value has {len(payload)} bytes, at most {limit} travel (a quarter of "
                "GossipConfig.message_bytes_max). Publish where it is instead."
            )
        self._own[key] = Value(wire_type, payload)
        if self._gossiper is not None:
            self._gossiper.publish(key, self._own[key])

    async def get_state(self, value_type: type[T], key: str) -> dict[str, T]:
        """What members say under `key`: member id → value. Values of other types are left out."""
        entries = await self.get_state_entry(key)
        return {id_: entry.value for id_, entry in entries.items() if isinstance(entry.value, value_type)}

    async def get_state_entry(self, key: str) -> dict[str, GossipEntry]:
        """The same with number and age."""
        gossiper = self._gossiper
        if gossiper is None:
            return {}
        return {
            owner: self._read(owned.entries[key])
            for owner, owned in gossiper.machine.state.items()
            if key in owned.entries
        }

    def snapshot(self) -> dict[str, dict[str, GossipEntry]]:
        """Everything that is known here: member id → key → entry."""
        gossiper = self._gossiper
        if gossiper is None:
            return {}
        return {
            owner: {key: self._read(entry) for key, entry in owned.entries.items()}
            for owner, owned in gossiper.machine.state.items()
        }

    def register_consensus_check(self, *keys: str, read: Callable[[Any], object] | None = None) -> ConsensusCheck:
        """Watch whether all members say the same under each of `keys`. End it with `close`.

        `read` takes from a value what has to be equal, for values that differ in other parts.
        """
        if not keys:
            raise ConfigError("consensus check: got no key; expected at least one")
        check = ConsensusCheck(keys, read, self._value_of, self._checks)
        self._checks[check] = None
        self._look(check)
        return check

    # --- for the node -------------------------------------------------------------------------------------

    def attach(self, gossiper: Gossiper | None) -> None:
        """This incarnation's gossiper from now on; what was published before is published again."""
        self._gossiper = gossiper
        if gossiper is not None and not gossiper.is_client:
            for key, value in self._own.items():
                gossiper.publish(key, value)
        for check in list(self._checks):
            self._look(check)

    def learned(self, update: Update) -> None:
        """A new entry: tell who listens."""
        entry = update.entry
        self._system.event_stream.publish(
            GossipUpdate(update.owner, update.key, self._value_of(entry.value), entry.sequence)
        )  # fmt: skip
        for check in list(self._checks):
            if update.key in check.keys:
                self._look(check)

    def view_changed(self) -> None:
        """Others have to agree now."""
        for check in list(self._checks):
            self._look(check)

    # --- common -------------------------------------------------------------------------------------------

    def _look(self, check: ConsensusCheck) -> None:
        if self._gossiper is None:
            check.look({}, ())
        else:
            machine = self._gossiper.machine
            check.look(machine.state, [member.id for member in machine.view.members])

    def _read(self, entry: Entry) -> GossipEntry:
        age_s = max(0.0, self._system.clock.now() - entry.received_at)
        return GossipEntry(self._value_of(entry.value), entry.sequence, age_s)

    def _value_of(self, value: object) -> Any:
        if not isinstance(value, Value):
            return value if not isinstance(value, Mapping) else dict(value)
        try:
            return self._serializers.decoder(value.type)(value.payload)
        except (MessageError, ValueError, TypeError):
            return None  # a type that this process does not know, or not in that form

    def _check_key(self, key: str) -> None:
        check_name("gossip key", key)
        if key.startswith(GossipKeys.PREFIX):
            raise ConfigError(f"gossip key {key!r}: names that begin with {GossipKeys.PREFIX!r} are the package's own")
        if key not in self._own and len(self._own) >= KEYS_MAX:
            raise ConfigError(f"gossip key {key!r}: this process publishes {KEYS_MAX} keys already, the most it may")

    def __repr__(self) -> str:
        return f"Gossip({len(self._own)} own keys, {self._gossiper!r})"
