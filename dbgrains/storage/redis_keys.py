"""The names of a cluster's keys; docs/redis-keys.md tells what they hold.

All keys of a shard share one hash tag, so that a script touches one slot. What users choose comes after the
tag and percent-encoded, so that an identity can leave neither its slot nor its cluster.
"""

from __future__ import annotations


class ShardKeys:
    """The keys of one shard."""

    __slots__ = ("_cells", "_index", "_records", "head", "history", "leases")

    def __init__(self, cluster: str, shard: int) -> None:
        tag = f"{{dg:{cluster}:{shard}}}"
        self.history = f"{tag}:M"
        self.leases = f"{tag}:L"
        self.head = [self.history, self.leases]
        self._records = f"{tag}:A:".encode()
        self._index = f"{tag}:I:"
        self._cells = f"{tag}:S:"

    def record(self, key: str) -> bytes:
        """As bytes: a batch names hundreds, and the client library takes bytes as they are."""
        return self._records + key.encode()

    def index(self, member: str) -> str:
        return self._index + member

    def cell(self, key: str) -> str:
        return self._cells + key


def layout_key(cluster: str) -> str:
    """Where the number of shards is kept; belongs to no shard, so it has no tag."""
    return f"dg:{cluster}:cfg"
