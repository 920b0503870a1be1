"""A cluster under foreign clients and tools, of Ottla or of Apache Kafka as $BROKER says: suite.py WORK-DIR JAVA-COMMAND..."""

import os
import pathlib
import signal
import sys

from cluster import bed, failures, load, tools
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

# Ottla alone: replicas move only when the tests say so.
STILL = {"OTTLA_AUTO_REPLICA_REBALANCE_ENABLE": "false"}

# They take minutes: all replicas move, several times.
LONG_ONLY = {"grow-and-shrink"}


def started(name, quorum, environment=None):
    settings = SETTINGS | (KAFKA_SETTINGS if bed.KIND == "kafka" else {})
    bed.cluster = Cluster(bed.KIND, bed.work / name, quorum=quorum, racks="abc", settings=settings, environment=environment)
    bed.cluster.start()
    # Made while a node is down, the topic of the groups would have fewer replicas first.
    bed.box.run("kafka-consumer-groups", "--describe", "--group", "none", bootstrap=bed.cluster.bootstrap)
    bed.eventually(lambda: "__consumer_offsets" in bed.node(1).metadata().topics)
    bed.whole("__consumer_offsets")


def formed_by_voters():
    started("voters", "voters", STILL)
    assert {n.metadata().cluster for n in bed.cluster.nodes.values()} == {bed.node(1).metadata().cluster}
    assert bed.node(2).metadata().brokers == {n: ("127.0.0.1", bed.node(n).port, "abc"[n - 1]) for n in (1, 2, 3)}


def stopped_in_order():
    bed.cluster.stop()
    codes = [n.process.returncode for n in bed.cluster.nodes.values()]
    assert set(codes) <= {0, 143}, codes


def formed_by_bootstrap_servers():
    if bed.cluster:
        bed.cluster.end()
    # Here a node that comes gets its share.
    started("bootstrap", "bootstrap")


FIRST = [("formed-by-voters", formed_by_voters), *tools.TESTS, *failures.TESTS, ("stopped-in-order", stopped_in_order)]
SECOND = [("formed-by-bootstrap-servers", formed_by_bootstrap_servers), *load.TESTS]


def chosen():
    """All tests, or those that $ONLY names and what brings up the cluster for them."""
    only = os.environ.get("ONLY", "").split(",")
    if only == [""]:
        return FIRST + SECOND
    return [test for part in (FIRST, SECOND) if any(name in only for name, _ in part)
            for test in part if test[0] in only or test is part[0]]


def main():
    bed.work = pathlib.Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bed.box = Toolbox(sys.argv[2:], "", bed.work)
        run_tests(chosen(), LONG_ONLY if bed.SHORT else ())
    finally:
        if bed.cluster:
            bed.cluster.end()


if __name__ == "__main__":
    main()
