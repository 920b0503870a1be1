"""librdkafka's group consumer, of both protocols, and the admin calls on groups."""

import queue
import threading
from concurrent.futures import Future

from clients import BOOTSTRAP, PREFIX, admin, create, error_of, send
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import NewPartitions
from harness import TIMEOUT_S, eventually

PROTOCOLS = ["classic", "consumer"]


def settings(protocol, config):
    """For a group consumer; config keys with _ for the dots. In the new protocol the broker says how often and how long."""
    base = {"bootstrap.servers": BOOTSTRAP, "auto.offset.reset": "earliest", "enable.auto.commit": False, "group.protocol": protocol,
            "fetch.wait.max.ms": 100}
    if protocol == "classic":
        base |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200}
    return base | {key if key.startswith("on_") else key.replace("_", "."): value for key, value in config.items()}


class Member:
    """A consumer that a thread of its own polls."""

    def __init__(self, group, topics, protocol="classic", **config):
        self.client = Consumer(settings(protocol, {"group_id": group} | config))
        self.owned, self.events, self.messages, self.errors = set(), [], [], []
        self.stopping, self.calls = threading.Event(), queue.SimpleQueue()
        self.client.subscribe(topics, on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_lost)
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def on_assign(self, _, partitions):
        self.events.append(("assign", {(p.topic, p.partition) for p in partitions}))
        self.owned |= self.events[-1][1]

    def on_revoke(self, _, partitions):
        self.events.append(("revoke", {(p.topic, p.partition) for p in partitions}))
        self.owned -= self.events[-1][1]

    def on_lost(self, _, partitions):
        self.events.append(("lost", {(p.topic, p.partition) for p in partitions}))
        self.owned -= self.events[-1][1]

    def poll(self):
        while not self.stopping.is_set():
            try:
                for message in self.client.consume(100, timeout=0.05):
                    if message.error():
                        self.errors.append(message.error().name())
                    else:
                        self.messages.append(message)
                while not self.calls.empty():
                    answer, call = self.calls.get()
                    try:
                        answer.set_result(call(self.client))
                    except Exception as thrown:  # for whoever waits for it
                        answer.set_exception(thrown)
            except KafkaException as fatal:
                self.errors.append(fatal.args[0].name())
                break
        self.client.close()

    def on(self, call):
        """Runs a call on the client between two polls, as an application does; gives or raises what that gave."""
        answer = Future()
        self.calls.put((answer, call))
        return answer.result(TIMEOUT_S)

    def commit(self, **what):
        return self.on(lambda client: client.commit(**what))

    def values(self):
        return [m.value() for m in self.messages]

    def stop(self):
        self.stopping.set()
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive(), "close() hangs"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def shared(topic, count, *members):
    """Whether the members have the partitions of a topic evenly between them, each one once."""
    owned = [len(m.owned) for m in members]
    return sorted(p for m in members for p in m.owned) == [(topic, p) for p in range(count)] and max(owned) - min(owned) <= 1


def committed(group, topic, partitions=1):
    """The offsets that a group has, by partition, as the admin client sees them; None where there is none."""
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(partitions)])
    [answer] = admin.list_consumer_group_offsets([asked]).values()
    return [p.offset if p.offset >= 0 else None for p in answer.result(TIMEOUT_S).topic_partitions]


def filled(name, partitions, each=10):
    topic = create(name, partitions)
    for partition in range(partitions):
        send(topic, [b"%d-%d" % (partition, n) for n in range(each)], partition=partition)
    return topic


def described(group):
    return admin.describe_consumer_groups([group])[group].result(TIMEOUT_S)


# --- consume ---


def resume(protocol):
    topic, group = filled("resume-" + protocol, 3), PREFIX + "resume-" + protocol
    with Member(group, [topic], protocol) as member:
        eventually(lambda: len(member.messages) == 30)
        assert sorted(member.values()) == sorted(b"%d-%d" % (p, n) for p in range(3) for n in range(10))
        member.commit(asynchronous=False)
    assert committed(group, topic, 3) == [10, 10, 10]
    for partition in range(3):
        send(topic, [b"new"], partition=partition)
    with Member(group, [topic], protocol) as member:
        eventually(lambda: len(member.messages) == 3)
        assert [m.offset() for m in member.messages] == [10, 10, 10], [m.offset() for m in member.messages]


def rebalance(protocol):
    topic, group = create("rebalance-" + protocol, 4), PREFIX + "rebalance-" + protocol
    with Member(group, [topic], protocol) as first:
        eventually(lambda: shared(topic, 4, first))
        with Member(group, [topic], protocol) as second:
            eventually(lambda: shared(topic, 4, first, second))
            with Member(group, [topic], protocol) as third:
                eventually(lambda: shared(topic, 4, first, second, third))
            eventually(lambda: shared(topic, 4, first, second))
        eventually(lambda: shared(topic, 4, first))
        # It has nothing more than what it was given: each partition is read by it.
        for partition in range(4):
            send(topic, [b"%d" % partition], partition=partition)
        eventually(lambda: {b"0", b"1", b"2", b"3"} <= set(first.values()))


def two_topics(protocol):
    topics, group = [create(f"both-{n}-{protocol}", 2) for n in range(2)], PREFIX + "both-" + protocol
    everything = {(t, p) for t in topics for p in range(2)}
    with Member(group, topics, protocol) as first, Member(group, topics, protocol) as second:
        eventually(lambda: first.owned | second.owned == everything and len(first.owned) == len(second.owned) == 2)
    # A member that wants one of the topics does not get the other.
    with Member(group, topics[:1], protocol) as one, Member(group, topics[1:], protocol) as other:
        eventually(lambda: one.owned == {(topics[0], 0), (topics[0], 1)} and other.owned == {(topics[1], 0), (topics[1], 1)})


def pattern(protocol):
    group = PREFIX + "pattern-" + protocol
    topic = create(f"pattern-{protocol}-a")
    # The classic protocol looks for new topics when it refreshes its metadata.
    with Member(group, ["^" + PREFIX + f"pattern-{protocol}-.*"], protocol, topic_metadata_refresh_interval_ms=200) as member:
        eventually(lambda: member.owned == {(topic, 0)})
        if protocol == "classic":
            other = create(f"pattern-{protocol}-b")
            eventually(lambda: member.owned == {(topic, 0), (other, 0)})


def new_partitions(protocol):
    topic, group = create("more-" + protocol, 1), PREFIX + "more-" + protocol
    with Member(group, [topic], protocol, topic_metadata_refresh_interval_ms=200) as member:
        eventually(lambda: shared(topic, 1, member))
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(TIMEOUT_S)
        eventually(lambda: shared(topic, 3, member))


# --- commits ---


def commit_kinds(protocol):
    topic, group = filled("commits-" + protocol, 2), PREFIX + "commits-" + protocol
    answers = []
    with Member(group, [topic], protocol, on_commit=lambda error, parts: answers.append((error, parts))) as member:
        eventually(lambda: len(member.messages) == 20)
        first = next(m for m in member.messages if (m.partition(), m.offset()) == (0, 4))
        [done] = member.commit(message=first, asynchronous=False)
        assert (done.partition, done.offset, done.error) == (0, 5, None), done
        assert committed(group, topic, 2) == [5, None]
        # With text beside the offset.
        [done] = member.commit(offsets=[TopicPartition(topic, 1, 3, metadata="a nöte")], asynchronous=False)
        assert done.error is None, done
        [found] = member.on(lambda client: client.committed([TopicPartition(topic, 1)], timeout=TIMEOUT_S))
        assert (found.offset, found.metadata) == (3, "a nöte"), (found.offset, found.metadata)
        answers.clear()
        member.commit(offsets=[TopicPartition(topic, 0, 8)], asynchronous=True)
        eventually(lambda: answers)
        assert answers[0][0] is None and answers[0][1][0].offset == 8, answers
        assert committed(group, topic, 2) == [8, 3]
        # Backwards is as good.
        member.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
        assert committed(group, topic, 2) == [1, 3]
        # One partition of an answer can fail alone.
        missing = TopicPartition(PREFIX + "missing", 0, 1)
        name = error_of(lambda: check_each(member.commit(offsets=[missing], asynchronous=False)))
        assert name == "UNKNOWN_TOPIC_OR_PART", name
        long = TopicPartition(topic, 0, 2, metadata="x" * 5000)
        name = error_of(lambda: check_each(member.commit(offsets=[long], asynchronous=False)))
        assert name == "OFFSET_METADATA_TOO_LARGE", name
    assert committed(group, topic, 2) == [1, 3]


def check_each(partitions):
    for partition in partitions:
        if partition.error:
            raise KafkaException(partition.error)
    return partitions


def auto_commit(protocol):
    topic, group = filled("auto-" + protocol, 1), PREFIX + "auto-" + protocol
    with Member(group, [topic], protocol, enable_auto_commit=True, auto_commit_interval_ms=100) as member:
        eventually(lambda: committed(group, topic) == [10])
        send(topic, [b"last"])
        eventually(lambda: len(member.messages) == 11)
    # close() commits what was consumed last.
    assert committed(group, topic) == [11]


def stored_offsets(protocol):
    topic, group = filled("stored-" + protocol, 1), PREFIX + "stored-" + protocol
    with Member(group, [topic], protocol, enable_auto_offset_store=False) as member:
        eventually(lambda: len(member.messages) == 10)
        member.on(lambda client: client.store_offsets(member.messages[3]))
        member.commit(asynchronous=False)
    assert committed(group, topic) == [4]


def without_subscription():
    """Commits of a consumer that assigns its partitions itself: a group without members."""
    topic, group = filled("manual", 1), PREFIX + "manual"
    client = Consumer(settings("classic", {"group_id": group}))
    client.assign([TopicPartition(topic, 0, 0)])
    client.commit(offsets=[TopicPartition(topic, 0, 6)], asynchronous=False)
    assert committed(group, topic) == [6]
    client.close()
    again = Consumer(settings("classic", {"group_id": group}))
    again.assign([TopicPartition(topic, 0)])
    message = eventually(lambda: again.poll(0.1))
    assert message.offset() == 6, message.offset()
    again.close()
    found = described(group)
    assert found.state == ConsumerGroupState.EMPTY and found.members == [], found.state


# --- assignors, static members ---


def strategies():
    topic = create("strategies", 5)
    other = create("strategies-other", 5)
    for strategy, expected in ("range", [4, 6]), ("roundrobin", [5, 5]):
        group = PREFIX + "strategy-" + strategy
        with Member(group, [topic, other], partition_assignment_strategy=strategy) as first:
            with Member(group, [topic, other], partition_assignment_strategy=strategy) as second:
                eventually(lambda: sorted([len(first.owned), len(second.owned)]) == expected and not first.owned & second.owned)
                assert described(group).partition_assignor == strategy
    for assignor in "uniform", "range":
        group = PREFIX + "assignor-" + assignor
        with Member(group, [topic, other], "consumer", group_remote_assignor=assignor) as first:
            with Member(group, [topic, other], "consumer", group_remote_assignor=assignor) as second:
                expected = [5, 5] if assignor == "uniform" else [4, 6]
                eventually(lambda: sorted([len(first.owned), len(second.owned)]) == expected and not first.owned & second.owned)
                assert described(group).partition_assignor == assignor


def no_common_strategy():
    topic, group = create("inconsistent"), PREFIX + "inconsistent"
    with Member(group, [topic], partition_assignment_strategy="range") as first:
        eventually(lambda: shared(topic, 1, first))
        with Member(group, [topic], partition_assignment_strategy="roundrobin") as second:
            eventually(lambda: "INCONSISTENT_GROUP_PROTOCOL" in second.errors)
        assert shared(topic, 1, first)


def cooperative():
    topic, group = create("cooperative", 4), PREFIX + "cooperative"
    with Member(group, [topic], partition_assignment_strategy="cooperative-sticky") as first:
        eventually(lambda: shared(topic, 4, first))
        before = len(first.events)
        with Member(group, [topic], partition_assignment_strategy="cooperative-sticky") as second:
            eventually(lambda: shared(topic, 4, first, second))
            # What stays with the first was never taken from it.
            lost = [parts for kind, parts in first.events[before:] if kind != "assign"]
            assert [len(parts) for parts in lost if parts] == [2], first.events
        eventually(lambda: shared(topic, 4, first))


def static_members(protocol):
    topic, group = create("static-" + protocol, 4), PREFIX + "static-" + protocol
    with Member(group, [topic], protocol, group_instance_id="one") as first:
        second = Member(group, [topic], protocol, group_instance_id="two")
        eventually(lambda: shared(topic, 4, first, second))
        before, of_second = len(first.events), set(second.owned)
        second.stop()
        # It is still a member, and comes back without that the first hears of it.
        assert {m.group_instance_id for m in described(group).members} == {"one", "two"}
        with Member(group, [topic], protocol, group_instance_id="two") as again:
            eventually(lambda: again.owned == of_second)
            assert len(first.events) == before, first.events[before:]
            # Another one of the same name: the classic protocol fences the older one, the new protocol refuses the younger.
            with Member(group, [topic], protocol, group_instance_id="two") as double:
                if protocol == "classic":
                    eventually(lambda: "_FATAL" in again.errors or "FENCED_INSTANCE_ID" in again.errors)
                else:
                    eventually(lambda: "_FATAL" in double.errors or "UNRELEASED_INSTANCE_ID" in double.errors)
                    assert not again.errors, again.errors


def static_member_expires(protocol):
    topic, group = create("expires-" + protocol, 2), PREFIX + "expires-" + protocol
    short = {"session_timeout_ms": 1500} if protocol == "classic" else {}
    with Member(group, [topic], protocol, group_instance_id="stays", **short) as first:
        with Member(group, [topic], protocol, group_instance_id="goes", **short) as second:
            eventually(lambda: shared(topic, 2, first, second))
        # It did not leave, so its partition is taken from it only after its session timeout.
        assert len(described(group).members) == 2
        eventually(lambda: shared(topic, 2, first), 90)
    eventually(lambda: len(described(group).members) == 0, 90)


# --- admin ---


def list_and_describe(protocol):
    topic, group = create("described-" + protocol, 2), PREFIX + "described-" + protocol

    def listed(**filters):
        return {g.group_id: (g.state, g.type, g.is_simple_consumer_group) for g in admin.list_consumer_groups(**filters).result(TIMEOUT_S).valid}

    kind = ConsumerGroupType[protocol.upper()]
    with Member(group, [topic], protocol, client_id="the-client") as member:
        eventually(lambda: shared(topic, 2, member))
        eventually(lambda: described(group).state == ConsumerGroupState.STABLE)
        found = described(group)
        assert found.type == kind and not found.is_simple_consumer_group
        assert f"{found.coordinator.host}:{found.coordinator.port}" == BOOTSTRAP
        [only] = found.members
        assert only.client_id == "the-client" and only.host == "/127.0.0.1" and only.group_instance_id is None, vars(only)
        assert sorted(p.partition for p in only.assignment.topic_partitions) == [0, 1]
        assert listed()[group] == (ConsumerGroupState.STABLE, kind, False)
        assert group in listed(states={ConsumerGroupState.STABLE}) and group not in listed(states={ConsumerGroupState.EMPTY})
        other = ConsumerGroupType.CONSUMER if protocol == "classic" else ConsumerGroupType.CLASSIC
        assert group in listed(types={kind}) and group not in listed(types={other})
    eventually(lambda: described(group).state == ConsumerGroupState.EMPTY)
    assert described(group).members == []


def alter_offsets():
    topic, group = filled("altered-offsets", 2), PREFIX + "altered-offsets"
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3), TopicPartition(topic, 1, 10)])
    admin.alter_consumer_group_offsets([wanted])[group].result(TIMEOUT_S)
    assert committed(group, topic, 2) == [3, 10]
    # All that there is, without naming it.
    everything = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(TIMEOUT_S)
    assert sorted((p.partition, p.offset) for p in everything.topic_partitions) == [(0, 3), (1, 10)]
    with Member(group, [topic]) as member:
        eventually(lambda: len(member.messages) == 7)
        # While somebody is in it, only its members commit.
        name = error_of(lambda: check_each(admin.alter_consumer_group_offsets([wanted])[group].result(TIMEOUT_S).topic_partitions))
        assert name == "UNKNOWN_MEMBER_ID", name


def delete_groups(protocol):
    topic, group = filled("deleted-group-" + protocol, 1), PREFIX + "deleted-group-" + protocol

    def delete():
        return admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)

    with Member(group, [topic], protocol) as member:
        eventually(lambda: len(member.messages) == 10)
        member.commit(asynchronous=False)
        assert error_of(delete) == "NON_EMPTY_GROUP"
    eventually(lambda: described(group).state == ConsumerGroupState.EMPTY)
    delete()
    assert error_of(delete) == "GROUP_ID_NOT_FOUND"
    assert committed(group, topic) == [None]
    with Member(group, [topic], protocol) as member:
        eventually(lambda: len(member.messages) == 10)


def deleted_topic():
    """Offsets of a topic go with it; a new topic of its name has none."""
    topic, group = filled("gone", 1), PREFIX + "gone"
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 5)])])[group].result(TIMEOUT_S)
    kept = create("kept")
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(kept, 0, 1)])])[group].result(TIMEOUT_S)
    assert committed(group, topic) == [5]
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)

    def all_offsets():
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(TIMEOUT_S)
        return [(p.topic, p.offset) for p in answer.topic_partitions]

    eventually(lambda: all_offsets() == [(kept, 1)])
    filled("gone", 1)
    assert committed(group, topic) == [None]


def migrate():
    """A classic group becomes a consumer group when a member of the new protocol joins, and goes back with the last of them."""
    topic, group = filled("migrated", 4), PREFIX + "migrated"
    classic = {"partition_assignment_strategy": "cooperative-sticky"}
    with Member(group, [topic], **classic) as old:
        eventually(lambda: len(old.messages) == 40)
        old.commit(asynchronous=False)
        with Member(group, [topic], "consumer") as new:
            eventually(lambda: shared(topic, 4, old, new), 60)
            assert described(group).type == ConsumerGroupType.CONSUMER
            assert committed(group, topic, 4) == [10] * 4
        eventually(lambda: shared(topic, 4, old), 60)
        eventually(lambda: described(group).type == ConsumerGroupType.CLASSIC)
        assert committed(group, topic, 4) == [10] * 4


EACH = [resume, rebalance, two_topics, pattern, new_partitions, commit_kinds, auto_commit, stored_offsets, static_members,
        static_member_expires, list_and_describe, delete_groups]
ONCE = [without_subscription, strategies, no_common_strategy, cooperative, alter_offsets, deleted_topic, migrate]
LONG_ONLY = {"group-two-topics-classic", "group-two-topics-consumer", "group-stored-offsets-classic", "group-stored-offsets-consumer",
             "group-static-member-expires-consumer", "group-new-partitions-classic", "group-auto-commit-classic", "group-strategies"}


def tests():
    def name(function):
        return "group-" + function.__name__.replace("_", "-")

    for function in EACH:
        for protocol in PROTOCOLS:
            yield f"{name(function)}-{protocol}", lambda function=function, protocol=protocol: function(protocol)
    for function in ONCE:
        yield name(function), function
