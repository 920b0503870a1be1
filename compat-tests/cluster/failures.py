"""Nodes that are killed and come back: what the tools tell, what clients may write and read, and who leads."""

import threading
import time

from cluster import bed
from cluster.bed import (create, described, down, moves, new_leader, node, numbered, partition, produce, read, reassigned, refused,
                         tool, whole)
from cluster.wire import Connection
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from harness import eventually
from toolbox import rows

# Kafka's error codes.
NOT_LEADER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH = 6, 74, 75
# Generous, for a machine that is busy with other things; what it takes on a quiet one is printed.
NAMED_MS_MAX = 5000


# ---- one node is down: these tests follow one another, node_killed to node_back ----

HURT = ["hurt", "strict", "pair"]
# What waits for the node that is down, in Ottla.
waiting, delivered = [], []


def node_killed():
    create("hurt", "3:1:2,1:2:3")
    create("strict", "1:2:3", config={"min.insync.replicas": 3})
    create("pair", "1:3,3:1", config={"min.insync.replicas": 1})
    create("lone", "3", config={"min.insync.replicas": 1})
    for topic in *HURT, "lone":
        assert produce(topic, numbered(10)) == list(range(10))
    node(3).kill()
    new_leader("hurt", 3)
    eventually(lambda: described("--topic", "hurt") and all(
        leader != 3 and sorted(isr) == [1, 2] and 3 in replicas for leader, replicas, isr in described("--topic", "hurt").values()))


def under_replicated():
    def shown(*args):
        return {partition for partition in described(*args) if partition[0] in (*HURT, "lone")}

    hurt, pair, strict, lone = [("hurt", 0), ("hurt", 1)], [("pair", 0), ("pair", 1)], ("strict", 0), ("lone", 0)
    # The only replica of `lone` is the last in sync, or only eligible any more: both are right.
    eventually(lambda: shown("--under-replicated-partitions") - {lone} == {*hurt, *pair, strict})
    # Half of the replicas elect no leader in Ottla; where one of them led before, it stays the leader and waits for the other.
    unavailable = {lone} | ({("pair", 1)} if bed.KIND == "ottla" else set())
    # A leader that has lost its majority does not name itself before the metadata has the other for dead.
    eventually(lambda: shown("--unavailable-partitions") == unavailable)
    assert described("--topic", "lone")[lone][0] is None
    eventually(lambda: shown("--at-min-isr-partitions") - {lone} == {*hurt, *pair})
    eventually(lambda: shown("--under-min-isr-partitions") | {lone} == {strict} | unavailable)
    for asked in 1, 2:
        assert 3 not in node(asked).metadata().brokers
        assert partition("hurt", at=asked).offline == (3,), partition("hurt", at=asked)


def fenced_node():
    listed = {row["ID"]: row for row in rows(tool("kafka-cluster", "list-endpoints", at=1), "ID")}
    assert listed.keys() == {"1", "2"}, listed
    listed = {row["ID"]: row["STATE"] for row in rows(tool("kafka-cluster", "list-endpoints", "--include-fenced-brokers", at=2), "ID")}
    assert listed == {"1": "unfenced", "2": "unfenced", "3": "fenced"}, listed
    # One that is down is a member all the same.
    tool("kafka-topics", "--create", "--topic", "with-fenced", "--replica-assignment", "1:2:3", at=1)
    eventually(lambda: partition("with-fenced") and partition("with-fenced").leader in (1, 2))


def not_enough_replicas():
    assert produce("strict", [b"all"]) == ["NOT_ENOUGH_REPLICAS"]
    assert produce("strict", [b"one"], acks="1") == [10]
    assert produce("hurt", numbered(5)) == [10, 11, 12, 13, 14]
    assert read("hurt", 15) == numbered(10) + numbered(5)


def pair_with_one_down():
    if bed.KIND == "kafka":
        assert produce("pair", [b"x"], number=0) == [10]
        new_leader("pair", 3, number=1)
        assert produce("pair", [b"x"], number=1) == [0]
        return
    # Two of two replicas must have it in Ottla. Each refusal is one after which a client tries again, and nothing is appended.
    assert produce("pair", [b"never"], number=0) == ["NOT_ENOUGH_REPLICAS"]
    # librdkafka asks for the leader again on its own, whatever `retries` says.
    assert produce("pair", [b"never"], number=0, acks="1", timeout_s=2) == ["_MSG_TIMED_OUT"]
    assert partition("pair", 1).leader == -1
    # What a client sends and waits for is taken as soon as the other replica is back: `node_back` sees to that.
    waiting.append(Producer({"bootstrap.servers": bed.cluster.bootstrap, "enable.idempotence": True, "message.timeout.ms": 120_000,
                             "reconnect.backoff.max.ms": 200}, logger=bed.quiet))
    for number in 0, 1:
        waiting[0].produce("pair", b"x", partition=number, on_delivery=lambda error, message: delivered.append((error, message.offset())))
    waiting[0].poll(2)
    assert not delivered, delivered


def election_of_the_dead():
    refused("PreferredLeaderNotAvailable|not available", "kafka-leader-election", "--election-type", "preferred", "--topic", "hurt",
            "--partition", 0)


def reassign_off_the_dead():
    reassigned(moves("off.json", hurt=[[2, 1], [1, 2]]))
    whole("hurt")
    assert [replicas for _, replicas, _ in described("--topic", "hurt").values()] == [[2, 1], [1, 2]]


def node_back():
    bed.cluster.spawn()
    bed.cluster.await_serving()
    whole(*HURT, "lone", "with-fenced")
    assert not described("--under-replicated-partitions")
    assert partition("lone").leader == 3 and read("lone", 10) == numbered(10)
    for producer in waiting:
        assert producer.flush(60) == 0
        assert sorted(delivered) == [(None, 0), (None, 10)], delivered
    assert read("pair", 11) == [*numbered(10), b"x"] and read("pair", 1, number=1) == [b"x"]
    assert produce("strict", [b"all"]) == [11]
    # What was written meanwhile is on the node that was away.
    reassigned(moves("first.json", strict=[[3, 1, 2]]))
    tool("kafka-leader-election", "--election-type", "preferred", "--topic", "strict", "--partition", 0)
    eventually(lambda: partition("strict").leader == 3)
    assert read("strict", 12) == [*numbered(10), b"one", b"all"]


# ---- more failures ----

def ends(topic):
    """The end offsets of its partitions."""
    return [int(line.rpartition(":")[2]) for line in tool("kafka-get-offsets", "--topic", topic).split()]


def two_down_and_back():
    create("majority", "1:2:3,2:3:1,3:1:2")
    for number in range(3):
        assert produce("majority", numbered(5), number=number) == list(range(5))
    acknowledged = []
    producer = Producer({"bootstrap.servers": bed.cluster.bootstrap, "enable.idempotence": True, "message.timeout.ms": 120_000,
                         "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50}, logger=bed.quiet)
    node(3).kill()
    new_leader("majority", 3, number=2)
    node(2).kill()
    for number in range(3):
        producer.produce("majority", b"later", partition=number, on_delivery=lambda error, message: acknowledged.append((error, message.offset())))
    # One of three acknowledges nothing that two have to hold.
    producer.poll(3)
    assert not acknowledged, acknowledged
    [answer] = produce("majority", [b"never"], timeout_s=3, at=1)
    assert isinstance(answer, str), answer
    node(2).start()
    assert producer.flush(60) == 0
    assert [error for error, _ in acknowledged] == [None] * 3, acknowledged
    node(3).start()
    bed.cluster.await_serving()
    whole("majority")
    # What was not acknowledged may be there or not, but what was is.
    for number, end in enumerate(ends("majority")):
        values = [value for value in read("majority", end, number) if value != b"never"]
        assert values == [*numbered(5), b"later"], values


def unclean_election():
    create("risky", "1:2", config={"min.insync.replicas": 1})
    assert produce("risky", numbered(10)) == list(range(10))
    node(2).kill()
    eventually(lambda: set(partition("risky", at=3).in_sync) == {1}, 30)
    produce("risky", [b"on node 1 alone"], acks="1", timeout_s=3)
    node(1).kill()
    node(2).start()
    eventually(lambda: partition("risky", at=3).leader == -1 and partition("risky", at=2).leader == -1, 30)
    assert ("risky", 0) in described("--unavailable-partitions")
    refused("not available|NotAvailable", "kafka-leader-election", "--election-type", "preferred", "--topic", "risky", "--partition", 0)
    said = tool("kafka-leader-election", "--election-type", "unclean", "--topic", "risky", "--partition", 0)
    assert "Successfully completed leader election (UNCLEAN) for partitions risky-0" in said, said
    eventually(lambda: partition("risky", at=3).leader == 2)
    assert produce("risky", [b"after"]) == [10]
    node(1).start()
    bed.cluster.await_serving()
    whole("risky")
    # The history of node 2 counts on both.
    reassigned(moves("risky.json", risky=[[1, 2]]))
    tool("kafka-leader-election", "--election-type", "preferred", "--topic", "risky", "--partition", 0)
    eventually(lambda: partition("risky").leader in (1, 2))
    assert read("risky", 11) == [*numbered(10), b"after"]


def epochs():
    create("epochs", "1:2:3")
    assert produce("epochs", numbered(10)) == list(range(10))
    first = partition("epochs").epoch
    with down(1):
        leader = new_leader("epochs", 1)
        second = partition("epochs", at=leader).epoch
        assert second > first
        assert produce("epochs", numbered(5)) == list(range(10, 15))
        with Connection(node(leader).address) as at_leader:
            assert at_leader.epoch_end("epochs", 0, first) == (0, first, 10)
            assert at_leader.epoch_end("epochs", 0, second, current=second) == (0, second, 15)
            assert at_leader.epoch_end("epochs", 0, second, current=first)[0] == FENCED_LEADER_EPOCH
            assert at_leader.epoch_end("epochs", 0, second, current=second + 1)[0] == UNKNOWN_LEADER_EPOCH
            assert at_leader.epoch_end("epochs", 0, second + 5) == (0, -1, -1)
        other = ({2, 3} - {leader}).pop()
        with Connection(node(other).address) as elsewhere:
            assert elsewhere.epoch_end("epochs", 0, first)[0] == NOT_LEADER
    whole("epochs")
    reassigned(moves("epochs.json", epochs=[[1, 2, 3]]))
    tool("kafka-leader-election", "--election-type", "preferred", "--topic", "epochs", "--partition", 0)
    eventually(lambda: partition("epochs").leader == 1 and partition("epochs", at=1).leader == 1)
    third = partition("epochs").epoch
    assert third > second and produce("epochs", [b"x"]) == [15]
    with Connection(node(1).address) as at_leader:
        # The node that was away has the history of the others.
        assert [at_leader.epoch_end("epochs", 0, epoch) for epoch in (first, second, third)] == [
            (0, first, 10), (0, second, 15), (0, third, 16)]


# ---- groups ----

def coordinator(group):
    [state] = rows(tool("kafka-consumer-groups", "--describe", "--group", group, "--state"))
    return next(n.number for n in bed.cluster.nodes.values() if n.address == state["COORDINATOR"])


def coordinator_dies(protocol):
    topic = create("group-" + protocol, "1:2:3,2:3:1,3:1:2,1:3:2")
    for number in range(4):
        produce(topic, numbered(10), number=number)
    config = {"bootstrap.servers": bed.cluster.bootstrap, "group.id": topic, "group.protocol": protocol, "auto.offset.reset": "earliest",
              "enable.auto.commit": False, "reconnect.backoff.max.ms": 200}
    config |= {"session.timeout.ms": 6000} if protocol == "classic" else {}
    member, seen, errors = Consumer(config, logger=bed.quiet), [0] * 4, []
    member.subscribe([topic])

    def read_until(count):
        deadline = time.monotonic() + bed.PATIENCE_S
        while min(seen) < count:
            assert time.monotonic() < deadline, (seen, errors)
            for message in member.consume(100, 0.1):
                if message.error():
                    errors.append(message.error().str())
                    continue
                # In order and once, also when its partitions are given to it anew.
                assert message.offset() == seen[message.partition()], (message.partition(), message.offset(), seen)
                seen[message.partition()] += 1

    def committed(of):
        deadline = time.monotonic() + bed.PATIENCE_S
        while True:
            try:
                found = of.committed([TopicPartition(topic, number) for number in range(4)], timeout=bed.PATIENCE_S)
                return [p.offset for p in found]
            except KafkaException:  # the client does not look for the new coordinator by itself
                assert time.monotonic() < deadline
                time.sleep(0.05)

    read_until(10)
    member.commit(asynchronous=False)
    with down(coordinator(topic)):
        survivors = Consumer({**config, "bootstrap.servers": ",".join(n.address for n in bed.cluster.running())}, logger=bed.quiet)
        assert committed(survivors) == [10] * 4
        for number in range(4):
            eventually(lambda: partition(topic, number).leader in [n.number for n in bed.cluster.running()], bed.PATIENCE_S)
            assert produce(topic, numbered(5), number=number, retries=10) == list(range(10, 15))
        read_until(15)
        member.commit(asynchronous=False)
        assert committed(survivors) == [15] * 4
        survivors.close()
    assert committed(member) == [15] * 4
    member.close()
    assert not errors, errors
    table = rows(tool("kafka-consumer-groups", "--describe", "--group", topic, "--offsets"))
    assert [(row["CURRENT-OFFSET"], row["LAG"]) for row in table] == [("15", "0")] * 4, table


# ---- how soon the new leaders are named ----

class Watch:
    """Asks one node again and again who leads, and keeps when it first named each leader."""

    def __init__(self, number, topic):
        self.number, self.topic, self.first, self.stopping = number, topic, {}, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with Connection(node(self.number).address) as connection:
            while not self.stopping:
                _, partitions = connection.metadata(self.topic).topics[self.topic]
                now = time.monotonic()
                for number, found in partitions.items():
                    self.first.setdefault((number, found.leader, found.epoch), now)
                time.sleep(0.002)

    def stop(self):
        self.stopping = True
        self.thread.join()
        return self.first


ORDERS = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
MOVED = 12


def named_late(turn):
    """Moves all leaders one node on; for each, ms from the first node that names the new leader to the last one."""
    reassigned(moves("named.json", named=[ORDERS[(p + turn) % 3] for p in range(MOVED)]))
    watches = [Watch(number, "named") for number in (1, 2, 3)]
    tool("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
    expected = {(p, ORDERS[(p + turn) % 3][0]) for p in range(MOVED)}
    eventually(lambda: all(expected <= {key[:2] for key in list(watch.first)} for watch in watches))
    seen = [watch.stop() for watch in watches]
    common = [key for key in seen[0] if key[:2] in expected and all(key in other for other in seen)]
    assert len(common) == MOVED, common
    return sorted(1000 * (max(s[key] for s in seen) - min(s[key] for s in seen)) for key in common)


def leaders_are_named():
    # The nodes that were killed before have to be in sync again, or they can not be elected.
    whole()
    create("named", ",".join(":".join(map(str, ORDERS[p % 3])) for p in range(MOVED)))
    rounds = [named_late(turn) for turn in (1, 2, 3)]
    for late in rounds:
        print(f"     {MOVED} leaders moved: named by all nodes {late[MOVED // 2]:.0f} ms (median), {late[-1]:.0f} ms (worst) "
              "after the first one did", flush=True)
    assert max(late[-1] for late in rounds) <= NAMED_MS_MAX, rounds


TESTS = [
    ("node-killed", node_killed),
    ("under-replicated", under_replicated),
    ("fenced-node", fenced_node),
    ("not-enough-replicas", not_enough_replicas),
    ("pair-with-one-down", pair_with_one_down),
    ("election-of-the-dead", election_of_the_dead),
    ("reassign-off-the-dead", reassign_off_the_dead),
    ("node-back", node_back),
    ("two-down-and-back", two_down_and_back),
    ("unclean-election", unclean_election),
    ("epochs", epochs),
    ("coordinator-dies-classic", lambda: coordinator_dies("classic")),
    ("coordinator-dies-consumer", lambda: coordinator_dies("consumer")),
    ("leaders-are-named", leaders_are_named),
]
