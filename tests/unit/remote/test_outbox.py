"""The outbox: order, bounds, and that every request ends exactly once with what is known about it."""

from __future__ import annotations

import math
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dbgrains.actor.messages import Stop
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, ReplyTo
from dbgrains.errors import (
    ConnectionLostError,
    DbgrainsError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    SerializationError,
    UnreachableError,
)
from dbgrains.remote.outbox import Outbox
from dbgrains.remote.serializer import Serializers


class Call(ReplyTo):
    def __init__(self) -> None:
        self.ends: list[object] = []

    def reply(self, message: object, headers: Headers | None = None) -> None:
        self.ends.append(message)

    def fail(self, error: DbgrainsError) -> None:
        self.ends.append(error)

    @property
    def error(self) -> DbgrainsError:
        (error,) = self.ends
        assert isinstance(error, DbgrainsError)
        return error


def outbox(count_max: int = 100, bytes_max: int = 10_000) -> Outbox:
    return Outbox(
        "peer",
        Serializers(),
        count_max=count_max,
        bytes_max=bytes_max,
        on_near_deadline=lambda *_: math.inf,
        new_id=count(1).__next__,
    )


def answered(box: Outbox, request_id: int) -> ReplyTo | None:
    """Whose answer this is, as the reader of a stream finds out."""
    delivery = box.calls.pop(request_id, None)
    return None if delivery is None else delivery[6]


def test_what_is_taken_comes_in_order_and_in_the_size_that_was_asked_for():
    box = outbox()
    for number in range(10):
        box.send("t", number, None, None)

    assert [len(box.take(4, 10_000)) for _ in range(4)] == [4, 4, 2, 0]


def test_a_frame_holds_no_more_bytes_than_it_may_but_at_least_one_message():
    box = outbox()
    for _ in range(3):
        box.send("t", b"x" * 1_000, None, None)

    assert [len(box.take(100, 2_500)) for _ in range(3)] == [2, 1, 0]
    box.send("t", b"x" * 5_000, None, None)
    assert len(box.take(100, 1_000)) == 1


def test_full_by_count_or_bytes_refuses_the_newest_and_room_comes_back():
    box = outbox(count_max=2, bytes_max=100)
    calls = [Call() for _ in range(4)]

    assert box.request("t", b"1", calls[0], None, None) > 0
    assert box.request("t", b"x" * 100, calls[1], None, None) == 0
    assert box.request("t", b"2", calls[2], None, None) > 0
    assert box.request("t", b"3", calls[3], None, None) == 0
    with pytest.raises(OverloadedError):
        box.send("t", b"4", None, None)
    with pytest.raises(OverloadedError):
        box.send_system("t", Stop())

    assert isinstance(calls[1].error, OverloadedError)
    assert calls[3].error.outcome is Outcome.NOT_STARTED
    box.take(1, 100)
    box.send("t", b"5", None, None)
    assert len(box) == 2


def test_an_answer_finds_its_caller_once():
    box, call = outbox(), Call()
    request_id = box.request("t", 1, call, None, None)

    assert answered(box, request_id) is call
    assert answered(box, request_id) is None
    assert answered(box, 999) is None


def test_a_deadline_ends_a_request_and_says_whether_it_left():
    box, taken, waiting, later = outbox(), Call(), Call(), Call()
    box.request("t", 1, taken, 5.0, None)
    box.take(10, 10_000)
    box.request("t", 2, waiting, 6.0, None)
    box.request("t", 3, later, 50.0, None)

    assert box.sweep(4.9, 5.0)
    assert not taken.ends
    assert box.sweep(7.0, 7.1)

    assert isinstance(taken.error, RequestTimeoutError) and taken.error.outcome is Outcome.MAY_HAVE_RUN
    assert isinstance(waiting.error, RequestTimeoutError) and waiting.error.outcome is Outcome.NOT_STARTED
    assert [row[3] for row in box.take(10, 10_000)] == [b"\x03"]
    assert not box.sweep(51.0, 51.1)
    assert len(later.ends) == 1


def test_near_deadlines_are_announced():
    announced: list[float] = []

    def near(_: Outbox, __: int, deadline: float) -> float:
        announced.append(deadline)
        return 10.0

    box = Outbox(
        "peer",
        Serializers(),
        count_max=100,
        bytes_max=10_000,
        on_near_deadline=near,
        new_id=count(1).__next__,
    )
    for deadline in (50.0, 60.0, 9.0, 10.0):
        box.request("t", 1, Call(), deadline, None)

    assert announced == [50.0, 9.0]


def test_a_cancelled_request_is_told_to_the_peer_only_if_it_left():
    box, taken, waiting = outbox(), Call(), Call()
    first = box.request("t", 1, taken, None, None)
    box.take(10, 10_000)
    second = box.request("t", 2, waiting, None, None)

    assert box.cancel(first) is True
    assert box.cancel(first) is False
    assert box.cancel(second) is False
    assert box.take(10, 10_000) == []
    assert taken.ends == waiting.ends == []


def test_a_lost_stream_fails_what_it_had_and_keeps_what_waits():
    box, taken, waiting = outbox(), Call(), Call()
    box.request("t", 1, taken, None, None)
    box.take(10, 10_000)
    box.request("t", 2, waiting, None, None)

    box.lose_taken("cut")

    assert isinstance(taken.error, ConnectionLostError)
    assert [row[6] for row in box.take(10, 10_000)] == [waiting]


def test_system_messages_are_taken_again_in_order_until_they_are_acknowledged():
    box, call = outbox(), Call()
    box.send_system("a", Stop())
    box.send_system("b", Stop())
    box.request("t", 1, call, None, None)
    first, _, _ = box.take(10, 10_000)
    box.send_system("c", Stop())
    answered(box, first[0])

    box.lose_taken("cut")

    assert [row[1] for row in box.take(10, 10_000)] == ["b", "c"]
    assert isinstance(call.error, ConnectionLostError)
    box.lose_taken("cut again")
    assert [row[1] for row in box.take(1, 10_000)] == ["b"]
    assert [row[1] for row in box.take(1, 10_000)] == ["c"]


def test_failing_what_waits_keeps_sends_and_system_messages():
    box, call = outbox(), Call()
    box.send("a", 1, None, None)
    box.request("b", 2, call, None, None)
    box.send_system("c", Stop())

    box.fail_waiting(lambda target: UnreachableError(f"no way to {target}"))

    assert str(call.error) == "no way to b"
    assert [row[1] for row in box.take(10, 10_000)] == ["a", "c"]


def test_a_callers_reaction_may_post_again():
    box = outbox()

    class Again(Call):
        def fail(self, error: DbgrainsError) -> None:
            super().fail(error)
            box.request("again", 2, Call(), None, None)

    call = Again()
    box.request("t", 1, call, None, None)
    box.fail_waiting(lambda target: UnreachableError(target))

    assert [row[1] for row in box.take(10, 10_000)] == ["again"]


def test_what_is_drained_are_the_sends():
    box = outbox()
    box.send("a", 1, PID("h:1", "me"), {"k": "v"})
    box.send_system("b", Stop())

    assert [row[1] for row in box.drain()] == ["a"]
    assert len(box) == len(box.calls) == 0


def test_a_sender_that_is_no_text_is_refused():
    with pytest.raises(SerializationError):
        outbox().send("t", 1, PID("h:1", "\ud800"), None)


class OutboxMachine(RuleBasedStateMachine):
    """Random use against a dumb model: each call knows whether it waits, left, or ended."""

    def __init__(self) -> None:
        super().__init__()
        self.box = outbox(count_max=8)
        self.now = 0.0
        self.calls: dict[int, Call] = {}
        self.state: dict[int, str] = {}
        self.deadline: dict[int, float] = {}
        self.order: list[int] = []

    @rule(timeout=st.none() | st.floats(0.1, 5.0))
    def request(self, timeout: float | None) -> None:
        call = Call()
        deadline = None if timeout is None else self.now + timeout
        request_id = self.box.request("t", b"x", call, deadline, None)
        if request_id:
            self.calls[request_id] = call
            self.state[request_id] = "waits"
            self.deadline[request_id] = math.inf if deadline is None else deadline
        else:
            assert isinstance(call.error, OverloadedError)

    @rule()
    def send(self) -> None:
        try:
            self.box.send("t", b"s", None, None)
        except OverloadedError:
            assert len(self.box) == 8

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        taken = [row[0] for row in self.box.take(count, 10_000) if row[0]]
        assert taken == sorted(taken)
        for request_id in taken:
            assert self.state[request_id] == "waits"
            self.state[request_id] = "left"
        self.order += taken
        assert self.order == sorted(self.order)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.calls)))
        call = answered(self.box, request_id) if self.state[request_id] == "left" else None
        if self.state[request_id] == "left":
            assert call is self.calls[request_id]
            call.reply("answer")
            self.state[request_id] = "ended"

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.calls)))
        told = self.box.cancel(request_id)
        assert told == (self.state[request_id] == "left")
        if self.state[request_id] != "ended":
            assert not self.calls[request_id].ends
            self.state[request_id] = "ended"
            self.calls[request_id].reply("cancelled, not told")

    @rule(step=st.floats(0.01, 3.0))
    def sweep(self, step: float) -> None:
        self.now += step
        self.box.sweep(self.now, self.now + 0.1)
        for request_id, deadline in self.deadline.items():
            if deadline <= self.now and self.state[request_id] != "ended":
                error = self.calls[request_id].error
                waits = self.state[request_id] == "waits"
                assert error.outcome is (Outcome.NOT_STARTED if waits else Outcome.MAY_HAVE_RUN)
                self.state[request_id] = "ended"

    @rule()
    def lose(self) -> None:
        self.box.lose_taken("cut")
        for request_id, state in self.state.items():
            if state == "left":
                assert self.calls[request_id].error.outcome is Outcome.MAY_HAVE_RUN
                self.state[request_id] = "ended"

    @rule()
    def fail(self) -> None:
        self.box.fail_waiting(lambda target: UnreachableError(target))
        for request_id, state in self.state.items():
            if state == "waits":
                assert self.calls[request_id].error.outcome is Outcome.NOT_STARTED
                self.state[request_id] = "ended"

    @invariant()
    def every_request_has_ended_once_or_is_under_way(self) -> None:
        for request_id, state in self.state.items():
            assert len(self.calls[request_id].ends) == (1 if state == "ended" else 0)
        assert len(self.box.calls) == sum(state != "ended" for state in self.state.values())
        assert len(self.box) <= 8


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
