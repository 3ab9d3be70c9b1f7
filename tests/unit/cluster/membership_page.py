"""The diagram of docs/membership.md, drawn from the table of states."""

from __future__ import annotations

from dbgrains.sansio.heartbeat import STATE_CHANGES


def diagram() -> str:
    """As it stands on the page."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> joining"]
    for state, following in STATE_CHANGES.items():
        lines += [f"    {state.value} --> {after.value}" for after in following] or [f"    {state.value} --> [*]"]
    return "\n".join([*lines, "```", ""])
