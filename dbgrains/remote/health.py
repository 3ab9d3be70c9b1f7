"""The standard health service (grpc.health.v1.Health) on the member port.

For load balancers and orchestrators that know nothing of dbgrains. The empty service name means the process as a
whole; the cluster adds its own names. The messages are defined in `protos/dbgrains/remote.proto`, equal on the wire
to the public ones.
"""

from __future__ import annotations

import asyncio
from typing import Final

SERVING: Final = 1
NOT_SERVING: Final = 2
SERVICE_UNKNOWN: Final = 3


class Health:
    """Which services of this process are ready, and who wants to know of changes."""

    def __init__(self) -> None:
        self._status: dict[str, int] = {"": NOT_SERVING}
        self._changed: asyncio.Future[None] | None = None

    def set_serving(self, serving: bool, service: str = "") -> None:
        """Say whether `service` can be used now."""
        status = SERVING if serving else NOT_SERVING
        if self._status.get(service) != status:
            self._status[service] = status
            changed, self._changed = self._changed, None
            if changed is not None and not changed.done():
                changed.set_result(None)

    def status(self, service: str = "") -> int:
        """SERVING, NOT_SERVING or SERVICE_UNKNOWN."""
        return self._status.get(service, SERVICE_UNKNOWN)

    async def wait_for_change(self, service: str, status: int) -> int:
        """The status of `service` as soon as it is not `status`."""
        while self.status(service) == status:
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._changed)
        return self.status(service)
