"""What topics count in one process. Plain ints, so that counting costs next to nothing; metrics are read from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TopicStatistics:
    """Counts since the process started; `Topics.statistics` returns a copy. The last three are as of now."""

    published: int = 0
    """Messages that topics of this process have accepted."""

    refused: int = 0
    """Messages that were refused because a topic was overloaded."""

    delivered: int = 0
    """Messages that subscribers in this process have handled."""

    failed: int = 0
    """Messages that subscribers of topics of this process did not handle, for whatever reason."""

    redelivered: int = 0
    """Messages that topics of this process have sent again."""

    dead_lettered: int = 0
    """Messages that went to the dead-letter topic."""

    gaps: int = 0
    """Gaps that subscribers in this process have seen."""

    removed: int = 0
    """Subscribers that were unsubscribed because they are gone."""

    topics: int = 0
    """Topics that are active in this process."""

    in_flight: int = 0
    """Messages that topics of this process have accepted and no subscriber has finished."""

    lag: int = 0
    """Messages that wait for the slowest subscriber in this process."""
