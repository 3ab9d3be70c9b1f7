"""Routers: one PID in front of many actors.

    workers = root.spawn(pool(Props.from_producer(Worker), 8, RoundRobin()))
    nearest = root.spawn(group([a, b, c], ConsistentHash(key=lambda message: message.user)))

A group routes to actors that exist already; a pool spawns its own, as children of the router. How a routee is chosen
is the strategy's business, see `routing`; how a message gets there without a turn of the router, see
`router_cell`. The actors here do the rest: they keep the list, and watch the routees so that a dead one leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbgrains.actor.actor_cell import start_cell
from dbgrains.actor.messages import Lifecycle, Started, Stopping, Terminated
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props, SpawnCall
from dbgrains.actor.router_cell import RetirePool, RouterCell, RouterManagement
from dbgrains.actor.routing import Broadcast, ConsistentHash, RandomChoice, RoundRobin, Routees, Strategy
from dbgrains.config import check_count

if TYPE_CHECKING:
    from dbgrains.actor.context import Context

__all__ = [
    "AddRoutee",
    "Broadcast",
    "BroadcastMessage",
    "ConsistentHash",
    "GetRoutees",
    "RandomChoice",
    "RemoveRoutee",
    "RoundRobin",
    "RouteeList",
    "Strategy",
    "group",
    "pool",
]


@dataclass(frozen=True, slots=True)
class AddRoutee(RouterManagement):
    """Route to `pid` as well. A pool does not become its parent. Answered with a RouteeList."""

    pid: PID


@dataclass(frozen=True, slots=True)
class RemoveRoutee(RouterManagement):
    """Route to `pid` no longer. A pool's own child is stopped after what it was given. Answered with a RouteeList."""

    pid: PID


@dataclass(frozen=True, slots=True)
class GetRoutees(RouterManagement):
    """Answered with a RouteeList."""


@dataclass(frozen=True, slots=True)
class BroadcastMessage(RouterManagement):
    """Give `message` to every routee, whatever the router's strategy."""

    message: object


@dataclass(frozen=True, slots=True)
class RouteeList:
    """Who a router routes to, in the order in which they came."""

    pids: tuple[PID, ...]


def group(routees: Iterable[PID], strategy: Strategy) -> Props:
    """Props of a router in front of actors that exist; it watches them, and leaves them alone when it stops."""
    pids = tuple(routees)
    return _props(lambda cell: GroupActor(cell, pids), strategy, owns_routees=False)


def pool(props: Props, size: int, strategy: Strategy) -> Props:
    """Props of a router that spawns `size` actors of `props`.

    It is their supervisor: `.with_supervisor(...)` on the result says what happens to one that fails. One that has
    stopped is not replaced. A PoisonPill lets them finish what they were given; a stop ends all at once.
    """
    check_count("pool size", size)
    return _props(lambda cell: PoolActor(cell, props, size), strategy, owns_routees=True)


def _props(actor_for: Callable[[Any], GroupActor], strategy: Strategy, *, owns_routees: bool) -> Props:
    def spawn_router(call: SpawnCall) -> PID:
        return start_cell(RouterCell(call, strategy, owns_routees=owns_routees), call.parent)

    return Props.from_producer(lambda cell: actor_for(cell)).with_spawner(spawn_router)


class GroupActor:
    """The actor in a group's cell: keeps the list, and hears when a routee dies."""

    __slots__ = ("_initial", "cell")

    def __init__(self, cell: RouterCell, initial: tuple[PID, ...]) -> None:
        self.cell = cell
        self._initial = initial

    def receive(self, context: Context) -> object:
        cell = self.cell
        match context.message:
            case Started():
                for pid in self.first_routees(context):
                    cell.add_routee(pid)
                    context.watch(pid)
            case AddRoutee(pid):
                cell.add_routee(pid)
                context.watch(pid)
                return self.listed()
            case RemoveRoutee(pid):
                cell.remove_routee(pid)
                context.unwatch(pid)
                return self.listed()
            case GetRoutees():
                return self.listed()
            case BroadcastMessage(message):
                cell.broadcast(message, context.sender, context.headers, None)
            case Terminated(pid):
                cell.remove_routee(pid)
            case Stopping():
                cell.routees = Routees()
            case Lifecycle():
                pass
            case message:  # it came before the router had started
                cell.route(message, context.sender, context.headers, None)
        return None

    def listed(self) -> RouteeList:
        return RouteeList(self.cell.routees.pids)

    def first_routees(self, context: Context) -> Iterable[PID]:
        """Who is routed to in the beginning. After a restart that is who was routed to before it."""
        return self.cell.routees.pids or self._initial


class PoolActor(GroupActor):
    """The actor in a pool's cell: spawns the routees as well, and ends them."""

    __slots__ = ("_props", "_retiring", "_size")

    def __init__(self, cell: RouterCell, props: Props, size: int) -> None:
        super().__init__(cell, ())
        self._props = props
        self._size = size
        self._retiring = False

    def receive(self, context: Context) -> object:
        if isinstance(context.message, RetirePool):
            self._retire(context)
            return None
        answer = super().receive(context)
        match context.message:
            case RemoveRoutee(pid) if any(child.id == pid.id for child in context.children):
                context.poison(pid)
            case Terminated() if self._retiring:
                self._stop_when_alone(context)
        return answer

    def first_routees(self, context: Context) -> Iterable[PID]:
        self.cell.routees = Routees()  # a restart has stopped the ones before
        return [context.spawn(self._props) for _ in range(self._size)]

    def _retire(self, context: Context) -> None:
        self._retiring = True
        self.cell.routees = Routees()
        for child in context.children:
            context.poison(child)
        self._stop_when_alone(context)

    def _stop_when_alone(self, context: Context) -> None:
        if not context.children:
            context.stop(context.self)
