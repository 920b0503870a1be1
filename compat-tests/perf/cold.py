"""A start after kill -9 and a read of everything, with nothing in the page cache."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import time

from brokers import Kafka, Ottla
from machine import process_cpu

RECORD_BYTES = 1024
BATCH_BYTES = 16_384


def loadgen(broker, mode, **options):
    words = [f"-{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [os.environ["LOADGEN"], mode, "-b", broker.address, "-topic", "cold", "-timeout", "600s", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    assert result["ok"], result
    return result


def forget_files():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def start_s(broker, partitions):
    """Seconds until the leaders of all partitions answer."""
    began = time.monotonic()
    broker.start()
    loadgen(broker, "topic", **{"await": "true"}, partitions=partitions)
    return time.monotonic() - began


def measure(kind, work, gigabytes, partitions):
    broker = {"ottla": Ottla, "kafka": Kafka}[kind](work)
    broker.start()
    loadgen(broker, "topic", create="true", partitions=partitions)
    wanted = int(gigabytes * 1e9 / RECORD_BYTES)
    count = loadgen(broker, "produce", n=wanted, size=RECORD_BYTES, batch=BATCH_BYTES, conns=4)["records"]
    broker.kill()
    forget_files()
    killed = start_s(broker, partitions)
    broker.stop()
    forget_files()
    stopped = start_s(broker, partitions)
    forget_files()
    used = sum(process_cpu(broker.pid))
    read = loadgen(broker, "consume", n=count, size=RECORD_BYTES)
    used = sum(process_cpu(broker.pid)) - used
    print(f"{kind}: {gigabytes:g} GB in {partitions} partitions: all are served {killed:.2f} s after a start that follows "
          f"kill -9, {stopped:.2f} s after one that follows an orderly stop;\n"
          f"    read from the disk with {read['mb_per_s']:.0f} MB/s and {used / gigabytes:.2f} s of broker CPU per GB", flush=True)
    broker.stop()


parser = argparse.ArgumentParser()
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("--gb", type=float, default=10)
parser.add_argument("--partitions", type=int, default=1_000)
parser.add_argument("brokers", nargs="*", default=["ottla", "kafka"])
options = parser.parse_intermixed_args()
for wanted in options.brokers:
    folder = options.work / wanted
    folder.mkdir()
    measure(wanted, folder, options.gb, options.partitions)
    shutil.rmtree(folder)
