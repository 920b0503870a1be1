"""Several brokers that form a cluster on this machine, of Ottla or of Apache Kafka, from one description of settings.

    cluster = Cluster("ottla", directory)          # or "kafka"
    cluster.start()                                # three nodes; returns when each knows the others
    cluster.nodes[2].kill()                        # also stop, restart, pause, resume
    cluster.add()                                  # an empty fourth one, started with the addresses of the others
    cluster.stop()

Suites and benches import it (PYTHONPATH=compat-tests: `from cluster.nodes import Cluster`). Ottla is $OTTLA_BIN, and gets
its settings as Apache Kafka's container image does: `controller.quorum.voters` is KAFKA_CONTROLLER_QUORUM_VOTERS.
"""

import base64
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

from brokers import free_port, variable
from cluster import wire

COMPAT = pathlib.Path(__file__).resolve().parents[1]
JARS = pathlib.Path(os.environ.get("KAFKA_DIST") or pathlib.Path.home() / ".cache/ottla-kafka") / "libs"
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
START_S = 180
# A JVM for tests: small, and quick to start.
TEST_JVM = ["-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]

# What both brokers get in a cluster of three.
SETTINGS = {
    "num.partitions": "1",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
}


def directory_id():
    """As Apache Kafka makes them: none begins with a dash, which its tools would take for an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue
    return made


class Node:
    """One broker that is also a controller. Its files and ports stay the same over restarts."""

    def __init__(self, cluster, number, settings):
        self.cluster, self.number, self.own = cluster, number, settings
        self.directory = cluster.directory / str(number)
        self.data = self.directory / "data"
        self.port, self.peer_port = free_port(), free_port()
        self.address, self.peer_address = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.peer_port}"
        self.directory_id = directory_id()
        self.process = None
        self.directory.mkdir(parents=True)

    def settings(self):
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://{self.peer_address}"
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.number),
            "listeners": listeners,
            "advertised.listeners": listeners,
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.data),
            **self.cluster.settings,
            **self.own,
        }

    # ---- the process ----

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def spawn(self):
        """Starts the process and does not wait for anything."""
        assert not self.running(), f"node {self.number} is running"
        command, environment = self.command()
        with open(self.directory / "out", "ab") as out:
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def start(self):
        self.spawn()
        self.await_serving()

    def stop(self, timeout_s=60):
        """SIGTERM: a controlled shutdown. Returns the exit code, which is 0 or 143 (Java's own)."""
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"node {self.number} does not end on SIGTERM\n{self.said()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        """As if the machine hung: connections stay, answers don't come."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        """However it is, it is gone after this."""
        if self.running():
            self.resume()
            self.kill()

    # ---- what it says ----

    def metadata(self, *topics, timeout_s=5):
        return wire.metadata(self.address, *topics, timeout_s=timeout_s)

    def serves(self, numbers=()):
        """Whether it answers, and names itself and these others as brokers that live."""
        try:
            return self.metadata().brokers.keys() >= {self.number, *numbers}
        except (OSError, AssertionError):
            return False

    def await_serving(self, numbers=(), timeout_s=START_S):
        deadline = time.monotonic() + timeout_s
        while not self.serves(numbers):
            assert self.running(), f"node {self.number} ended with code {self.process.returncode}\n{self.said()}"
            assert time.monotonic() < deadline, f"node {self.number} does not serve\n{self.said()}"
            time.sleep(0.02)

    def said(self, size=3000):
        return (self.directory / "out").read_text(errors="replace")[-size:]


class OttlaNode(Node):
    def command(self):
        # It takes every KAFKA_ and OTTLA_ variable for a setting.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "OTTLA_"))}
        own = {variable(name): value for name, value in self.settings().items()}
        return [self.cluster.binary, "server"], inherited | {"OTTLA_METRICS_LISTENER": ""} | own | self.cluster.environment


class KafkaNode(Node):
    def settings(self):
        found = super().settings()
        if "controller.quorum.voters" in found and self.number not in self.cluster.founders:
            # Voters that are fixed can't be joined: what comes later is a broker alone.
            found["process.roles"] = "broker"
            found["listeners"] = found["advertised.listeners"] = f"PLAINTEXT://{self.address}"
        return found

    def java(self, *options):
        return ["java", *options, f"-Dlog4j2.configurationFile={COMPAT / 'kafka/log4j2.xml'}", "-cp", f"{JARS}/*"]

    @property
    def properties(self):
        return self.directory / "server.properties"

    def start_format(self):
        """Starts what must be done once before a first start, or None."""
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in self.settings().items()))
        if self.data.exists():
            return None
        how = []
        if "controller.quorum.voters" not in self.settings():
            founders = [n for n in self.cluster.nodes.values() if n.number in self.cluster.founders]
            first = ",".join(f"{n.number}@{n.peer_address}:{n.directory_id}" for n in founders)
            how = ["--initial-controllers", first] if self in founders else ["--no-initial-controllers"]
        command = self.java(*TEST_JVM) + ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, *how, "-c", str(self.properties)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def spawn(self, formatting=None):
        formatting = formatting or self.start_format()
        if formatting:
            said, _ = formatting.communicate(timeout=START_S)
            assert formatting.returncode == 0, said
        super().spawn()

    def command(self):
        options = self.java(*self.cluster.jvm, "-Dlog.level=INFO", f"-Dkafka.logs.dir={self.directory}")
        return options + ["kafka.Kafka", str(self.properties)], dict(os.environ)


class Cluster:
    """`quorum` is "voters" (controller.quorum.voters, fixed) or "bootstrap" (controller.quorum.bootstrap.servers).
    `racks` are the racks of the nodes, in turn; `settings` come on top of SETTINGS; `environment` is for Ottla, `jvm` for Kafka."""

    def __init__(self, kind, directory, size=3, quorum="voters", racks=(), settings=None, environment=None, jvm=None, binary=None):
        self.kind, self.directory, self.racks = kind, pathlib.Path(directory), list(racks)
        self.jvm, self.environment = jvm or TEST_JVM, environment or {}
        self.binary = binary or os.environ.get("OTTLA_BIN")
        assert kind != "ottla" or self.binary, "OTTLA_BIN names the broker"
        if kind == "kafka":
            subprocess.run([COMPAT / "kafka/get"], check=True)
        self.settings = SETTINGS | (settings or {})
        self.founders = range(1, size + 1)
        self.nodes = {}
        for number in self.founders:
            self.make(number)
        if quorum == "voters":
            self.settings["controller.quorum.voters"] = ",".join(f"{n.number}@{n.peer_address}" for n in self.nodes.values())
        else:
            self.settings["controller.quorum.bootstrap.servers"] = ",".join(n.peer_address for n in self.nodes.values())

    def make(self, number):
        rack = {"broker.rack": self.racks[(number - 1) % len(self.racks)]} if self.racks else {}
        made = {"ottla": OttlaNode, "kafka": KafkaNode}[self.kind](self, number, rack)
        self.nodes[number] = made
        return made

    @property
    def bootstrap(self):
        return ",".join(node.address for node in self.nodes.values())

    def running(self):
        return [node for node in self.nodes.values() if node.running()]

    def spawn(self):
        """Starts the processes of all nodes at once."""
        waiting = [node for node in self.nodes.values() if not node.running()]
        if self.kind == "kafka":
            for node, formatting in [(node, node.start_format()) for node in waiting]:
                node.spawn(formatting)
        else:
            for node in waiting:
                node.spawn()

    def start(self):
        self.spawn()
        self.await_serving()

    def await_serving(self, timeout_s=START_S):
        """Until every node that runs names all that run."""
        nodes, deadline = self.running(), time.monotonic() + timeout_s
        numbers = [node.number for node in nodes]
        while not all(node.serves(numbers) for node in nodes):
            for node in nodes:
                assert node.running(), f"node {node.number} ended with code {node.process.returncode}\n{node.said()}"
                assert time.monotonic() < deadline, f"node {node.number}: not all serve\n{node.said()}"
            time.sleep(0.02)

    def add(self, number=None):
        """Starts one more node, empty, that knows the addresses of the others."""
        node = self.make(number or max(self.nodes) + 1)
        node.start()
        self.await_serving()
        return node

    def forget(self, node):
        """The node has left the cluster for good."""
        node.end()
        del self.nodes[node.number]

    def stop(self):
        """Ends all nodes, in order if they do."""
        nodes = self.running()
        for node in nodes:
            node.resume()
            node.process.terminate()
        for node in nodes:
            try:
                node.process.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()

    def end(self):
        """Ends all nodes at once, as a power cut would."""
        for node in self.nodes.values():
            node.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def main():
    """nodes.py ottla|kafka DIRECTORY [SIZE]: a cluster by hand; it ends with the script (Ctrl-C)."""
    kind, directory, *size = sys.argv[1:]
    with Cluster(kind, directory, int(size[0]) if size else 3) as cluster:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        cluster.start()
        for node in cluster.nodes.values():
            print(f"node {node.number} {node.address} pid {node.pid}")
        print(f"bootstrap {cluster.bootstrap}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
