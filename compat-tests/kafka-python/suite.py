"""The tests of kafka-python's producer, group consumer and admin client, against the broker at $BOOTSTRAP."""

import os
import threading
import time

from harness import TIMEOUT_S, eventually, run_tests
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import CommitFailedError, FencedInstanceIdError, UnknownMemberIdError
from kafka.structs import OffsetAndMetadata

BOOTSTRAP = os.environ["BOOTSTRAP"]
PREFIX = f"compat-{int(time.time())}-{os.getpid()}-kafka-python-"
CONFIG = {"bootstrap_servers": BOOTSTRAP, "auto_offset_reset": "earliest", "session_timeout_ms": 6000, "heartbeat_interval_ms": 200,
          "fetch_max_wait_ms": 100, "metadata_max_age_ms": 300, "enable_auto_commit": False}

admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
producer = KafkaProducer(bootstrap_servers=BOOTSTRAP)


class Member(ConsumerRebalanceListener):
    """A consumer in a group that a thread of its own polls."""

    def __init__(self, group, *topics, pattern=None, **config):
        self.client = KafkaConsumer(group_id=group, **CONFIG | config)
        self.owned, self.revoked, self.records, self.failure, self.calls = set(), [], [], None, []
        self.client.subscribe(topics=topics, pattern=pattern, listener=self)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.poll, daemon=True)
        self.thread.start()

    def on_partitions_assigned(self, assigned):
        self.owned |= set(assigned)

    def on_partitions_revoked(self, revoked):
        if revoked:
            self.revoked.append(len(revoked))
        self.owned -= set(revoked)

    def poll(self):
        try:
            while not self.stopping.is_set():
                for records in self.client.poll(timeout_ms=50).values():
                    self.records += records
                while self.calls:
                    self.calls.pop(0)()
        except Exception as failure:  # for whoever looks
            self.failure = failure
        self.client.close()

    def on(self, call):
        """Runs a call on the client between two polls; gives or raises what that gave."""
        answer = []

        def run():
            try:
                answer.append((call(self.client), None))
            except Exception as thrown:  # for whoever waits for it
                answer.append((None, thrown))

        self.calls.append(run)
        value, thrown = eventually(lambda: answer)[0]
        if thrown:
            raise thrown
        return value

    def stop(self):
        self.stopping.set()
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive(), "close() hangs"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def create(name, partitions=1):
    topic = PREFIX + name
    admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)
    return topic


def fill(topic, partitions=1, each=10):
    sent = [producer.send(topic, b"%d-%d" % (p, n), partition=p) for p in range(partitions) for n in range(each)]
    for future in sent:
        future.get(TIMEOUT_S)


def filled(name, partitions=1):
    topic = create(name, partitions)
    fill(topic, partitions)
    return topic


def shared(topic, count, *members):
    """Whether the members have the partitions of a topic evenly between them, each one once."""
    sizes = [len(m.owned) for m in members]
    owned = sorted(p.partition for m in members for p in m.owned if p.topic == topic)
    return owned == list(range(count)) and sum(sizes) == count and max(sizes) - min(sizes) <= 1


def committed(group, topic):
    """partition -> offset, as the admin client sees it."""
    found = admin.list_group_offsets({group: None})[group]
    return {where.partition: value.offset for where, value in found.items() if where.topic == topic and value.offset >= 0}


def described(group):
    found = admin.describe_groups([group])
    return found[group] if isinstance(found, dict) else found[0]


def raises(error, call):
    try:
        answer = call()
    except error:
        return
    raise AssertionError(f"{error.__name__} expected, got {answer}")


# --- tests ---


def test_produce_and_assign():
    topic = filled("assign", 2)
    client = KafkaConsumer(**CONFIG)
    client.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    found, deadline = [], time.monotonic() + TIMEOUT_S
    while len(found) < 20:
        assert time.monotonic() < deadline
        for records in client.poll(timeout_ms=100).values():
            found += records
    assert sorted(r.value for r in found) == sorted(b"%d-%d" % (p, n) for p in range(2) for n in range(10))
    assert client.end_offsets([TopicPartition(topic, 1)]) == {TopicPartition(topic, 1): 10}
    client.close()


def test_resume():
    topic, group = filled("resume", 3), PREFIX + "resume"
    with Member(group, topic) as member:
        eventually(lambda: len(member.records) == 30)
        member.on(lambda client: client.commit())
    assert committed(group, topic) == {0: 10, 1: 10, 2: 10}
    fill(topic, 3, 1)
    with Member(group, topic) as member:
        eventually(lambda: len(member.records) == 3)
        assert [r.offset for r in member.records] == [10] * 3


def test_commits():
    topic, group = filled("commits", 2), PREFIX + "commits"
    one = TopicPartition(topic, 1)
    with Member(group, topic) as member:
        eventually(lambda: len(member.records) == 20)
        member.on(lambda client: client.commit({one: OffsetAndMetadata(4, "a note", -1)}))
        assert member.on(lambda client: client.committed(one, metadata=True)).metadata == "a note"
        answers = []
        member.on(lambda client: client.commit_async({one: OffsetAndMetadata(6, "", -1)}, lambda offsets, result: answers.append(result)))
        eventually(lambda: answers)
        assert committed(group, topic) == {1: 6}, answers


def test_auto_commit():
    topic, group = filled("auto"), PREFIX + "auto"
    with Member(group, topic, enable_auto_commit=True, auto_commit_interval_ms=100) as member:
        eventually(lambda: committed(group, topic) == {0: 10})
        fill(topic, 1, 1)
        eventually(lambda: len(member.records) == 11)
    # close() commits what came last.
    assert committed(group, topic) == {0: 11}


def check_rebalance(name, assignor):
    topic, group = create("rebalance-" + name, 4), PREFIX + "rebalance-" + name
    config = {"partition_assignment_strategy": [assignor]}
    with Member(group, topic, **config) as first:
        eventually(lambda: shared(topic, 4, first))
        with Member(group, topic, **config) as second:
            eventually(lambda: shared(topic, 4, first, second))
            if assignor is CooperativeStickyAssignor:
                # What stays with the first was never taken from it.
                assert first.revoked == [2], first.revoked
            with Member(group, topic, **config) as third:
                eventually(lambda: shared(topic, 4, first, second, third))
            eventually(lambda: shared(topic, 4, first, second))
        eventually(lambda: shared(topic, 4, first))
        fill(topic, 4, 1)
        eventually(lambda: len(first.records) == 4)


def test_rebalance_range():
    check_rebalance("range", RangePartitionAssignor)


def test_rebalance_round_robin():
    check_rebalance("round-robin", RoundRobinPartitionAssignor)


def test_rebalance_cooperative():
    check_rebalance("cooperative", CooperativeStickyAssignor)


def test_pattern():
    first, second, group = create("pattern-a"), create("pattern-b"), PREFIX + "pattern"
    with Member(group, pattern=PREFIX + "pattern-.*") as member:
        eventually(lambda: member.owned == {TopicPartition(first, 0), TopicPartition(second, 0)})


def test_static_members():
    topic, group = create("static", 4), PREFIX + "static"
    with Member(group, topic, group_instance_id="one") as first:
        with Member(group, topic, group_instance_id="two") as second:
            eventually(lambda: shared(topic, 4, first, second))
            before, revoked = set(second.owned), len(first.revoked)
        with Member(group, topic, group_instance_id="two") as again:
            eventually(lambda: again.owned == before)
            assert len(first.revoked) == revoked, first.revoked
            # Another one of its name takes over from it.
            with Member(group, topic, group_instance_id="two") as double:
                eventually(lambda: double.owned == before)
        answer = admin.remove_group_members(group, [MemberToRemove(group_instance_id="two")])
        eventually(lambda: shared(topic, 4, first))
        assert answer


def test_describe_and_list():
    topic, group = create("described", 2), PREFIX + "described"
    with Member(group, topic, client_id="the-client") as member:
        eventually(lambda: shared(topic, 2, member))
        found = eventually(lambda: (d := described(group))["group_state"] == "Stable" and d)
        assert (found["protocol_type"], len(found["members"])) == ("consumer", 1), found
        assert (found["members"][0]["client_id"], found["members"][0]["client_host"]) == ("the-client", "/127.0.0.1"), found
        listed = {g["group_id"]: g for g in admin.list_groups()}
        assert (listed[group]["group_state"], listed[group]["protocol_type"]) == ("Stable", "consumer"), listed[group]
        assert group not in {g["group_id"] for g in admin.list_groups(states_filter=["Empty"])}
    eventually(lambda: described(group)["group_state"] == "Empty")


def delete(group):
    """What the broker says to it."""
    return admin.delete_groups([group])[group]


def test_delete_groups():
    topic, group = filled("deleted"), PREFIX + "deleted"
    with Member(group, topic) as member:
        eventually(lambda: len(member.records) == 10)
        member.on(lambda client: client.commit())
        assert delete(group) == "NonEmptyGroupError"
    eventually(lambda: described(group)["group_state"] == "Empty")
    assert delete(group) == "OK", delete(group)
    assert delete(group) == "GroupIdNotFoundError"
    assert committed(group, topic) == {}


def test_offsets_of_admin():
    topic, group = filled("by-admin", 2), PREFIX + "by-admin"
    zero, one = TopicPartition(topic, 0), TopicPartition(topic, 1)
    admin.alter_group_offsets(group, {zero: OffsetAndMetadata(3, "", -1), one: OffsetAndMetadata(8, "", -1)})
    assert committed(group, topic) == {0: 3, 1: 8}
    with Member(group, topic) as member:
        eventually(lambda: len(member.records) == 9)
    admin.delete_group_offsets(group, [one])
    assert committed(group, topic) == {0: 3}


def test_removed_member_can_not_commit():
    topic, group = filled("stale"), PREFIX + "stale"
    with Member(group, topic, group_instance_id="one") as member:
        eventually(lambda: len(member.records) == 10)

        def commit_after_removal(client):
            admin.remove_group_members(group, [MemberToRemove(group_instance_id="one")])
            client.commit({TopicPartition(topic, 0): OffsetAndMetadata(5, "", -1)})

        raises((CommitFailedError, UnknownMemberIdError, FencedInstanceIdError), lambda: member.on(commit_after_removal))
    assert committed(group, topic) == {}


def tests():
    for name, function in globals().copy().items():
        if name.startswith("test_"):
            yield name.removeprefix("test_").replace("_", "-"), function


if __name__ == "__main__":
    run_tests(list(tests()))
