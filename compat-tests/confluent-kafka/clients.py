"""What the tests of this suite share: the clients, topics of this run, produce and consume."""

import os
import random
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import TIMEOUT_S, eventually

BOOTSTRAP = os.environ["BOOTSTRAP"]
PREFIX = f"compat-{int(time.time())}-{os.getpid()}-confluent-"

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def consumer(**config):
    """A consumer for assign(): librdkafka demands a group id even so, but no group is joined and nothing committed."""
    base = {"bootstrap.servers": BOOTSTRAP, "group.id": PREFIX + "unused", "enable.auto.commit": False, "enable.partition.eof": True}
    return Consumer(base | {k.replace("_", "."): v for k, v in config.items()})


watcher = consumer()


def create(name, partitions=1, **config):
    """Creates a topic of this run; config keys with _ for the dots."""
    topic = NewTopic(PREFIX + name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})
    admin.create_topics([topic])[topic.topic].result(TIMEOUT_S)
    # Apache Kafka names a leader a moment before that leader serves.
    eventually(lambda: serves(topic.topic, partitions))
    return topic.topic


def serves(topic, partitions):
    """Asked for offsets before the broker knows the topic, librdkafka waits out its timeout: so the topic comes first."""
    try:
        if len(describe(topic).partitions) != partitions:
            return False
        return all(watcher.get_watermark_offsets(TopicPartition(topic, p), timeout=2) == (0, 0) for p in range(partitions))
    except KafkaException:
        return False


def describe(topic):
    [future] = admin.describe_topics(TopicCollection([topic])).values()
    return future.result(TIMEOUT_S)


def error_of(call):
    """The name of the error that call() must raise."""
    try:
        answer = call()
    except KafkaException as raised:
        return raised.args[0].name()
    raise AssertionError(f"no error, but {answer}")


def producer(**config):
    return Producer({"bootstrap.servers": BOOTSTRAP} | {k.replace("_", "."): v for k, v in config.items()})


def send(topic, values, partition=0, headers=None, timestamps=None, **config):
    """Produces values and returns the messages as acknowledged; any error fails the test."""
    acked = []

    def on_delivery(error, message):
        assert error is None, error
        acked.append(message)

    client = producer(**config)
    for number, value in enumerate(values):
        more = {"timestamp": timestamps[number]} if timestamps else {}
        client.produce(topic, value, key=b"k%d" % number, partition=partition, headers=headers, on_delivery=on_delivery, **more)
        client.poll(0)
    assert client.flush(TIMEOUT_S) == 0, "not everything was acknowledged"
    assert len(acked) == len(values), (len(acked), len(values))
    return acked


def receive(topic, partition=0, offset=OFFSET_BEGINNING, **config):
    """All messages from offset to the end of the partition."""
    client = consumer(**config)
    try:
        client.assign([TopicPartition(topic, partition, offset)])
        return until_eof(client)
    finally:
        client.close()


def until_eof(client, partitions=1):
    messages, deadline = [], time.monotonic() + TIMEOUT_S
    while partitions:
        assert time.monotonic() < deadline, f"no end of partition after {len(messages)} messages"
        for message in client.consume(1000, timeout=0.1):
            if message.error() is None:
                messages.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                partitions -= 1
            else:
                raise KafkaException(message.error())
    return messages


def values_of(messages):
    return [message.value() for message in messages]


def random_values(count, seed=1):
    rng = random.Random(seed)
    return [b"%d " % i + rng.randbytes(rng.randrange(200)) for i in range(count)]
