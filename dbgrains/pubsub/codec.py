"""The messages of this package as bytes, by `protos/dbgrains/pubsub.proto`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dbgrains.actor.pid import PID
from dbgrains.pubsub import messages as m
from dbgrains.pubsub.content import Content, Payload
from dbgrains.pubsub.subscription import AT_LEAST_ONCE, AT_MOST_ONCE, Subscription
from dbgrains.remote.failure import cut_text
from dbgrains.remote.serializer import split_wire_type, wire_type
from dbgrains.sansio.identity import ClusterIdentity
from dbgrains.wire import pubsub_pb2 as pb

if TYPE_CHECKING:
    from dbgrains.remote.serializer import Serializers

TEXT_CHARACTERS_MAX = 2048
"""An error's text is cut here: a report is no place for a dump."""


def register_messages(serializers: Serializers) -> None:
    """Let everything in `messages` that travels do so."""
    codec = _Codec(serializers)
    for cls, encode, decode in (
        (m.Publish, codec.publish, codec.read_publish),
        (m.Published, codec.published, codec.read_published),
        (m.ChangeSubscription, codec.change, codec.read_change),
        (m.SubscriptionChanged, codec.changed, codec.read_changed),
        (m.Deliver, codec.deliver, codec.read_deliver),
        (m.Report, codec.report, codec.read_report),
        (m.TopicDeadLetter, codec.dead_letter, codec.read_dead_letter),
    ):
        serializers.register(cls, f"dbgrains.{cls.__name__}", encode=encode, decode=decode)


class _Codec:
    """Knows the types of the messages inside."""

    def __init__(self, serializers: Serializers) -> None:
        self._serializers = serializers

    def publish(self, value: m.Publish) -> bytes:
        return pb.Publish(
            messages=self._messages(value.content), wait_delivered=value.wait_delivered
        ).SerializeToString()

    def read_publish(self, data: bytes) -> m.Publish:
        wire = pb.Publish.FromString(data)
        return m.Publish(_content(wire.messages), wire.wait_delivered)

    def published(self, value: m.Published) -> bytes:
        return pb.Published(
            epoch=value.epoch,
            sequence=value.sequence,
            accepted=value.accepted,
            subscribers=value.subscribers,
            failures=[
                pb.DeliveryFailure(
                    subscriber=one.subscriber,
                    sequence=one.sequence,
                    count=one.count,
                    error_type=cut_text(one.error_type, TEXT_CHARACTERS_MAX),
                    text=cut_text(one.text, TEXT_CHARACTERS_MAX),
                )
                for one in value.failures
            ],
            failed=value.failed,
        ).SerializeToString()

    def read_published(self, data: bytes) -> m.Published:
        wire = pb.Published.FromString(data)
        failures = tuple(
            m.DeliveryFailure(one.subscriber, one.sequence, one.count, one.error_type, one.text)
            for one in wire.failures
        )
        return m.Published(wire.epoch, wire.sequence, wire.accepted, wire.subscribers, failures, wire.failed)

    def change(self, value: m.ChangeSubscription) -> bytes:
        wire = pb.ChangeSubscription(remove=value.remove)
        who = value.subscription.subscriber
        if isinstance(who, PID):
            wire.subscription.pid.CopyFrom(self._pid(who))
        else:
            wire.subscription.grain.kind = who.kind
            wire.subscription.grain.identity = who.identity
        wire.subscription.at_least_once = value.subscription.guarantee == AT_LEAST_ONCE
        return wire.SerializeToString()

    def read_change(self, data: bytes) -> m.ChangeSubscription:
        wire = pb.ChangeSubscription.FromString(data)
        who: PID | ClusterIdentity
        if wire.subscription.WhichOneof("subscriber") == "pid":
            pid = wire.subscription.pid
            who = PID(pid.address, pid.id, pid.member_id)
        else:
            who = ClusterIdentity(wire.subscription.grain.kind, wire.subscription.grain.identity)
        guarantee = AT_LEAST_ONCE if wire.subscription.at_least_once else AT_MOST_ONCE
        return m.ChangeSubscription(Subscription(who, guarantee), wire.remove)

    def changed(self, value: m.SubscriptionChanged) -> bytes:
        return pb.SubscriptionChanged(
            epoch=value.epoch, subscribers=value.subscribers, changed=value.changed
        ).SerializeToString()

    def read_changed(self, data: bytes) -> m.SubscriptionChanged:
        wire = pb.SubscriptionChanged.FromString(data)
        return m.SubscriptionChanged(wire.epoch, wire.subscribers, wire.changed)

    def deliver(self, value: m.Deliver) -> bytes:
        return pb.Deliver(
            topic=value.topic,
            epoch=value.epoch,
            flight=value.flight,
            sequence=value.sequence,
            messages=self._messages(value.content),
            at_most_once=value.at_most_once,
            at_least_once=value.at_least_once,
            restart=value.restart,
            timeout_ms=max(1, round(value.timeout_s * 1000)),
            report_to=self._pid(value.report_to),
        ).SerializeToString()

    def read_deliver(self, data: bytes) -> m.Deliver:
        wire = pb.Deliver.FromString(data)
        return m.Deliver(
            wire.topic,
            wire.epoch,
            wire.flight,
            wire.sequence,
            _content(wire.messages),
            tuple(wire.at_most_once),
            tuple(wire.at_least_once),
            wire.restart,
            wire.timeout_ms / 1000,
            PID(wire.report_to.address, wire.report_to.id, wire.report_to.member_id),
        )

    def report(self, value: m.Report) -> bytes:
        return pb.Report(
            topic=value.topic,
            epoch=value.epoch,
            flights=[
                pb.FlightReport(
                    flight=flight.flight,
                    rest_is_done=flight.rest_is_done,
                    done=flight.done,
                    setbacks=[_setback(setback) for setback in flight.setbacks],
                )
                for flight in value.flights
            ],
        ).SerializeToString()

    def read_report(self, data: bytes) -> m.Report:
        wire = pb.Report.FromString(data)
        return m.Report(
            wire.topic,
            wire.epoch,
            [
                m.FlightReport(
                    flight.flight,
                    flight.rest_is_done,
                    list(flight.done),
                    [_read_setback(setback) for setback in flight.setbacks],
                )
                for flight in wire.flights
            ],
        )

    def dead_letter(self, value: m.TopicDeadLetter) -> bytes:
        return pb.DeadLetter(
            topic=value.topic,
            epoch=value.epoch,
            sequence=value.sequence,
            subscriber=value.subscriber,
            error_type=cut_text(value.error_type, TEXT_CHARACTERS_MAX),
            text=cut_text(value.text, TEXT_CHARACTERS_MAX),
            attempts=value.attempts,
            message=self._messages(value.content),
        ).SerializeToString()

    def read_dead_letter(self, data: bytes) -> m.TopicDeadLetter:
        wire = pb.DeadLetter.FromString(data)
        content = _content(wire.message)
        content.messages(self._serializers)
        return m.TopicDeadLetter(
            wire.topic,
            wire.epoch,
            wire.sequence,
            wire.subscriber,
            wire.attempts,
            wire.error_type,
            wire.text,
            content,
        )

    def _pid(self, pid: PID) -> pb.Pid:
        pid = self._serializers.identity.outside(pid)
        return pb.Pid(address=pid.address, id=pid.id, member_id=pid.member_id)

    def _messages(self, content: Content) -> pb.Messages:
        payloads = content.payloads(self._serializers)
        numbers: dict[str, int] = {}
        type_of = [numbers.setdefault(wire, len(numbers)) for wire, _ in payloads]
        types = [pb.MessageType(serializer=id, name=name) for id, name in map(split_wire_type, numbers)]
        return pb.Messages(types=types, type_of=type_of, payloads=[payload for _, payload in payloads])


def _content(wire: pb.Messages) -> Content:
    """ValueError for columns that do not fit together."""
    types = [wire_type(one.serializer, one.name) for one in wire.types]
    numbers = wire.type_of[:]
    if numbers and max(numbers) >= len(types):
        raise ValueError(f"a message refers to type {max(numbers)}, there are {len(types)}")
    payloads: Sequence[Payload] = list(zip((types[n] for n in numbers), wire.payloads[:], strict=True))
    return Content(None, payloads)


def _setback(value: m.Setback) -> pb.Setback:
    return pb.Setback(
        index=value.index,
        position=value.position,
        failed=value.failed,
        again=value.again,
        gone=value.gone,
        ran=value.ran,
        behind=value.behind,
        error_type=cut_text(value.error_type, TEXT_CHARACTERS_MAX),
        text=cut_text(value.text, TEXT_CHARACTERS_MAX),
    )


def _read_setback(wire: pb.Setback) -> m.Setback:
    return m.Setback(
        wire.index,
        wire.position,
        wire.failed,
        wire.error_type,
        wire.text,
        again=wire.again,
        gone=wire.gone,
        ran=wire.ran,
        behind=wire.behind,
    )
