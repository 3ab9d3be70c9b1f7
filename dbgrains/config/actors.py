"""The actors of one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dbgrains.config.checks import REQUEST_TIMEOUT_S_MAX, check_count, check_positive


@dataclass(frozen=True, kw_only=True)
class ActorSystemConfig:
    """One process's actors."""

    throughput: int = 300
    """Messages one actor may handle before others get their turn."""

    request_timeout_s: float = 5.0
    """Deadline of a request to an actor that names none."""

    seed: int | None = None
    """Seed of the system's only random generator; None draws one (logged at start)."""

    dead_letter_log_interval_s: float = 1.0
    """A storm of dead letters must not become a storm of log lines: this long is one interval."""

    dead_letter_log_count_max: int = 3
    """Dead letters logged per interval; the rest are only counted."""

    stop_timeout_s: float = 10.0
    """Budget of `ActorSystem.shutdown`: actors that have not stopped by then are cancelled."""

    diagnostics: Callable[[object], str] | None = None
    """Renders a message for an error text or a log; None shows its type only, because messages hold secrets."""

    def __post_init__(self) -> None:
        check_count("throughput", self.throughput)
        check_positive("request_timeout_s", self.request_timeout_s, maximum=REQUEST_TIMEOUT_S_MAX)
        check_count("dead_letter_log_count_max", self.dead_letter_log_count_max, minimum=0)
        check_positive("dead_letter_log_interval_s", self.dead_letter_log_interval_s)
        check_positive("stop_timeout_s", self.stop_timeout_s)
