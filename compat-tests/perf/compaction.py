"""A million keys in a compacted topic, beside a map that is built while they are written.

First cleaning is off: the topic is written, and the latency of another topic is taken as it is without cleaning. Then the
broker starts with cleaning, and the latency is taken while all of it is cleaned."""

import argparse
import pathlib
import random
import shutil
import time

from brokers import Kafka, Ottla
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import TIMEOUT_S, eventually

KEYS = 1_000_000
VALUE_BYTES = 1_000
SEGMENT_BYTES = 100 << 20
PER_SECOND = 2_000
LATENCY_S = 8
# What is sent while the client of a broker that has just started finds its leader.
WARM_UP = 2 * PER_SECOND


def create(broker, name, **config):
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(TIMEOUT_S)


def write(broker, count):
    """Returns the number that each key had last."""
    producer = Producer({
        "bootstrap.servers": broker.address, "linger.ms": 20, "batch.size": 500_000, "enable.idempotence": True,
        "queue.buffering.max.messages": 200_000, "queue.buffering.max.kbytes": 400_000,
    })
    chosen, padding, latest = random.Random(7), b"." * (VALUE_BYTES - 19), {}
    for number in range(count):
        key = chosen.randrange(KEYS)
        latest[key] = number
        while True:
            try:
                producer.produce("big", value=b"%019d" % number + padding, key=b"%012d" % key)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1_000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0
    return latest


def latency_ms(broker):
    """p50 and p99 of single records at a steady rate."""
    producer, took = Producer({"bootstrap.servers": broker.address, "linger.ms": 0, "enable.idempotence": True}), []
    began, sent = time.monotonic(), 0
    while time.monotonic() < began + LATENCY_S:
        at = time.monotonic()
        producer.produce("other", value=b"." * VALUE_BYTES, on_delivery=lambda error, _, at=at: took.append(time.monotonic() - at))
        sent += 1
        while time.monotonic() < began + sent / PER_SECOND:
            producer.poll(0.0002)
    assert producer.flush(60) == 0
    took = sorted(took[WARM_UP:])
    return 1000 * took[len(took) // 2], 1000 * took[len(took) * 99 // 100]


def status(broker, key):
    lines = pathlib.Path(f"/proc/{broker.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) // 1024


def cpu_s(broker):
    fields = pathlib.Path(f"/proc/{broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def size(broker):
    total = 0
    for path in (broker.logs / "big-0").glob("*.log"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total


def settled(broker):
    """Seconds until the topic's size stops to change."""
    began = changed = time.monotonic()
    last = size(broker)
    while time.monotonic() < changed + 10:
        time.sleep(0.25)
        if (now := size(broker)) != last:
            last, changed = now, time.monotonic()
    return changed - began


def left(broker):
    """How many records there are, and the number that each key has."""
    client = Consumer({"bootstrap.servers": broker.address, "group.id": "compaction", "enable.auto.commit": False})
    place, found, count = TopicPartition("big", 0, OFFSET_BEGINNING), {}, 0
    client.assign([place])

    def end():
        try:
            return client.get_watermark_offsets(place, timeout=TIMEOUT_S)[1]
        except KafkaException:
            return None

    last = eventually(end)
    while client.position([place])[0].offset < last:
        for message in client.consume(50_000, timeout=1):
            assert not message.error(), message.error()
            found[int(message.key())], count = int(message.value()[:19]), count + 1
    client.close()
    return count, found


def measure(kind, work, gigabytes):
    broker = {"ottla": Ottla, "kafka": Kafka}[kind](work)
    broker.settings = {"log.cleaner.enable": "false"} if kind == "ottla" else {"log.cleaner.backoff.ms": "86400000"}
    broker.start()
    create(broker, "big", **{"cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES)})
    create(broker, "other")
    latest = write(broker, int(gigabytes * 1e9 / VALUE_BYTES))
    # Which may still be on its way to the disk.
    time.sleep(10)
    before = size(broker)
    latency_ms(broker)
    calm = latency_ms(broker)
    broker.stop()
    broker.settings = {"log.cleaner.backoff.ms": "500"}
    broker.start()
    if isinstance(broker, Kafka):
        latency_ms(broker)
    began_cpu = cpu_s(broker)
    cleaning = latency_ms(broker)
    seconds = settled(broker)
    used = cpu_s(broker) - began_cpu
    count, found = left(broker)
    assert found == latest, "what is left is not the latest"
    print(f"{kind}: {before / 1e9:.2f} GB cleaned to {size(broker) / 1e9:.2f} GB within {LATENCY_S + seconds:.0f} s; "
          f"{count} records of {len(found)} keys are left, each key's last among them\n"
          f"    memory (RSS) at most {status(broker, 'VmHWM')} MiB; CPU {used:.1f} s\n"
          f"    {PER_SECOND} records a second to another topic, p50 and p99: {calm[0]:.1f} and {calm[1]:.1f} ms; "
          f"while it is cleaned {cleaning[0]:.1f} and {cleaning[1]:.1f} ms", flush=True)
    broker.stop()


parser = argparse.ArgumentParser()
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("--gb", type=float, default=5)
parser.add_argument("brokers", nargs="*", default=["ottla", "kafka"])
options = parser.parse_intermixed_args()
for wanted in options.brokers:
    folder = options.work / wanted
    folder.mkdir()
    measure(wanted, folder, options.gb)
    shutil.rmtree(folder)
