import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ConsumerGroupDescribeRequestData;
import org.apache.kafka.common.message.ConsumerGroupDescribeResponseData;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatRequestData;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatResponseData;
import org.apache.kafka.common.message.DeleteGroupsRequestData;
import org.apache.kafka.common.message.DescribeGroupsRequestData;
import org.apache.kafka.common.message.DescribeGroupsResponseData;
import org.apache.kafka.common.message.FindCoordinatorRequestData;
import org.apache.kafka.common.message.HeartbeatRequestData;
import org.apache.kafka.common.message.HeartbeatResponseData;
import org.apache.kafka.common.message.JoinGroupRequestData;
import org.apache.kafka.common.message.JoinGroupResponseData;
import org.apache.kafka.common.message.LeaveGroupRequestData;
import org.apache.kafka.common.message.ListGroupsRequestData;
import org.apache.kafka.common.message.OffsetCommitRequestData;
import org.apache.kafka.common.message.OffsetDeleteRequestData;
import org.apache.kafka.common.message.OffsetFetchRequestData;
import org.apache.kafka.common.message.SyncGroupRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;

/** One script of requests for groups and configs, scenario by scenario; the transcript of each goes into a file: Differential DIR [SCENARIO...]. */
public final class Differential {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final String PREFIX = "compat-" + System.currentTimeMillis() / 1000 + "-" + ProcessHandle.current().pid() + "-differential-";
    static final int JOIN = 9, SYNC = 5, BEAT = 4, LEAVE = 5, COMMIT = 10, FETCH = 10, MODERN = 1;

    static Admin admin;
    /** Three partitions; its group offsets are what the scenarios are about. */
    static String topic, other;
    static Uuid topicId, otherId;

    static Wire wire;
    /** The group of the scenario. */
    static String group;

    interface Scenario {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("find-coordinator", Differential::findCoordinator);
        scenarios.put("join-refused", Differential::joinRefused);
        scenarios.put("one-member", Differential::oneMember);
        scenarios.put("two-members", Differential::twoMembers);
        scenarios.put("protocols-of-members", Differential::protocolsOfMembers);
        scenarios.put("sync-refused", Differential::syncRefused);
        scenarios.put("leave", Differential::leaving);
        scenarios.put("session-timeout", Differential::sessionTimeout);
        scenarios.put("rebalance-timeout", Differential::rebalanceTimeout);
        scenarios.put("static-members", Differential::staticMembers);
        scenarios.put("other-protocol-type", Differential::otherProtocolType);
        scenarios.put("commits-without-members", Differential::commitsWithoutMembers);
        scenarios.put("commits-of-members", Differential::commitsOfMembers);
        scenarios.put("offset-fetch", Differential::offsetFetch);
        scenarios.put("offset-delete", Differential::offsetDelete);
        scenarios.put("delete-groups", Differential::deleteGroups);
        scenarios.put("list-groups", Differential::listGroups);
        scenarios.put("versions", Differential::versions);
        scenarios.put("consumer-refused", Differential::consumerRefused);
        scenarios.put("consumer-one-member", Differential::consumerOneMember);
        scenarios.put("consumer-two-members", Differential::consumerTwoMembers);
        scenarios.put("consumer-subscriptions", Differential::consumerSubscriptions);
        scenarios.put("consumer-static-members", Differential::consumerStaticMembers);
        scenarios.put("consumer-commits", Differential::consumerCommits);
        scenarios.put("consumer-and-classic-calls", Differential::consumerAndClassicCalls);
        scenarios.put("upgrade-and-downgrade", Differential::upgradeAndDowngrade);
        scenarios.put("upgrade-refused", Differential::upgradeRefused);
        scenarios.put("produce-refused", Batches::refused);
        scenarios.put("configs-of-topics", Configs::keysOfTopics);
        scenarios.put("configs-altered", Configs::alteringTopics);
        scenarios.put("configs-in-layers", Configs::layers);
        scenarios.put("configs-of-brokers", Configs::keysOfBrokers);
        scenarios.put("configs-of-brokers-refused", Configs::brokersRefused);

        List<String> wanted = Arrays.asList(args).subList(1, args.length);
        admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP));
        topic = create("topic", 3);
        other = create("other", 2);
        topicId = idOf(topic);
        otherId = idOf(other);
        awaitCoordinators();
        for (var scenario : scenarios.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(scenario.getKey())) {
                run(scenario.getKey(), scenario.getValue(), Path.of(args[0], scenario.getKey() + ".txt"));
            }
        }
        admin.close();
        System.exit(0);
    }

    /** Waits until every partition of the topic of groups serves: it is made when it is first asked for. */
    static void awaitCoordinators() throws Exception {
        wire = new Wire(BOOTSTRAP);
        Set<Integer> served = new HashSet<>();
        for (int i = 0; served.size() < 50; i++) {
            group = PREFIX + "warm-up-" + i;
            if (served.add(Math.abs(group.hashCode()) % 50)) {
                wire.askSilently(ApiKeys.FIND_COORDINATOR, 3, new FindCoordinatorRequestData().setKey(group));
                untilHeartbeat("nobody", 1, Errors.UNKNOWN_MEMBER_ID);
            }
        }
    }

    static void run(String name, Scenario scenario, Path file) throws Exception {
        wire = new Wire(BOOTSTRAP);
        wire.name(topicId.toString(), "(id of topic)");
        wire.name(otherId.toString(), "(id of other)");
        wire.name(PREFIX, "");
        wire.name(Base64.getEncoder().encodeToString(subscription(topic)), "(subscription)");
        wire.name("\"port\":" + BOOTSTRAP.split(":")[1], "\"port\":(port)");
        group = PREFIX + name;
        try {
            scenario.run();
        } catch (Exception | AssertionError failure) {
            wire.say("FAILED: " + failure);
            failure.printStackTrace();
        }
        Files.writeString(file, wire.transcript());
    }

    static String create(String name, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(PREFIX + name, partitions, (short) 1))).all().get();
        Map<TopicPartition, OffsetSpec> ends = new LinkedHashMap<>();
        for (int p = 0; p < partitions; p++) {
            ends.put(new TopicPartition(PREFIX + name, p), OffsetSpec.latest());
        }
        // It asks until the partitions serve.
        admin.listOffsets(ends).all().get();
        return PREFIX + name;
    }

    static Uuid idOf(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
    }

    // --- requests, with the fields that the scenarios are about ---

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** A subscription as consumers encode it, version 0: topics and user data. The broker reads it for OffsetDelete. */
    static byte[] subscription(String... topics) {
        var subscription = new org.apache.kafka.common.message.ConsumerProtocolSubscription().setTopics(List.of(topics));
        var buffer = org.apache.kafka.common.protocol.MessageUtil.toVersionPrefixedByteBuffer((short) 3, subscription);
        byte[] encoded = new byte[buffer.remaining()];
        buffer.get(encoded);
        return encoded;
    }

    static JoinGroupRequestData joining(String member, String... protocols) {
        var list = new JoinGroupRequestData.JoinGroupRequestProtocolCollection();
        for (String protocol : protocols) {
            list.add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName(protocol).setMetadata(subscription(topic)));
        }
        return new JoinGroupRequestData().setGroupId(group).setMemberId(member).setProtocolType("consumer").setProtocols(list)
            .setSessionTimeoutMs(30_000).setRebalanceTimeoutMs(30_000);
    }

    static JoinGroupResponseData join(JoinGroupRequestData request) throws Exception {
        return wire.ask(ApiKeys.JOIN_GROUP, JOIN, request);
    }

    static Wire.Pending startJoin(JoinGroupRequestData request) {
        return wire.start(ApiKeys.JOIN_GROUP, JOIN, request);
    }

    /** The id that the broker gives to a new member, which goes by this name from here on. */
    static String memberId(String name) throws Exception {
        JoinGroupResponseData answer = wire.askSilently(ApiKeys.JOIN_GROUP, JOIN, joining("", "range"));
        if (answer.errorCode() != Errors.MEMBER_ID_REQUIRED.code()) {
            throw new AssertionError(Errors.forCode(answer.errorCode()));
        }
        wire.name(answer.memberId(), name);
        return answer.memberId();
    }

    static SyncGroupRequestData syncing(String member, int generation, String... assigned) {
        List<SyncGroupRequestData.SyncGroupRequestAssignment> list = new ArrayList<>();
        for (String to : assigned) {
            list.add(new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(to).setAssignment(bytes("some " + list.size())));
        }
        return new SyncGroupRequestData().setGroupId(group).setMemberId(member).setGenerationId(generation).setProtocolType("consumer")
            .setProtocolName("range").setAssignments(list);
    }

    static void sync(SyncGroupRequestData request) throws Exception {
        wire.ask(ApiKeys.SYNC_GROUP, SYNC, request);
    }

    static HeartbeatRequestData beating(String member, int generation) {
        return new HeartbeatRequestData().setGroupId(group).setMemberId(member).setGenerationId(generation);
    }

    static HeartbeatResponseData beat(String member, int generation) throws Exception {
        return wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(member, generation));
    }

    static LeaveGroupRequestData.MemberIdentity leaver(String member, String instance) {
        return new LeaveGroupRequestData.MemberIdentity().setMemberId(member).setGroupInstanceId(instance);
    }

    static void leave(LeaveGroupRequestData.MemberIdentity... members) throws Exception {
        wire.ask(ApiKeys.LEAVE_GROUP, LEAVE, new LeaveGroupRequestData().setGroupId(group).setMembers(List.of(members)));
    }

    static OffsetCommitRequestData committing(String member, int generation, int partition, long offset) {
        return new OffsetCommitRequestData().setGroupId(group).setMemberId(member).setGenerationIdOrMemberEpoch(generation).setTopics(new ArrayList<>(List.of(
            new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(topic).setTopicId(topicId).setPartitions(new ArrayList<>(List.of(
                new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(partition).setCommittedOffset(offset)))))));
    }

    static void commit(OffsetCommitRequestData request) throws Exception {
        wire.ask(ApiKeys.OFFSET_COMMIT, COMMIT, request);
    }

    static void commit(String member, int generation, int partition, long offset) throws Exception {
        commit(committing(member, generation, partition, offset));
    }

    static OffsetFetchRequestData.OffsetFetchRequestGroup fetching(String of, Uuid id, Integer... partitions) {
        return new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId(of).setTopics(id == null ? null : List.of(
            new OffsetFetchRequestData.OffsetFetchRequestTopics().setName(topic).setTopicId(id).setPartitionIndexes(List.of(partitions))));
    }

    static void fetch(OffsetFetchRequestData.OffsetFetchRequestGroup... groups) throws Exception {
        wire.ask(ApiKeys.OFFSET_FETCH, FETCH, new OffsetFetchRequestData().setGroups(List.of(groups)));
    }

    static void fetchAll() throws Exception {
        fetch(fetching(group, null));
    }

    static void offsetDelete(String of, String topic, Integer... partitions) throws Exception {
        var topics = new OffsetDeleteRequestData.OffsetDeleteRequestTopicCollection();
        topics.add(new OffsetDeleteRequestData.OffsetDeleteRequestTopic().setName(topic).setPartitions(Arrays.stream(partitions)
            .map(p -> new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(p)).toList()));
        wire.ask(ApiKeys.OFFSET_DELETE, 0, new OffsetDeleteRequestData().setGroupId(of).setTopics(topics));
    }

    static void describe(String... groups) throws Exception {
        wire.ask(ApiKeys.DESCRIBE_GROUPS, 6, new DescribeGroupsRequestData().setGroups(List.of(groups)));
    }

    static void describe() throws Exception {
        describe(group);
    }

    static void delete(String... groups) throws Exception {
        wire.ask(ApiKeys.DELETE_GROUPS, 2, new DeleteGroupsRequestData().setGroupsNames(List.of(groups)));
    }

    static void until(Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + 30_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("never happened");
            }
            Thread.sleep(20);
        }
    }

    static void untilState(String state) throws Exception {
        var request = new DescribeGroupsRequestData().setGroups(List.of(group));
        until(() -> {
            DescribeGroupsResponseData answer = wire.askSilently(ApiKeys.DESCRIBE_GROUPS, 6, request);
            return answer.groups().get(0).groupState().equals(state);
        });
    }

    static void untilHeartbeat(String member, int generation, Errors error) throws Exception {
        until(() -> {
            HeartbeatResponseData answer = wire.askSilently(ApiKeys.HEARTBEAT, BEAT, beating(member, generation));
            return answer.errorCode() == error.code();
        });
    }

    /** A stable classic group of one member, which it names "a"; its generation is 1. */
    static String stableGroup() throws Exception {
        String a = memberId("(a)");
        wire.askSilently(ApiKeys.JOIN_GROUP, JOIN, joining(a, "range"));
        wire.askSilently(ApiKeys.SYNC_GROUP, SYNC, syncing(a, 1, a));
        wire.say("(a stable group of the member (a))");
        return a;
    }

    // --- classic groups ---

    static void findCoordinator() throws Exception {
        for (int version = 0; version <= 3; version++) {
            wire.ask(ApiKeys.FIND_COORDINATOR, version, new FindCoordinatorRequestData().setKey(group));
        }
        for (int version = 4; version <= 6; version++) {
            wire.ask(ApiKeys.FIND_COORDINATOR, version, new FindCoordinatorRequestData().setCoordinatorKeys(List.of(group, "second", "")));
        }
        wire.ask(ApiKeys.FIND_COORDINATOR, 3, new FindCoordinatorRequestData().setKey(group).setKeyType((byte) 9));
        wire.ask(ApiKeys.FIND_COORDINATOR, 4, new FindCoordinatorRequestData().setCoordinatorKeys(List.of(group)).setKeyType((byte) 9));
    }

    static void joinRefused() throws Exception {
        join(joining("", "range").setGroupId(""));
        join(joining("", "range").setSessionTimeoutMs(999));
        join(joining("", "range").setSessionTimeoutMs(1_800_001));
        join(joining(""));
        join(joining("", "range").setProtocolType(""));
        join(joining("nobody", "range"));
        join(joining("nobody", "range").setGroupInstanceId("instance"));
        describe();
        // The first time a member comes without an id it is told one; it is no member yet.
        join(joining("", "range"));
        describe();
        wire.ask(ApiKeys.LIST_GROUPS, 5, new ListGroupsRequestData().setStatesFilter(List.of("Nonsense")));
    }

    static void oneMember() throws Exception {
        String a = memberId("(a)");
        describe();
        var joined = join(joining(a, "range", "roundrobin"));
        describe();
        beat(a, joined.generationId());
        beat(a, 7);
        beat("nobody", 1);
        commit(a, 1, 0, 5);
        sync(syncing(a, 1, a));
        describe();
        beat(a, 1);
        // The same again: it may not have got the answers.
        sync(syncing(a, 1, a));
        sync(syncing(a, 1));
        join(joining(a, "range", "roundrobin"));
        beat(a, 1);
        beat(a, 2);
        sync(syncing(a, 2, a));
        // A leader that joins again means a rebalance even if it has nothing new.
        join(joining(a, "roundrobin").setReason("because"));
        sync(syncing(a, 3, a).setProtocolName("roundrobin"));
        describe();
        leave(leaver(a, null));
        describe();
        beat(a, 3);
        sync(syncing(a, 3, a));
        join(joining(a, "range"));
        // A group that is empty goes on counting.
        String b = memberId("(b)");
        join(joining(b, "range"));
    }

    static void twoMembers() throws Exception {
        String a = memberId("(a)");
        join(joining(a, "range"));
        sync(syncing(a, 1, a));
        String b = memberId("(b)");
        beat(a, 1);
        var second = startJoin(joining(b, "range"));
        untilState("PreparingRebalance");
        describe();
        beat(a, 1);
        beat(b, 1);
        beat(a, 9);
        sync(syncing(a, 1, a));
        commit(a, 1, 0, 5);
        fetch(fetching(group, topicId, 0));
        var first = startJoin(joining(a, "range"));
        first.take();
        second.take();
        describe();
        // The follower waits for what the leader says.
        var waiting = wire.start(ApiKeys.SYNC_GROUP, SYNC, syncing(b, 2));
        beat(a, 2);
        commit(a, 2, 0, 6);
        commit(a, 1, 0, 6);
        wire.say(waiting.isAnswered() ? "answered early" : "(it waits)");
        sync(syncing(a, 2, a, b));
        waiting.take();
        describe();
        commit(a, 2, 0, 7);
        commit(b, 2, 1, 8);
        commit(b, 1, 1, 9);
        commit("nobody", 2, 1, 9);
        fetchAll();
        // A follower that joins again with the same protocols gets what is; the group stays as it is.
        join(joining(b, "range"));
        describe();
        // With others, it means a rebalance.
        second = startJoin(joining(b, "range", "roundrobin"));
        untilHeartbeat(a, 2, Errors.REBALANCE_IN_PROGRESS);
        first = startJoin(joining(a, "range"));
        first.take();
        second.take();
        sync(syncing(a, 3, a, b));
        sync(syncing(b, 3));
        // The leader goes: the other one becomes it.
        leave(leaver(a, null));
        beat(b, 3);
        join(joining(b, "range"));
        // A member without an assignment gets an empty one.
        sync(syncing(b, 4));
        describe();
        leave(leaver(b, null));
        describe();
    }

    static void protocolsOfMembers() throws Exception {
        String a = memberId("(a)");
        join(joining(a, "range", "sticky", "roundrobin"));
        sync(syncing(a, 1, a));
        join(joining("", "other"));
        join(joining("", "range").setProtocolType("connect"));
        // The protocol that all have; of several the one that most like best.
        String b = memberId("(b)");
        var second = startJoin(joining(b, "sticky", "roundrobin"));
        untilHeartbeat(a, 1, Errors.REBALANCE_IN_PROGRESS);
        join(joining("", "range"));
        var first = startJoin(joining(a, "range", "sticky", "roundrobin"));
        JoinGroupResponseData answer = first.take();
        second.take();
        sync(syncing(a, 2, a, b).setProtocolName(answer.protocolName()));
        describe();
    }

    static void syncRefused() throws Exception {
        sync(syncing("nobody", 1).setGroupId(""));
        sync(syncing("nobody", 1));
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating("nobody", 1).setGroupId(""));
        beat("nobody", 1);
        String a = memberId("(a)");
        join(joining(a, "range"));
        sync(syncing("nobody", 1, a));
        sync(syncing(a, 0, a));
        sync(syncing(a, 2, a));
        sync(syncing(a, 1, a).setProtocolName("roundrobin"));
        sync(syncing(a, 1, a).setProtocolType("connect"));
        sync(syncing(a, 1, a).setGroupInstanceId("instance"));
        sync(syncing("", 1, a));
        // An assignment for somebody who is not there does no harm.
        sync(syncing(a, 1, "nobody", a));
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(a, 1).setGroupInstanceId("instance"));
        beat("", 1);
        beat(a, -1);
    }

    static void leaving() throws Exception {
        leave(leaver("nobody", null));
        wire.ask(ApiKeys.LEAVE_GROUP, LEAVE, new LeaveGroupRequestData().setGroupId("").setMembers(List.of(leaver("nobody", null))));
        String a = stableGroup();
        leave(leaver("nobody", null), leaver("", "no such instance"));
        leave();
        for (int version = 0; version <= 2; version++) {
            wire.ask(ApiKeys.LEAVE_GROUP, version, new LeaveGroupRequestData().setGroupId(group).setMemberId("nobody"));
        }
        leave(leaver(a, "no such instance"));
        leave(leaver("nobody", null), leaver(a, null).setReason("enough"), leaver(a, null));
        describe();
        leave(leaver(a, null));
        // One that was told its id but has not joined with it can leave as well.
        String b = memberId("(b)");
        leave(leaver(b, null));
        join(joining(b, "range"));
    }

    static void sessionTimeout() throws Exception {
        String a = memberId("(a)");
        join(joining(a, "range").setSessionTimeoutMs(1000));
        sync(syncing(a, 1, a));
        untilState("Empty");
        describe();
        beat(a, 1);
        commit(a, 1, 0, 3);
        join(joining(a, "range"));
        // One that joins and then does not sync is as silent.
        String b = memberId("(b)");
        join(joining(b, "range").setSessionTimeoutMs(1000).setRebalanceTimeoutMs(1000));
        untilState("Empty");
        sync(syncing(b, 3, b));
    }

    static void rebalanceTimeout() throws Exception {
        String a = memberId("(a)");
        join(joining(a, "range").setRebalanceTimeoutMs(800));
        sync(syncing(a, 1, a));
        String b = memberId("(b)");
        var second = startJoin(joining(b, "range").setRebalanceTimeoutMs(800));
        // The first one does not come, and is not waited for any longer.
        second.take();
        sync(syncing(b, 2, b));
        beat(a, 1);
        describe();
    }

    static void staticMembers() throws Exception {
        var one = join(joining("", "range").setGroupInstanceId("one"));
        wire.name(one.memberId(), "(one)");
        sync(syncing(one.memberId(), 1, one.memberId()).setGroupInstanceId("one"));
        var request = startJoin(joining("", "range").setGroupInstanceId("two"));
        untilHeartbeat(one.memberId(), 1, Errors.REBALANCE_IN_PROGRESS);
        var again = startJoin(joining(one.memberId(), "range").setGroupInstanceId("one"));
        again.take();
        JoinGroupResponseData two = request.take();
        wire.name(two.memberId(), "(two)");
        var waiting = wire.start(ApiKeys.SYNC_GROUP, SYNC, syncing(two.memberId(), 2).setGroupInstanceId("two"));
        sync(syncing(one.memberId(), 2, one.memberId(), two.memberId()).setGroupInstanceId("one"));
        waiting.take();
        describe();
        // The follower comes back: no rebalance, but another id; the old one is fenced everywhere.
        var back = join(joining("", "range").setGroupInstanceId("two"));
        wire.name(back.memberId(), "(two again)");
        beat(one.memberId(), 2);
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(two.memberId(), 2).setGroupInstanceId("two"));
        beat(two.memberId(), 2);
        sync(syncing(two.memberId(), 2).setGroupInstanceId("two"));
        commit(committing(two.memberId(), 2, 0, 5).setGroupInstanceId("two"));
        join(joining(two.memberId(), "range").setGroupInstanceId("two"));
        leave(leaver(two.memberId(), "two"));
        sync(syncing(back.memberId(), 2).setGroupInstanceId("two"));
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(back.memberId(), 2).setGroupInstanceId("two"));
        commit(committing(back.memberId(), 2, 0, 5).setGroupInstanceId("two"));
        // The leader comes back.
        var leader = join(joining("", "range").setGroupInstanceId("one"));
        wire.name(leader.memberId(), "(one again)");
        sync(syncing(leader.memberId(), 2, leader.memberId()).setGroupInstanceId("one"));
        describe();
        // Under the wrong name.
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(leader.memberId(), 2).setGroupInstanceId("two"));
        wire.ask(ApiKeys.HEARTBEAT, BEAT, beating(leader.memberId(), 2).setGroupInstanceId("three"));
        join(joining(leader.memberId(), "range").setGroupInstanceId("three"));
        // It is removed by its name alone.
        leave(leaver("", "two"), leaver("", "three"));
        untilHeartbeat(leader.memberId(), 2, Errors.REBALANCE_IN_PROGRESS);
        join(joining(leader.memberId(), "range").setGroupInstanceId("one"));
        leave(leaver("", "one"));
        describe();
    }

    static void otherProtocolType() throws Exception {
        String a;
        JoinGroupResponseData told = wire.askSilently(ApiKeys.JOIN_GROUP, JOIN, joining("", "v1").setProtocolType("connect"));
        a = told.memberId();
        wire.name(a, "(a)");
        join(joining(a, "v1").setProtocolType("connect"));
        sync(syncing(a, 1, a).setProtocolType("connect").setProtocolName("v1"));
        describe();
        join(joining("", "v1"));
        commit(a, 1, 0, 4);
        offsetDelete(group, topic, 0);
        listOwn();
        delete(group);
        leave(leaver(a, null));
        describe();
        listOwn();
        // Empty, it has no type any more that a newcomer would have to have.
        join(joining("", "range"));
        offsetDelete(group, topic, 0);
        delete(group);
        describe();
    }

    // --- offsets ---

    static void commitsWithoutMembers() throws Exception {
        fetchAll();
        commit("", -1, 0, 5);
        describe();
        fetchAll();
        commit("", -1, 0, 3);
        var request = committing("", -1, 1, 6);
        request.topics().get(0).partitions().get(0).setCommittedMetadata("a note").setCommittedLeaderEpoch(0);
        commit(request);
        // Null is as good as nothing.
        request.topics().get(0).partitions().get(0).setPartitionIndex(2).setCommittedMetadata(null).setCommittedLeaderEpoch(-1);
        commit(request);
        fetchAll();
        wire.name("x".repeat(4097), "(4097 bytes)");
        wire.name("x".repeat(4096), "(4096 bytes)");
        request.topics().get(0).partitions().get(0).setPartitionIndex(1).setCommittedMetadata("x".repeat(4096));
        commit(request);
        request.topics().get(0).partitions().get(0).setCommittedMetadata("x".repeat(4097));
        commit(request);
        commit("", -1, 3, 5);
        commit("", -1, -1, 5);
        commit("", -1, 0, -1);
        commit("", -1, 0, -5);
        request = committing("", -1, 0, 5);
        request.topics().get(0).setTopicId(Uuid.fromString("AAAAAAAAAAAAAAAAAAAABQ"));
        commit(request);
        request.topics().get(0).setTopicId(Uuid.ZERO_UUID);
        commit(request);
        request.topics().get(0).setName(PREFIX + "missing");
        wire.ask(ApiKeys.OFFSET_COMMIT, 9, request);
        request.topics().get(0).setName("");
        wire.ask(ApiKeys.OFFSET_COMMIT, 9, request);
        // Good and bad in one request.
        request = committing("", -1, 0, 11);
        request.topics().get(0).partitions().add(new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(9).setCommittedOffset(1));
        request.topics().add(new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(PREFIX + "missing").setPartitions(List.of(
            new OffsetCommitRequestData.OffsetCommitRequestPartition().setPartitionIndex(0).setCommittedOffset(1))));
        wire.ask(ApiKeys.OFFSET_COMMIT, 9, request);
        commit(committing("", -1, 0, 5).setTopics(List.of()));
        commit(committing("", -1, 0, 5).setGroupId(""));
        // As a member of a group that has none, or that there is not.
        commit("nobody", -1, 0, 5);
        commit("nobody", 3, 0, 5);
        commit(committing("nobody", 3, 0, 5).setGroupId(group + "-none"));
        wire.ask(ApiKeys.OFFSET_COMMIT, 8, committing("nobody", 3, 0, 5).setGroupId(group + "-none"));
        commit(committing("nobody", -1, 0, 5).setGroupId(group + "-none"));
        commit(committing("", 3, 0, 5).setGroupId(group + "-none"));
        commit(committing("", -1, 0, 5).setGroupInstanceId("instance"));
        fetchAll();
        listOwn();
    }

    static void commitsOfMembers() throws Exception {
        String a = stableGroup();
        commit(a, 1, 0, 5);
        commit(a, 0, 0, 6);
        commit(a, 2, 0, 6);
        commit(a, -1, 0, 6);
        commit("", -1, 0, 6);
        commit("", 1, 0, 6);
        commit("nobody", 1, 0, 6);
        commit(committing(a, 1, 0, 6).setGroupInstanceId("instance"));
        fetchAll();
        // What it has not subscribed to can be committed as well.
        var request = committing(a, 1, 1, 7);
        request.topics().get(0).setName(other).setTopicId(otherId);
        commit(request);
        fetchAll();
        leave(leaver(a, null));
        commit(a, 1, 0, 8);
        commit("", -1, 0, 9);
        fetchAll();
    }

    static void offsetFetch() throws Exception {
        commit("", -1, 0, 5);
        commit("", -1, 2, 7);
        fetch(fetching(group, topicId, 0, 1, 2, 9));
        fetch(fetching(group, topicId));
        fetch(fetching(group, otherId, 0));
        fetch(fetching(group, Uuid.fromString("AAAAAAAAAAAAAAAAAAAABQ"), 0));
        fetch(fetching(group, Uuid.ZERO_UUID, 0));
        fetch(fetching(group, null), fetching(group + "-none", null), fetching(group + "-none", topicId, 0));
        fetch(fetching("", null));
        fetch(fetching("", topicId, 0));
        fetch();
        wire.ask(ApiKeys.OFFSET_FETCH, FETCH, new OffsetFetchRequestData().setRequireStable(true).setGroups(List.of(fetching(group, null))));
        // Whoever says that it is a member must be one.
        fetch(fetching(group, null).setMemberId("nobody").setMemberEpoch(1));
        fetch(fetching(group, null).setMemberId("nobody").setMemberEpoch(-1));
        fetch(fetching(group, null).setMemberEpoch(0));
        String a = stableGroup();
        fetch(fetching(group, null).setMemberId(a).setMemberEpoch(1));
        fetch(fetching(group, null).setMemberId(a).setMemberEpoch(7));
        fetch(fetching(group, null).setMemberId("nobody").setMemberEpoch(1));
        // By name, in the versions before ids and before several groups.
        for (int version : new int[] {8, 9}) {
            wire.ask(ApiKeys.OFFSET_FETCH, version, new OffsetFetchRequestData().setGroups(List.of(fetching(group, topicId, 0, 1))));
            wire.ask(ApiKeys.OFFSET_FETCH, version, new OffsetFetchRequestData().setGroups(List.of(fetching(group, null))));
        }
        for (int version = 1; version <= 7; version++) {
            wire.ask(ApiKeys.OFFSET_FETCH, version, new OffsetFetchRequestData().setGroupId(group).setTopics(List.of(
                new OffsetFetchRequestData.OffsetFetchRequestTopic().setName(topic).setPartitionIndexes(List.of(0, 1)),
                new OffsetFetchRequestData.OffsetFetchRequestTopic().setName(PREFIX + "missing").setPartitionIndexes(List.of(0)))));
            if (version >= 2) {
                wire.ask(ApiKeys.OFFSET_FETCH, version, new OffsetFetchRequestData().setGroupId(group).setTopics(null));
            }
        }
    }

    static void offsetDelete() throws Exception {
        offsetDelete(group, topic, 0);
        offsetDelete("", topic, 0);
        commit("", -1, 0, 5);
        commit("", -1, 1, 6);
        commit("", -1, 2, 7);
        offsetDelete(group, PREFIX + "missing", 0);
        offsetDelete(group, topic, 0, 9);
        offsetDelete(group, other, 0);
        offsetDelete(group, topic);
        fetchAll();
        String a = stableGroup();
        offsetDelete(group, topic, 1);
        var request = committing(a, 1, 1, 7);
        request.topics().get(0).setName(other).setTopicId(otherId);
        commit(request);
        offsetDelete(group, other, 1);
        fetchAll();
        leave(leaver(a, null));
        offsetDelete(group, topic, 1, 2);
        fetchAll();
        describe();
    }

    static void deleteGroups() throws Exception {
        delete(group);
        delete("");
        commit("", -1, 0, 5);
        String a = stableGroup();
        delete(group, group + "-none");
        leave(leaver(a, null));
        delete(group, group);
        delete(group);
        describe();
        fetchAll();
        beat(a, 1);
        // In the middle of a join.
        String b = memberId("(b)");
        delete(group);
        join(joining(b, "range"));
        delete(group);
        for (int version = 0; version <= 1; version++) {
            wire.ask(ApiKeys.DELETE_GROUPS, version, new DeleteGroupsRequestData().setGroupsNames(List.of(group, group + "-none")));
        }
        wire.ask(ApiKeys.DELETE_GROUPS, 2, new DeleteGroupsRequestData());
    }

    /** The listing, as far as it is about this scenario's groups. */
    static void listOwn() throws Exception {
        listOwn(5, new ListGroupsRequestData());
    }

    static void listOwn(int version, ListGroupsRequestData request) throws Exception {
        org.apache.kafka.common.message.ListGroupsResponseData answer = wire.askSilently(ApiKeys.LIST_GROUPS, version, request);
        wire.say("ListGroups " + version + " " + request.statesFilter() + " " + request.typesFilter() + " -> " + Errors.forCode(answer.errorCode()));
        answer.groups().stream().filter(found -> found.groupId().startsWith(group)).map(found -> "  " + found.groupId().substring(PREFIX.length())
            + " '" + found.protocolType() + "' '" + found.groupState() + "' '" + found.groupType() + "'").sorted().forEach(wire::say);
    }

    static void listGroups() throws Exception {
        String base = group;
        commit("", -1, 0, 5);
        group = base + "-stable";
        stableGroup();
        group = base + "-completing";
        join(joining(memberId("(c)"), "range"));
        group = base + "-consumer";
        String m = "MMMMMMMMMMMMMMMMMMMMMA";
        modern(heartbeat(m, 0).setSubscribedTopicNames(List.of(topic)));
        group = base;
        for (int version = 0; version <= 5; version++) {
            listOwn(version, new ListGroupsRequestData());
        }
        for (String state : List.of("Stable", "stable", "Empty", "CompletingRebalance", "Dead", "Assigning")) {
            listOwn(5, new ListGroupsRequestData().setStatesFilter(List.of(state)));
        }
        for (String type : List.of("classic", "Consumer", "share", "nonsense")) {
            listOwn(5, new ListGroupsRequestData().setTypesFilter(List.of(type)));
        }
        listOwn(5, new ListGroupsRequestData().setTypesFilter(List.of("classic", "consumer")).setStatesFilter(List.of("Stable", "Empty")));
        for (int version = 0; version <= 6; version++) {
            wire.ask(ApiKeys.DESCRIBE_GROUPS, version, new DescribeGroupsRequestData().setGroups(List.of(base, base + "-none", base + "-consumer", "")));
        }
        wire.ask(ApiKeys.DESCRIBE_GROUPS, 6, new DescribeGroupsRequestData().setGroups(List.of(base + "-stable", base)).setIncludeAuthorizedOperations(true));
    }

    /** The life of a member in every version of the calls. */
    static void versions() throws Exception {
        String base = group;
        for (int version = 0; version <= 9; version++) {
            group = base + "-" + version;
            int join = version, sync = Math.min(version, 5), beat = Math.min(version, 4), leave = Math.min(version, 5);
            var request = joining("", "range");
            JoinGroupResponseData joined = wire.askSilently(ApiKeys.JOIN_GROUP, join, request);
            wire.say("JoinGroup " + join + ": " + Errors.forCode(joined.errorCode()));
            wire.name(joined.memberId(), "(member of " + version + ")");
            String member = joined.memberId();
            if (joined.errorCode() == Errors.MEMBER_ID_REQUIRED.code()) {
                wire.ask(ApiKeys.JOIN_GROUP, join, joining(member, "range"));
            }
            var syncing = syncing(member, 1, member);
            wire.ask(ApiKeys.SYNC_GROUP, sync, sync < 5 ? syncing.setProtocolName(null).setProtocolType(null) : syncing);
            wire.ask(ApiKeys.HEARTBEAT, beat, beating(member, 1));
            wire.ask(ApiKeys.OFFSET_COMMIT, Math.max(2, version), committing(member, 1, 0, version));
            if (version == 9) {
                wire.ask(ApiKeys.OFFSET_COMMIT, 10, committing(member, 1, 0, 10));
            }
            wire.ask(ApiKeys.HEARTBEAT, beat, beating(member, 2));
            wire.ask(ApiKeys.JOIN_GROUP, join, joining("nobody", "range"));
            wire.ask(ApiKeys.SYNC_GROUP, sync, syncing.setMemberId("nobody"));
            fetchAll();
            wire.ask(ApiKeys.LEAVE_GROUP, leave, leave < 3 ? new LeaveGroupRequestData().setGroupId(group).setMemberId(member)
                : new LeaveGroupRequestData().setGroupId(group).setMembers(List.of(leaver(member, null))));
            describe();
        }
    }

    // --- consumer groups ---

    static final String A = "AAAAAAAAAAAAAAAAAAAAAA", B = "BBBBBBBBBBBBBBBBBBBBBA";

    /** A heartbeat as a client sends it when it joins (epoch 0) or has nothing new. */
    static ConsumerGroupHeartbeatRequestData heartbeat(String member, int epoch) {
        var request = new ConsumerGroupHeartbeatRequestData().setGroupId(group).setMemberId(member).setMemberEpoch(epoch);
        return epoch == 0 ? request.setRebalanceTimeoutMs(30_000).setTopicPartitions(List.of()) : request;
    }

    static ConsumerGroupHeartbeatRequestData.TopicPartitions owned(Uuid id, Integer... partitions) {
        return new ConsumerGroupHeartbeatRequestData.TopicPartitions().setTopicId(id).setPartitions(List.of(partitions));
    }

    static ConsumerGroupHeartbeatResponseData modern(ConsumerGroupHeartbeatRequestData request) throws Exception {
        return wire.ask(ApiKeys.CONSUMER_GROUP_HEARTBEAT, MODERN, request);
    }

    static void describeModern(String... groups) throws Exception {
        wire.ask(ApiKeys.CONSUMER_GROUP_DESCRIBE, 1, new ConsumerGroupDescribeRequestData().setGroupIds(List.of(groups)));
    }

    static void describeModern() throws Exception {
        describeModern(group);
    }

    /** The state and who has how much: where several have something, which of it is the assignor's matter. */
    static void describeShares() throws Exception {
        ConsumerGroupDescribeResponseData answer = wire.askSilently(ApiKeys.CONSUMER_GROUP_DESCRIBE, 1, new ConsumerGroupDescribeRequestData().setGroupIds(List.of(group)));
        var found = answer.groups().get(0);
        wire.say(found.groupState() + " epoch " + found.groupEpoch() + " assignment " + found.assignmentEpoch() + " " + found.assignorName());
        found.members().stream().map(member -> "  " + wire.replaced(member.memberId()) + " epoch " + member.memberEpoch() + " has " + count(member.assignment())
            + " shall have " + count(member.targetAssignment()) + " type " + member.memberType()).sorted().forEach(wire::say);
    }

    static int count(ConsumerGroupDescribeResponseData.Assignment assignment) {
        return assignment.topicPartitions().stream().mapToInt(of -> of.partitions().size()).sum();
    }

    /** A heartbeat of which the transcript tells only how much the member has. */
    static ConsumerGroupHeartbeatResponseData loosely(ConsumerGroupHeartbeatRequestData request) throws Exception {
        ConsumerGroupHeartbeatResponseData answer = wire.askSilently(ApiKeys.CONSUMER_GROUP_HEARTBEAT, MODERN, request);
        var given = answer.assignment();
        wire.say("heartbeat of " + request.memberId() + " with epoch " + request.memberEpoch() + " -> " + Errors.forCode(answer.errorCode())
            + " epoch " + answer.memberEpoch() + (given == null ? "" : " has " + given.topicPartitions().stream().mapToInt(of -> of.partitions().size()).sum()));
        return answer;
    }

    static List<ConsumerGroupHeartbeatRequestData.TopicPartitions> given(ConsumerGroupHeartbeatResponseData answer) {
        return answer.assignment().topicPartitions().stream()
            .map(of -> new ConsumerGroupHeartbeatRequestData.TopicPartitions().setTopicId(of.topicId()).setPartitions(of.partitions())).toList();
    }

    static void consumerRefused() throws Exception {
        var names = List.of(topic);
        modern(heartbeat(A, 0).setGroupId("").setSubscribedTopicNames(names));
        modern(heartbeat(A, 0).setGroupId("  ").setSubscribedTopicNames(names));
        modern(heartbeat("", 0).setSubscribedTopicNames(names));
        modern(heartbeat(A, 0));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setRebalanceTimeoutMs(-1));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setTopicPartitions(null));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setTopicPartitions(List.of(owned(topicId, 0))));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setServerAssignor("nonsense"));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setServerAssignor(""));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setInstanceId(""));
        modern(heartbeat(A, 0).setSubscribedTopicNames(names).setRackId(""));
        modern(heartbeat(A, 0).setSubscribedTopicRegex("(unclosed"));
        modern(heartbeat(A, 5));
        modern(heartbeat(A, -1));
        modern(heartbeat(A, -2));
        modern(heartbeat(A, -2).setInstanceId("instance"));
        modern(heartbeat(A, -3));
        describeModern(group, "");
        describe();
        // Version 0: the broker may give the id.
        ConsumerGroupHeartbeatResponseData answer = wire.askSilently(ApiKeys.CONSUMER_GROUP_HEARTBEAT, 0, heartbeat("", 0).setSubscribedTopicNames(names));
        wire.say(Errors.forCode(answer.errorCode()) + " epoch " + answer.memberEpoch() + " interval " + answer.heartbeatIntervalMs()
            + " " + (answer.memberId() == null ? "no id" : "an id of " + answer.memberId().length() + " characters"));
    }

    static void consumerOneMember() throws Exception {
        int epoch = modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic))).memberEpoch();
        describeModern();
        modern(heartbeat(A, epoch));
        // It says what it has; the answer says nothing new.
        modern(heartbeat(A, epoch).setTopicPartitions(List.of(owned(topicId, 0, 1, 2))));
        // All that it is, again: the answer is whole as well.
        modern(heartbeat(A, epoch).setSubscribedTopicNames(List.of(topic)).setRebalanceTimeoutMs(30_000).setTopicPartitions(List.of(owned(topicId, 0, 1, 2))));
        describeModern();
        modern(heartbeat(A, epoch + 1));
        modern(heartbeat(A, epoch - 1));
        modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic)));
        modern(heartbeat(B, epoch));
        modern(heartbeat(B, -1));
        modern(heartbeat(A, epoch).setRebalanceTimeoutMs(20_000));
        modern(heartbeat(A, epoch).setServerAssignor("range"));
        modern(heartbeat(A, epoch).setServerAssignor("nonsense"));
        describeModern();
        modern(heartbeat(A, -1));
        describeModern();
        describe();
        listOwn();
        modern(heartbeat(A, epoch));
        modern(heartbeat(A, -1));
        // It comes back into the group that is empty now.
        modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic)));
        describeModern();
        delete(group);
        modern(heartbeat(A, -1));
        delete(group);
        describeModern();
        listOwn();
    }

    static void consumerTwoMembers() throws Exception {
        var names = List.of(topic, other);
        var first = loosely(heartbeat(A, 0).setSubscribedTopicNames(names));
        int a = first.memberEpoch();
        loosely(heartbeat(A, a).setTopicPartitions(given(first)));
        describeShares();
        int b = loosely(heartbeat(B, 0).setSubscribedTopicNames(names)).memberEpoch();
        describeShares();
        // The second one waits until the first has given something up.
        loosely(heartbeat(B, b));
        var less = loosely(heartbeat(A, a));
        loosely(heartbeat(A, a));
        describeShares();
        var kept = given(less);
        int next = loosely(heartbeat(A, a).setTopicPartitions(kept)).memberEpoch();
        describeShares();
        // It may not have got the answer, and says the old epoch again.
        loosely(heartbeat(A, a).setTopicPartitions(kept));
        loosely(heartbeat(A, a - 1).setTopicPartitions(kept));
        loosely(heartbeat(A, a).setTopicPartitions(given(first)));
        var more = loosely(heartbeat(B, b));
        describeShares();
        loosely(heartbeat(B, b).setTopicPartitions(given(more)));
        describeShares();
        // One goes.
        loosely(heartbeat(B, -1));
        describeShares();
        int last = loosely(heartbeat(A, next)).memberEpoch();
        describeShares();
        loosely(heartbeat(A, last));
        loosely(heartbeat(A, -1));
        describeShares();
    }

    static void consumerSubscriptions() throws Exception {
        int epoch = modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(PREFIX + "missing"))).memberEpoch();
        describeModern();
        epoch = modern(heartbeat(A, epoch).setSubscribedTopicNames(List.of(other))).memberEpoch();
        modern(heartbeat(A, epoch).setTopicPartitions(List.of(owned(otherId, 0, 1))));
        // To another topic: what it had is taken first.
        epoch = modern(heartbeat(A, epoch).setSubscribedTopicNames(List.of(topic))).memberEpoch();
        describeModern();
        epoch = modern(heartbeat(A, epoch).setTopicPartitions(List.of())).memberEpoch();
        describeModern();
        epoch = modern(heartbeat(A, epoch).setSubscribedTopicNames(List.of())).memberEpoch();
        epoch = modern(heartbeat(A, epoch).setTopicPartitions(List.of())).memberEpoch();
        describeModern();
        epoch = modern(heartbeat(A, epoch).setSubscribedTopicNames(List.of(other, other))).memberEpoch();
        modern(heartbeat(A, epoch).setTopicPartitions(List.of(owned(Uuid.fromString("AAAAAAAAAAAAAAAAAAAABQ"), 0))));
        modern(heartbeat(A, epoch).setSubscribedTopicRegex("[bad"));
        describeModern();
    }

    static void consumerStaticMembers() throws Exception {
        var names = List.of(topic);
        int epoch = modern(heartbeat(A, 0).setInstanceId("one").setSubscribedTopicNames(names)).memberEpoch();
        modern(heartbeat(A, epoch).setInstanceId("one").setTopicPartitions(List.of(owned(topicId, 0, 1, 2))));
        // Somebody else of that name, as long as it has not gone.
        modern(heartbeat(B, 0).setInstanceId("one").setSubscribedTopicNames(names));
        modern(heartbeat(B, epoch).setInstanceId("one"));
        modern(heartbeat(B, epoch).setInstanceId("two"));
        modern(heartbeat(B, -2).setInstanceId("one"));
        // The same member, come back.
        modern(heartbeat(A, 0).setInstanceId("one").setSubscribedTopicNames(names));
        modern(heartbeat(A, -2).setInstanceId("one"));
        describeModern();
        commit(A, epoch, 0, 5);
        commit(A, -2, 0, 5);
        modern(heartbeat(A, epoch).setInstanceId("one"));
        int again = modern(heartbeat(B, 0).setInstanceId("one").setSubscribedTopicNames(names)).memberEpoch();
        describeModern();
        modern(heartbeat(A, epoch).setInstanceId("one"));
        modern(heartbeat(A, epoch));
        modern(heartbeat(B, again).setInstanceId("one"));
        modern(heartbeat(B, again));
        // It goes for good.
        modern(heartbeat(B, -1).setInstanceId("one"));
        describeModern();
        // Removed by its name, as an administrator does it.
        epoch = modern(heartbeat(A, 0).setInstanceId("one").setSubscribedTopicNames(names)).memberEpoch();
        leave(leaver("", "one"), leaver("", "two"));
        leave(leaver(A, null));
        describeModern();
        modern(heartbeat(A, epoch).setInstanceId("one"));
        // And one without a name by its id.
        modern(heartbeat(A, 0).setSubscribedTopicNames(names));
        leave(leaver(A, null));
        describeModern();
    }

    static void consumerCommits() throws Exception {
        int epoch = modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic))).memberEpoch();
        commit(A, epoch, 0, 5);
        commit(A, epoch - 1, 0, 6);
        commit(A, 0, 0, 6);
        commit(A, epoch + 1, 0, 6);
        commit(A, -1, 0, 6);
        commit(B, epoch, 0, 6);
        commit("", -1, 0, 6);
        commit("", epoch, 0, 6);
        for (int version : new int[] {2, 7, 8, 9}) {
            wire.ask(ApiKeys.OFFSET_COMMIT, version, committing(A, epoch, 1, version));
            wire.ask(ApiKeys.OFFSET_COMMIT, version, committing(A, 0, 1, 99));
            wire.ask(ApiKeys.OFFSET_COMMIT, version, committing(B, epoch, 1, 99));
        }
        fetchAll();
        fetch(fetching(group, null).setMemberId(A).setMemberEpoch(epoch));
        fetch(fetching(group, null).setMemberId(A).setMemberEpoch(epoch - 1));
        fetch(fetching(group, topicId, 0).setMemberId(A).setMemberEpoch(epoch + 1));
        fetch(fetching(group, null).setMemberId(B).setMemberEpoch(epoch));
        fetch(fetching(group, null).setMemberId("").setMemberEpoch(epoch));
        fetch(fetching(group, null).setMemberId(A).setMemberEpoch(-1));
        offsetDelete(group, topic, 0);
        offsetDelete(group, other, 0);
        delete(group);
        modern(heartbeat(A, -1));
        commit(A, epoch, 0, 7);
        commit("", -1, 0, 8);
        offsetDelete(group, topic, 1);
        fetchAll();
        delete(group);
        fetchAll();
        commit(B, epoch, 0, 9);
    }

    static void consumerAndClassicCalls() throws Exception {
        modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic)));
        describe();
        beat(A, 1);
        sync(syncing(A, 1));
        join(joining(A, "range"));
        join(joining("", "v1").setProtocolType("connect"));
        join(joining(""));
        join(joining("nobody", "range"));
        leave(leaver("nobody", null));
        wire.ask(ApiKeys.LEAVE_GROUP, 2, new LeaveGroupRequestData().setGroupId(group).setMemberId(A));
        describeModern();
        modern(heartbeat(A, -1));
        // Empty, it becomes a classic one for a member of that kind.
        String c = memberId("(c)");
        join(joining(c, "range"));
        describe();
        describeModern();
        listOwn();
        leave(leaver(c, null));
        // And the other way round.
        modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic)));
        describeModern();
        describe();
        listOwn();
    }

    static void upgradeAndDowngrade() throws Exception {
        String c = memberId("(c)");
        join(joining(c, "range"));
        var assignment = assignmentOf(c);
        wire.name(Base64.getEncoder().encodeToString(assignment.assignment()), "(all of topic)");
        sync(syncing(c, 1).setAssignments(List.of(assignment)));
        commit(c, 1, 0, 4);
        // A member of the new protocol turns the group into one of it.
        int a = loosely(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic))).memberEpoch();
        listOwn();
        describe();
        describeShares();
        // The old one is told to join again, and then goes through the steps that it knows.
        beat(c, 1);
        commit(c, 1, 0, 5);
        JoinGroupResponseData again = wire.askSilently(ApiKeys.JOIN_GROUP, JOIN, joining(c, "range"));
        wire.say("the classic member joins again -> " + Errors.forCode(again.errorCode()) + " generation " + again.generationId() + " leader '"
            + (again.leader().equals(c) ? "(c)" : again.leader()) + "' protocol " + again.protocolName() + " members " + again.members().size() + " skip " + again.skipAssignment());
        describeShares();
        beat(c, again.generationId());
        beat(c, 1);
        sync(syncing(c, 1));
        var synced = (org.apache.kafka.common.message.SyncGroupResponseData) wire.askSilently(ApiKeys.SYNC_GROUP, SYNC, syncing(c, again.generationId()));
        wire.say("it is synced -> " + Errors.forCode(synced.errorCode()) + " protocol " + synced.protocolName());
        beat(c, again.generationId());
        loosely(heartbeat(A, a));
        describeShares();
        // The last member of the new protocol goes: the group is a classic one again.
        loosely(heartbeat(A, -1));
        listOwn();
        describeShares();
        fetchAll();
    }

    static SyncGroupRequestData.SyncGroupRequestAssignment assignmentOf(String member) {
        var assignment = new org.apache.kafka.common.message.ConsumerProtocolAssignment();
        assignment.assignedPartitions().add(new org.apache.kafka.common.message.ConsumerProtocolAssignment.TopicPartition().setTopic(topic).setPartitions(List.of(0, 1, 2)));
        var buffer = org.apache.kafka.common.protocol.MessageUtil.toVersionPrefixedByteBuffer((short) 3, assignment);
        byte[] encoded = new byte[buffer.remaining()];
        buffer.get(encoded);
        return new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(member).setAssignment(encoded);
    }

    static void upgradeRefused() throws Exception {
        // Members whose protocol type is another one can not be taken along.
        JoinGroupResponseData told = wire.askSilently(ApiKeys.JOIN_GROUP, JOIN, joining("", "v1").setProtocolType("connect"));
        wire.name(told.memberId(), "(c)");
        join(joining(told.memberId(), "v1").setProtocolType("connect"));
        modern(heartbeat(A, 0).setSubscribedTopicNames(List.of(topic)));
        describe();
        modern(heartbeat(A, 1));
        modern(heartbeat(A, -1));
        describeModern();
        commit(A, 1, 0, 3);
        fetch(fetching(group, null).setMemberId(A).setMemberEpoch(1));
    }
}
