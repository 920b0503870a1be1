"""An idempotent producer writes numbered records while $OTTLA_BIN is killed and restarted on the same files and port."""

import logging
import os
import pathlib
import random
import sys
import threading
import time

from brokers import Ottla
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import TIMEOUT_S, eventually, run_tests

ROUNDS = 3 if os.environ.get("SHORT") else 20
PARTITIONS = 3
ACKS_PER_ROUND = 2_000
TOPIC = "crash"
WORK = pathlib.Path(sys.argv[1])


# librdkafka tells of every connection that was refused while the broker was down.
quiet = logging.getLogger("librdkafka")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


class Load:
    """Sends records numbered by partition until it is told to stop, and keeps what was acknowledged."""

    def __init__(self, address):
        self.producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "linger.ms": 2,
                "batch.num.messages": 200,
                "queue.buffering.max.messages": 20_000,
                "message.timeout.ms": 300_000,
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "error_cb": lambda error: self.errors.append(str(error)) if error.fatal() else None,
            },
            logger=quiet,
        )
        self.sent = [0] * PARTITIONS
        self.acked = [{} for _ in range(PARTITIONS)]  # number -> offset
        self.errors = []
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            for partition in range(PARTITIONS):
                value = b"%d:%d" % (partition, self.sent[partition])
                try:
                    self.producer.produce(TOPIC, value, partition=partition, on_delivery=self.on_delivery)
                except BufferError:  # the queue is full: the broker is down, or slower than we are
                    self.producer.poll(0.01)
                    continue
                except KafkaException as fatal:  # what the producer can not recover from
                    self.errors.append(str(fatal))
                    return
                self.sent[partition] += 1
            self.producer.poll(0)

    def on_delivery(self, error, message):
        if error:
            self.errors.append(str(error))
            return
        partition, number = map(int, message.value().split(b":"))
        self.acked[partition][number] = message.offset()

    def ack_count(self):
        assert not self.errors, self.errors[:3]
        return sum(map(len, self.acked))

    def stop(self):
        self.stopping = True
        self.thread.join()
        assert self.producer.flush(4 * TIMEOUT_S) == 0, "not everything was acknowledged"


broker = Ottla(WORK)
load = None


def create_topic():
    admin = AdminClient({"bootstrap.servers": broker.address}, logger=quiet)
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(TIMEOUT_S)


def kill_rounds():
    global load
    seed = int(os.environ.get("SEED", time.time()))
    print(f"     seed {seed}", flush=True)
    rng = random.Random(seed)
    broker.start()
    create_topic()
    load = Load(broker.address)
    for number in range(ROUNDS):
        before = load.ack_count()
        eventually(lambda: load.ack_count() >= before + ACKS_PER_ROUND, 4 * TIMEOUT_S)
        # Anywhere between the acknowledgements, not always right after one.
        time.sleep(rng.random() * 0.2)
        broker.kill()
        start = time.monotonic()
        broker.start()
        print(f"     round {number}: {load.ack_count()} acknowledged, ready again after {time.monotonic() - start:.2f} s", flush=True)


def all_acknowledged():
    load.stop()
    assert not load.errors, load.errors[:3]
    for sent, acked in zip(load.sent, load.acked):
        assert sorted(acked) == list(range(sent)), f"{sent} sent, {len(acked)} acknowledged"


def read_all(partition):
    """(offset, value) of every record of a partition."""
    client = Consumer({"bootstrap.servers": broker.address, "group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True})
    client.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING)])
    records, deadline = [], time.monotonic() + 4 * TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            for message in client.consume(10_000, timeout=0.1):
                if message.error() is None:
                    records.append((message.offset(), message.value()))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    return records
        raise AssertionError(f"no end of partition {partition} after {len(records)} records")
    finally:
        client.close()


def exactly_once_in_order():
    for partition in range(PARTITIONS):
        records = read_all(partition)
        offsets = [offset for offset, _ in records]
        assert offsets == list(range(len(records))), f"partition {partition}: offsets with gaps"
        expected = [b"%d:%d" % (partition, number) for number in range(load.sent[partition])]
        values = [value for _, value in records]
        wrong = next((i for i, pair in enumerate(zip(values, expected)) if pair[0] != pair[1]), min(len(values), len(expected)))
        assert values == expected, f"partition {partition}: {len(values)} records for {len(expected)}, wrong from offset {wrong}: {values[wrong:wrong + 3]}"
        for number, offset in load.acked[partition].items():
            assert offset == number, f"partition {partition}: record {number} was acknowledged at offset {offset}"


def after_a_quiet_kill():
    broker.kill()
    broker.start()
    exactly_once_in_order()


class Commits:
    """Commits 1, 2, 3, … for one group, each after the one before was acknowledged, until it is told to stop."""

    def __init__(self, address):
        config = {"bootstrap.servers": address, "group.id": "crash", "enable.auto.commit": False, "reconnect.backoff.max.ms": 100}
        self.client = Consumer(config, logger=quiet)
        self.acked, self.stopping = 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            try:
                [done] = self.client.commit(offsets=[TopicPartition(TOPIC, 0, self.acked + 1)], asynchronous=False)
            except KafkaException:  # the broker is down, or loads its groups
                time.sleep(0.01)
                continue
            if not done.error:
                self.acked += 1
        self.client.close()

    def stop(self):
        self.stopping = True
        self.thread.join(4 * TIMEOUT_S)
        assert not self.thread.is_alive(), "a commit does not end"


def committed():
    client = Consumer({"bootstrap.servers": broker.address, "group.id": "crash"}, logger=quiet)
    try:
        [found] = client.committed([TopicPartition(TOPIC, 0)], timeout=TIMEOUT_S)
        return found.offset
    finally:
        client.close()


def committed_offsets():
    for number in range(ROUNDS):
        before = max(committed(), 0)
        commits = Commits(broker.address)
        commits.acked = before
        eventually(lambda: commits.acked >= before + 20)
        time.sleep(random.random() * 0.1)
        broker.kill()
        acked = commits.acked
        broker.start()
        # One more may have been written, or have been acknowledged by the broker that is there now.
        eventually(lambda: commits.acked > acked, 2 * TIMEOUT_S)
        commits.stop()
        broker.kill()
        broker.start()
        assert committed() == commits.acked, f"round {number}: {committed()} is committed, {commits.acked} were acknowledged"


def after_a_clean_stop():
    broker.stop()
    broker.start()
    exactly_once_in_order()
    broker.stop()


def all_tests():
    try:
        run_tests(
            [
                ("kill-rounds", kill_rounds),
                ("all-acknowledged", all_acknowledged),
                ("exactly-once-in-order", exactly_once_in_order),
                ("after-a-quiet-kill", after_a_quiet_kill),
                ("committed-offsets", committed_offsets),
                ("after-a-clean-stop", after_a_clean_stop),
            ]
        )
    finally:
        if broker.process and broker.process.poll() is None:
            broker.kill()


if __name__ == "__main__":
    all_tests()
