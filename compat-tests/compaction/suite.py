"""Compacted topics whose broker closes a segment every megabyte and cleans all the time."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from brokers import Kafka, Ottla
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from harness import TIMEOUT_S, eventually, run_tests

WORK, JVM = pathlib.Path(sys.argv[1]), sys.argv[2:]
SETTINGS = {
    "log.segment.bytes": "1048576",
    "log.cleaner.backoff.ms": "100",
    "log.cleaner.min.cleanable.ratio": "0.01",
    "log.index.interval.bytes": "1024",
}
SHORT = bool(os.environ.get("SHORT"))
MESSAGES = 300_000 if SHORT else 2_000_000
# So many of the tester's messages are in a megabyte, at most.
SEGMENT_COUNT = 70_000
TOPICS = 2
# Keys of the tester are numbers below messages / duplicates.
DUPLICATES = 20


broker = (Ottla if os.environ["BROKER"] == "ottla" else Kafka)(WORK, SETTINGS)


def java(tool, *args):
    command = [*JVM, f"org.apache.kafka.tools.{tool}", *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=WORK)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def consumer():
    return Consumer({"bootstrap.servers": broker.address, "group.id": "compaction", "enable.auto.commit": False})


def topics():
    client = consumer()
    names = client.list_topics(timeout=TIMEOUT_S).topics
    client.close()
    return sorted(name for name in names if name.startswith("log-cleaner-test"))


def records(topic):
    """All records of the only partition, in the order of their offsets: offset, key and value."""
    client, found = consumer(), []
    place = TopicPartition(topic, 0, OFFSET_BEGINNING)
    client.assign([place])
    end = eventually(lambda: watermark(client, place))
    eventually(lambda: client.position([place])[0].offset >= end or take(client, found))
    client.close()
    assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
    return found


def watermark(client, place):
    """After a restart the partition may not be there yet."""
    try:
        return client.get_watermark_offsets(place, timeout=TIMEOUT_S)[1]
    except KafkaException:
        return None


def take(client, found):
    for message in client.consume(10_000, timeout=0.2):
        assert not message.error(), message.error()
        found.append((message.offset(), message.key(), message.value()))


def latest(found):
    return {key: value for _, key, value in found}


def tester():
    broker.start()
    said = java(
        "LogCompactionTester", "--bootstrap-server", broker.address, "--topics", str(TOPICS), "--messages", str(MESSAGES),
        "--duplicates", str(DUPLICATES), "--percent-deletes", "10", "--sleep", "1",
    )
    assert "Data verification is completed" in said, said[-3000:]
    assert len(topics()) == TOPICS


def cleaned():
    """In the end there is one record of each key, and what the active segment has."""
    for topic in topics():
        keys = len(latest(records(topic)))
        eventually(lambda topic=topic, keys=keys: len(records(topic)) < keys + SEGMENT_COUNT, 60)
        assert keys + SEGMENT_COUNT < MESSAGES // 2


def killed():
    before = {topic: latest(records(topic)) for topic in topics()}
    for _ in range(2):
        broker.kill()
        broker.start()
        for topic, expected in before.items():
            found = latest(records(topic))
            # A tombstone may go meanwhile.
            assert {key: value for key, value in expected.items() if value} == {key: value for key, value in found.items() if value}


def dumped():
    """kafka-dump-log opens the .log of an index for writing, so it gets copies."""
    broker.stop()
    copies = WORK / "copies"
    for topic in [path.name for path in broker.logs.glob("log-cleaner-test*-0")]:
        shutil.copytree(broker.logs / topic, copies / topic)
    logs = [str(path) for path in copies.glob("*/*.log")]
    said = java("DumpLogSegments", "--deep-iteration", "--files", ",".join(logs))
    batches = re.findall(r"isvalid: (\w+)", said)
    assert len(batches) > 10 and set(batches) == {"true"}, said[-3000:]
    assert "deleteHorizonMs: OptionalLong[" in said, "no tombstone has a delete horizon"
    indexes = [str(path) for kind in ("index", "timeindex") for path in copies.glob(f"*/*.{kind}") if path.stat().st_size]
    said = java("DumpLogSegments", "--index-sanity-check", "--files", ",".join(indexes))
    assert "mismatch" not in said.lower() and "exception" not in said.lower(), said[-3000:]


run_tests([
    ("log-compaction-tester", tester),
    ("of-each-key-one", cleaned),
    ("after-kill-9", killed),
    ("dump-log", dumped),
])
