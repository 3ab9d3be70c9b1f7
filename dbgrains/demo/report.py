"""What the demo found, as values: for the screen, for `--json`, and for the exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Report:
    """The numbers at the end."""

    members: int
    counters: int
    spread: dict[str, int]
    """Member name to the counters it hosted when all were there."""
    seconds: float = 0.0
    """How long the counters were incremented, once all were alive."""
    calls_per_s: float = 0.0
    """Acknowledged increments per second in that time, the outage included."""
    acknowledged: int = 0
    not_done: int = 0
    unknown: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    latency_p50_ms: float = 0.0
    latency_p99_ms: float = 0.0
    killed: str = ""
    counters_of_killed: int = 0
    back_elsewhere: int = 0
    first_back_s: float | None = None
    """From the SIGKILL to the first answer of one of its counters."""
    last_back_s: float | None = None
    given_up_s: float | None = None
    """From the SIGKILL until the client had heard that the members gave the killed one up."""
    replaced_s: float | None = None
    """From the start of the process that replaces it until that had joined."""
    healed_s: float | None = None
    """From then until all members said that they see the same members, this one among them."""
    newcomers_of_healed: int = 0
    """Counters that were called for the first time after that, and live there."""
    sum_of_counters: int = 0
    discrepancies: list[str] = field(default_factory=list)
    """Counters that hold too little or too much; anything here is a broken promise."""
    news_published: int = 0
    """Messages to the topic that were delivered, as their producer was told."""
    news_missing: int = 0
    """Those of them that did not come; anything here is a broken promise."""
    news_repeated: int = 0
    exit_codes: dict[str, int] = field(default_factory=dict)
    """How the members that were asked to leave did."""

    @property
    def ok(self) -> bool:
        """Every acknowledged increment is there, every counter and the killed member came back, all left in order."""
        return (
            not self.discrepancies
            and not self.news_missing
            and self.acknowledged > 0
            and self.back_elsewhere == self.counters_of_killed
            and self.healed_s is not None
            and all(code == 0 for code in self.exit_codes.values())
        )

    def as_json(self) -> dict[str, Any]:
        """Everything, with the verdict first."""
        figures = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {"ok": self.ok, **figures}
