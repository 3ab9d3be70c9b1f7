"""What the links count. Plain ints, so that counting costs next to nothing; whoever wants a metric reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RemoteStatistics:
    """Totals since the start, over all peers."""

    frames_sent: int = 0
    frames_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    frames_malformed: int = 0
    """Bytes that were no frame, or a frame that contradicted itself."""
    messages_undecodable: int = 0
    """Messages of unknown type or with a broken payload; requests among them were answered so."""
    replies_late: int = 0
    """Answers that nobody waited for any more: late, second, or invented."""
    requests_refused: int = 0
    """Requests that were refused because too many of the same peer wait for their answer."""
    handshakes_refused: int = 0
    connections_lost: int = 0
