"""One process, no network: actors, their mailboxes, turns, supervision, timers and events.

Start with `system` (what runs) and `context` (what an actor may do). How it works begins at `cell`, which lists
the steps in which an actor's one object is built up; `turn` names its states and `workers` runs what has to wait.
"""
