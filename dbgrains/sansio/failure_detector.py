"""Is a member silent, or is it gone? What is known of one member, and what follows.

Any word is a sign of life: an answer, a question, or a heartbeat that came by way of others. What leads away from
life needs several steps, each with a way back:

    alive      an exchange with it was missed, and others were asked to try, who reached it or did not
    suspect    nobody reached it: said aloud, so that it can speak up, and that others say whether they agree
    dead       it kept silent for the suspicion time, enough others suspect it as well, and those who can talk to each
               other are the majority; or its port refuses connections for a while, which says that its process is gone

Without a majority nobody is declared dead for its silence: the smaller part of a split cluster can't know that it is
not cut off itself. It waits, and lets the provider's list and the leases of the database judge.

A member that is slow itself finds everybody else slow. Its `Health` therefore stretches its patience, and the time in
which it did not run at all is not held against others (`slept`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from dbgrains.config import FailureDetectionConfig

SCORE_MAX: Final = 8


class Contact(Enum):
    """How an attempt to reach a member ended."""

    ANSWERED = "answered"
    SILENT = "silent"
    """No answer in time, or no connection."""

    REFUSED = "refused"
    """Nobody listens at its address, or somebody else does."""


class Standing(Enum):
    """What is thought of a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one member. All times are local."""

    heard_at: float
    """The last sign of life, or when it was first heard of."""

    incarnation: int = 0
    """It raises this number to say that a suspicion is wrong."""

    missed_at: float | None = None
    """The first exchange that failed after the last sign of life."""

    refused_at: float | None = None
    """Since when its port refuses."""

    suspected_at: float | None = None
    """Since when nobody who tried reaches it."""


@dataclass(frozen=True, slots=True)
class Health:
    """How well this member itself is doing: 0 is well, each point makes it one time more patient."""

    score: int = 0

    @property
    def patience(self) -> int:
        return 1 + self.score

    def worse(self) -> Health:
        """It was late, or suspected, or missed somebody whom others reach."""
        return Health(min(SCORE_MAX, self.score + 1))

    def better(self) -> Health:
        """A round went well."""
        return Health(max(0, self.score - 1))


@dataclass(frozen=True, slots=True)
class Jury:
    """Who judges a suspect."""

    voters: int
    """Members that suspect it, this one included."""

    others: int
    """Members beside the suspect."""

    majority: bool
    """Whether those who can talk to this member are more than half of all; of two halves, the one with the oldest."""


def heard(watched: Watched, now: float, incarnation: int = 0) -> Watched:
    """It spoke, or somebody heard it."""
    return Watched(max(now, watched.heard_at), max(watched.incarnation, incarnation))


def missed(watched: Watched, now: float, contact: Contact) -> Watched:
    """An exchange with it failed."""
    refused_at = watched.refused_at
    if contact is not Contact.REFUSED:
        refused_at = None
    elif refused_at is None:
        refused_at = now
    return replace(watched, missed_at=now if watched.missed_at is None else watched.missed_at, refused_at=refused_at)


def unreached(watched: Watched, now: float) -> Watched:
    """Nobody who was asked to try reached it either."""
    if watched.missed_at is None or watched.suspected_at is not None:
        return watched
    return replace(watched, suspected_at=now)


def slept(watched: Watched, gap_s: float) -> Watched:
    """This member itself did not run for that long: nobody had the chance to be heard."""
    return Watched(
        watched.heard_at + gap_s,
        watched.incarnation,
        None if watched.missed_at is None else watched.missed_at + gap_s,
        None if watched.refused_at is None else watched.refused_at + gap_s,
        None if watched.suspected_at is None else watched.suspected_at + gap_s,
    )


def votes_needed(others: int, config: FailureDetectionConfig) -> int:
    """Voters without whom nobody is declared dead."""
    return max(1, min(config.votes, others))


def suspicion_s(jury: Jury, spread_s: float, config: FailureDetectionConfig) -> float:
    """How long a suspect has to speak up. News of the suspicion takes `spread_s` to reach it, and back."""
    alone = jury.others < 2
    return (config.suspicion_max_s if alone else config.suspicion_s) + spread_s


def standing(
    watched: Watched, now: float, jury: Jury, health: Health, spread_s: float, config: FailureDetectionConfig
) -> Standing:
    """What this member thinks of another one now.

    Cases, in order: heard of; not enough who agree; its port refuses; it is silent and we are the majority.
    """
    if watched.suspected_at is None:
        return Standing.ALIVE
    if jury.voters < votes_needed(jury.others, config):
        return Standing.SUSPECT
    if watched.refused_at is not None:
        is_over = now - watched.refused_at >= config.refused_s * health.patience
        return Standing.DEAD if is_over else Standing.SUSPECT
    if not jury.majority:
        return Standing.SUSPECT
    patience_s = suspicion_s(jury, spread_s, config) * health.patience
    return Standing.DEAD if now - watched.suspected_at >= patience_s else Standing.SUSPECT


def needs_probe(watched: Watched, now: float, config: FailureDetectionConfig) -> bool:
    """Whether it should be asked in this round, whoever's turn it is."""
    return watched.missed_at is not None or now - watched.heard_at >= config.heartbeat_expiry_s
