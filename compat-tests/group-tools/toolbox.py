"""Apache Kafka's command line tools, all in one JVM (kafka/Tools.java)."""

import itertools
import json
import os
import pathlib
import subprocess
import threading

HERE = pathlib.Path(__file__).resolve().parent
NAMES = dict(line.split("\t") for line in (HERE.parent / "kafka/tools.tsv").read_text().splitlines())

# What has subcommands of its own takes the option before them.
WHERE_FIRST = {"kafka-features", "kafka-metadata-quorum"}


class Tool:
    """A tool that was started: its output so far, and its code when it has ended."""

    def __init__(self, box, number):
        self.box, self.number, self.code, self.done = box, number, None, threading.Event()
        self.out_path, self.err_path = box.work / f"{number}.out", box.work / f"{number}.err"

    @property
    def out(self):
        return self.out_path.read_text() if self.out_path.exists() else ""

    @property
    def err(self):
        return self.err_path.read_text() if self.err_path.exists() else ""

    def wait(self, timeout_s=60):
        assert self.done.wait(timeout_s), f"it does not end; it said:\n{self.out[-2000:]}\n{self.err[-2000:]}"
        return self

    def stop(self):
        """As SIGTERM does."""
        self.box.command(id=self.number, stop=True)
        return self.wait()

    def events(self, name=None):
        """The lines of the verifiable tools, which are JSON."""
        whole = self.out.rpartition("\n")[0].splitlines()
        found = [json.loads(line) for line in whole if line.startswith("{")]
        return [event for event in found if name in (None, event["name"])]

    def owned(self):
        """The partitions that a verifiable consumer has now."""
        held = set()
        for event in self.events():
            if event["name"] == "partitions_assigned":
                held |= {(p["topic"], p["partition"]) for p in event["partitions"]}
            elif event["name"] == "partitions_revoked":
                held -= {(p["topic"], p["partition"]) for p in event["partitions"]}
        return {partition for _, partition in held}


class Toolbox:
    def __init__(self, java_command, bootstrap, work):
        self.bootstrap, self.work, self.numbers, self.tools = bootstrap, pathlib.Path(work), itertools.count(1), {}
        self.process = subprocess.Popen(java_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            tool = self.tools[answer["id"]]
            tool.code = answer["code"]
            tool.done.set()

    def command(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def start(self, name, *args, stdin=None, bootstrap=None):
        tool = Tool(self, next(self.numbers))
        self.tools[tool.number] = tool
        more = {}
        if stdin is not None:
            more["in"] = str(self.work / f"{tool.number}.in")
            pathlib.Path(more["in"]).write_text(stdin)
        where, args = ["--bootstrap-server", bootstrap or self.bootstrap], list(map(str, args))
        args = where + args if name in WHERE_FIRST else args + where
        self.command(id=tool.number, **{"class": NAMES[name]}, args=args, out=str(tool.out_path), err=str(tool.err_path), **more)
        return tool

    def run(self, name, *args, stdin=None, bootstrap=None):
        return self.start(name, *args, stdin=stdin, bootstrap=bootstrap).wait()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def rows(text, first="GROUP"):
    """The lines of the tables in a tool's output, as {column: cell}; no cell of them may be empty or hold spaces."""
    found, head = [], None
    for line in text.splitlines():
        cells = line.split()
        if cells[:1] == [first]:
            head = cells
        elif cells and head:
            found.append(dict(zip(head, cells)))
    return found
