"""Acceptance: whether those who are there take this incarnation for one of theirs.

Of two members that do not fit together the one who came later must go. So a start waits a moment for what the others
say, and a member that has joined goes only when an older one refuses it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dbgrains.errors import HandshakeError
from dbgrains.remote.events import EndpointRefused
from dbgrains.remote.handshake import RefusalCode
from dbgrains.sansio.member_view import came_before

VERDICT_S: Final = 1.0
"""How long a start waits for the first of the others to say whether this process fits. Usually one round trip;
all of it when those who are listed are dead."""

MISFITS: Final = frozenset({RefusalCode.PROTOCOL, RefusalCode.CLUSTER, RefusalCode.SETTINGS, RefusalCode.DUPLICATE})
"""Refusals that mean: this process as it was built and configured cannot be part of this cluster."""


class Acceptance:
    """What one incarnation has heard about itself."""

    def __init__(self, cluster: str, my_id: str, *, is_client: bool) -> None:
        self._cluster = cluster
        self._my_id = my_id
        self._is_client = is_client
        self._is_over = False
        self._verdict: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """For the first verdict, but not for long. HandshakeError when this process does not fit."""
        verdict = self._future()
        await asyncio.wait((verdict,), timeout=VERDICT_S)
        if verdict.done():
            verdict.result()
        self._is_over = True

    def connected(self) -> None:
        """Somebody took it."""
        if not self._is_over and not self._future().done():
            self._future().set_result(None)

    def refused(self, event: EndpointRefused) -> bool:
        """Somebody did not; whether it must go although it has been accepted before."""
        # A client that starts fits nobody; one that has joined is not to go because of a newcomer that fits nobody.
        is_starting_client = self._is_client and not self._is_over
        if event.code not in MISFITS or not (is_starting_client or came_before(event.member_id, self._my_id)):
            return False
        if not self._is_over and not (verdict := self._future()).done():
            verdict.set_exception(HandshakeError(f"this process cannot join cluster {self._cluster!r}: {event.reason}"))
            verdict.exception()  # for nobody, if the start has failed otherwise
        return self._is_over

    def _future(self) -> asyncio.Future[None]:
        if self._verdict is None:
            self._verdict = asyncio.get_running_loop().create_future()
        return self._verdict
