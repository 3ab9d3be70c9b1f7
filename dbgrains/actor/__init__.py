"""One process, no network: actors, their mailboxes, turns, supervision, timers and events.

Start with `system` (what runs) and `context` (what an actor may do); `turn` is how a message is run.
"""
