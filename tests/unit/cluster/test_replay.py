"""An idempotency key runs once per activation; everybody who uses it gets the same answer."""

from __future__ import annotations

import pytest

from dbgrains.actor.process import ReplyTo
from dbgrains.cluster.replay import KEY_CHARACTERS_MAX, ReplayBook, check_key
from dbgrains.errors import ActorFailedError, ConfigError, NotHereError, OverloadedError


class Caller(ReplyTo):
    def __init__(self) -> None:
        self.got: object = None
        self.gone = False

    def reply(self, message, headers=None):
        self.got = message

    def fail(self, error):
        self.got = error

    @property
    def abandoned(self):
        return self.gone


class Book(ReplayBook):
    def __init__(self, count_max: int = 2) -> None:
        self.time = 0.0
        super().__init__(count_max, 10.0, lambda: self.time)


@pytest.fixture
def book() -> Book:
    return Book()


def test_the_second_caller_gets_the_first_ones_reply(book):
    first, second = Caller(), Caller()
    book.enter("k", first).reply("done")

    assert book.enter("k", second) is None
    assert (first.got, second.got) == ("done", "done")


def test_a_caller_joins_a_run_that_is_going_on(book):
    first, second = Caller(), Caller()
    run = book.enter("k", first)
    assert book.enter("k", second) is None
    assert second.got is None

    run.reply("done")
    run.reply("again")

    assert (first.got, second.got) == ("done", "done")


def test_an_error_of_the_run_is_replayed_too(book):
    error = ActorFailedError("no", type_name="E", text="")
    book.enter("k", Caller()).fail(error)
    second = Caller()

    assert book.enter("k", second) is None
    assert str(second.got) == str(error)
    assert second.got is not error


def test_what_did_not_start_is_not_remembered(book):
    first, joined = Caller(), Caller()
    run = book.enter("k", first)
    book.enter("k", joined)
    run.fail(NotHereError("stopped"))

    assert isinstance(first.got, NotHereError)
    assert isinstance(joined.got, NotHereError)
    assert book.enter("k", Caller()) is not None


def test_replies_are_forgotten_after_their_time(book):
    book.enter("k", Caller()).reply("done")
    book.time = 11.0

    assert book.enter("k", Caller()) is not None
    assert len(book) == 1


def test_the_oldest_ended_run_makes_room(book):
    book.enter("running", Caller())
    book.enter("ended", Caller()).reply("done")

    assert book.enter("third", Caller()) is not None
    assert book.enter("running", Caller()) is None
    refused = Caller()
    assert book.enter("fourth", refused) is None
    assert isinstance(refused.got, OverloadedError)


def test_a_run_is_abandoned_only_when_all_who_wait_have_gone(book):
    first, second = Caller(), Caller()
    run = book.enter("k", first)
    book.enter("k", second)

    first.gone = True
    assert not run.abandoned
    second.gone = True
    assert run.abandoned


def test_a_run_is_abandoned_when_the_last_deadline_has_passed(book):
    run = book.enter("k", Caller(), 1.0)
    book.enter("k", Caller(), 2.0)

    book.time = 1.5
    assert not run.abandoned
    book.time = 2.0
    assert run.abandoned


@pytest.mark.parametrize("key", ["", "a\nb", "x" * (KEY_CHARACTERS_MAX + 1)])
def test_a_key_that_cannot_travel_is_refused(key):
    with pytest.raises(ConfigError, match="idempotency_key"):
        check_key(key)


def test_a_key_is_text():
    with pytest.raises(TypeError, match="idempotency_key must be str, got int"):
        check_key(1)
