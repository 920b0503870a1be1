"""What the tests of clusters share: the cluster, the tools, and how they look at topics. suite.py sets `cluster` and `box`."""

import contextlib
import json
import logging
import os
import pathlib
import re
import subprocess
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from harness import eventually

KIND = os.environ["BROKER"]
SHORT = bool(os.environ.get("SHORT"))
PATIENCE_S = 60

cluster = None
box = None
work = None

# librdkafka tells of every connection that was refused while a broker was down.
quiet = logging.getLogger("librdkafka")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


def node(number):
    return cluster.nodes[number]


# ---- tools ----

def tool(name, *args, code=0, at=None, timeout_s=60):
    """What a tool prints; `at` is the one node that it is told of."""
    made = box.start(name, *args, bootstrap=node(at).address if at else cluster.bootstrap).wait(timeout_s)
    assert made.code == code, f"{name} {args}: code {made.code}\n{made.out}\n{made.err[-2000:]}"
    return made.out


def refused(pattern, name, *args, at=None):
    made = box.start(name, *args, bootstrap=node(at).address if at else cluster.bootstrap).wait()
    assert made.code != 0 and re.search(pattern, made.out + made.err), \
        f"{pattern!r} expected, got code {made.code}:\n{made.out}\n{made.err[-2000:]}"


def create(topic, *args, at=None, config=None):
    """create("name", "1:2:3,2:3:1") or create("name", "--partitions", 3)."""
    placed = ["--replica-assignment", *args] if len(args) == 1 else list(args)
    for key, value in (config or {}).items():
        placed += ["--config", f"{key}={value}"]
    tool("kafka-topics", "--create", "--topic", topic, *placed, at=at)
    whole(topic)
    return topic


def described(*args, at=None):
    """{(topic, partition): (leader or None, replicas, isr)} as kafka-topics describes them."""
    found = {}
    for line in tool("kafka-topics", "--describe", *args, at=at).splitlines():
        fields = dict(re.findall(r"\t([\w ]+): ([^\t]*)", line))
        if "Partition" in fields:
            numbers = [[int(n) for n in fields[key].split(",") if n] for key in ("Replicas", "Isr")]
            leader = None if fields["Leader"] == "none" else int(fields["Leader"])
            found[fields["Topic"], int(fields["Partition"])] = (leader, *numbers)
    return found


def json_file(name, value):
    path = pathlib.Path(work) / name
    path.write_text(json.dumps(value))
    return path


def moves(name, **topics):
    """A file for kafka-reassign-partitions: moves("name", topic=[[1, 2], [2, 3]])."""
    listed = [{"topic": topic.replace("_", "-"), "partition": number, "replicas": replicas}
              for topic, partitions in topics.items() for number, replicas in enumerate(partitions)]
    return json_file(name, {"version": 1, "partitions": listed})


def reassigned(path, *args):
    """Carries out a reassignment and waits until the tool calls it completed."""
    tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", path, *args)
    return await_reassigned(path)


def await_reassigned(path, timeout_s=120):
    deadline = time.monotonic() + timeout_s
    while True:
        said = tool("kafka-reassign-partitions", "--verify", "--reassignment-json-file", path)
        states = [line for line in said.splitlines() if line.startswith("Reassignment of partition")]
        if states and all("is completed" in line for line in states) and "no active reassignment" not in said:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


# ---- what the brokers say ----

def partition(topic, number=0, at=None):
    """One partition as a broker (any that runs) knows it."""
    asked = node(at) if at else cluster.running()[0]
    _, partitions = asked.metadata(topic).topics[topic]
    return partitions.get(number)


def whole(*topics, timeout_s=PATIENCE_S):
    """Waits until all running brokers know these topics, every partition with a leader and all replicas in sync."""
    def holds():
        for asked in cluster.running():
            for topic, (error, partitions) in asked.metadata(*topics).topics.items():
                if error or not partitions:
                    return False
                if any(p.leader < 0 or set(p.in_sync) != set(p.replicas) for p in partitions.values()):
                    return False
        return True

    eventually(holds, timeout_s)


def new_leader(topic, old, number=0):
    """Waits for another leader than the old one, on every running broker."""
    def found():
        leaders = {partition(topic, number, at=n.number).leader for n in cluster.running()}
        return leaders.pop() if len(leaders) == 1 and not leaders & {old, -1} else None

    return eventually(found, PATIENCE_S)


@contextlib.contextmanager
def down(*numbers):
    """These nodes are killed, and come back afterwards."""
    for number in numbers:
        node(number).kill()
    try:
        yield
    finally:
        cluster.spawn()
        cluster.await_serving()


# ---- confluent-kafka ----

def produce(topic, values, acks="all", number=0, timeout_s=10, at=None, **config):
    """The offsets, or the names of the errors where there was no offset. Nothing is tried twice unless `config` says so."""
    results = [None] * len(values)
    settings = {"bootstrap.servers": node(at).address if at else cluster.bootstrap, "acks": acks, "retries": 0,
                "message.timeout.ms": int(timeout_s * 1000), "request.timeout.ms": 5000, "linger.ms": 5} | config
    producer = Producer(settings, logger=quiet)
    for index, value in enumerate(values):
        def delivered(error, message, index=index):
            results[index] = error.name() if error else message.offset()

        producer.produce(topic, value, partition=number, on_delivery=delivered)
    assert producer.flush(timeout_s + 10) == 0
    return results


def read(topic, count, number=0, at=None, **config):
    """The values of a partition from its beginning."""
    settings = {"bootstrap.servers": node(at).address if at else cluster.bootstrap, "group.id": "unused",
                "enable.auto.commit": False, "fetch.wait.max.ms": 50} | config
    client = Consumer(settings, logger=quiet)
    client.assign([TopicPartition(topic, number, 0)])
    values, deadline = [], time.monotonic() + PATIENCE_S
    try:
        while len(values) < count:
            assert time.monotonic() < deadline, f"{len(values)} of {count} records"
            for message in client.consume(count, 0.05):
                if message.error() is None:
                    values.append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
        return values
    finally:
        client.close()


def numbered(count, size=0):
    return [b"%d" % i + b"." * size for i in range(count)]


# ---- the clients that are programs ----

def client_command(kind, mode, *args):
    if kind == "franz-go":
        command = [os.environ["FRANZ"]]
    else:
        command = ["java", *os.environ["JVM_OPTIONS"].split(), "-Xmx256M", "-cp", os.environ["JAVA_CLIENTS"], "Clients"]
    return [*command, mode, cluster.bootstrap, *map(str, args)]


def client(kind, mode, *args):
    made = subprocess.run(client_command(kind, mode, *args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stdout + made.stderr[-3000:]
    return json.loads(made.stdout.splitlines()[-1])
