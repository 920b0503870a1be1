"""Apache Kafka is filled and stopped, its log dir is imported, and then the same clients see the same."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from brokers import Kafka, Ottla
from cluster.nodes import COMPAT, Cluster
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec
from harness import TIMEOUT_S, eventually, run_tests

WORK = pathlib.Path(sys.argv[1])
GROUPS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "200",
}
CLEANER = {"log.cleaner.backoff.ms": "100", "log.retention.check.interval.ms": "500"}
# So that some of the metadata is in a snapshot and some behind it.
SNAPSHOTS = {"metadata.log.max.snapshot.interval.ms": "3000"}
# Long enough for a transaction that is left open.
TRANSACTIONS = {"transactional_id": "t", "transaction_timeout_ms": 900_000}
ISOLATIONS = {"uncommitted": IsolationLevel.READ_UNCOMMITTED, "committed": IsolationLevel.READ_COMMITTED}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
MARKER_BYTES = 78
TRIMMED = ["trimmed", "emptied", "segments-gone"]
OLD_MS = int(time.time() * 1000) - 3_600_000

# Compaction goes on as soon as it may, and then not everything is the same.
PAUSE = {"log.cleaner.enable": "false"}

kafka = Kafka(WORK, GROUPS | CLEANER | SNAPSHOTS | {"group.consumer.assignment.interval.ms": "0"})
ottla = Ottla(WORK, GROUPS | CLEANER | PAUSE)
before, before_undecided = {}, []
open_producers = []


def settle(futures):
    for future in futures.values():
        future.result(TIMEOUT_S)


@functools.cache
def client_of(address, _start):
    return AdminClient({"bootstrap.servers": address})


def admin(broker):
    """Kept for as long as the broker runs, because what is asked goes with who asks."""
    return client_of(broker.address, broker.pid)


def create(broker, name, partitions=1, **configs):
    configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
    settle(admin(broker).create_topics([NewTopic(name, partitions, 1, config=configs)]))


def producer(broker, **settings):
    return Producer({"bootstrap.servers": broker.address, "log_level": 0, **{key.replace("_", "."): value for key, value in settings.items()}})


def send(client, topic, records, partition=0):
    failed = []
    told = lambda error, _: error and failed.append(error)
    for key, value, headers, timestamp in records:
        client.produce(topic, value=value, key=key, headers=headers, timestamp=timestamp, partition=partition, on_delivery=told)
        client.poll(0)
    assert client.flush(TIMEOUT_S) == 0 and not failed, failed


def sample(count, name="v"):
    """Null keys, null values, no headers, many headers, times that go back."""
    for i in range(count):
        key = None if i % 5 == 0 else f"k{i % 17}".encode()
        value = None if i % 7 == 3 else f"{name}-{i}-".encode() * (1 + i % 40)
        headers = [("n", str(i).encode()), ("n", None), ("", b"\0\xff")] if i % 3 == 0 else None
        yield key, value, headers, OLD_MS + (i * 7919) % 100_000


def plain(broker):
    for codec in CODECS:
        create(broker, f"codec-{codec}", partitions=3, segment_bytes=1_048_576, retention_ms=86_400_000)
        client = producer(broker, compression_type=codec, linger_ms=5, enable_idempotence=codec == "zstd")
        for partition in range(3):
            send(client, f"codec-{codec}", sample(400 * (partition + 1), codec), partition)
    create(broker, "append-time", message_timestamp_type="LogAppendTime")
    send(producer(broker), "append-time", sample(50))
    create(broker, "empty", partitions=2)
    create(broker, "again")
    send(producer(broker), "again", sample(10, "the first"))
    settle(admin(broker).delete_topics(["again"]))
    eventually(lambda: "again" not in admin(broker).list_topics(timeout=TIMEOUT_S).topics)
    create(broker, "again")
    send(producer(broker), "again", sample(20, "the second"))
    # Larger than what is read at once.
    create(broker, "large", max_message_bytes=10_000_000)
    client = producer(broker, message_max_bytes=10_000_000)
    send(client, "large", [(b"k", os.urandom(size), None, OLD_MS) for size in (6_000_000, 10, 300_000, 900_000, 5_000_000)])


def compacted(broker):
    create(
        broker, "compacted", cleanup_policy="compact", segment_bytes=1_048_576, min_cleanable_dirty_ratio=0.01, delete_retention_ms=1
    )
    client = producer(broker, linger_ms=5)
    for i in range(6):
        records = [(f"k{n % 40}".encode(), os.urandom(500) if n % 40 else None, None, OLD_MS) for n in range(2000)]
        send(client, "compacted", [(f"once-{i}".encode(), b"stays", None, OLD_MS), *records])
    # The active segment alone is not cleaned.
    eventually(lambda: len(records_of(broker, TopicPartition("compacted", 0))) < 4000, 60)


def trimmed(broker):
    for name, before_offset in (("trimmed", 137), ("emptied", -1)):
        create(broker, name, segment_bytes=1_048_576)
        send(producer(broker), name, sample(500))
        place = TopicPartition(name, 0, before_offset)
        settle(admin(broker).delete_records([place]))
    create(broker, "segments-gone", segment_bytes=1_048_576, file_delete_delay_ms=1)
    send(producer(broker), "segments-gone", [(None, os.urandom(10_000), None, OLD_MS) for _ in range(500)])
    settle(admin(broker).delete_records([TopicPartition("segments-gone", 0, 300)]))
    folder = broker.logs / "segments-gone-0"
    eventually(lambda: not (folder / f"{0:020}.log").exists())


def in_transaction(client, abort, *sends):
    client.begin_transaction()
    for topic, records, partition in sends:
        send(client, topic, records, partition)
    if abort is not None:
        client.abort_transaction(TIMEOUT_S) if abort else client.commit_transaction(TIMEOUT_S)


def transactional_producer(broker, name, **settings):
    client = producer(broker, **TRANSACTIONS | {"transactional_id": name}, **settings)
    client.init_transactions(TIMEOUT_S)
    return client


def transactional(broker):
    create(broker, "transactional", partitions=2)
    client = transactional_producer(broker, "t", compression_type="lz4")
    for i in range(6):
        in_transaction(client, i % 3 == 1, *(("transactional", sample(15, f"in {i}"), partition) for partition in range(2)))
    send(producer(broker), "transactional", sample(5, "outside"))
    # Several at the same time, over several segments.
    create(broker, "at-once", segment_bytes=1_048_576)
    clients = [transactional_producer(broker, f"at once {i}") for i in range(3)]
    for i in range(40):
        one, other = clients[i % 3], clients[(i + 1) % 3]
        one.begin_transaction()
        in_transaction(other, i % 4 == 2, ("at-once", sample(90, f"{i} within"), 0))
        send(one, "at-once", sample(90, f"{i} around"))
        one.abort_transaction(TIMEOUT_S) if i % 4 > 1 else one.commit_transaction(TIMEOUT_S)
        send(producer(broker), "at-once", sample(2, f"{i} outside"))
    # Nobody has cleaned it yet.
    create(broker, "dirty", cleanup_policy="compact", segment_bytes=1_048_576, min_compaction_lag_ms=86_400_000, delete_retention_ms=1)
    for i in range(12):
        records = [(f"k{n % 40}".encode(), f"{i} aborted={i % 2}".encode() + os.urandom(900), None, OLD_MS) for n in range(400)]
        in_transaction(client, i % 2 == 1, ("dirty", records, 0))


def undecided(broker):
    """Offsets and records of transactions that end so and so, and of one that does not."""
    create(broker, "undecided")
    places = [TopicPartition("codec-none", partition, 11) for partition in range(3)]
    settle(admin(broker).alter_consumer_group_offsets([ConsumerGroupTopicPartitions("within", places)]))
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "within"})
    metadata = consumer.consumer_group_metadata()
    for partition, abort in ((0, False), (1, True), (2, None)):
        client = transactional_producer(broker, f"offsets {partition}")
        client.begin_transaction()
        client.send_offsets_to_transaction([TopicPartition("codec-none", partition, 77)], metadata, TIMEOUT_S)
        send(client, "undecided", [(b"k", f"{abort} {i}".encode(), None, OLD_MS) for i in range(5)])
        if abort is not None:
            client.abort_transaction(TIMEOUT_S) if abort else client.commit_transaction(TIMEOUT_S)
        # A producer that goes would abort what it has open.
        open_producers.append(client)
    consumer.close()
    send(producer(broker), "undecided", [(b"k", b"outside", None, OLD_MS)])


def commit(broker, group, topic, count, **settings):
    """A member of the group reads so many records of a topic and commits."""
    settings = {key.replace("_", "."): value for key, value in settings.items()}
    client = Consumer(
        {"bootstrap.servers": broker.address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        | settings
    )
    client.subscribe([topic])
    found = []
    eventually(lambda: found.extend(client.consume(count - len(found), 0.2)) or len(found) >= count)
    client.commit(asynchronous=False)
    client.close()


def groups(broker):
    commit(broker, "classic", "codec-none", 300)
    commit(broker, "classic", "codec-gzip", 100)
    commit(broker, "modern", "codec-zstd", 500, group_protocol="consumer")
    places = [TopicPartition("trimmed", 0, 200, "my metadata"), TopicPartition("empty", 1, 0)]
    settle(admin(broker).alter_consumer_group_offsets([ConsumerGroupTopicPartitions("alone", places)]))


def records_of(broker, place, isolation="uncommitted"):
    """All records of a partition as a consumer sees them."""
    client = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "looks",
            "enable.auto.commit": False,
            "isolation.level": f"read_{isolation}",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
            "fetch.message.max.bytes": 12_000_000,
        }
    )
    client.assign([TopicPartition(place.topic, place.partition, OFFSET_BEGINNING)])
    found, deadline = [], time.monotonic() + TIMEOUT_S
    while True:
        assert time.monotonic() < deadline, f"no end of {place}"
        message = client.poll(0.2)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == -191, message.error()
            break
        found.append(
            (message.offset(), message.timestamp(), message.key(), message.value(), message.headers(), message.leader_epoch())
        )
    client.close()
    return found


def places_of(client):
    return [place for topic in client.list_topics(timeout=TIMEOUT_S).topics.values() for place in topic.partitions.values()]


def everything(broker):
    """What clients can find out."""
    client, seen = admin(broker), {}
    eventually(lambda: all(place.leader >= 0 for place in places_of(client)))
    topics = client.list_topics(timeout=TIMEOUT_S).topics
    # What is left undecided is ended by the import: see `decided`.
    names = sorted(name for name in topics if not name.startswith("__") and name != "undecided")
    described = client.describe_topics(TopicCollection(names))
    for name in names:
        seen["id", name] = str(described[name].result(TIMEOUT_S).topic_id)
        places = [TopicPartition(name, partition) for partition in sorted(topics[name].partitions)]
        seen["partitions", name] = len(places)
        for place in places:
            for isolation in ISOLATIONS:
                seen["records", name, place.partition, isolation] = records_of(broker, place, isolation)
        for spec in ("earliest", "latest", "max_timestamp", OLD_MS + 50_000, OLD_MS + 99_999, 1):
            wanted = getattr(OffsetSpec, spec)() if isinstance(spec, str) else OffsetSpec.for_timestamp(spec)
            if spec == "max_timestamp" and name in TRIMMED:
                # Apache Kafka answers with a record that is deleted.
                continue
            for isolation, level in ISOLATIONS.items():
                asked = client.list_offsets({place: wanted for place in places}, isolation_level=level)
                for place, future in asked.items():
                    found = future.result(TIMEOUT_S)
                    seen["offset", name, place.partition, spec, isolation] = (found.offset, found.timestamp)
        (asked,) = client.describe_configs([ConfigResource("topic", name)]).values()
        configs = asked.result(TIMEOUT_S).items()
        seen["configs", name] = {key: entry.value for key, entry in configs if entry.source == 1}
    for group in ("classic", "modern", "alone", "within"):
        (asked,) = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        places = asked.result(TIMEOUT_S).topic_partitions
        seen["committed", group] = sorted((p.topic, p.partition, p.offset, p.metadata) for p in places)
        (asked,) = client.describe_consumer_groups([group]).values()
        described = asked.result(TIMEOUT_S)
        seen["group", group] = (described.state, described.type, list(described.members))
    return seen


def same(found, expected):
    different = [key for key in sorted(expected.keys() | found.keys(), key=str) if expected.get(key) != found.get(key)]
    for key in different[:5]:
        print(key, str(expected.get(key))[:600], str(found.get(key))[:600], sep="\n  ")
    assert not different, f"{len(different)} differences: {different[:20]}"


def batches(logs, place):
    return b"".join(path.read_bytes() for path in sorted((logs / place).glob("*.log")))


def import_(*options, logs=None, source=None):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "OTTLA_"))}
    env["KAFKA_LOG_DIRS"] = str(logs or ottla.logs)
    command = [os.environ["OTTLA_BIN"], "import", "--from", str(source or kafka.logs), *options]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


def filled():
    kafka.start()
    for fill in (plain, compacted, trimmed, transactional, groups, undecided):
        fill(kafka)
    # Another leader epoch, also for partitions that get nothing in it.
    kafka.stop()
    kafka.start()
    send(producer(kafka), "codec-none", sample(30, "later"))
    assert len(list((kafka.logs / "__cluster_metadata-0").glob("*.checkpoint"))) > 1, "no snapshot of the metadata"
    before.update(everything(kafka))
    kept = [offset for offset, *_ in before["records", "compacted", 0, "uncommitted"]]
    assert len(kept) < kept[-1] - kept[0], "nothing was compacted"
    earliest = lambda topic: before["offset", topic, 0, "earliest", "committed"][0]
    assert (earliest("trimmed"), earliest("emptied")) == (137, 500)
    assert 0 < earliest("segments-gone") <= 300
    for name in ("transactional", "at-once", "dirty"):
        seen, all_ = (before["records", name, 0, isolation] for isolation in ("committed", "uncommitted"))
        assert 0 < len(seen) < len(all_), f"nothing was aborted in {name}"
    offsets = [place[1:3] for place in before["committed", "within"]]
    assert offsets == [(0, 77), (1, 11), (2, 11)], before["committed", "within"]
    place = TopicPartition("undecided", 0)
    assert [record[3] for record in records_of(kafka, place, "committed")] == [f"False {i}".encode() for i in range(5)]
    before_undecided.extend(records_of(kafka, place))


def running():
    done = import_()
    assert done.returncode == 1 and "must be stopped" in done.stdout, done
    kafka.stop()


def damaged():
    copy, logs = WORK / "damaged", WORK / "damaged-data"
    shutil.copytree(kafka.logs, copy)
    hurt = copy / "codec-none-0" / f"{0:020}.log"
    content = bytearray(hurt.read_bytes())
    content[-10] ^= 1
    hurt.write_bytes(content)
    done = import_(logs=logs, source=copy)
    assert done.returncode == 1 and "checksum is wrong" in done.stdout and "codec-none-0" in done.stdout, done
    env = {"KAFKA_LOG_DIRS": str(logs), "KAFKA_LISTENERS": "PLAINTEXT://127.0.0.1:0", "OTTLA_METRICS_LISTENER": ""}
    server = subprocess.run([os.environ["OTTLA_BIN"], "server"], env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert server.returncode == 1 and "cut short" in server.stderr, server
    done = import_("--partial", logs=logs, source=copy)
    assert done.returncode == 0 and "cut: codec-none-0 ends at offset" in done.stdout, done
    broken = batches(logs, "codec-none-0")
    whole = batches(kafka.logs, "codec-none-0")
    assert 0 < len(broken) < len(whole) and whole.startswith(broken)


def imported():
    done = import_()
    print(done.stdout)
    assert done.returncode == 0, done
    places = [path.name for path in kafka.logs.iterdir() if (path / "partition.metadata").exists()]
    left_out = ("__transaction_state", "__cluster_metadata")
    places = [place for place in places if not place.startswith(left_out) and not place.endswith("-delete")]
    assert len(places) > 70
    # A marker ends a transaction that was open.
    ended = 0
    for place in places:
        whole, copied = batches(kafka.logs, place), batches(ottla.logs, place)
        assert copied.startswith(whole), place
        assert len(copied) - len(whole) in (0, MARKER_BYTES), place
        ended += copied != whole
    assert ended == 2 and "note: topic undecided had open transactions: 1 are aborted" in done.stdout, ended
    again = import_()
    assert again.returncode == 1 and "not empty" in again.stdout, again


def indexed():
    """The index files of aborted transactions are the same, and Kafka's tool reads them."""
    said = {}
    for logs in (kafka.logs, ottla.logs):
        copies = WORK / f"txnindex-{logs.parent.name}"
        for path in logs.glob("*-[0-9]*/*.txnindex"):
            if path.stat().st_size and path.parent.name != "undecided-0" and not path.parent.name.startswith("__"):
                (copies / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copies / path.parent.name)
        files = sorted(str(path) for path in copies.glob("*/*"))
        command = [COMPAT / "kafka/tool", "kafka-dump-log", "--files", ",".join(files)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done
        said[logs] = done.stdout.replace(str(copies), "")
    assert said[kafka.logs] == said[ottla.logs], said
    # A topic that was cleaned, or whose segments are gone, has none.
    assert said[ottla.logs].count("producerId") > 20 and said[ottla.logs].count("Dumping") > 4, said


def decided():
    """A transaction that was open is aborted; what comes after it is seen."""
    place = TopicPartition("undecided", 0)
    assert records_of(ottla, place) == before_undecided
    expected = [record for record in before_undecided if record[3].startswith((b"False", b"outside"))]
    assert len(expected) == 6 and records_of(ottla, place, "committed") == expected


def seen():
    ottla.start()
    same(everything(ottla), before)


def killed():
    ottla.kill()
    ottla.start()
    same(everything(ottla), before)


def goes_on():
    """New records get the offsets that follow, in a later leader epoch, and the groups go on where they were."""
    for name in ("codec-none", "compacted", "trimmed", "emptied", "transactional", "empty"):
        end = before["offset", name, 0, "latest", "uncommitted"][0]
        records = [(b"k", f"new {i}".encode(), None, OLD_MS) for i in range(20)]
        send(producer(ottla, enable_idempotence=True), name, records)
        old, found = before["records", name, 0, "uncommitted"], records_of(ottla, TopicPartition(name, 0))
        assert found[: len(old)] == old
        assert [record[0] for record in found[len(old) :]] == list(range(end, end + 20)), name
        assert old == [] or found[-1][5] > max(record[5] for record in old)
    committed = {place[:2]: place[2] for place in before["committed", "modern"]}
    commit(ottla, "modern", "codec-zstd", 100, group_protocol="consumer")
    (asked,) = admin(ottla).list_consumer_group_offsets([ConsumerGroupTopicPartitions("modern")]).values()
    now = {(p.topic, p.partition): p.offset for p in asked.result(TIMEOUT_S).topic_partitions}
    assert sum(now.values()) == sum(committed.values()) + 100, (committed, now)
    after = everything(ottla)
    ottla.stop()
    ottla.start()
    same(everything(ottla), after)


def compaction():
    """It goes on where it was."""
    ottla.stop()
    ottla.settings.pop("log.cleaner.enable")
    ottla.start()
    place = TopicPartition("compacted", 0)
    client = producer(ottla, linger_ms=5)
    old = records_of(ottla, place)
    send(client, "compacted", [(f"k{n % 40}".encode(), os.urandom(500), None, OLD_MS) for n in range(1, 6000) if n % 40])
    eventually(lambda: len(records_of(ottla, place)) < len(old) + 1000, 60)
    found = records_of(ottla, place)
    assert [record for record in old if record[2].startswith(b"once")] == [record for record in found if record[2].startswith(b"once")]
    # What was aborted goes; the rest is as it was.
    place = TopicPartition("dirty", 0)
    latest = lambda: {record[2]: record for record in records_of(ottla, place, "committed")}
    old, was_aborted = latest(), lambda: [record for record in records_of(ottla, place) if b"aborted=1" in record[3]]
    assert len(was_aborted()) == 6 * 400
    lag = ConfigEntry("min.compaction.lag.ms", "0", incremental_operation=AlterConfigOpType.SET)
    settle(admin(ottla).incremental_alter_configs([ConfigResource("topic", "dirty", incremental_configs=[lag])]))
    # The active segment is not cleaned.
    eventually(lambda: len(was_aborted()) < 3 * 400, 60)
    assert latest() == old
    ottla.kill()
    ottla.start()
    assert latest() == old
    ottla.stop()


def others():
    """A node that has imported is the first one of a cluster; the others get replicas of what it has, and one of them leads it."""
    settings, environment = GROUPS | PAUSE, {"OTTLA_AUTO_REPLICA_REBALANCE_ENABLE": "false"}
    with Cluster("ottla", WORK / "cluster", settings=settings, environment=environment) as cluster:
        first = cluster.nodes[1]
        done = import_(logs=first.data)
        assert done.returncode == 0, done
        cluster.start()
        topics = admin(first).list_topics(timeout=TIMEOUT_S).topics
        moves = [{"topic": name, "partition": index, "replicas": [2, 3, 1]} for name in topics for index in topics[name].partitions]
        plan = WORK / "moves.json"
        plan.write_text(json.dumps({"version": 1, "partitions": moves}))
        tool = [COMPAT / "kafka/tool", "kafka-reassign-partitions", "--bootstrap-server", first.address]
        # Replicas of the groups' topic are on their way by themselves, perhaps.
        done = subprocess.run([*tool, "--reassignment-json-file", plan, "--execute", "--additional"], capture_output=True, text=True)
        assert done.returncode == 0, done
        moving = lambda: "No partition reassignments found" not in subprocess.run([*tool, "--list"], capture_output=True, text=True).stdout
        eventually(lambda: not moving() and all(len(place.isrs) == 3 for place in places_of(admin(first))), 90)
        cluster.forget(first)
        eventually(lambda: all(place.leader > 1 for place in places_of(admin(cluster.nodes[2]))))
        same(everything(cluster.nodes[2]), before)
        for place in kafka.logs.glob("*-[0-9]"):
            # Of what is deleted other replicas need not have the bytes.
            is_whole = place.name.rsplit("-", 1)[0] not in TRIMMED
            if is_whole and (first.data / place.name).exists():
                copies = [batches(node.data, place.name) for node in cluster.nodes.values()]
                assert all(batches(kafka.logs, place.name) in copy for copy in copies), place.name


run_tests([
    ("filled", filled),
    ("a-running-broker-is-refused", running),
    ("damage-is-found", damaged),
    ("batches-are-the-same", imported),
    ("aborted-are-the-same", indexed),
    ("clients-see-the-same", seen),
    ("what-was-open-is-aborted", decided),
    ("after-kill-9", killed),
    ("goes-on", goes_on),
    ("compaction-goes-on", compaction),
    ("others-get-replicas", others),
], left_out=("after-kill-9", "others-get-replicas") if os.environ.get("SHORT") else ())
