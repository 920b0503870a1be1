"""The tests of librdkafka's admin, producer and consumer, against the broker at $BOOTSTRAP; those of groups are in groups.py."""

import os
import random
import time

import groups
from clients import BOOTSTRAP, PREFIX, admin, consumer, create, describe, error_of, producer, random_values, receive, send, until_eof, values_of
from confluent_kafka import OFFSET_END, OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, IsolationLevel, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from harness import TIMEOUT_S, eventually, run_tests

RECORDS = 2_000 if os.environ.get("SHORT") else 100_000
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


# --- admin ---


def test_create_and_describe_topics():
    topic = create("described", partitions=3)
    description = describe(topic)
    assert description.name == topic and not description.is_internal
    assert len(str(description.topic_id)) == 22, description.topic_id
    assert [p.id for p in description.partitions] == [0, 1, 2]
    for partition in description.partitions:
        assert [n.id for n in partition.replicas] == [n.id for n in partition.isr] == [partition.leader.id]
    assert topic in admin.list_topics(timeout=TIMEOUT_S).topics


def test_create_topic_errors():
    topic = create("once")

    def creating(name, partitions=1, replicas=1, config=None):
        new = NewTopic(name, partitions, replicas, config=config or {})
        return error_of(admin.create_topics([new])[name].result)

    assert creating(topic) == "TOPIC_ALREADY_EXISTS"
    assert creating("no/slash") == "TOPIC_EXCEPTION"
    assert creating(PREFIX + "wide", replicas=9) == "INVALID_REPLICATION_FACTOR"
    assert creating(PREFIX + "none", partitions=0) == "INVALID_PARTITIONS"
    assert creating(PREFIX + "key", config={"no.such.key": "1"}) == "INVALID_CONFIG"
    # Only checked, not made.
    new = NewTopic(PREFIX + "dry", 1, 1)
    admin.create_topics([new], validate_only=True)[new.topic].result(TIMEOUT_S)
    assert new.topic not in admin.list_topics(timeout=TIMEOUT_S).topics


def test_delete_topics():
    topic = create("deleted")
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    assert error_of(admin.delete_topics([topic])[topic].result) == "UNKNOWN_TOPIC_OR_PART"
    eventually(lambda: topic not in admin.list_topics(timeout=TIMEOUT_S).topics)


def test_recreated_topic_is_empty():
    topic = create("again")
    send(topic, [b"old"])
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    create("again")
    send(topic, [b"new"])
    assert values_of(receive(topic)) == [b"new"]


def test_create_partitions():
    topic = create("grown")
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(TIMEOUT_S)
    eventually(lambda: len(admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions) == 4)
    send(topic, [b"in the new one"], partition=3)
    assert values_of(receive(topic, partition=3)) == [b"in the new one"]
    for count in (4, 1):
        assert error_of(admin.create_partitions([NewPartitions(topic, count)])[topic].result) == "INVALID_PARTITIONS"


def configs(topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return admin.describe_configs([resource])[resource].result(TIMEOUT_S)


def alter(topic, name, value, operation):
    entry = ConfigEntry(name, value, incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    return admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)


def test_describe_configs():
    found = configs(create("configured", retention_ms="1234567"))
    own, default = found["retention.ms"], found["cleanup.policy"]
    assert own.value == "1234567" and own.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value and not own.is_default
    assert default.value == "delete" and default.source == ConfigSource.DEFAULT_CONFIG.value and default.is_default
    assert not own.is_read_only and not own.is_sensitive
    assert error_of(lambda: configs(PREFIX + "missing")) == "UNKNOWN_TOPIC_OR_PART"


def test_describe_broker_configs():
    node = str(min(admin.list_topics(timeout=TIMEOUT_S).brokers))
    resource = ConfigResource(ResourceType.BROKER, node)
    found = admin.describe_configs([resource])[resource].result(TIMEOUT_S)
    assert found["message.max.bytes"].value == "1048588"
    assert found["node.id"].value == node and found["node.id"].is_read_only


def test_incremental_alter_configs():
    topic = create("altered", retention_ms="1234567")
    alter(topic, "segment.bytes", "2000000", AlterConfigOpType.SET)
    alter(topic, "cleanup.policy", "compact", AlterConfigOpType.APPEND)
    alter(topic, "retention.ms", None, AlterConfigOpType.DELETE)
    found = configs(topic)
    assert found["segment.bytes"].value == "2000000"
    assert sorted(found["cleanup.policy"].value.split(",")) == ["compact", "delete"]
    assert found["retention.ms"].value == "604800000" and found["retention.ms"].is_default
    alter(topic, "cleanup.policy", "delete", AlterConfigOpType.SUBTRACT)
    assert configs(topic)["cleanup.policy"].value == "compact"
    assert error_of(lambda: alter(topic, "no.such.key", "1", AlterConfigOpType.SET)) == "INVALID_CONFIG"
    assert error_of(lambda: alter(topic, "retention.ms", "soon", AlterConfigOpType.SET)) == "INVALID_CONFIG"
    assert error_of(lambda: alter(PREFIX + "missing", "retention.ms", "1", AlterConfigOpType.SET)) == "UNKNOWN_TOPIC_OR_PART"


def list_offset(topic, spec, partition=0):
    where = TopicPartition(topic, partition)
    return admin.list_offsets({where: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)[where].result(TIMEOUT_S)


def test_list_offsets():
    topic, now = create("offsets"), int(time.time() * 1000)
    send(topic, [b"a", b"b", b"c"], timestamps=[now - 2000, now, now - 1000])
    assert list_offset(topic, OffsetSpec.earliest()).offset == 0
    assert list_offset(topic, OffsetSpec.latest()).offset == 3
    newest = list_offset(topic, OffsetSpec.max_timestamp())
    assert (newest.offset, newest.timestamp) == (1, now), newest
    at = list_offset(topic, OffsetSpec.for_timestamp(now - 1500))
    assert (at.offset, at.timestamp) == (1, now), at
    assert list_offset(topic, OffsetSpec.for_timestamp(now + 1)).offset == -1


def test_delete_records():
    topic = create("trimmed")
    send(topic, random_values(20))
    where = TopicPartition(topic, 0, 7)
    assert admin.delete_records([where])[where].result(TIMEOUT_S).low_watermark == 7
    assert list_offset(topic, OffsetSpec.earliest()).offset == 7
    assert [m.offset() for m in receive(topic)] == list(range(7, 20))
    beyond = TopicPartition(topic, 0, 21)
    assert error_of(admin.delete_records([beyond])[beyond].result) == "OFFSET_OUT_OF_RANGE"
    to_the_end = TopicPartition(topic, 0, OFFSET_END)
    assert admin.delete_records([to_the_end])[to_the_end].result(TIMEOUT_S).low_watermark == 20
    assert receive(topic) == []


def test_describe_cluster():
    cluster = admin.describe_cluster().result(TIMEOUT_S)
    host, port = BOOTSTRAP.rsplit(":", 1)
    assert (host, int(port)) in [(n.host, n.port) for n in cluster.nodes], cluster.nodes
    assert cluster.controller.id in [n.id for n in cluster.nodes]
    assert len(cluster.cluster_id) == 22, cluster.cluster_id


# --- producer ---


def check_round_trip(topic, **config):
    values = random_values(RECORDS)
    acked = send(topic, values, linger_ms=20, **config)
    # Acknowledgements may come for later records first, never with wrong offsets.
    assert sorted(m.offset() for m in acked) == list(range(len(values)))
    received = receive(topic, check_crcs=True)
    assert [m.offset() for m in received] == list(range(len(values)))
    assert values_of(received) == values
    assert [m.key() for m in received] == [b"k%d" % i for i in range(len(values))]


def test_produce_plain():
    check_round_trip(create("plain"), acks="all")


def test_produce_idempotent():
    check_round_trip(create("idempotent"), enable_idempotence=True)


def check_codec(codec):
    check_round_trip(create(codec), enable_idempotence=True, compression_codec=codec)


def test_produce_acks_one():
    check_round_trip(create("acks-one"), acks="1")


def test_produce_acks_none():
    topic = create("acks-none")
    acked = send(topic, [b"a", b"b", b"c"], acks="0")
    # Nobody knows the offsets.
    assert [m.offset() for m in acked] == [None] * 3
    client, messages = consumer(), []
    client.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    deadline = time.monotonic() + TIMEOUT_S
    while len(messages) < 3 and time.monotonic() < deadline:
        messages += [m for m in client.consume(3, timeout=0.1) if m.error() is None]
    client.close()
    assert values_of(messages) == [b"a", b"b", b"c"]


def test_headers():
    headers = [("same", b"1"), ("other", b"\x00\xff"), ("same", b"2"), ("null", None), ("empty", b""), ("same", b"1")]
    topic = create("headers")
    send(topic, [b"with", None], headers=headers)
    first, second = receive(topic)
    assert first.headers() == headers and second.headers() == headers
    assert first.value() == b"with" and second.value() is None


def test_timestamps():
    topic, appended = create("create-time"), create("append-time", message_timestamp_type="LogAppendTime")
    before, own = int(time.time() * 1000), 1_600_000_000_123
    send(topic, [b"a"], timestamps=[own])
    [acked] = send(appended, [b"a"], timestamps=[own])
    after = int(time.time() * 1000)
    assert receive(topic)[0].timestamp() == (TIMESTAMP_CREATE_TIME, own)
    kind, stamp = receive(appended)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME and before <= stamp <= after, (kind, before, stamp, after)
    assert acked.timestamp() == (TIMESTAMP_LOG_APPEND_TIME, stamp)


def delivery_error(topic, value, partition=0, **more):
    errors = []
    client = producer(message_max_bytes=5_000_000, retries=0)
    client.produce(topic, value, partition=partition, on_delivery=lambda error, message: errors.append(error), **more)
    assert client.flush(TIMEOUT_S) == 0
    return errors[0].name() if errors[0] else None


def test_produce_errors():
    topic = create("strict", max_message_bytes="1000", message_timestamp_after_max_ms="60000")
    assert delivery_error(topic, b"x" * 2000) == "MSG_SIZE_TOO_LARGE"
    late = int(time.time() * 1000) + 3_600_000
    assert delivery_error(topic, b"x", timestamp=late) == "INVALID_TIMESTAMP"
    compacted = create("compacted", cleanup_policy="compact")
    assert delivery_error(compacted, b"without a key") == "INVALID_RECORD"
    assert delivery_error(topic, b"x") is None
    assert values_of(receive(topic)) == [b"x"] and receive(compacted) == []


# --- consumer ---


def test_large_messages():
    topic = create("large", max_message_bytes="5000000")
    values = [random.Random(n).randbytes(n) for n in (4_000_000, 1, 4_000_001)]
    send(topic, values, message_max_bytes=5_000_000)
    # The first batch always comes, however small the limits of the fetch are.
    assert values_of(receive(topic, fetch_message_max_bytes=1000, fetch_max_bytes=1000, message_max_bytes=1000)) == values


def test_seeks():
    topic = create("seeks", partitions=2)
    values = random_values(100)
    send(topic, values, batch_num_messages=10)
    assert values_of(receive(topic, offset=55)) == values[55:]
    assert receive(topic, offset=OFFSET_END) == []
    client = consumer()
    client.assign([TopicPartition(topic, 0, 90)])
    assert [m.offset() for m in until_eof(client)] == list(range(90, 100))
    client.seek(TopicPartition(topic, 0, 13))
    assert [m.offset() for m in until_eof(client)] == list(range(13, 100))
    assert client.position([TopicPartition(topic, 0)])[0].offset == 100
    client.close()


def test_offset_out_of_range():
    topic = create("out-of-range")
    send(topic, [b"a", b"b"])
    assert values_of(receive(topic, offset=50, auto_offset_reset="earliest")) == [b"a", b"b"]
    assert error_of(lambda: receive(topic, offset=50, auto_offset_reset="error")) == "_AUTO_OFFSET_RESET"


def test_watermarks():
    topic = create("watermarks")
    client, where = consumer(), TopicPartition(topic, 0)
    assert client.get_watermark_offsets(where, timeout=TIMEOUT_S) == (0, 0)
    send(topic, [b"x"] * 5)
    assert client.get_watermark_offsets(where, timeout=TIMEOUT_S) == (0, 5)
    trim = TopicPartition(topic, 0, 3)
    admin.delete_records([trim])[trim].result(TIMEOUT_S)
    assert client.get_watermark_offsets(where, timeout=TIMEOUT_S) == (3, 5)
    client.close()


def test_offsets_for_times():
    topic, start = create("times", partitions=2), 1_700_000_000_000
    send(topic, [b"x"] * 10, timestamps=[start + n * 1000 for n in range(10)])
    client = consumer()

    def at(stamp, partition=0):
        return client.offsets_for_times([TopicPartition(topic, partition, stamp)], timeout=TIMEOUT_S)[0].offset

    assert at(start) == 0 and at(start + 4000) == 4 and at(start + 4001) == 5
    assert at(start + 9001) == OFFSET_END and at(start, partition=1) == OFFSET_END
    client.close()


def test_many_partitions():
    topic = create("many", partitions=10)
    for partition in range(10):
        send(topic, [b"%d-%d" % (partition, n) for n in range(20)], partition=partition)
    client = consumer()
    client.assign([TopicPartition(topic, partition, 5) for partition in range(10)])
    found = [[] for _ in range(10)]
    for message in until_eof(client, partitions=10):
        found[message.partition()].append(message.value())
    client.close()
    assert found == [[b"%d-%d" % (partition, n) for n in range(5, 20)] for partition in range(10)]


def test_unknown_topic():
    assert error_of(lambda: describe(PREFIX + "missing")) == "UNKNOWN_TOPIC_OR_PART"


def tests():
    for name, function in globals().copy().items():
        if name.startswith("test_"):
            yield name.removeprefix("test_").replace("_", "-"), function
    for codec in CODECS:
        yield f"codec-{codec}", lambda codec=codec: check_codec(codec)
    yield from groups.tests()


if __name__ == "__main__":
    run_tests(list(tests()), groups.LONG_ONLY if os.environ.get("SHORT") else ())
