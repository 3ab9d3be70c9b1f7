"""GrainContract: a kind and its methods, shared by whoever hosts the kind and whoever calls it.

Made once per grain class, from its annotations or from generated code, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from dbgrains.cluster.grain_method import GrainMethod
from dbgrains.cluster.grain_streams import STREAM_MESSAGES
from dbgrains.errors import ConfigError
from dbgrains.sansio.grain_contract import ContractShape
from dbgrains.sansio.identity import check_name

if TYPE_CHECKING:
    from dbgrains.remote.serializer import Serializers


class GrainContract:
    """What can be asked of a kind. `shape` and `fingerprint` are for comparing it with another process's."""

    def __init__(self, kind: str, methods: Iterable[GrainMethod], *, owner: str) -> None:
        """`owner` is the class that it was read from, for error texts."""
        self.kind = check_name("kind", kind)
        self.owner = owner
        self.methods: Mapping[str, GrainMethod] = {method.attribute: method for method in methods}
        """By their names in Python."""
        self.client: type | None = None
        """The class through which it is called, once somebody does: see `grain_client`."""

    def register(self, serializers: Serializers) -> None:
        """Let its calls and answers travel. ConfigError when another contract has the kind."""
        for cls in STREAM_MESSAGES:
            serializers.register(cls, f"dbgrains.{cls.__name__}")
        for method in self.methods.values():
            try:
                method.register(serializers)
            except ConfigError as error:
                raise ConfigError(f"{self.owner}: {error}") from error

    @cached_property
    def shape(self) -> ContractShape:
        """The contract as values."""
        return ContractShape(self.kind, tuple(method.shape() for method in self.methods.values()))

    @cached_property
    def fingerprint(self) -> str:
        """Equal in every process that means the same by this kind."""
        return self.shape.fingerprint

    def __repr__(self) -> str:
        return f"GrainContract({self.kind!r}, {', '.join(self.methods)})"
