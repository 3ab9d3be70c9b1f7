"""What grains of any making have, typed or generated: their context, and the hooks of their life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgrains.actor.messages import Lifecycle, Terminated
from dbgrains.errors import GrainError

if TYPE_CHECKING:
    from dbgrains.cluster.grain_context import GrainContext
    from dbgrains.sansio.identity import ClusterIdentity


class GrainBase:
    """The base of every grain class. An instance is one activation."""

    context: GrainContext
    """This activation: `cluster_identity`, `cluster`, `grain(...)`, `token`, `timers`, `deactivate()`. There from
    `on_started` on, and in the constructor of a class that takes it as a parameter and passes it on."""

    def __init__(self, context: GrainContext) -> None:
        self.context = context

    @property
    def cluster_identity(self) -> ClusterIdentity:
        """Kind and identity; references to a grain have it as well."""
        return self.context.cluster_identity

    async def on_started(self) -> None:
        """Before the first call. When it raises, the activation ends and its callers get ActivationFailedError."""

    async def on_stopping(self) -> None:
        """The activation ends after this; it may still act and answer."""

    async def on_stopped(self) -> None:
        """The last thing that happens to it."""

    async def on_receive(self, message: Any) -> object | None:
        """A message that is no call of a method. What it returns is the answer; sender and headers: `context`."""
        if isinstance(message, Lifecycle | Terminated):
            return None
        raise GrainError(
            f"{type(self).__qualname__} takes no {type(message).__qualname__}; override on_receive for it",
            code="not_implemented",
        )
