"""The official tools against a cluster of three that is whole."""

import json
import re
import subprocess

from cluster import bed
from cluster.bed import create, described, json_file, moves, node, partition, produce, numbered, read, reassigned, refused, tool, whole
from harness import eventually
from toolbox import rows


# ---- topics ----

def create_and_describe():
    create("made", "--partitions", 3, at=1)  # the default: three replicas
    create("two", "--partitions", 6, "--replication-factor", 2, at=2)
    for asked in 1, 2, 3:
        found = described("--topic", "made", at=asked)
        assert len(found) == 3 and {leader for leader, _, _ in found.values()} == {1, 2, 3}, found
        for leader, replicas, isr in found.values():
            assert sorted(replicas) == sorted(isr) == [1, 2, 3] and leader == replicas[0], found
    found = described("--topic", "two")
    assert all(len(set(replicas)) == 2 == len(isr) for _, replicas, isr in found.values()), found
    # Leaders and replicas are spread over all.
    assert sorted(leader for leader, _, _ in found.values()) == [1, 1, 2, 2, 3, 3], found
    assert sorted(n for _, replicas, _ in found.values() for n in replicas) == [1] * 4 + [2] * 4 + [3] * 4, found
    assert not described("--under-replicated-partitions") and not described("--unavailable-partitions")


def create_as_assigned():
    create("placed", "3:1:2,2:3:1", at=3)
    assert described("--topic", "placed", at=1) == {("placed", 0): (3, [3, 1, 2], [3, 1, 2]), ("placed", 1): (2, [2, 3, 1], [2, 3, 1])}
    tool("kafka-topics", "--alter", "--topic", "placed", "--partitions", 3, "--replica-assignment", "3:1:2,2:3:1,1:3:2", at=2)
    whole("placed")
    leader, replicas, isr = described("--topic", "placed", at=3)["placed", 2]
    assert (leader, replicas, sorted(isr)) == (1, [1, 3, 2], [1, 2, 3])


def wrong_assignments():
    def bad(pattern, *args):
        refused(pattern, "kafka-topics", "--create", "--topic", "bad", *args)

    bad("target replication factor of 4 cannot be reached because only 3 broker", "--partitions", 1, "--replication-factor", 4)
    bad("includes broker 9, but no such broker is registered", "--replica-assignment", "1:9")
    refused("INVALID_REPLICA_ASSIGNMENT|includes broker 9", "kafka-topics", "--alter", "--topic", "placed", "--partitions", 4,
            "--replica-assignment", "3:1:2,2:3:1,1:3:2,9:1:2")
    assert "bad" not in tool("kafka-topics", "--list").split()


def admin_anywhere():
    tool("kafka-topics", "--create", "--topic", "anywhere", at=1)
    whole("anywhere")
    tool("kafka-configs", "--entity-type", "topics", "--entity-name", "anywhere", "--alter", "--add-config", "retention.ms=12345", at=2)
    eventually(lambda: "retention.ms=12345" in tool("kafka-configs", "--entity-type", "topics", "--entity-name", "anywhere", "--describe", at=3))
    tool("kafka-topics", "--alter", "--topic", "anywhere", "--partitions", 4, at=3)
    whole("anywhere")
    assert produce("anywhere", [b"x"], number=3, at=2) == [0]
    refused("already exists", "kafka-topics", "--create", "--topic", "anywhere", at=2)
    tool("kafka-topics", "--delete", "--topic", "anywhere", at=2)
    for asked in 1, 2, 3:
        eventually(lambda: "anywhere" not in node(asked).metadata().topics)


# ---- brokers and the cluster ----

def broker_configs():
    def of_brokers(*args, at=None):
        return tool("kafka-configs", "--entity-type", "brokers", *args, at=at)

    setting, other = "leader.replication.throttled.rate=1000000", "follower.replication.throttled.rate=2000000"
    of_brokers("--entity-name", 2, "--alter", "--add-config", setting, at=1)
    eventually(lambda: setting in of_brokers("--entity-name", 2, "--describe", at=3))
    assert setting not in of_brokers("--entity-name", 1, "--describe", at=2)
    of_brokers("--entity-default", "--alter", "--add-config", other, at=3)
    eventually(lambda: other in of_brokers("--entity-default", "--describe", at=1))
    eventually(lambda: re.search(re.escape(other) + " .*DYNAMIC_DEFAULT_BROKER_CONFIG:" + re.escape(other),
                                 of_brokers("--entity-name", 3, "--describe", "--all", at=2)))
    everything = of_brokers("--entity-name", 3, "--describe", "--all", at=1)
    assert re.search(r"^  node\.id=3 ", everything, re.M) and re.search(r"^  broker\.rack=c ", everything, re.M), everything
    of_brokers("--entity-name", 2, "--alter", "--delete-config", setting.split("=")[0], at=3)
    of_brokers("--entity-default", "--alter", "--delete-config", other.split("=")[0], at=2)
    eventually(lambda: setting not in of_brokers("--entity-name", 2, "--describe", at=1))
    eventually(lambda: other not in of_brokers("--entity-default", "--describe", at=3))


def cluster_tool():
    said = {tool("kafka-cluster", "cluster-id", at=asked) for asked in (1, 2, 3)}
    assert len(said) == 1 and re.fullmatch(r"Cluster ID: [\w-]{22}\s*", said.pop()), said
    expected = [(str(n), "127.0.0.1", str(node(n).port), "abc"[n - 1], "unfenced", "broker") for n in (1, 2, 3)]
    for more in [], ["--include-fenced-brokers"]:
        listed = rows(tool("kafka-cluster", "list-endpoints", *more), "ID")
        assert [tuple(row.values()) for row in listed] == expected, listed
    refused("Broker ID 9 is not currently registered", "kafka-cluster", "unregister", "--id", 9, at=2)


def quorum_status():
    for asked in 1, 2, 3:
        said = dict(re.findall(r"^(\w+): +(.*)$", tool("kafka-metadata-quorum", "describe", "--status", at=asked), re.M))
        voters = json.loads(said["CurrentVoters"])
        assert said["ClusterId"] == node(1).metadata().cluster, said
        assert [v["id"] for v in voters] == [1, 2, 3] and int(said["LeaderId"]) in (1, 2, 3), said
        assert [v["endpoints"] for v in voters] == [[f"CONTROLLER://{node(n).peer_address}"] for n in (1, 2, 3)], said
        assert json.loads(said["CurrentObservers"]) == [] and int(said["LeaderEpoch"]) > 0 and int(said["HighWatermark"]) > 0, said


def quorum_replication():
    def caught_up():
        listed = rows(tool("kafka-metadata-quorum", "describe", "--replication"), "NodeId")
        assert [row["NodeId"] for row in sorted(listed, key=lambda row: row["NodeId"])] == ["1", "2", "3"], listed
        assert sorted(row["Status"] for row in listed) == ["Follower", "Follower", "Leader"], listed
        assert all(re.fullmatch(r"[\w-]{22}", row["DirectoryId"]) for row in listed), listed
        assert all(int(row["LogEndOffset"]) > 0 and int(row["LastCaughtUpTimestamp"]) > 0 for row in listed), listed
        return all(row["Lag"] == "0" for row in listed)

    eventually(caught_up)
    assert "ms ago" in tool("kafka-metadata-quorum", "describe", "--replication", "--human-readable")


def features(at=None):
    """{feature: (least, most, level)}; the levels of metadata.version are names."""
    found = re.findall(r"Feature: (\S+)\s+SupportedMinVersion: (\S+)\s+SupportedMaxVersion: (\S+)\s+FinalizedVersionLevel: (\S+)",
                       tool("kafka-features", "describe", at=at))
    return {name: levels for name, *levels in found}


def feature_levels():
    found = features()
    assert "metadata.version" in found and features(at=1) == features(at=2) == features(at=3) == found, found
    refused("Invalid update version 1 for feature nonsense", "kafka-features", "upgrade", "--feature", "nonsense=1")
    numeric = {name: tuple(map(int, levels)) for name, levels in found.items() if all(map(str.isdigit, levels))}
    assert all(least <= level <= most for least, most, level in numeric.values()), found
    for name, (_, most, level) in numeric.items():
        if level > 0:
            assert f"{name} was upgraded to {level}." in tool("kafka-features", "upgrade", "--feature", f"{name}={level}", at=2)
        refused("only supports versions", "kafka-features", "upgrade", "--feature", f"{name}={most + 1}", at=3)


def feature_downgrade():
    name = "group.version"
    least, _, level = map(int, features()[name])
    if level == least:
        refused("only supports versions", "kafka-features", "downgrade", "--feature", f"{name}={least - 1}")
        return

    def all_say(expected):
        for asked in 1, 2, 3:
            eventually(lambda: features(at=asked)[name][2] == str(expected))

    assert f"{name} can be downgraded to {least}." in tool("kafka-features", "downgrade", "--feature", f"{name}={least}", "--dry-run")
    all_say(level)
    assert f"{name} was downgraded to {least}." in tool("kafka-features", "downgrade", "--feature", f"{name}={least}", at=1)
    all_say(least)
    assert f"{name} was upgraded to {level}." in tool("kafka-features", "upgrade", "--feature", f"{name}={level}", at=3)
    all_say(level)


def metadata_downgrade():
    refused("Could not downgrade metadata.version|Unsupported metadata.version downgrade", "kafka-features", "downgrade", "--release-version", "3.9")


def api_versions():
    said = tool("kafka-broker-api-versions")
    heads = re.findall(r"^127\.0\.0\.1:(\d+) \(id: (\d) rack: (\w+) isFenced: false\) -> \($", said, re.M)
    assert sorted(heads, key=lambda head: head[1]) == [(str(node(n).port), str(n), "abc"[n - 1]) for n in (1, 2, 3)], said[:500]
    for key in "Produce(0)", "Fetch(1)", "ElectLeaders(43)", "AlterPartitionReassignments(45)", "ListPartitionReassignments(46)", \
               "DescribeQuorum(55)", "UpdateFeatures(57)", "DescribeCluster(60)", "UnregisterBroker(64)":
        assert said.count("\t" + key + ": ") == 3, f"{key} on {said.count(key)} brokers"
        assert f"\t{key}: UNSUPPORTED" not in said, key


def log_dirs():
    create("sized", "1:2,2:3")
    assert produce("sized", numbered(50, 1000)) == list(range(50))

    def of(*args):
        said = json.loads(tool("kafka-log-dirs", "--describe", "--topic-list", "sized", *args).splitlines()[-1])
        found = {}
        for broker in said["brokers"]:
            for directory in broker["logDirs"]:
                assert directory["error"] is None, said
                for p in directory["partitions"]:
                    assert not p["isFuture"], said
                    found[broker["broker"], p["partition"]] = (p["size"], p["offsetLag"])
        return found

    def equal():
        found = of()
        assert set(found) == {(1, "sized-0"), (2, "sized-0"), (2, "sized-1"), (3, "sized-1")}, found
        return found[1, "sized-0"] == found[2, "sized-0"] and found[1, "sized-0"][0] > 50_000 and found[1, "sized-0"][1] == 0

    eventually(equal)
    assert set(of("--broker-list", "3")) == {(3, "sized-1")}
    refused("brokers do not exist from --broker-list: 9", "kafka-log-dirs", "--describe", "--broker-list", 9)


def get_offsets():
    create("offsets", "1:2:3,2:3:1,3:1:2")
    for number in range(3):
        produce("offsets", numbered(number + 1), number=number)
    for asked in 1, 2, 3:
        assert tool("kafka-get-offsets", "--topic", "offsets", at=asked).split() == ["offsets:0:1", "offsets:1:2", "offsets:2:3"]
    assert tool("kafka-get-offsets", "--topic-partitions", "offsets:1-2", "--time", -2).split() == ["offsets:1:0"]


# ---- clients through one address ----

def kcat():
    create("kcat", "1:2:3,2:3:1,3:1:2")
    for asked in 1, 2, 3:
        base = ["timeout", "60", "kcat", "-q", "-b", node(asked).address, "-t", "kcat"]
        for number in range(3):
            subprocess.run([*base, "-P", "-p", str(number)], input=f"{asked}-{number}\n", text=True, check=True)
    for asked in 1, 2, 3:
        base = ["timeout", "60", "kcat", "-q", "-b", node(asked).address, "-t", "kcat"]
        said = subprocess.run([*base, "-C", "-o", "beginning", "-e"], capture_output=True, text=True, check=True).stdout.split()
        assert sorted(said) == sorted(f"{a}-{n}" for a in (1, 2, 3) for n in range(3)), said
    listed = subprocess.run(["kcat", "-L", "-b", node(2).address, "-t", "kcat"], capture_output=True, text=True, check=True).stdout
    assert " 3 brokers:" in listed and all(f"  broker {n} at {node(n).address}" in listed for n in (1, 2, 3)), listed
    assert re.search(r"partition 0, leader 1, replicas: 1,2,3, isrs: (1|2|3),", listed), listed


def console_clients():
    create("console", "1:2:3,2:3:1,3:1:2")
    for asked in 1, 2, 3:
        made = bed.box.run("kafka-console-producer", "--topic", "console", stdin=f"a{asked}\nb{asked}\n", bootstrap=node(asked).address)
        assert made.code == 0, made.err
    for asked in 1, 2, 3:
        said = tool("kafka-console-consumer", "--topic", "console", "--from-beginning", "--max-messages", 6, "--timeout-ms", 30_000,
                    "--group", f"console-{asked}", at=asked)
        assert sorted(said.split()) == ["a1", "a2", "a3", "b1", "b2", "b3"], said


def confluent():
    create("confluent", "1:2:3,2:3:1,3:1:2")
    for asked in 1, 2, 3:
        for number in range(3):
            assert produce("confluent", [b"%d" % asked], number=number, at=asked) == [asked - 1]
    for asked in 1, 2, 3:
        assert read("confluent", 3, number=asked - 1, at=asked) == [b"1", b"2", b"3"]


# ---- follower fetch ----

def followers_serve_their_rack():
    create("near", "1:2:3")
    produce("near", numbered(1000, 1000))
    for kind in "java", "franz-go":
        for rack, number in ("b", 2), ("c", 3):
            found = bed.client(kind, "nearest", "near", rack, 1000)
            assert found["read"] >= 1000, found
            if kind == "java":
                assert found["preferred"] == {"0": number}, found
            else:
                sent = {int(n): size for n, size in found["bytes"].items()}
                assert not found["errors"] and sent[number] > 1_000_000 > 10 * sent.get(1, 0), found
    # The leader's own rack, and one that nobody is in.
    for rack in "a", "nowhere":
        found = bed.client("franz-go", "nearest", "near", rack, 1000)
        assert found["bytes"].keys() == {"1"} and found["read"] >= 1000, found


# ---- reassignment and elections ----

def reassign_generate():
    create("planned", "1:2,1:2")
    topics = json_file("topics.json", {"version": 1, "topics": [{"topic": "planned"}]})
    said = tool("kafka-reassign-partitions", "--generate", "--topics-to-move-json-file", topics, "--broker-list", "2,3")
    plans = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    current, proposed = ({p["partition"]: p["replicas"] for p in plan["partitions"]} for plan in plans)
    assert current == {0: [1, 2], 1: [1, 2]} and [sorted(r) for r in proposed.values()] == [[2, 3], [2, 3]], said
    # What the tool prints is what it takes.
    said = reassigned(json_file("proposed.json", plans[1]))
    whole("planned")
    assert {p: replicas for (_, p), (_, replicas, _) in described("--topic", "planned").items()} == proposed, said
    refused("broker", "kafka-reassign-partitions", "--generate", "--topics-to-move-json-file", topics, "--broker-list", "2,9")


def reassign_executes():
    create("moved", "1:2:3,2:3:1")
    values = numbered(300, 500)
    produce("moved", values)
    path = moves("moved.json", moved=[[3, 2], [1, 3, 2]])
    said = tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", path)
    assert '"replicas":[1,2,3]' in said and "Successfully started partition reassignments for moved-0,moved-1" in said, said
    bed.await_reassigned(path)
    whole("moved")
    found = described("--topic", "moved")
    assert found["moved", 0][1] == [3, 2] and found["moved", 1][1] == [1, 3, 2], found
    assert found["moved", 0][0] in (2, 3), found  # its leader has left
    assert tool("kafka-reassign-partitions", "--list").strip() == "No partition reassignments found."
    assert read("moved", 300) == values
    # And back to more replicas, which get everything.
    reassigned(moves("more.json", moved=[[1, 3, 2]]))
    whole("moved")
    assert read("moved", 300) == values


def reassign_wrong():
    refused("Unknown broker id 9", "kafka-reassign-partitions", "--execute", "--reassignment-json-file", moves("unknown.json", moved=[[9, 1]]))
    refused("duplicate|Duplicate", "kafka-reassign-partitions", "--execute", "--reassignment-json-file", moves("twice.json", moved=[[1, 1]]))
    missing = json_file("missing.json", {"version": 1, "partitions": [{"topic": "missing", "partition": 0, "replicas": [1, 2]}]})
    refused("(?i)not exist|non-existent|not found", "kafka-reassign-partitions", "--execute", "--reassignment-json-file", missing)


def throttles():
    brokers = tool("kafka-configs", "--entity-type", "brokers", "--describe")
    topic = tool("kafka-configs", "--entity-type", "topics", "--entity-name", "slow", "--describe")
    rates = re.findall(r"^  (?:leader|follower)\.replication\.throttled\.rate=(\d+) ", brokers, re.M)
    replicas = dict(re.findall(r"^  (leader|follower)\.replication\.throttled\.replicas=(\S*)", topic, re.M))
    return rates, replicas


def reassign_throttle_and_cancel():
    create("slow", "1:2", config={"min.insync.replicas": 1})
    for _ in range(4):
        produce("slow", numbered(1000, 1000))
    path = moves("slow.json", slow=[[2, 3]])
    said = tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", path, "--throttle", 20_000)
    assert "The inter-broker throttle limit was set to 20000 B/s" in said, said
    rates, replicas = throttles()
    assert set(rates) == {"20000"} and len(rates) == 6 and replicas == {"leader": "0:1,0:2", "follower": "0:3"}, (rates, replicas)
    # 4 MB at this rate take more than three minutes.
    assert tool("kafka-reassign-partitions", "--list").split("\n")[1] == "slow-0: replicas: 2,3,1. adding: 3. removing: 1."
    said = tool("kafka-reassign-partitions", "--verify", "--reassignment-json-file", path)
    assert "Reassignment of partition slow-0 is still in progress." in said, said
    leader, replicas, isr = described("--topic", "slow")["slow", 0]
    assert sorted(replicas) == [1, 2, 3] and sorted(isr) == [1, 2], (leader, replicas, isr)
    # A replica that is added is missed by nobody.
    assert not described("--topic", "slow", "--under-replicated-partitions")
    refused("existing partition assignment", "kafka-reassign-partitions", "--execute", "--reassignment-json-file", path)
    assert produce("slow", [b"meanwhile"]) == [4000]
    said = tool("kafka-reassign-partitions", "--cancel", "--reassignment-json-file", path)
    assert "Successfully cancelled partition reassignment for: slow-0" in said, said
    whole("slow")
    # Without what was to be added, in the order that was to be.
    assert described("--topic", "slow")["slow", 0][1] == [2, 1]
    assert throttles() == ([], {}), throttles()
    assert tool("kafka-reassign-partitions", "--list").strip() == "No partition reassignments found."


def reassign_throttle_completes():
    path = moves("quick.json", slow=[[2, 3]])
    tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", path, "--throttle", 20_000)
    # A higher limit, given while it runs.
    tool("kafka-reassign-partitions", "--execute", "--reassignment-json-file", path, "--throttle", 100_000_000, "--additional")
    assert set(throttles()[0]) == {"100000000"}, throttles()
    said = bed.await_reassigned(path)
    assert "Clearing broker-level throttles on brokers 1,2,3" in said and "Clearing topic-level throttles on topic slow" in said, said
    whole("slow")
    assert throttles() == ([], {}), throttles()
    found = described("--topic", "slow")["slow", 0]
    assert found[1] == [2, 3] and sorted(found[2]) == [2, 3], found


def preferred_election():
    create("elected", "1:2:3,2:3:1,3:1:2")
    # Another order of the same replicas: the leaders stay, and are not the preferred ones now.
    reassigned(moves("order.json", elected=[[2, 3, 1], [3, 1, 2], [1, 2, 3]]))
    assert [partition("elected", p).leader for p in range(3)] == [1, 2, 3]
    epoch = partition("elected").epoch

    def elect(*args):
        return tool("kafka-leader-election", "--election-type", "preferred", *args)

    assert "Successfully completed leader election (PREFERRED) for partitions elected-0" in elect("--topic", "elected", "--partition", 0)
    for asked in 1, 2, 3:
        eventually(lambda: partition("elected", 0, at=asked).leader == 2)
    assert partition("elected").epoch > epoch
    assert "Valid replica already elected for partitions elected-0" in elect("--topic", "elected", "--partition", 0)
    path = json_file("election.json", {"partitions": [{"topic": "elected", "partition": 1}]})
    assert "Successfully completed leader election (PREFERRED) for partitions elected-1" in elect("--path-to-json-file", path)
    eventually(lambda: partition("elected", 1).leader == 3)
    said = elect("--all-topic-partitions")
    assert "Successfully completed leader election (PREFERRED) for partitions" in said and "elected-2" in said, said
    eventually(lambda: partition("elected", 2).leader == 1)
    refused("No such topic as missing|does not exist|UnknownTopicOrPartition", "kafka-leader-election", "--election-type", "preferred",
            "--topic", "missing", "--partition", 0)
    # Nothing is lost by it.
    assert produce("elected", numbered(3)) == [0, 1, 2]


TESTS = [
    ("create-and-describe", create_and_describe),
    ("create-as-assigned", create_as_assigned),
    ("wrong-assignments", wrong_assignments),
    ("admin-anywhere", admin_anywhere),
    ("broker-configs", broker_configs),
    ("kafka-cluster", cluster_tool),
    ("quorum-status", quorum_status),
    ("quorum-replication", quorum_replication),
    ("feature-levels", feature_levels),
    ("feature-downgrade", feature_downgrade),
    ("metadata-downgrade", metadata_downgrade),
    ("api-versions", api_versions),
    ("log-dirs", log_dirs),
    ("get-offsets", get_offsets),
    ("kcat", kcat),
    ("console-clients", console_clients),
    ("confluent", confluent),
    ("followers-serve-their-rack", followers_serve_their_rack),
    ("reassign-generate", reassign_generate),
    ("reassign-executes", reassign_executes),
    ("reassign-wrong", reassign_wrong),
    ("reassign-throttle-and-cancel", reassign_throttle_and_cancel),
    ("reassign-throttle-completes", reassign_throttle_completes),
    ("preferred-election", preferred_election),
]
