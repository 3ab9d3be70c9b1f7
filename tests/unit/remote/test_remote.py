"""Two and more processes over a network in memory: requests, sends, order, faults."""

from __future__ import annotations

import asyncio

import pytest

from dbgrains.actor.actor_cell import ActorCell
from dbgrains.actor.dead_letter import DeadLetter
from dbgrains.actor.pid import PID
from dbgrains.actor.process import Headers, Process, ReplyTo, Sender
from dbgrains.actor.props import Props
from dbgrains.actor.system import ActorSystem
from dbgrains.config import RemoteConfig
from dbgrains.errors import (
    ActivationFailedError,
    ActorFailedError,
    AlreadyStartedError,
    ConfigError,
    ConnectionLostError,
    MessageTooLargeError,
    NoReplyError,
    NotHereError,
    Outcome,
    OverloadedError,
    RequestTimeoutError,
    SerializationError,
    UnknownMessageTypeError,
    UnreachableError,
)
from dbgrains.remote.events import EndpointConnected, EndpointTerminated
from dbgrains.remote.handshake import Hello, greet
from dbgrains.remote.remote import Remote
from tests.peers import Call, Peer, Peers
from tests.waiting import until


class Held(Process):
    """Keeps the requests it gets, for the test to answer."""

    def __init__(self) -> None:
        self.requests: list[tuple[object, ReplyTo, Headers | None, float | None]] = []

    def post_user(
        self, message: object, sender: Sender = None, headers: Headers | None = None, deadline: float | None = None
    ) -> None:
        assert isinstance(sender, ReplyTo)
        self.requests.append((message, sender, headers, deadline))


async def test_a_request_is_answered(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    answer = await a.system.root.request_async(b.echo(), {"n": 1})

    assert answer == {"n": 1}


async def test_headers_and_the_time_left_travel_with_a_request_and_headers_with_its_answer(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    held = Held()
    b.system.registry.add("held", held)

    call = a.ask(b.pid("held"), "q", timeout=3.0, headers={"trace": "é1"})
    await until(lambda: held.requests)
    message, sender, headers, deadline = held.requests[0]
    assert deadline is not None
    left_s = deadline - b.system.clock.now()
    sender.reply("a", {"span": "2"})

    assert await call.answer() == "a"
    assert (message, headers) == ("q", {"trace": "é1"})
    assert 2.0 < left_s <= 3.01
    assert call.headers == {"span": "2"}


async def test_an_answer_counts_once(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    held = Held()
    b.system.registry.add("held", held)

    call = a.ask(b.pid("held"), "q")
    await until(lambda: held.requests)
    sender = held.requests[0][1]
    sender.reply("first")
    sender.reply("second")
    sender.fail(NotHereError("third"))
    await call.answer()
    await a.ask(b.echo(), "after").answer()

    assert call.ends == 1
    assert await call.answer() == "first"


async def test_nobody_there_is_not_here(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    with pytest.raises(NotHereError, match=f"no nobody at {b.address}") as caught:
        await a.ask(b.pid("nobody"), "q").answer()

    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_what_the_handler_raises_arrives_with_type_and_text(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    def break_down(context: ActorCell) -> None:
        if context.message == "q":
            raise LookupError("no tea")

    with pytest.raises(ActorFailedError) as caught:
        await a.ask(b.spawn("broken", break_down), "q").answer()

    assert caught.value.type_name.endswith("LookupError")
    assert caught.value.text == "no tea"
    assert caught.value.outcome is Outcome.RAN


async def test_a_handler_without_an_answer_is_told_so(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    with pytest.raises(NoReplyError):
        await a.ask(b.spawn("mute", lambda context: None), "q").answer()


async def test_a_message_that_cannot_be_encoded_fails_alone(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b", message_bytes_max=100)
    echo = b.echo()

    good, bad, large, after = (
        a.ask(echo, "good"), a.ask(echo, object()), a.ask(echo, b"x" * 5_000_000), a.ask(echo, "after"),
    )  # fmt: skip

    assert (await good.answer(), await after.answer()) == ("good", "after")
    with pytest.raises(UnknownMessageTypeError, match=r"builtins\.object"):
        await bad.answer()
    with pytest.raises(MessageTooLargeError, match="5000000 bytes > 4194304"):
        await large.answer()


async def test_an_answer_that_cannot_be_encoded_is_told_as_something_that_ran(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b", message_bytes_max=100)

    def answer(context: ActorCell) -> None:
        if context.message == "unknown":
            context.respond(object())
        if context.message == "large":
            context.respond(b"x" * 101)

    pid = b.spawn("odd", answer)

    with pytest.raises(UnknownMessageTypeError) as unknown:
        await a.ask(pid, "unknown").answer()
    with pytest.raises(MessageTooLargeError) as large:
        await a.ask(pid, "large").answer()

    assert unknown.value.outcome is large.value.outcome is Outcome.RAN


async def test_a_message_that_cannot_be_decoded_is_answered(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    class Odd:
        """Known to a only."""

    a.remote.serializers.register(Odd, encode=lambda _: b"?", decode=lambda _: Odd())
    with pytest.raises(UnknownMessageTypeError, match="'Odd'") as unknown:
        await a.ask(b.echo(), Odd()).answer()
    b.remote.serializers.register(Odd, encode=lambda _: b"?", decode=lambda _: 1 / 0)
    with pytest.raises(SerializationError, match="ZeroDivisionError") as broken:
        await a.ask(b.pid("echo"), Odd()).answer()

    assert unknown.value.outcome is broken.value.outcome is Outcome.NOT_STARTED
    assert await a.ask(b.pid("echo"), "still").answer() == "still"
    assert b.remote.statistics.messages_undecodable == 2


async def test_an_answer_that_cannot_be_decoded_is_told_to_who_waits(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    class Odd:
        """Known to b only."""

    b.remote.serializers.register(Odd, encode=lambda _: b"?", decode=lambda _: Odd())

    def answer(context: ActorCell) -> None:
        if isinstance(context.message, str):
            context.respond(Odd())

    with pytest.raises(UnknownMessageTypeError) as caught:
        await a.ask(b.spawn("odd", answer), "q").answer()

    assert caught.value.outcome is Outcome.RAN


async def test_a_send_that_cannot_be_encoded_raises_where_it_was_made(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    with pytest.raises(UnknownMessageTypeError):
        a.system.root.send(b.echo(), object())


@pytest.mark.parametrize("headers", [{"k": "x" * 20_000}, {str(n): "" for n in range(65)}, {"k": "\ud800"}, {"k": 5}])
async def test_headers_are_checked_when_sending(peers: Peers, headers: dict[str, str]):
    a, b = await peers.start("a"), await peers.start("b")

    with pytest.raises((MessageTooLargeError, SerializationError)):
        await a.ask(b.echo(), "q", headers=headers).answer()

    assert await a.ask(b.pid("echo"), "still").answer() == "still"


async def test_a_target_that_is_no_text_fails_alone(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    with pytest.raises(SerializationError):
        await a.ask(b.pid("\ud800"), "q").answer()
    assert await a.ask(b.echo("écho"), "still").answer() == "still"


async def test_sends_arrive_in_order_and_carry_their_sender(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    recorder, messages = b.recorder()
    mine, answers = a.recorder("mine")
    echo = b.echo()

    for number in range(2_000):
        a.system.root.send(recorder, number)
    a.system.root.request(echo, "to whom?", mine)

    await until(lambda: len(messages) == 2_000 and answers)
    assert messages == list(range(2_000))
    assert answers == ["to whom?"]


async def test_requests_and_sends_of_one_caller_keep_their_order(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    recorder, messages = b.recorder()

    calls = []
    for number in range(1_000):
        if number % 3:
            a.system.root.send(recorder, number)
        else:
            calls.append(a.ask(recorder, number))

    await until(lambda: len(messages) == 1_000)
    assert messages == list(range(1_000))


async def test_a_send_to_nobody_is_a_dead_letter_there_and_its_sender_learns_of_it(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    dead: list[DeadLetter] = []
    b.system.event_stream.subscribe(DeadLetter, dead.append)

    with pytest.raises(NotHereError):
        future = a.system.root.request_future(b.pid("nobody"), "q")
        await future
    a.system.root.send(b.pid("nobody"), "hello")

    await until(lambda: dead)
    assert (dead[0].target.id, dead[0].message) == ("nobody", "hello")


async def test_an_answer_can_be_given_through_a_third_process(peers: Peers):
    a, b, c = await peers.start("a"), await peers.start("b"), await peers.start("c")
    answering = c.echo()

    def hand_on(context: ActorCell) -> None:
        if isinstance(context.message, str):
            sender = context.sender
            assert isinstance(sender, ReplyTo)
            b.system.root.request(answering, context.message, sender.pid())

    call = a.ask(b.spawn("hand-on", hand_on), "far")

    assert await call.answer() == "far"
    await until(lambda: not b.remote._around.links or not any(link._stand_ins for link in b.remote._around.links))


async def test_a_request_forwarded_to_a_third_process_is_answered(peers: Peers):
    a, b, c = await peers.start("a"), await peers.start("b"), await peers.start("c")
    answering = c.echo()

    def forward(context: ActorCell) -> None:
        if isinstance(context.message, str):
            context.forward(answering)

    assert await a.ask(b.spawn("forward", forward), "far").answer() == "far"


async def test_a_request_ends_at_its_deadline_and_may_have_run(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    held = Held()
    b.system.registry.add("held", held)
    await a.ask(b.echo(), "warm").answer()
    loop = asyncio.get_running_loop()

    for timeout in (0.02, 0.12):
        began = loop.time()
        call = a.ask(b.pid("held"), "q", timeout=timeout)
        with pytest.raises(RequestTimeoutError) as caught:
            await call.answer()
        took = loop.time() - began

        assert caught.value.outcome is Outcome.MAY_HAVE_RUN
        assert timeout - 0.005 <= took < timeout + 0.5
    held.requests[0][1].reply("late")
    assert await a.ask(b.pid("echo"), "still").answer() == "still"
    assert call.ends == 1


async def test_a_request_that_never_left_says_so_at_its_deadline(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    assert peers.network is not None
    peers.network.hold("a", "b")

    call = a.ask(b.pid("echo"), "q", timeout=0.1)
    with pytest.raises(RequestTimeoutError) as caught:
        await call.answer()

    assert caught.value.outcome is Outcome.NOT_STARTED
    peers.network.heal("a", "b")


async def test_a_caller_that_gives_up_is_told_nothing_and_its_request_is_not_started(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    held = Held()
    b.system.registry.add("held", held)
    call = Call()

    request_id = a.remote.post_request(b.address, b.id, "held", "q", call)
    await until(lambda: held.requests)
    a.remote.cancel_request(b.address, b.id, request_id)

    await until(lambda: held.requests[0][1].abandoned)
    held.requests[0][1].reply("too late")
    await a.ask(b.echo(), "after").answer()
    assert call.ends == 0


async def test_a_request_that_was_cancelled_while_it_waited_never_leaves(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    recorder, messages = b.recorder()
    call = Call()

    request_id = a.remote.post_request(b.address, b.id, "recorder", "cancelled", call)
    a.remote.cancel_request(b.address, b.id, request_id)
    a.system.root.send(recorder, "after")

    await until(lambda: messages)
    assert messages == ["after"]


async def test_nobody_listening_fails_a_request_at_once_as_not_started(peers: Peers):
    a = await peers.start("a")

    with pytest.raises(UnreachableError, match="refused") as caught:
        await a.ask(PID("127.0.0.1:1", "x"), "q").answer()

    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_messages_wait_in_order_for_a_peer_that_comes_later(peers: Peers):
    a = await peers.start("a", reconnect_min_s=0.01, reconnect_max_s=0.02)
    for number in range(100):
        a.system.root.send(PID("127.0.0.1:7777", "recorder"), number)
    await until(lambda: a.remote._endpoints.data["127.0.0.1:7777", ""].down)

    b = await peers.start("b", port=7777)
    _, messages = b.recorder()

    await until(lambda: len(messages) == 100)
    assert messages == list(range(100))


async def test_what_a_broken_stream_had_may_have_run_and_what_waited_goes_on(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    assert peers.network is not None
    held = Held()
    b.system.registry.add("held", held)
    taken = a.ask(b.pid("held"), "taken")
    await until(lambda: held.requests)
    b.echo()

    peers.network.break_streams("b")
    await until(lambda: not taken.is_waiting)
    waiting = a.ask(b.pid("echo"), "waiting")

    assert await waiting.answer() == "waiting"
    with pytest.raises(ConnectionLostError) as caught:
        await taken.answer()
    assert caught.value.outcome is Outcome.MAY_HAVE_RUN
    assert held.requests[0][1].abandoned
    assert (taken.ends, waiting.ends) == (1, 1)


async def test_names_are_learned_anew_on_each_stream(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    assert peers.network is not None
    for name in ("one", "two", "three"):
        b.echo(name)
    for name in ("one", "two", "three"):
        await a.ask(b.pid(name), name).answer()

    peers.network.break_streams("b")
    await until(lambda: a.remote.statistics.connections_lost)

    for name in ("three", "one", "two"):
        assert await a.ask(b.pid(name), name).answer() == name


async def test_a_peer_cut_off_for_long_is_given_up(peers: Peers):
    a = await peers.start("a", unreachable_after_s=0.15, reconnect_min_s=0.01, reconnect_max_s=0.05)
    b = await peers.start("b")
    assert peers.network is not None
    dead: list[DeadLetter] = []
    a.system.event_stream.subscribe(DeadLetter, dead.append)
    await a.ask(b.echo(), "warm").answer()

    peers.network.cut("a", "b")
    await until(lambda: a.remote._endpoints.data[b.address, b.id].down)
    a.system.root.send(b.pid("echo"), "lost")

    with pytest.raises(UnreachableError):
        await a.ask(b.pid("echo"), "q").answer()
    await until(lambda: any(isinstance(event, EndpointTerminated) for event in a.events))
    assert a.events[0] == EndpointConnected(b.address, b.id)
    assert [type(event) for event in a.events] == [EndpointConnected, EndpointTerminated]
    assert dead[0].target == b.pid("echo")

    peers.network.heal("a", "b")
    assert await until(lambda: _answers(a, b.pid("echo")))


async def _answers(peer: Peer, pid: PID) -> bool:
    try:
        return await peer.ask(pid, "again").answer() == "again"
    except UnreachableError:
        return False


async def test_the_outbox_refuses_the_newest_when_it_is_full(peers: Peers):
    a = await peers.start("a", outbox_count_max=10, outbox_bytes_max=1_000_000)
    b = await peers.start("b")
    b.echo()

    calls = [a.ask(b.pid("echo"), number) for number in range(13)]
    large = a.ask(b.pid("echo"), b"x" * 2_000_000)

    assert [await call.answer() for call in calls[:10]] == list(range(10))
    for call in [*calls[10:], large]:
        with pytest.raises(OverloadedError, match=r"outbox .* is full") as caught:
            await call.answer()
        assert caught.value.outcome is Outcome.NOT_STARTED


async def test_a_send_into_a_full_outbox_is_a_dead_letter(peers: Peers):
    a, b = await peers.start("a", outbox_count_max=5), await peers.start("b")
    recorder, messages = b.recorder()

    for number in range(8):
        a.system.root.send(recorder, number)

    assert a.system.dead_letters.count == 3
    await until(lambda: len(messages) == 5)


async def test_a_peer_that_asks_for_too_much_at_once_is_refused(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b", outbox_count_max=600)
    held = Held()
    b.system.registry.add("held", held)

    calls = [a.ask(b.pid("held"), number) for number in range(2_000)]
    await until(lambda: not all(call.is_waiting for call in calls) and len(held.requests) >= 600)
    await until(lambda: sum(call.is_waiting for call in calls) == len(held.requests))

    assert 600 <= len(held.requests) <= 600 + 128
    with pytest.raises(OverloadedError):
        await calls[-1].answer()
    assert b.remote.statistics.requests_refused == 2_000 - len(held.requests)


async def test_a_dead_incarnation_is_not_here_and_not_dialled_again(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    old = PID(b.address, "echo", "b.of-yesterday")
    b.echo()

    with pytest.raises(NotHereError, match=rf"b\.of-yesterday.*{b.id}"):
        await a.ask(old, "q").answer()
    await until(lambda: not a.remote._endpoints.data)
    refused = b.remote.statistics.handshakes_refused
    with pytest.raises(NotHereError):
        await a.ask(old, "q").answer()

    assert b.remote.statistics.handshakes_refused == refused
    assert await a.ask(b.pid("echo"), "now").answer() == "now"


async def test_a_process_of_another_cluster_is_refused_with_both_names(peers: Peers):
    a = await peers.start("a", Hello(cluster="shop"))
    b = await peers.start("b", Hello(cluster="bank"))

    with pytest.raises(UnreachableError, match=r"'bank'.*'shop'|'shop'.*'bank'") as caught:
        await a.ask(PID(b.address, "x"), "q").answer()

    assert caught.value.outcome is Outcome.NOT_STARTED


async def test_a_blocked_member_is_cut_off_in_both_directions(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    a.echo()
    b.echo()
    await a.ask(b.pid("echo"), "warm").answer()
    await b.ask(a.pid("echo"), "warm").answer()

    a.remote.block_list.block(b.id, "lost its lease")

    with pytest.raises(NotHereError, match="lost its lease"):
        await a.ask(b.pid("echo"), "q").answer()
    with pytest.raises((NotHereError, UnreachableError, ConnectionLostError)):
        for _ in range(100):
            await b.ask(a.pid("echo"), "q").answer()
    assert a.remote.block_list.blocked_members[0].reason == "lost its lease"


async def test_a_client_without_a_port_calls_and_is_called_over_its_own_stream(peers: Peers):
    client, b = await peers.start_client("c1"), await peers.start("b")
    mine = client.echo("mine")

    assert await client.ask(b.echo(), "to member").answer() == "to member"
    assert await b.ask(mine, "to client").answer() == "to client"
    assert mine.address == "client:c1"
    assert b.events == [EndpointConnected("client:c1", client.id)]


async def test_a_client_that_was_never_seen_is_unreachable(peers: Peers):
    b = await peers.start("b")

    with pytest.raises(UnreachableError, match="client without a stream"):
        await b.ask(PID("client:nobody", "x"), "q").answer()


async def test_a_client_that_goes_is_given_up(peers: Peers):
    client, b = await peers.start_client("c1"), await peers.start("b", unreachable_after_s=0.1)
    mine = client.echo("mine")
    await client.ask(b.echo(), "hello").answer()
    assert peers.network is not None

    client.remote._endpoints.data[b.address, b.id].link.close("test")  # type: ignore[union-attr]
    assert await client.ask(b.pid("echo"), "back").answer() == "back"
    assert await b.ask(mine, "to client").answer() == "to client"
    await client.system.shutdown()

    await until(lambda: any(isinstance(event, EndpointTerminated) for event in b.events))
    with pytest.raises(UnreachableError):
        await b.ask(mine, "q").answer()


async def test_a_stopping_peer_answers_what_it_has_and_is_not_dialled_again(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    held = Held()
    b.system.registry.add("held", held)
    running = a.ask(b.pid("held"), "running")
    await until(lambda: held.requests)

    stopping = asyncio.create_task(b.remote.stop("maintenance"))
    await until(lambda: a.remote._endpoints.data[b.address, b.id].down)
    late = a.ask(b.pid("held"), "late")
    held.requests[0][1].reply("done")

    assert await running.answer() == "done"
    with pytest.raises(UnreachableError, match="maintenance"):
        await late.answer()
    await stopping
    await until(lambda: any(isinstance(event, EndpointTerminated) for event in a.events))
    assert b.remote.statistics.handshakes_refused == 0
    assert "maintenance" in str(a.events[-1])


async def test_stopping_lets_what_is_queued_leave(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    recorder, messages = b.recorder()
    await a.ask(b.echo(), "warm").answer()

    for number in range(3_000):
        a.system.root.send(recorder, number)
    await a.remote.stop()

    await until(lambda: len(messages) == 3_000)


async def test_after_stop_nothing_can_be_reached_and_stopping_twice_is_once(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    await a.ask(b.echo(), "warm").answer()

    await a.remote.stop()
    await a.remote.stop()

    with pytest.raises(UnreachableError):
        await a.ask(b.pid("echo"), "q").answer()
    with pytest.raises(AlreadyStartedError):
        await a.remote.start()


async def test_a_new_incarnation_ends_the_streams_of_the_old_one(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")
    old = b.echo()
    await a.ask(old, "warm").answer()
    await b.ask(a.echo(), "warm").answer()

    await b.remote.rejoin(Hello(member_id="b.second"))

    with pytest.raises((NotHereError, ConnectionLostError)):
        await a.ask(old, "q").answer()
    await until(lambda: EndpointTerminated in [type(event) for event in a.events])
    assert await a.ask(PID(b.address, "echo", "b.second"), "new").answer() == "new"
    assert await b.ask(a.pid("echo"), "back").answer() == "back"


async def test_a_silent_peer_is_closed_and_opened_again_when_needed(peers: Peers):
    a, b = await peers.start("a", idle_after_s=0.05), await peers.start("b")
    await a.ask(b.echo(), "warm").answer()

    await until(lambda: not a.remote._endpoints.data)

    assert await a.ask(b.pid("echo"), "again").answer() == "again"
    assert EndpointTerminated not in [type(event) for event in a.events]


async def test_streams_can_be_opened_before_the_first_message(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    a.remote.connect(b.address, b.id)

    await until(lambda: a.events == [EndpointConnected(b.address, b.id)])
    await until(lambda: len(b.remote._around.links) == 2)


async def test_a_registered_kind_is_spawned_elsewhere(peers: Peers):
    a, b = await peers.start("a"), await peers.start("b")

    def echo(context: ActorCell) -> None:
        if isinstance(context.message, str):
            context.respond(f"{context.self.id}: {context.message}")

    b.remote.register_kind("echo", Props.from_function(echo))
    named = await a.remote.spawn(b.address, "echo", "first")
    numbered = await a.remote.spawn(b.address, "echo", member_id=b.id)

    assert named == PID(b.address, "first", b.id)
    assert await a.system.root.request_async(named, "hi") == "first: hi"
    assert await a.system.root.request_async(numbered, "hi") == f"{numbered.id}: hi"
    with pytest.raises(ActivationFailedError, match="'first' is taken"):
        await a.remote.spawn(b.address, "echo", "first")
    with pytest.raises(ActivationFailedError, match=r"'tea' is not registered .* \(registered: echo\)"):
        await a.remote.spawn(b.address, "tea")
    with pytest.raises(ConfigError, match="already registered"):
        b.remote.register_kind("echo", Props.from_function(echo))


async def test_malformed_frames_are_counted_and_end_the_stream_at_last(peers: Peers):
    b = await peers.start("b")
    assert peers.network is not None
    connection = await peers.network.transport("evil").connect(b.address)
    await greet(connection, Hello(member_id="evil.1", address="client:evil"), 1.0)
    for number in range(20):
        assert b.remote.statistics.frames_malformed <= number
        await connection.send(b"\xff" * 30)

    assert await connection.receive() is None
    assert b.remote.statistics.frames_malformed == 20


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"host": "0.0.0.0"}, "insecure=True"),
        ({"host": "shop.example"}, "remote.tls|RemoteConfig.tls"),
        ({"host": "0.0.0.0", "insecure": True}, "advertised_host: needed"),
        ({"host": "127.0.0.1", "advertised_host": "0.0.0.0"}, "not reachable by other members"),
    ],
)
async def test_an_exposed_port_needs_tls_or_a_word_and_an_address_that_others_can_use(config: dict, message: str):
    async with ActorSystem("a") as system:
        with pytest.raises(ConfigError, match=message):
            await Remote(system, RemoteConfig(**config)).start()


async def test_what_others_connect_to_can_be_told_apart_from_what_is_bound(peers: Peers):
    a = await peers.start("a", advertised_host="a.example", advertised_port=99)

    assert a.address == "a.example:99"
    assert a.echo() == PID("a.example:99", "echo", a.id)
