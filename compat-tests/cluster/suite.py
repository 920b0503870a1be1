"""A cluster under foreign clients and tools, of Ottla or of Apache Kafka as $BROKER says: suite.py WORK-DIR JAVA-COMMAND..."""

import os
import pathlib
import signal
import sys

from cluster import bed, tools
from cluster.nodes import Cluster
from harness import run_tests
from toolbox import Toolbox

# What groups wait for by default is too long for tests; leaders move only when the tests say so.
SETTINGS = {
    "group.initial.rebalance.delay.ms": "100",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    "auto.leader.rebalance.enable": "false",
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}
# Apache Kafka alone: it notices a dead broker after 9 s by default.
KAFKA_SETTINGS = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.consumer.assignment.interval.ms": "0",
}


def started(name, quorum):
    settings = SETTINGS | (KAFKA_SETTINGS if bed.KIND == "kafka" else {})
    bed.cluster = Cluster(bed.KIND, bed.work / name, quorum=quorum, racks="abc", settings=settings)
    bed.cluster.start()


def chosen(tests):
    only = os.environ.get("ONLY")
    return [(name, run) for name, run in tests if not only or name in only.split(",")]


def main():
    bed.work = pathlib.Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bed.box = Toolbox(sys.argv[2:], "", bed.work)
        started("voters", "voters")
        run_tests(chosen(tools.TESTS))
    finally:
        if bed.cluster:
            bed.cluster.end()


if __name__ == "__main__":
    main()
