"""The official tools on groups of both protocols, against the broker at $BOOTSTRAP: suite.py WORK-DIR JAVA-COMMAND..."""

import json
import os
import re
import sys
import time

from harness import eventually, run_tests
from toolbox import Toolbox, rows

BOOTSTRAP = os.environ["BOOTSTRAP"]
SHORT = bool(os.environ.get("SHORT"))
PREFIX = f"compat-{int(time.time())}-{os.getpid()}-group-tools-"
PLAIN, WIDE = PREFIX + "plain", PREFIX + "wide"
PROTOCOLS = ["classic", "consumer"]
box = Toolbox(sys.argv[2:], BOOTSTRAP, sys.argv[1])
OLD, LATER = 1_700_000_000_000, 1_700_003_600_000  # an hour lies between them: 22:13:20 and 23:13:20 on 2023-11-14


def group(name):
    return PREFIX + name


def groups_tool(*args, **more):
    return box.run("kafka-consumer-groups", *args, **more)


def refused(pattern, tool):
    assert re.search(pattern, tool.out + tool.err), f"{pattern!r} expected, got code {tool.code}:\n{tool.out}\n{tool.err}"


def produce(topic, values, timestamp=None):
    """Ten records of a moment (the tool adds the milliseconds that it takes)."""
    at = [] if timestamp is None else ["--message-create-time", timestamp]
    made = box.run("kafka-verifiable-producer", "--topic", topic, "--max-messages", values, *at)
    assert made.events("tool_data")[0]["acked"] == values, made.out


def make_topics():
    for topic, partitions in (PLAIN, 1), (WIDE, 4):
        # Kept for ever: some of the records are years old.
        made = box.run("kafka-topics", "--create", "--topic", topic, "--partitions", partitions, "--config", "retention.ms=-1")
        assert made.code == 0, made.out + made.err
    # The plain topic holds ten records each of two moments in the past and of now; the wide one 40.
    produce(PLAIN, 10, OLD)
    produce(PLAIN, 10, LATER)
    produce(PLAIN, 10)
    produce(WIDE, 40)


def consume(name, count, *args, topic=PLAIN, protocol="classic"):
    """The values that kafka-console-consumer prints as a member of a group, until there are count of them."""
    tool = box.run("kafka-console-consumer", "--topic", topic, "--group", group(name), "--max-messages", count, "--timeout-ms", 30_000,
                   "--command-property", f"group.protocol={protocol}", *args)
    assert tool.code == 0, tool.err
    return [int(line) for line in tool.out.split()]


def offsets(name, *args):
    """partition -> (committed, end, lag) of the plain topic, as the tool describes it."""
    table = rows(groups_tool("--describe", "--group", group(name), "--offsets", *args).out)
    return {int(r["PARTITION"]): (r["CURRENT-OFFSET"], r["LOG-END-OFFSET"], r["LAG"]) for r in table if r["TOPIC"] == PLAIN}


# --- kafka-console-consumer ---


def consume_and_resume(protocol):
    name = "resume-" + protocol
    assert consume(name, 12, "--from-beginning", protocol=protocol) == [*range(10), 0, 1]
    assert offsets(name) == {0: ("12", "30", "18")}
    # It goes on where it stopped, and --from-beginning is for groups without offsets.
    assert consume(name, 5, protocol=protocol) == [2, 3, 4, 5, 6]
    assert consume(name, 2, "--from-beginning", protocol=protocol) == [7, 8]
    assert offsets(name) == {0: ("19", "30", "11")}


def consume_by_pattern():
    # The classic protocol: the client finds the topics by itself.
    found = box.run("kafka-console-consumer", "--include", re.escape(PREFIX) + "(wide|other)", "--group", group("pattern"),
                    "--from-beginning", "--max-messages", 40, "--timeout-ms", 30_000)
    assert sorted(map(int, found.out.split())) == list(range(40)), found.out


def offsets_partition(name):
    """Where __consumer_offsets keeps a group: by Java's hash of the id, a signed number, without its sign."""
    value = 0
    for character in group(name):
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return min(value, 2**32 - value) % 50


def formatted(name, formatter):
    """The records of a group in __consumer_offsets, as a formatter of the tools prints them: JSON without line ends."""
    partition = offsets_partition(name)
    end = box.run("kafka-get-offsets", "--topic-partitions", f"__consumer_offsets:{partition}").out.split(":")[2]
    tool = box.run("kafka-console-consumer", "--topic", "__consumer_offsets", "--partition", partition, "--offset", "earliest",
                   "--max-messages", int(end), "--formatter", "org.apache.kafka.tools.consumer." + formatter)
    text, records = tool.out.strip(), []
    while text:
        record, end = json.JSONDecoder().raw_decode(text)
        records.append(record)
        text = text[end:].strip()
    return [r for r in records if r["key"]["data"].get("group") == group(name)]


def offsets_formatter():
    for protocol in PROTOCOLS:
        found = formatted("resume-" + protocol, "OffsetsMessageFormatter")
        commits = [r["value"]["data"]["offset"] for r in found]
        assert commits[-1] == 19 and 12 in commits and 17 in commits, commits
        assert commits == sorted(commits), commits
        last = found[-1]
        assert last["key"] == {"type": 1, "data": {"group": group("resume-" + protocol), "topic": PLAIN, "partition": 0}}, last
        assert last["value"]["version"] == 4, last
        assert set(last["value"]["data"]) == {"offset", "leaderEpoch", "metadata", "commitTimestamp", "topicId"}, last
        assert abs(last["value"]["data"]["commitTimestamp"] - time.time() * 1000) < 600_000, last


def group_metadata_formatter():
    found = formatted("resume-classic", "GroupMetadataMessageFormatter")
    # The group is made; then, alone, it joins and leaves: a generation with it, one without, and so on.
    data = [r["value"]["data"] for r in found]
    assert [(d["protocolType"], len(d["members"])) for d in data[:4]] == [("", 0), ("consumer", 1), ("consumer", 0), ("consumer", 1)], data
    assert data[1]["protocol"] == "range" and data[1]["leader"] == data[1]["members"][0]["memberId"], data[1]
    assert [d["generation"] for d in data] == list(range(len(data))), data
    assert all(r["key"]["type"] == 2 and r["value"]["version"] == 3 for r in found), found


# --- groups with members ---


class Members:
    """Verifiable consumers of the wide topic in one group."""

    def __init__(self, name, protocol, count=2, instances=()):
        self.name, self.tools = name, []
        for number in range(count):
            static = ["--group-instance-id", instances[number]] if instances else []
            self.tools.append(box.start("kafka-verifiable-consumer", "--topic", WIDE, "--group-id", group(name),
                                        "--group-protocol", protocol, *static))

    def __enter__(self):
        eventually(lambda: self.balanced(), 60)
        return self

    def balanced(self):
        owned = [tool.owned() for tool in self.tools if not tool.done.is_set()]
        return sorted(p for held in owned for p in held) == [0, 1, 2, 3] and max(map(len, owned)) - min(map(len, owned)) <= 1

    def __exit__(self, *_):
        for tool in self.tools:
            if not tool.done.is_set():
                tool.stop()


def live_group(protocol):
    name, strategy = "live-" + protocol, {"classic": "range", "consumer": "uniform"}[protocol]
    with Members(name, protocol) as members:
        def commits():
            return {(p["partition"], p["offset"]) for tool in members.tools for event in tool.events("offsets_committed") for p in event["offsets"]}

        # All 40 records are read once; how they are spread is the producer's matter.
        def read():
            return sum(event["count"] for tool in members.tools for event in tool.events("records_consumed"))

        eventually(lambda: read() >= 40)
        assert all(event["success"] for tool in members.tools for event in tool.events("offsets_committed"))

        [state] = rows(groups_tool("--describe", "--group", group(name), "--state").out)
        assert (state["COORDINATOR"], state["STATE"], state["#MEMBERS"]) == (BOOTSTRAP, "Stable", "2"), state
        assert state["ASSIGNMENT-STRATEGY"] == strategy, state

        listed = rows(groups_tool("--describe", "--group", group(name), "--members", "--verbose").out)
        assert len(listed) == 2 and {r["#PARTITIONS"] for r in listed} == {"2"}, listed
        held = sorted(p for r in listed for p in r["CURRENT-ASSIGNMENT"].removeprefix(WIDE + ":").split(","))
        assert held == ["0", "1", "2", "3"], listed
        if protocol == "consumer":
            [state] = rows(groups_tool("--describe", "--group", group(name), "--state", "--verbose").out)
            assert state["GROUP-EPOCH"] == state["TARGET-ASSIGNMENT-EPOCH"], state
            assert {r["CURRENT-EPOCH"] for r in listed} == {state["GROUP-EPOCH"]}, (listed, state)
            assert all(r["CURRENT-ASSIGNMENT"] == r["TARGET-ASSIGNMENT"] for r in listed), listed

        table = rows(groups_tool("--describe", "--group", group(name), "--offsets").out)
        assert sorted(r["PARTITION"] for r in table) == ["0", "1", "2", "3"], table
        assert {r["CONSUMER-ID"] for r in table} == {r["CONSUMER-ID"] for r in listed}, table
        assert all(r["HOST"] == "/127.0.0.1" for r in table), table
        assert sum(int(r["CURRENT-OFFSET"]) for r in table if r["CURRENT-OFFSET"] != "-") == 40, (table, commits())
        assert all(r["LAG"] == "0" for r in table if r["CURRENT-OFFSET"] != "-"), table

        stable = {r["GROUP"]: r["STATE"] for r in rows(groups_tool("--list", "--state", "stable").out)}
        assert stable.get(group(name)) == "Stable", stable
        refused("GroupNotEmptyException", groups_tool("--delete", "--group", group(name)))
        refused("Assignments can only be reset if the group '.*' is inactive, but the current state is Stable",
                groups_tool("--reset-offsets", "--group", group(name), "--topic", WIDE, "--to-earliest", "--execute"))
        refused("GroupSubscribedToTopicException|the consumer group is actively subscribed to it|subscribed to the topic",
                groups_tool("--delete-offsets", "--group", group(name), "--topic", WIDE))

        # One leaves, and the other has all.
        members.tools[0].stop()
        eventually(lambda: members.tools[1].owned() == {0, 1, 2, 3}, 60)
        eventually(lambda: len(rows(groups_tool("--describe", "--group", group(name), "--members").out)) == 1)
    eventually(lambda: rows(groups_tool("--list", "--state", "empty").out) and group(name) in
               {r["GROUP"] for r in rows(groups_tool("--list", "--state", "empty").out)})


def static_group(protocol):
    name = "static-" + protocol
    with Members(name, protocol, instances=["first", "second"]) as members:
        def by_instance():
            listed = rows(groups_tool("--describe", "--group", group(name), "--members", "--verbose").out)
            return {r["GROUP-INSTANCE-ID"]: r["CURRENT-ASSIGNMENT"] for r in listed}

        before = by_instance()
        assert sorted(before) == ["first", "second"], before
        # It goes and comes back: its partitions wait for it, and the other hears nothing of it.
        events = len(members.tools[1].events("partitions_revoked"))
        members.tools[0].stop()
        assert by_instance().keys() == before.keys()
        members.tools[0] = Members(name, protocol, 1, ["first"]).tools[0]
        eventually(members.balanced, 60)
        assert by_instance() == before
        assert len(members.tools[1].events("partitions_revoked")) == events
    # Static members stay in the group when their consumers are closed.
    assert len(rows(groups_tool("--describe", "--group", group(name), "--members").out)) == 2


# --- kafka-consumer-groups, kafka-groups ---


def list_groups():
    plain = groups_tool("--list").out.split()
    assert group("resume-classic") in plain and group("resume-consumer") in plain, plain
    typed = {r["GROUP"]: r["TYPE"] for r in rows(groups_tool("--list", "--type").out)}
    assert (typed[group("resume-classic")], typed[group("resume-consumer")]) == ("Classic", "Consumer"), typed
    states = {r["GROUP"]: r["STATE"] for r in rows(groups_tool("--list", "--state").out)}
    assert (states[group("resume-classic")], states[group("resume-consumer")]) == ("Empty", "Empty"), states
    only = {r["GROUP"]: (r["TYPE"], r["STATE"]) for r in rows(groups_tool("--list", "--type", "consumer", "--state", "empty").out)}
    assert only.get(group("resume-consumer")) == ("Consumer", "Empty") and group("resume-classic") not in only, only
    refused("Invalid state list 'nonsense'", groups_tool("--list", "--state", "nonsense"))


def kafka_groups():
    def listed(*args):
        return {r["GROUP"]: (r["TYPE"], r.get("PROTOCOL", "")) for r in rows(box.run("kafka-groups", "--list", *args).out)}

    everything = listed()
    assert everything[group("resume-classic")] == ("Classic", "consumer"), everything
    assert everything[group("resume-consumer")] == ("Consumer", "consumer"), everything
    assert group("resume-classic") not in listed("--group-type", "consumer")
    assert group("resume-consumer") not in listed("--group-type", "classic")
    assert {group("resume-classic"), group("resume-consumer")} <= listed("--consumer").keys()
    assert group("resume-classic") in listed("--protocol", "consumer")
    assert not listed("--share") and not listed("--streams")


def describe_all_groups():
    states = {r["GROUP"]: (r["STATE"], r["#MEMBERS"]) for r in rows(groups_tool("--describe", "--all-groups", "--state").out)}
    for protocol in PROTOCOLS:
        assert states[group("resume-" + protocol)] == ("Empty", "0"), states
    committed = {r["GROUP"] for r in rows(groups_tool("--describe", "--all-groups", "--offsets").out) if r["TOPIC"] == PLAIN}
    assert {group("resume-" + protocol) for protocol in PROTOCOLS} <= committed, committed


def describe_missing():
    refused(f"The consumer group '{group('missing')}' does not exist|Group {group('missing')} not found",
            groups_tool("--describe", "--group", group("missing")))


def reset(name, *how):
    """topic -> {partition: new offset}, as the tool says it."""
    tool = groups_tool("--reset-offsets", "--group", group(name), *how)
    found = {}
    for row in rows(tool.out):
        found.setdefault(row["TOPIC"], {})[int(row["PARTITION"])] = int(row["NEW-OFFSET"])
    assert found, tool.out + tool.err
    return found


def reset_forms(protocol):
    name = "reset-" + protocol
    consume(name, 12, "--from-beginning", protocol=protocol)
    topic = ["--topic", PLAIN]
    forms = [
        (["--to-latest"], 30),
        (["--to-earliest"], 0),
        (["--to-offset", 7], 7),
        (["--shift-by", 5], 12),
        (["--shift-by", -2], 10),
        (["--shift-by", 1000], 30),
        (["--to-offset", 1000], 30),
        (["--to-datetime", "2023-11-14T23:00:00.000Z"], 10),
        (["--to-datetime", "2023-11-14T22:00:00.000Z"], 0),
        (["--by-duration", "PT1H"], 20),
        (["--by-duration", "P20000D"], 0),
        (["--by-duration", "PT0S"], 30),
        (["--to-offset", 4], 4),
        (["--to-current"], 4),
    ]
    for how, expected in forms[:8] if SHORT else forms:
        before = offsets(name)
        assert reset(name, *topic, *how, "--dry-run") == {PLAIN: {0: expected}}, how
        assert offsets(name) == before, how
        assert reset(name, *topic, *how, "--execute") == {PLAIN: {0: expected}}, how
        assert offsets(name) == {0: (str(expected), "30", str(30 - expected))}, how


def reset_scopes():
    name = "scopes"
    # A group that is not there yet gets offsets too; partitions can be named, and several topics.
    assert reset(name, "--topic", f"{WIDE}:1,3", "--topic", PLAIN, "--to-earliest", "--execute") == {WIDE: {1: 0, 3: 0}, PLAIN: {0: 0}}
    # All topics are those that the group has offsets of.
    assert reset(name, "--all-topics", "--to-latest", "--dry-run").keys() == {WIDE, PLAIN}
    listed = {r["GROUP"]: r["TYPE"] for r in rows(groups_tool("--list", "--type").out)}
    assert listed[group(name)] == "Classic", listed
    refused("UnknownTopicOrPartitionException|This server does not host this topic-partition",
            groups_tool("--reset-offsets", "--group", group(name), "--topic", PREFIX + "none", "--to-earliest", "--execute"))


def reset_export_and_import():
    name = "exported"
    reset(name, "--topic", PLAIN, "--to-offset", 6, "--execute")
    exported = groups_tool("--reset-offsets", "--group", group(name), "--topic", PLAIN, "--to-current", "--export", "--dry-run").out.strip()
    assert exported == f'"{PLAIN}",0,6' or exported == f"{PLAIN},0,6", exported
    path = box.work / "offsets.csv"
    path.write_text(exported.replace(",6", ",9") + "\n")
    assert reset(name, "--from-file", path, "--execute") == {PLAIN: {0: 9}}
    assert offsets(name)[0][0] == "9"
    assert consume(name, 2) == [9, 0]


def delete_offsets():
    name = "forgetful"
    reset(name, "--topic", f"{WIDE}:0,1", "--topic", PLAIN, "--to-earliest", "--execute")
    said = groups_tool("--delete-offsets", "--group", group(name), "--topic", PLAIN, "--topic", f"{WIDE}:1")
    assert "Request succeed" in said.out, said.out
    left = rows(groups_tool("--describe", "--group", group(name), "--offsets").out)
    assert [(r["TOPIC"], r["PARTITION"]) for r in left] == [(WIDE, "0")], left
    refused("GroupIdNotFoundException|does not exist|The group id does not exist",
            groups_tool("--delete-offsets", "--group", group("missing"), "--topic", PLAIN))


def delete_groups():
    reset("doomed", "--topic", PLAIN, "--to-earliest", "--execute")
    consume("doomed-consumer", 1, "--from-beginning", protocol="consumer")
    names = [group("doomed"), group("doomed-consumer")]
    said = groups_tool("--delete", "--group", names[0], "--group", names[1])
    assert "Deletion of requested consumer groups" in said.out and "was successful" in said.out, said.out + said.err
    assert not set(names) & set(groups_tool("--list").out.split())
    refused("GroupIdNotFoundException", groups_tool("--delete", "--group", names[0]))
    # What was deleted has no offsets left.
    assert consume("doomed-consumer", 1, "--from-beginning", protocol="consumer") == [0]


# --- kafka-configs ---


def group_configs():
    name = group("configured")

    def configs(*args):
        return box.run("kafka-configs", "--entity-type", "groups", "--entity-name", name, *args)

    def described():
        return dict(re.findall(r"^  ([a-z.]+)=(\S*) sensitive=false synonyms=\{DYNAMIC_GROUP_CONFIG:", configs("--describe").out, re.M))

    assert described() == {}
    said = configs("--alter", "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=9000")
    assert f"Completed updating config for group {name}." in said.out, said.out + said.err
    eventually(lambda: described() == {"consumer.session.timeout.ms": "50000", "consumer.heartbeat.interval.ms": "9000"})
    # Not the other one: the heartbeat interval must stay below the session timeout of the broker.
    configs("--alter", "--delete-config", "consumer.heartbeat.interval.ms")
    eventually(lambda: described() == {"consumer.session.timeout.ms": "50000"})
    everything = configs("--describe", "--all").out
    assert "  consumer.session.timeout.ms=50000 " in everything and "  consumer.heartbeat.interval.ms=" in everything, everything
    refused("InvalidConfigurationException|Unknown group config name", configs("--alter", "--add-config", "no.such.key=1"))
    refused("consumer.session.timeout.ms.*(must|greater|less|out)", configs("--alter", "--add-config", "consumer.session.timeout.ms=999999"))
    refused("InvalidConfigurationException|Not a number of type INT", configs("--alter", "--add-config", "consumer.session.timeout.ms=soon"))
    assert described() == {"consumer.session.timeout.ms": "50000"}


LONG_ONLY = {"static-classic", "consume-by-pattern", "reset-forms-classic", "describe-all-groups"}
TESTS = [
    ("topics", make_topics),
    *((f"resume-{p}", lambda p=p: consume_and_resume(p)) for p in PROTOCOLS),
    ("consume-by-pattern", consume_by_pattern),
    ("offsets-formatter", offsets_formatter),
    ("group-metadata-formatter", group_metadata_formatter),
    *((f"live-{p}", lambda p=p: live_group(p)) for p in PROTOCOLS),
    *((f"static-{p}", lambda p=p: static_group(p)) for p in PROTOCOLS),
    ("list-groups", list_groups),
    ("kafka-groups", kafka_groups),
    ("describe-all-groups", describe_all_groups),
    ("describe-missing", describe_missing),
    *((f"reset-forms-{p}", lambda p=p: reset_forms(p)) for p in PROTOCOLS),
    ("reset-scopes", reset_scopes),
    ("reset-export-and-import", reset_export_and_import),
    ("delete-offsets", delete_offsets),
    ("delete-groups", delete_groups),
    ("group-configs", group_configs),
]

if __name__ == "__main__":
    run_tests(TESTS, LONG_ONLY if SHORT else ())
