"""Brokers that a suite starts, kills and stops itself, always on the same port and files."""

import os
import pathlib
import random
import select
import signal
import socket
import subprocess

from harness import TIMEOUT_S

COMPAT = pathlib.Path(__file__).resolve().parent


given = set()


def free_port():
    """A port below the ephemeral range: a client that reconnects could else be given the very port of the dead broker."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        # Not twice: who got it before may not have bound it yet.
        if port not in given:
            given.add(port)
            return port
    raise AssertionError("no free port")


def variable(setting):
    """The environment variable that carries a setting, by the rules of Apache Kafka's container image."""
    return "KAFKA_" + setting.replace("_", "__").replace("-", "___").replace(".", "_").upper()


class Ottla:
    """$OTTLA_BIN, with its files under `work`."""

    def __init__(self, work, settings=None):
        self.work, self.settings = pathlib.Path(work), settings or {}
        self.address, self.logs, self.process = f"127.0.0.1:{free_port()}", self.work / "data", None

    def start(self):
        # It takes every KAFKA_ and OTTLA_ variable for a setting.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "OTTLA_"))} | {
            "KAFKA_LOG_DIRS": str(self.logs),
            "KAFKA_LISTENERS": f"PLAINTEXT://{self.address}",
            "OTTLA_METRICS_LISTENER": "",
        }
        env |= {variable(key): value for key, value in self.settings.items()}
        with open(self.work / "broker.err", "ab") as stderr:
            command = [os.environ["OTTLA_BIN"], "server"]
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
        readable, _, _ = select.select([self.process.stdout], [], [], TIMEOUT_S)
        line = self.process.stdout.readline().decode() if readable else ""
        if not (line.startswith("ready ") and self.address in line):
            said = (self.work / "broker.err").read_text(errors="replace")[-3000:]
            raise AssertionError(f"not ready: {line!r}\n{said}")

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(TIMEOUT_S) == 0, f"exit code {self.process.returncode} after SIGTERM"


class Kafka:
    """Apache Kafka, by the scripts in kafka/."""

    def __init__(self, work, settings=None):
        self.work, self.settings, self.port = pathlib.Path(work) / "kafka", settings or {}, free_port()
        self.address, self.logs = f"127.0.0.1:{self.port}", self.work / "data"

    def start(self):
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        subprocess.run([COMPAT / "kafka" / "start", str(self.port), self.work, *settings], check=True)

    @property
    def pid(self):
        return int((self.work / "pid").read_text())

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def stop(self):
        subprocess.run([COMPAT / "kafka" / "stop", self.work], check=True)
