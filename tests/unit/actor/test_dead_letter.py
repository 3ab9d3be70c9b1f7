"""Dead letters: counted, published, logged a little, answered when somebody waits."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from dbgrains.actor.context import Context
from dbgrains.actor.dead_letter import DeadLetter, DeadLetterResponse
from dbgrains.actor.messages import Lifecycle, Stop, Unwatch
from dbgrains.actor.pid import PID
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import ActorSystemConfig
from dbgrains.errors import NotHereError
from tests.waiting import until

NOBODY = PID("local", "nobody")


async def test_a_dead_letter_is_counted_and_published(system: ActorSystem) -> None:
    letters: list[DeadLetter] = []
    system.event_stream.subscribe(DeadLetter, letters.append)
    system.root.send(NOBODY, "hello", {"key": "value"})

    assert letters == [DeadLetter(NOBODY, "hello", None, {"key": "value"})]
    assert system.dead_letters.count == 1


async def test_an_actor_that_asked_nobody_is_told(system: ActorSystem) -> None:
    told: list[Any] = []

    def receive(context: Context) -> None:
        if context.message == "ask":
            context.request(NOBODY, "question")
        elif not isinstance(context.message, Lifecycle):
            told.append(context.message)

    system.root.send(system.root.spawn(Props.from_function(receive)), "ask")
    await until(lambda: told)

    assert told == [DeadLetterResponse(NOBODY)]


async def test_two_actors_that_are_gone_do_not_answer_each_other_for_ever(system: ActorSystem) -> None:
    system.root.request(NOBODY, "hello", PID("local", "nobody either"))

    assert system.dead_letters.count == 2


async def test_dead_letters_are_logged_a_few_times_per_interval_and_without_their_content() -> None:
    config = ActorSystemConfig(dead_letter_log_count_max=2, dead_letter_log_interval_s=30.0)
    async with ActorSystem("test", config) as system:
        with capture_logs() as logs:
            for _ in range(10):
                system.root.send(NOBODY, "a secret")

    assert [entry["event"] for entry in logs].count("dead letter") == 2
    assert "secret" not in str(logs)


async def test_the_content_is_shown_when_the_config_says_how() -> None:
    async with ActorSystem("test", ActorSystemConfig(diagnostics=repr)) as system:
        with capture_logs() as logs:
            system.root.send(NOBODY, "no secret")

    assert "no secret" in str(logs)


async def test_system_messages_to_nobody_are_no_dead_letters(system: ActorSystem) -> None:
    for message in (Stop(), Unwatch(NOBODY)):
        system.registry.resolve(NOBODY).post_system(message)

    assert system.dead_letters.count == 0


async def test_a_poisoned_nobody_is_no_error(system: ActorSystem) -> None:
    system.root.poison(NOBODY)
    await system.root.poison_and_wait(NOBODY)


async def test_a_request_among_the_dead_is_answered_with_not_here(system: ActorSystem) -> None:
    with pytest.raises(NotHereError) as caught:
        await system.root.request_future(NOBODY, "hello")

    assert caught.value.retryable
