"""What nobody may notice: restarts one after the other, and a cluster that grows and shrinks, while clients write and read."""

import json
import re
import subprocess
import threading
import time

from cluster import bed
from cluster.bed import create, described, json_file, node, tool, whole
from confluent_kafka import Consumer, Producer
from harness import eventually
from toolbox import rows

PASSES = 1 if bed.SHORT else 3
PARTITIONS = 6
PER_SECOND = 200
UNDER_WAY_S = 90
CALM_S = 3 if bed.SHORT else 15


class Program:
    """A client in a process of its own (franz/main.go, Clients.java)."""

    def __init__(self, kind, topic, *args):
        command = bed.client_command(kind, "load", topic, PARTITIONS, PER_SECOND, *args)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.said = [], []
        self.threads = [threading.Thread(target=self.keep, args=pair, daemon=True)
                        for pair in [(self.process.stdout, self.lines), (self.process.stderr, self.said)]]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def keep(pipe, lines):
        lines.extend(iter(pipe.readline, ""))
        pipe.close()

    def under_way(self):
        assert self.process.poll() is None, "".join(self.said)[-3000:]
        return "under way\n" in self.lines

    def stop(self):
        self.process.stdin.close()
        self.process.wait(150)
        for thread in self.threads:
            thread.join()
        assert self.process.returncode == 0, "".join(self.said)[-3000:]
        return json.loads(self.lines[-1])

    def end(self):
        if self.process.poll() is None:
            self.process.kill()


class Progress:
    def __init__(self):
        self.count, self.last, self.longest = 0, None, 0.0

    def step(self):
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last) if self.last else 0.0
        self.last = now
        self.count += 1


class Confluent:
    """The same by librdkafka: the number of each record in its partition must be its offset."""

    def __init__(self, topic):
        base = {"bootstrap.servers": bed.cluster.bootstrap, "reconnect.backoff.max.ms": 1000}
        self.topic, self.stopping, self.reading = topic, False, True
        self.sent, self.read, self.total, self.rereads = [0] * PARTITIONS, [0] * PARTITIONS, 0, 0
        self.failures, self.errors, self.acks, self.reads = [], [], Progress(), Progress()
        self.latencies = []
        self.producer = Producer(base | {"enable.idempotence": True, "linger.ms": 2, "error_cb": self.fatal(self.failures)}, logger=bed.quiet)
        self.consumer = Consumer(base | {"group.id": topic, "auto.offset.reset": "earliest", "auto.commit.interval.ms": 1000,
                                         "error_cb": self.fatal(self.errors)}, logger=bed.quiet)
        self.consumer.subscribe([topic])
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.produce, self.consume)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def fatal(errors):
        """Connections that are refused for a while are no errors, as long as nothing fails by it."""
        return lambda error: errors.append(error.str()) if error.fatal() else None

    def produce(self):
        start = time.monotonic()
        while not self.stopping:
            while self.total < (time.monotonic() - start) * PER_SECOND:
                number = self.total % PARTITIONS
                sent, self.total = self.sent[number], self.total + 1
                self.sent[number] += 1
                self.producer.produce(self.topic, b"%d" % sent, partition=number, on_delivery=lambda e, m, sent=sent: self.delivered(e, m, sent))
            self.producer.poll(0.002)

    def delivered(self, error, message, sent):
        if error:
            self.failures.append(error.str())
        elif message.offset() != sent:
            self.failures.append(f"record {sent} of partition {message.partition()} is at {message.offset()}")
        else:
            self.acks.step()
            self.latencies.append(message.latency())

    def take_p99_ms(self):
        """In which time 99 of 100 records were acknowledged since the last call."""
        taken, self.latencies = sorted(self.latencies), []
        assert taken, "nothing was acknowledged"
        return 1000 * taken[len(taken) * 99 // 100]

    def consume(self):
        while self.reading:
            for message in self.consumer.consume(500, 0.1):
                if message.error():
                    self.errors.append(message.error().str())
                    continue
                number, offset = message.partition(), message.offset()
                if message.value() != b"%d" % offset:
                    self.errors.append(f"{message.value()} at offset {offset} of partition {number}")
                elif offset > self.read[number]:
                    self.errors.append(f"partition {number} jumps from {self.read[number]} to {offset}")
                elif offset < self.read[number]:
                    self.rereads += 1
                    continue
                else:
                    self.reads.step()
                self.read[number] = offset + 1
        self.consumer.close()

    def under_way(self):
        return self.acks.count and self.reads.count

    def stop(self):
        self.stopping = True
        self.threads[0].join()
        left = self.producer.flush(60)
        self.failures += ["not acknowledged"] * left
        deadline = time.monotonic() + 60
        while self.reads.count < self.acks.count and time.monotonic() < deadline:
            time.sleep(0.01)
        self.end()
        return {"sent": self.total, "acked": self.acks.count, "read": self.reads.count, "rereads": self.rereads, "failures": self.failures,
                "errors": self.errors, "longest_ack_ms": round(1000 * self.acks.longest), "longest_read_ms": round(1000 * self.reads.longest)}

    def end(self):
        self.stopping, self.reading = True, False
        self.threads[1].join()


class Load:
    """All three clients, each with a topic, a producer and a group member of its own."""

    def __init__(self, name):
        self.topics = [create(f"{name}-{client}", "--partitions", PARTITIONS) for client in ("franz-go", "java", "librdkafka")]
        franz, java, librdkafka = self.topics
        self.clients = [Program("franz-go", franz), Program("java", java, "consumer"), Confluent(librdkafka)]

    def __enter__(self):
        try:
            eventually(lambda: all(client.under_way() for client in self.clients), UNDER_WAY_S)
        except BaseException:
            self.end()
            raise
        return self

    def take_p99_ms(self):
        """Of the client that tells: all write at the same rate."""
        return self.clients[2].take_p99_ms()

    def calm_p99_ms(self):
        """When nothing happens but the load."""
        self.take_p99_ms()
        time.sleep(CALM_S)
        return self.take_p99_ms()

    def end(self):
        for client in self.clients:
            client.end()

    def __exit__(self, *failure):
        if failure[0]:
            self.end()
            return
        whole(*self.topics)
        results = dict(zip(self.topics, [client.stop() for client in self.clients]))
        for topic, found in results.items():
            print(f"     {topic}: {found['acked']} acknowledged, longest gap {found['longest_ack_ms']} ms; {found['read']} read, "
                  f"longest gap {found['longest_read_ms']} ms; {found['rereads']} read again", flush=True)
        for topic, found in results.items():
            assert not found["failures"], (topic, len(found["failures"]), found["failures"][:5])
            assert not found["errors"], (topic, len(found["errors"]), found["errors"][:5])
            assert found["sent"] == found["acked"] == found["read"] > 0, (topic, found)


def rolling_restart():
    with Load("rolling") as load:
        calm = load.calm_p99_ms()
        for number in list(range(1, 4)) * PASSES:
            began = time.monotonic()
            code = node(number).stop()
            stopped = time.monotonic()
            assert code in (0, 143), code
            node(number).start()
            bed.cluster.await_serving()
            whole(*load.topics, "__consumer_offsets")
            print(f"     node {number}: {stopped - began:.1f} s to stop, {time.monotonic() - stopped:.1f} s until it is in sync again", flush=True)
        print(f"     99 % of records were acknowledged within {load.take_p99_ms():.1f} ms, and within {calm:.1f} ms when it was calm", flush=True)


# ---- a fourth node: these tests follow one another ----

def all_topics():
    return sorted(node(1).metadata().topics)


def move_to(nodes, timeout_s=240):
    """Lets the tool plan all topics over these nodes, and carries it out."""
    # Of a partition that moves the tool counts the replicas that come and those that go.
    eventually(lambda: "No partition reassignments found" in tool("kafka-reassign-partitions", "--list"), timeout_s)
    topics = json_file("all.json", {"version": 1, "topics": [{"topic": topic} for topic in all_topics()]})
    said = tool("kafka-reassign-partitions", "--generate", "--topics-to-move-json-file", topics, "--broker-list", ",".join(map(str, nodes)))
    plan = json_file("plan.json", json.loads([line for line in said.splitlines() if line.startswith("{")][1]))
    tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", plan)
    bed.await_reassigned(plan, timeout_s)
    tool("kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
    whole(*all_topics())


def ottla(command, number):
    """Ottla's own tool for clusters."""
    done = subprocess.run([bed.cluster.binary, "cluster", command, str(number), "--bootstrap-server", node(1).address],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def empty(number):
    """Moves everything off a node: Apache Kafka needs a plan for it."""
    if bed.KIND == "ottla":
        ottla("drain", number)
        eventually(lambda: held(number) == (0, 0), 240)
        whole(*all_topics())
    else:
        move_to([n for n in bed.cluster.nodes if n != number])


def held(number):
    """How many replicas and leaders a node has."""
    found = described().values()
    return sum(number in replicas for _, replicas, _ in found), sum(leader == number for leader, _, _ in found)


def is_shared(*numbers):
    """Whether these nodes, which stand in one rack, have the same number of replicas."""
    counts = [held(number)[0] for number in numbers]
    return max(counts) - min(counts) <= 1


def is_moving():
    return "No partition reassignments found." not in tool("kafka-reassign-partitions", "--list")


def quorum():
    said = dict(re.findall(r"^(\w+): +(.*)$", tool("kafka-metadata-quorum", "describe", "--status"), re.M))
    return tuple({member["id"] for member in json.loads(said[key])} for key in ("CurrentVoters", "CurrentObservers"))


def grow_and_shrink():
    with Load("scaled") as load:
        calm = load.calm_p99_ms()
        began = time.monotonic()
        fourth = bed.cluster.add()
        joined = time.monotonic()
        eventually(lambda: quorum() == ({1, 2, 3}, {4}))
        assert "4" in {row["ID"] for row in rows(tool("kafka-cluster", "list-endpoints"), "ID")}
        # Ottla gives it a share by itself, and a plan is carried out all the same.
        if bed.KIND == "ottla":
            eventually(lambda: is_shared(1, 4) and not is_moving(), 240)
        else:
            assert held(4) == (0, 0)
        move_to([1, 2, 3, 4])
        grown = time.monotonic()
        replicas, leaders = held(4)
        total = len(described())
        assert replicas >= total // 2 and leaders >= total // 8, (replicas, leaders, total)
        # One of the first three makes room, and the new one stays.
        empty(3)
        assert held(3) == (0, 0)
        shrunk = time.monotonic()
        print(f"     it joined after {joined - began:.1f} s, had its share after another {grown - joined:.1f} s; "
              f"another was empty after {shrunk - grown:.1f} s", flush=True)
        moving = load.take_p99_ms()
        print(f"     99 % of records were acknowledged within {moving:.1f} ms, and within {calm:.1f} ms when it was calm", flush=True)
        # Back again, for a voter of the metadata can't leave just so.
        if bed.KIND == "ottla":
            ottla("undrain", 3)
        empty(4)
        assert held(4) == (0, 0)
        fourth.stop()
    tool("kafka-cluster", "unregister", "--id", 4, at=1)
    bed.cluster.forget(fourth)
    eventually(lambda: {row["ID"] for row in rows(tool("kafka-cluster", "list-endpoints", "--include-fenced-brokers"), "ID")} == {"1", "2", "3"})


def expected_quorum(asked_for, nodes):
    """Who votes and who only follows, after these were asked to vote: in Ottla an odd number of them, so the last one waits."""
    voting = set(asked_for[:-1] if bed.KIND == "ottla" and len(asked_for) % 2 == 0 else asked_for)
    return voting, set(nodes) - voting


def add_controller(added):
    properties = added.directory / "controller.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in added.settings().items()))
    made = bed.box.run("kafka-metadata-quorum", "--command-config", properties, "add-controller", bootstrap=bed.cluster.bootstrap)
    assert made.code == 0 and f"Added controller {added.number}" in made.out, made.out + made.err


def remove_controller(removed):
    directory = re.search(r"^directory\.id=(\S+)$", (removed.data / "meta.properties").read_text(), re.M)[1]
    said = tool("kafka-metadata-quorum", "remove-controller", "--controller-id", removed.number, "--controller-directory-id", directory)
    assert re.search(r"Removed +KRaft controller", said), said


def add_and_remove_controller():
    fifth = bed.cluster.add(5)
    nodes = [1, 2, 3, 5]
    eventually(lambda: quorum() == ({1, 2, 3}, {5}))
    add_controller(fifth)
    eventually(lambda: quorum() == expected_quorum([1, 2, 3, 5], nodes))
    # It takes the place of another one.
    remove_controller(node(3))
    eventually(lambda: quorum() == ({1, 2, 5}, {3}))
    add_controller(node(3))
    eventually(lambda: quorum() == expected_quorum([1, 2, 5, 3], nodes))
    remove_controller(fifth)
    eventually(lambda: quorum() == ({1, 2, 3}, {5}))
    tool("kafka-topics", "--create", "--topic", "after-controllers")
    whole("after-controllers")
    fifth.stop()
    tool("kafka-cluster", "unregister", "--id", 5)
    bed.cluster.forget(fifth)


TESTS = [
    ("rolling-restart", rolling_restart),
    ("grow-and-shrink", grow_and_shrink),
    ("add-and-remove-controller", add_and_remove_controller),
]
