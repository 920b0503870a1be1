"""kafka-reassign-partitions with log dirs and kafka-log-dirs, against a broker with two of them."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

from brokers import COMPAT, Kafka, Ottla
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import TIMEOUT_S, eventually, run_tests

SHORT = os.environ.get("SHORT")
WORK = pathlib.Path(sys.argv[1])
MIB = 1024 * 1024
SIZE = (8 if SHORT else 100) * MIB
broker = {"ottla": Ottla, "kafka": Kafka}[os.environ["BROKER"]](WORK)
DIRS = [str(broker.logs), str(WORK / "other")]
broker.settings["log.dirs"] = ",".join(DIRS)


def tool(name, *args):
    words = [COMPAT / "kafka" / "tool", name, "--bootstrap-server", broker.address, *map(str, args)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2 * TIMEOUT_S)
    return done.stdout


def create(topic):
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(topic, 1, 1, config={"segment.bytes": str(2 * MIB)})])[topic].result(TIMEOUT_S)


def described():
    """What kafka-log-dirs tells, by log dir."""
    said = tool("kafka-log-dirs", "--describe", "--broker-list", 1)
    line = next(line for line in said.splitlines() if line.startswith("{"))
    (told,) = json.loads(line)["brokers"]
    return {found["logDir"]: found for found in told["logDirs"]}


def places(topic):
    """(log dir, is future, size, lag) of the topic's only partition."""
    found = [
        (path, of["isFuture"], of["size"], of["offsetLag"])
        for path, told in described().items()
        for of in told["partitions"]
        if of["partition"] == f"{topic}-0"
    ]
    return sorted(found, key=lambda place: place[1])


def other_than(path):
    return next(known for known in DIRS if known != path)


def reassignment(topic, path):
    file = WORK / "moves.json"
    moves = [{"topic": topic, "partition": 0, "replicas": [1], "log_dirs": [path]}]
    file.write_text(json.dumps({"version": 1, "partitions": moves}))
    return "--reassignment-json-file", file


def verify(topic, path):
    return tool("kafka-reassign-partitions", "--verify", *reassignment(topic, path))


class Load:
    """Writes numbered records until it is stopped; all of them are to be read afterwards."""

    def __init__(self, topic):
        self.topic, self.sent, self.failed, self.stopping = topic, 0, [], False
        self.producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 5})
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        def delivered(error, _):
            if error:
                self.failed.append(str(error))

        while not self.stopping:
            self.producer.produce(self.topic, b"%d" % self.sent, on_delivery=delivered)
            self.sent += 1
            self.producer.poll(0.001)

    def stop(self):
        self.stopping = True
        self.thread.join()
        assert self.producer.flush(TIMEOUT_S) == 0 and not self.failed, self.failed
        return self.sent


def fill(topic, size):
    value = os.urandom(100_000)
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5})
    for _ in range(size // len(value)):
        producer.produce(topic, value)
        producer.poll(0)
        if len(producer) > 200:
            producer.flush()
    assert producer.flush(TIMEOUT_S) == 0
    return size // len(value)


def read(topic):
    """All values, in their order."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "reads", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    values = []
    while True:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, "nothing came"
        if message.error():
            if message.error().name() == "_PARTITION_EOF":
                break
            raise KafkaException(message.error())
        values.append(message.value())
    consumer.close()
    return values


# ---- tests ----

def both_described():
    told = described()
    assert sorted(told) == sorted(DIRS), told
    assert all(found["error"] is None for found in told.values()), told


def moved_while_written():
    create("moved")
    before = fill("moved", SIZE)
    ((path, is_future, size, _),) = places("moved")
    assert not is_future and size >= before * 100_000, size
    load = Load("moved")
    to = other_than(path)
    said = tool("kafka-reassign-partitions", "--execute", *reassignment("moved", to))
    assert f"Successfully started moving log directory to {to} for replica moved-0 with broker 1" in said, said
    eventually(lambda: "Reassignment of replica moved-0-1 completed successfully." in verify("moved", to), 2 * TIMEOUT_S)
    ((now, is_future, _, _),) = places("moved")
    assert now == to and not is_future
    assert not (pathlib.Path(path) / "moved-0").exists()
    sent = load.stop()
    values = read("moved")
    assert len(values) == before + sent, (len(values), before, sent)
    assert values[before:] == [b"%d" % number for number in range(sent)]


def limited():
    create("limited")
    fill("limited", 4 * MIB)
    ((path, *_),) = places("limited")
    to = other_than(path)
    throttle = "--replica-alter-log-dirs-throttle"
    tool("kafka-reassign-partitions", "--execute", *reassignment("limited", to), throttle, 100_000)
    found = eventually(lambda: (found := places("limited")) and len(found) == 2 and found)
    assert [(place, is_future) for place, is_future, _, _ in found] == [(path, False), (to, True)], found
    assert found[1][3] > 0, found
    said = verify("limited", to)
    assert "Reassignment of replica limited-0-1 is still in progress." in said, said
    said = tool("kafka-reassign-partitions", "--execute", "--additional", *reassignment("limited", to), throttle, 100_000_000)
    eventually(lambda: "completed successfully" in verify("limited", to), 2 * TIMEOUT_S)
    # The last --verify takes the limit back.
    configs = tool("kafka-configs", "--entity-type", "brokers", "--entity-name", 1, "--describe")
    assert "replica.alter.log.dirs" not in configs, configs
    assert len(read("limited")) == 4 * MIB // 100_000


def taken_back():
    create("back")
    fill("back", 4 * MIB)
    ((path, *_),) = places("back")
    to = other_than(path)
    tool("kafka-reassign-partitions", "--execute", *reassignment("back", to), "--replica-alter-log-dirs-throttle", 100_000)
    eventually(lambda: len(places("back")) == 2)
    tool("kafka-reassign-partitions", "--execute", "--additional", *reassignment("back", path),
         "--replica-alter-log-dirs-throttle", 100_000)
    eventually(lambda: [place for place, *_ in places("back")] == [path])
    eventually(lambda: "completed successfully" in verify("back", path))
    eventually(lambda: not [file for file in pathlib.Path(to).iterdir() if file.name.endswith("-future")])


def refused():
    create("stays")
    said = tool("kafka-reassign-partitions", "--execute", *reassignment("stays", str(WORK / "three")))
    assert re.search("LogDirNotFound|not found|No such log", said), said


def after_kill():
    create("killed")
    before = fill("killed", 2 * MIB)
    ((path, *_),) = places("killed")
    to = other_than(path)
    tool("kafka-reassign-partitions", "--execute", *reassignment("killed", to))
    eventually(lambda: "completed successfully" in verify("killed", to), 2 * TIMEOUT_S)
    broker.kill()
    broker.start()
    eventually(lambda: [place for place, *_ in places("killed")] == [to])
    assert len(read("killed")) == before


def after_restart():
    """A move that is under way when the broker stops goes on."""
    create("resumed")
    before = fill("resumed", 4 * MIB)
    ((path, *_),) = places("resumed")
    to = other_than(path)
    throttle = "--replica-alter-log-dirs-throttle"
    tool("kafka-reassign-partitions", "--execute", *reassignment("resumed", to), throttle, 100_000)
    eventually(lambda: len(places("resumed")) == 2)
    broker.stop()
    broker.start()
    eventually(lambda: [(place, is_future) for place, is_future, *_ in places("resumed")] == [(path, False), (to, True)])
    tool("kafka-reassign-partitions", "--execute", "--additional", *reassignment("resumed", to), throttle, 100_000_000)
    eventually(lambda: "completed successfully" in verify("resumed", to), 2 * TIMEOUT_S)
    assert [place for place, *_ in places("resumed")] == [to]
    assert len(read("resumed")) == before


broker.start()
try:
    run_tests(
        [
            ("both-described", both_described),
            ("moved-while-written", moved_while_written),
            ("limited", limited),
            ("taken-back", taken_back),
            ("refused", refused),
            ("after-kill", after_kill),
            ("after-restart", after_restart),
        ]
    )
finally:
    broker.kill()
