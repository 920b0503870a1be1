"""The tests of a cluster: three nodes on this machine, every partition on all of them, acks=all with two in sync."""

import os
import subprocess
import time

from cluster.nodes import Cluster
from machine import Usage, memory_mib, process_cpu_fine, wait_until_quiet

SIZE = 3
TOPICS, PARTITIONS_EACH = 100, 10
MANY = ("-topic", "many", "-count", TOPICS, "-partitions", PARTITIONS_EACH, "-timeout", "280s")


class ClusterBroker:
    """What Broker is for one, for three together."""

    def __init__(self, bench, kind, directory, jvm, binary):
        self.name = kind
        settings = bench.kafka_set if kind == "kafka" else {}
        directory.mkdir(parents=True, exist_ok=True)
        self.cluster = Cluster(kind, directory, SIZE, settings=settings, environment=bench.ottla_env, jvm=jvm, binary=binary)

    def start(self):
        """Returns the ms from the first spawn until every node knows all, and what the machine did meanwhile."""
        usage, began = Usage(), time.monotonic()
        self.cluster.start()
        usage.pids = self.pids
        return 1000 * (time.monotonic() - began), usage.done()

    @property
    def pids(self):
        return [node.pid for node in self.cluster.running()]

    @property
    def address(self):
        return self.cluster.nodes[1].address

    def stop(self):
        self.cluster.stop()

    def alive(self):
        return len(self.cluster.running()) == SIZE


class ClusterTests:
    """The part of Bench that has a cluster for a broker."""

    def test_cluster_cost(self):
        broker = self.broker
        wait_until_quiet(self.amount("quiet_seconds"))
        start_ms, usage = broker.start()
        time.sleep(self.amount("settle_seconds"))
        self.record("cluster_cost", usage, start_ms=start_ms, **self.memory("idle"))

        usage = Usage(broker.pids)
        created = self.call("topic", "-create", "-rf", SIZE, *MANY)
        self.record("cluster_cost", usage.done(), create_1000_ms=created["ready_ms"])
        time.sleep(self.amount("settle_seconds"))
        before = list(map(process_cpu_fine, broker.pids))
        usage = Usage(broker.pids)
        time.sleep(self.amount("idle_seconds"))
        used = usage.done()
        each = [100 * (now - then) / used["wall_s"] for now, then in zip(map(process_cpu_fine, broker.pids), before)]
        self.record("cluster_cost", used, idle_cpu_pct=max(each), idle_cpu_each_pct=each, **self.memory("loaded"))

        broker.cluster.end()
        os.sync()
        wait_until_quiet(self.amount("quiet_seconds"))
        began, usage = time.monotonic(), Usage()
        broker.cluster.spawn()
        self.call("topic", "-await", *MANY)
        recover_ms = 1000 * (time.monotonic() - began)
        usage.pids = broker.pids
        self.record("cluster_cost", usage.done(), recover_1000_ms=recover_ms)

    def memory(self, when):
        """The largest of the nodes counts."""
        each = [memory_mib(pid)["VmRSS"] for pid in self.broker.pids]
        return {f"{when}_rss_mib": max(each), f"{when}_rss_each_mib": each}

    def cluster_load(self, name, tests, failures):
        self.broker.start()
        self.cluster_warm_up()
        for test in tests:
            try:
                getattr(self, "test_" + test)()
            except (*failures, subprocess.TimeoutExpired) as why:
                self.fail(name, test, why)
                if not self.broker.alive():
                    raise

    def cluster_warm_up(self):
        """As for one broker, without reading."""
        limit = ("-secs", self.amount("warm_seconds"))
        for _ in range(self.amount("warm_passes")):
            topic = self.topic(copies=SIZE)
            self.client("produce", topic, "-batch", 16384, "-n", self.amount("cluster_warm_records"), *limit)
            self.client("produce", topic, "-batch", 131072, "-n", self.amount("cluster_warm_records"), *limit)
            self.client("produce", topic, "-batch", 1, "-inflight", 256, "-n", 10**9, "-secs", self.amount("warm_onerec_seconds"))
            self.delete(topic)

    def test_cluster_produce128(self):
        self.cluster_produce("cluster_produce128", 131072, self.amount("cluster_128k_records"))

    def test_cluster_produce16(self):
        self.cluster_produce("cluster_produce16", 16384, self.amount("cluster_16k_records"))

    def cluster_produce(self, test, batch, records):
        """A connection for each partition, five requests in flight on each."""
        self.produce(test, batch, 2, records, copies=SIZE)

    def test_cluster_latency(self):
        # Many connections, because Apache Kafka takes the next request of one only when all replicas have the last.
        self.latency("cluster_latency", copies=SIZE, connections=20)
