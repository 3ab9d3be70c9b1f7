"""Where requests from outside reach grains: the names that the registry asks this package about.

@grain/<kind>/<identity>    one activation: it takes anything, and is nobody when it is not there
@place/...                  the identity: it takes requests, always, and an activation begins if it must
@enter/...                  the same, for requests that the activator looks at before the activation does
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dbgrains.actor.process import Headers, Process, Sender
from dbgrains.sansio.identity import ClusterIdentity, from_key_form

if TYPE_CHECKING:
    from dbgrains.actor.registry import Finder, Registry
    from dbgrains.cluster.activator import Activator


def open_entrance(registry: Registry, activator: Activator) -> None:
    """Let `activator` answer for the names of grains from now on."""

    def find_grain(key: str) -> Finder | None:
        if key.count("/") > 1:
            return None  # a child of a grain
        name = from_key_form(key)
        hosted = activator.kinds.get(name.kind)
        if hosted is None or hosted.bounded:
            return partial(activator.find, name.kind, name.identity)
        return partial(hosted.active.get, name.identity)

    def find_place(key: str) -> Finder:
        name = from_key_form(key)
        hosted = activator.kinds.get(name.kind)
        if hosted is None or hosted.bounded:
            return _Entrance(activator, name).find
        return partial(hosted.active.get, name.identity, _Entrance(activator, name))

    def find_entrance(key: str) -> Finder:
        return _Entrance(activator, from_key_form(key)).itself

    registry.add_namespace("@grain", find_grain)
    registry.add_namespace("@place", find_place)
    registry.add_namespace("@enter", find_entrance)


def close_entrance(registry: Registry) -> None:
    """The activator is about to go: nobody answers for the names of grains, until the next one does."""
    registry.remove_namespace("@grain")
    registry.remove_namespace("@place")
    registry.remove_namespace("@enter")


class _Entrance(Process):
    """Takes requests for an identity that may not be active yet."""

    __slots__ = ("_activator", "_name")

    def __init__(self, activator: Activator, name: ClusterIdentity) -> None:
        self._activator = activator
        self._name = name

    def find(self) -> Process:
        """Who takes requests now: the activation, if there is one."""
        return self._activator.find(self._name.kind, self._name.identity) or self

    def itself(self) -> Process:
        return self

    def post_user(
        self,
        message: object,
        sender: Sender = None,
        headers: Headers | None = None,
        deadline: float | None = None,
    ) -> None:
        self._activator.place(self._name.kind, self._name.identity, message, sender, headers, deadline)

    def post_system(self, message: object) -> None:
        """An identity cannot be stopped or watched; an activation can."""
