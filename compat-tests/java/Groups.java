import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidRegularExpression;
import org.apache.kafka.common.errors.OffsetMetadataTooLarge;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.UnreleasedInstanceIdException;

/** The tests of group consumers, of both protocols, and of the admin calls on groups. */
final class Groups extends Suite {
    static final Set<String> LONG_ONLY = Set.of("group-new-topic-of-pattern", "group-poll-interval-classic", "group-poll-interval-consumer",
        "group-cooperative-migration");

    interface Each {
        void run(String protocol) throws Exception;
    }

    static void addTo(Map<String, Test> tests) {
        Map<String, Each> each = Map.of("resume", Groups::resume, "rebalance", Groups::rebalance, "commits", Groups::commits,
            "pattern", Groups::pattern, "static", Groups::staticMembers, "remove-members", Groups::removeMembers,
            "poll-interval", Groups::pollInterval, "close-options", Groups::closeOptions, "list-and-describe", Groups::listAndDescribe, "delete", Groups::delete);
        for (String name : new TreeSet<>(each.keySet())) {
            for (String protocol : List.of("classic", "consumer")) {
                tests.put("group-" + name + "-" + protocol, () -> each.get(name).run(protocol));
            }
        }
        tests.put("group-invalid-pattern", Groups::invalidPattern);
        tests.put("group-new-topic-of-pattern", Groups::newTopicOfPattern);
        tests.put("group-cooperative", Groups::cooperative);
        tests.put("group-stale-member", Groups::staleMember);
        tests.put("group-offsets-of-admin", Groups::offsetsOfAdmin);
        tests.put("group-migration", () -> migration("org.apache.kafka.clients.consumer.RangeAssignor"));
        tests.put("group-cooperative-migration", () -> migration("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
    }

    /** A consumer that a thread of its own polls. */
    static class Member implements AutoCloseable, ConsumerRebalanceListener {
        final KafkaConsumer<byte[], byte[]> client;
        final Set<TopicPartition> owned = ConcurrentHashMap.newKeySet();
        final List<String> events = new CopyOnWriteArrayList<>(), values = new CopyOnWriteArrayList<>();
        final ConcurrentLinkedQueue<Runnable> tasks = new ConcurrentLinkedQueue<>();
        final Thread thread;
        volatile Throwable failure;
        volatile CloseOptions closing;

        Member(String group, String protocol, Map<String, Object> config, Collection<String> topics) {
            this(group, protocol, config, (client, member) -> client.subscribe(topics, member));
        }

        Member(String group, String protocol, Map<String, Object> config, java.util.function.BiConsumer<KafkaConsumer<byte[], byte[]>, Member> subscribe) {
            Map<String, Object> all = new HashMap<>(Map.of("group.id", group, "group.protocol", protocol, "enable.auto.commit", false,
                "fetch.max.wait.ms", 100, "metadata.max.age.ms", 300));
            if (protocol.equals("classic")) {
                all.putAll(Map.of("session.timeout.ms", 6000, "heartbeat.interval.ms", 200));
            }
            all.putAll(config);
            client = consumer(all);
            subscribe.accept(client, this);
            thread = new Thread(this::poll);
            thread.start();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            events.add("+" + partitions.size());
            owned.addAll(partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            events.add("-" + partitions.size());
            owned.removeAll(partitions);
        }

        void poll() {
            try {
                while (closing == null) {
                    client.poll(Duration.ofMillis(50)).forEach(record -> values.add(new String(record.value())));
                    for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
                        task.run();
                    }
                }
            } catch (RuntimeException thrown) {
                failure = thrown;
            }
            client.close(closing == null ? CloseOptions.timeout(Duration.ofSeconds(5)) : closing);
        }

        /** Runs a call on the client in the thread that owns it; throws what that threw. */
        <T> T on(Function<KafkaConsumer<byte[], byte[]>, T> call) throws Exception {
            var answer = new CompletableFuture<T>();
            tasks.add(() -> {
                try {
                    answer.complete(call.apply(client));
                } catch (RuntimeException thrown) {
                    answer.completeExceptionally(thrown);
                }
            });
            return answer.get(30, TimeUnit.SECONDS);
        }

        void close(CloseOptions options) {
            closing = options;
            try {
                thread.join(PATIENCE.toMillis());
            } catch (InterruptedException never) {
                throw new AssertionError(never);
            }
            check(!thread.isAlive(), "close hangs");
        }

        @Override
        public void close() {
            close(CloseOptions.timeout(Duration.ofSeconds(10)));
        }
    }

    /** Whether the members have the partitions of a topic evenly between them, each one once. */
    static boolean shared(String topic, int count, Member... members) {
        var owned = Stream.of(members).flatMap(member -> member.owned.stream()).toList();
        var sizes = Stream.of(members).mapToInt(member -> member.owned.size()).summaryStatistics();
        return owned.size() == count && new HashSet<>(owned).equals(partitions(topic, count)) && sizes.getMax() - sizes.getMin() <= 1;
    }

    static Set<TopicPartition> partitions(String topic, int count) {
        return IntStream.range(0, count).mapToObj(p -> new TopicPartition(topic, p)).collect(Collectors.toSet());
    }

    static String filled(String name, int partitions) throws Exception {
        String topic = create(name, partitions);
        fill(topic, partitions, 10);
        return topic;
    }

    static void fill(String topic, int partitions, int each) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < partitions * each; i++) {
            records.add(new ProducerRecord<>(topic, i % partitions, null, bytes(i % partitions + "-" + i / partitions)));
        }
        send(Map.of(), records);
    }

    static Map<Integer, Long> committed(String group, String topic) throws Exception {
        Map<Integer, Long> found = new HashMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
            if (partition.topic().equals(topic) && offset != null) {
                found.put(partition.partition(), offset.offset());
            }
        });
        return found;
    }

    static ConsumerGroupDescription described(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    static GroupState stateOf(String group) {
        try {
            return described(group).groupState();
        } catch (Exception thrown) {
            throw new AssertionError(thrown);
        }
    }

    /** The call must throw that, as the cause of what the future throws. */
    static void throwing(Class<? extends Exception> expected, Member member, Function<KafkaConsumer<byte[], byte[]>, ?> call) throws Exception {
        try {
            throw new AssertionError("expected " + expected + ", got " + member.on(call));
        } catch (java.util.concurrent.ExecutionException thrown) {
            check(expected.isInstance(thrown.getCause()), "expected " + expected + ", got " + thrown.getCause());
        }
    }

    // --- consumers ---

    static void resume(String protocol) throws Exception {
        String topic = filled("resume-" + protocol, 3), group = PREFIX + "resume-" + protocol;
        try (var member = new Member(group, protocol, Map.of(), List.of(topic))) {
            eventually(() -> member.values.size() == 30);
            equal(30, new HashSet<>(member.values).size());
            member.on(client -> {
                client.commitSync();
                return null;
            });
        }
        equal(Map.of(0, 10L, 1, 10L, 2, 10L), committed(group, topic));
        fill(topic, 3, 1);
        // This one commits by itself, when it is closed.
        try (var member = new Member(group, protocol, Map.of("enable.auto.commit", true), List.of(topic))) {
            eventually(() -> member.values.size() == 3);
        }
        equal(Map.of(0, 11L, 1, 11L, 2, 11L), committed(group, topic));
    }

    static void rebalance(String protocol) throws Exception {
        String topic = create("rebalance-" + protocol, 6), group = PREFIX + "rebalance-" + protocol;
        try (var first = new Member(group, protocol, Map.of(), List.of(topic))) {
            eventually(() -> shared(topic, 6, first));
            try (var second = new Member(group, protocol, Map.of(), List.of(topic)); var third = new Member(group, protocol, Map.of(), List.of(topic))) {
                eventually(() -> shared(topic, 6, first, second, third));
                equal(GroupState.STABLE, stateOf(group));
                equal(3, described(group).members().size());
            }
            eventually(() -> shared(topic, 6, first));
            // Partitions that come later are given out as well.
            admin.createPartitions(Map.of(topic, org.apache.kafka.clients.admin.NewPartitions.increaseTo(8))).all().get();
            eventually(() -> shared(topic, 8, first));
        }
        eventually(() -> stateOf(group) == GroupState.EMPTY);
    }

    static void commits(String protocol) throws Exception {
        String topic = filled("commits-" + protocol, 2), group = PREFIX + "commits-" + protocol;
        var zero = new TopicPartition(topic, 0);
        var one = new TopicPartition(topic, 1);
        try (var member = new Member(group, protocol, Map.of(), List.of(topic))) {
            eventually(() -> member.values.size() == 20);
            member.on(client -> {
                client.commitSync(Map.of(zero, new OffsetAndMetadata(7, Optional.of(0), "un été")));
                return null;
            });
            var found = member.on(client -> client.committed(Set.of(zero, one)));
            equal(new OffsetAndMetadata(7, Optional.of(0), "un été"), found.get(zero));
            check(found.get(one) == null, found);
            var answer = new CompletableFuture<Object>();
            member.on(client -> {
                client.commitAsync(Map.of(one, new OffsetAndMetadata(2)), (offsets, error) -> answer.complete(error == null ? "done" : error));
                return null;
            });
            equal("done", answer.get(30, TimeUnit.SECONDS));
            equal(Map.of(0, 7L, 1, 2L), committed(group, topic));
            throwing(OffsetMetadataTooLarge.class, member, client -> {
                client.commitSync(Map.of(zero, new OffsetAndMetadata(8, "x".repeat(5000))));
                return null;
            });
            equal(Map.of(0, 7L, 1, 2L), committed(group, topic));
            equal(group, member.on(client -> client.groupMetadata().groupId()));
        }
    }

    static void pattern(String protocol) throws Exception {
        String first = create("pattern-" + protocol + "-a", 1), second = create("pattern-" + protocol + "-b", 2);
        create("other-" + protocol + "-c", 1);
        String group = PREFIX + "pattern-" + protocol, regex = Pattern.quote(PREFIX) + "pattern-" + protocol + "-.*";
        Set<TopicPartition> wanted = new HashSet<>(partitions(second, 2));
        wanted.add(new TopicPartition(first, 0));
        // By the client, in both protocols.
        try (var member = new Member(group, protocol, Map.of(), (client, listener) -> client.subscribe(Pattern.compile(regex), listener))) {
            eventually(() -> member.owned.equals(wanted));
        }
        if (protocol.equals("consumer")) {
            // By the broker, alone and beside a member that names a topic.
            String server = PREFIX + "pattern-consumer-[ab]";
            try (var member = new Member(group, protocol, Map.of(), (client, listener) -> client.subscribe(new SubscriptionPattern(server), listener))) {
                eventually(() -> member.owned.equals(wanted));
                try (var named = new Member(group, protocol, Map.of(), List.of(second))) {
                    eventually(() -> named.owned.size() == 1 && member.owned.size() == 2 && member.owned.contains(new TopicPartition(first, 0)));
                }
                eventually(() -> member.owned.equals(wanted));
            }
        }
    }

    static void invalidPattern() throws Exception {
        try (var member = new Member(PREFIX + "invalid-pattern", "consumer", Map.of(), (client, listener) -> client.subscribe(new SubscriptionPattern("(unclosed"), listener))) {
            eventually(() -> member.failure != null);
            check(member.failure instanceof InvalidRegularExpression, member.failure);
        }
    }

    static void newTopicOfPattern() throws Exception {
        String first = create("growing-a", 1), group = PREFIX + "growing";
        try (var member = new Member(group, "consumer", Map.of(), (client, listener) -> client.subscribe(new SubscriptionPattern(PREFIX + "growing-.*"), listener))) {
            eventually(() -> member.owned.equals(partitions(first, 1)));
            // The broker looks again when topics come and go, but not more often than every ten seconds.
            String second = create("growing-b", 1);
            eventually(() -> member.owned.contains(new TopicPartition(second, 0)) && member.owned.size() == 2);
            admin.deleteTopics(List.of(first)).all().get();
            eventually(() -> member.owned.equals(partitions(second, 1)));
        }
    }

    static void staticMembers(String protocol) throws Exception {
        String topic = create("static-" + protocol, 4), group = PREFIX + "static-" + protocol;
        Map<String, Object> one = Map.of("group.instance.id", "one"), two = Map.of("group.instance.id", "two");
        try (var first = new Member(group, protocol, one, List.of(topic))) {
            Set<TopicPartition> before;
            int events;
            try (var second = new Member(group, protocol, two, List.of(topic))) {
                eventually(() -> shared(topic, 4, first, second));
                before = Set.copyOf(second.owned);
                events = first.events.size();
            }
            equal(2, described(group).members().size());
            try (var again = new Member(group, protocol, two, List.of(topic))) {
                eventually(() -> again.owned.equals(before));
                equal(events, first.events.size());
                // The classic protocol fences the older one of the same name, the new protocol refuses the younger.
                try (var twin = new Member(group, protocol, two, List.of(topic))) {
                    if (protocol.equals("classic")) {
                        eventually(() -> again.failure instanceof FencedInstanceIdException);
                        eventually(() -> twin.owned.equals(before));
                    } else {
                        eventually(() -> twin.failure instanceof UnreleasedInstanceIdException);
                        check(again.failure == null, again.failure);
                    }
                }
            }
        }
    }

    static void closeOptions(String protocol) throws Exception {
        String topic = create("close-" + protocol, 1), group = PREFIX + "close-" + protocol;
        var named = new Member(group, protocol, Map.of("group.instance.id", "leaves"), List.of(topic));
        eventually(() -> shared(topic, 1, named));
        named.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
        eventually(() -> stateOf(group) == GroupState.EMPTY);
        if (protocol.equals("consumer")) {
            return;  // there, whoever is no static member leaves whatever it was told
        }
        var silent = new Member(group, protocol, Map.of("session.timeout.ms", 1500), List.of(topic));
        eventually(() -> shared(topic, 1, silent));
        silent.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP));
        equal(1, described(group).members().size());
        // What said nothing is removed when its session has timed out.
        eventually(() -> stateOf(group) == GroupState.EMPTY);
    }

    static void removeMembers(String protocol) throws Exception {
        String topic = create("removed-" + protocol, 2), group = PREFIX + "removed-" + protocol;
        try (var one = new Member(group, protocol, Map.of("group.instance.id", "one"), List.of(topic));
             var two = new Member(group, protocol, Map.of("group.instance.id", "two"), List.of(topic))) {
            eventually(() -> shared(topic, 2, one, two));
        }
        equal(2, sizeOf(group));
        var unknown = new MemberToRemove("three");
        var answer = admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one"), unknown)));
        fails(UnknownMemberIdException.class, answer.memberResult(unknown));
        answer.memberResult(new MemberToRemove("one")).get();
        eventually(() -> sizeOf(group) == 1);
        // Without names: all that are in it.
        admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all().get();
        eventually(() -> stateOf(group) == GroupState.EMPTY);
    }

    static int sizeOf(String group) {
        try {
            return described(group).members().size();
        } catch (Exception thrown) {
            throw new AssertionError(thrown);
        }
    }

    static void pollInterval(String protocol) throws Exception {
        String topic = create("lazy-" + protocol, 2), group = PREFIX + "lazy-" + protocol;
        try (var member = new Member(group, protocol, Map.of("max.poll.interval.ms", 6000), List.of(topic))) {
            eventually(() -> shared(topic, 2, member));
            try (var lazy = consumer(lazyConfig(group, protocol))) {
                lazy.subscribe(List.of(topic));
                eventually(() -> lazy.poll(Duration.ofMillis(50)) != null && lazy.assignment().size() == 1 && member.owned.size() == 1);
                // It does not poll any more, and says so to the group.
                eventually(() -> shared(topic, 2, member));
            }
        }
    }

    static Map<String, Object> lazyConfig(String group, String protocol) {
        Map<String, Object> config = new HashMap<>(Map.of("group.id", group, "group.protocol", protocol, "max.poll.interval.ms", 3000));
        if (protocol.equals("classic")) {
            config.putAll(Map.of("session.timeout.ms", 2000, "heartbeat.interval.ms", 200));
        }
        return config;
    }

    static void cooperative() throws Exception {
        String topic = create("cooperative", 4), group = PREFIX + "cooperative";
        Map<String, Object> config = Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        try (var first = new Member(group, "classic", config, List.of(topic))) {
            eventually(() -> shared(topic, 4, first));
            try (var second = new Member(group, "classic", config, List.of(topic))) {
                eventually(() -> shared(topic, 4, first, second));
                // What stays with the first was never taken from it.
                equal(List.of("-2"), first.events.stream().filter(event -> event.startsWith("-")).toList());
            }
            eventually(() -> shared(topic, 4, first));
        }
    }

    /** Whoever is no member any more may not commit. */
    static void staleMember() throws Exception {
        for (String protocol : List.of("classic", "consumer")) {
            String topic = filled("stale-" + protocol, 1), group = PREFIX + "stale-" + protocol;
            Map<String, Object> config = Map.of("group.instance.id", "one");
            try (var member = new Member(group, protocol, config, List.of(topic))) {
                eventually(() -> member.values.size() == 10);
                // From here it does not poll; meanwhile it is removed.
                var removed = new CompletableFuture<Void>();
                var answer = new CompletableFuture<Object>();
                member.tasks.add(() -> {
                    removed.join();
                    try {
                        client(member).commitSync();
                        answer.complete("no error");
                    } catch (RuntimeException thrown) {
                        answer.complete(thrown);
                    }
                });
                admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all().get();
                removed.complete(null);
                Object said = answer.get(30, TimeUnit.SECONDS);
                check(said instanceof CommitFailedException || said instanceof FencedInstanceIdException, said);
            }
            equal(Map.of(), committed(group, topic));
        }
    }

    static KafkaConsumer<byte[], byte[]> client(Member member) {
        return member.client;
    }

    /** A group goes from one protocol to the other and back, one member after the other, and goes on where it was. */
    static void migration(String assignor) throws Exception {
        String name = "migrated-" + assignor.replaceAll(".*\\.", "");
        String topic = filled(name, 6), group = PREFIX + name;
        Map<String, Object> classic = Map.of("partition.assignment.strategy", assignor);
        var old = List.of(new Member(group, "classic", classic, List.of(topic)), new Member(group, "classic", classic, List.of(topic)));
        eventually(() -> shared(topic, 6, old.get(0), old.get(1)));
        eventually(() -> old.stream().mapToInt(member -> member.values.size()).sum() >= 60);
        for (var member : old) {
            member.on(client -> {
                client.commitSync();
                return null;
            });
        }
        equal(6, committed(group, topic).size());
        equal(GroupType.CLASSIC, described(group).type());

        List<Member> fresh = new ArrayList<>();
        roll(old.get(0), fresh, group, topic, "consumer", Map.of(), old.get(1));
        equal(GroupType.CONSUMER, described(group).type());
        roll(old.get(1), fresh, group, topic, "consumer", Map.of());
        equal(GroupType.CONSUMER, described(group).type());
        check(described(group).members().stream().allMatch(member -> member.upgraded().equals(Optional.of(true))), described(group));

        List<Member> back = new ArrayList<>();
        roll(fresh.get(0), back, group, topic, "classic", classic, fresh.get(1));
        roll(fresh.get(1), back, group, topic, "classic", classic);
        eventually(() -> typeOf(group) == GroupType.CLASSIC);
        equal(Map.of(0, 10L, 1, 10L, 2, 10L, 3, 10L, 4, 10L, 5, 10L), committed(group, topic));
        // Nobody has read anything twice since the commits.
        check(Stream.concat(fresh.stream(), back.stream()).allMatch(member -> member.values.isEmpty()), "read again");
        fill(topic, 6, 1);
        eventually(() -> back.stream().mapToInt(member -> member.values.size()).sum() == 6);
        back.forEach(Member::close);
    }

    static GroupType typeOf(String group) {
        try {
            return described(group).type();
        } catch (Exception thrown) {
            throw new AssertionError(thrown);
        }
    }

    /** Closes one member and puts one of the other protocol in its place. */
    static void roll(Member out, List<Member> in, String group, String topic, String protocol, Map<String, Object> config, Member... others) throws Exception {
        out.close();
        in.add(new Member(group, protocol, config, List.of(topic)));
        var all = Stream.concat(in.stream(), Stream.of(others)).toArray(Member[]::new);
        eventually(() -> shared(topic, 6, all));
        check(Stream.of(all).allMatch(member -> member.failure == null), "a member has failed");
    }

    // --- admin ---

    static void listAndDescribe(String protocol) throws Exception {
        String topic = create("described-" + protocol, 2), group = PREFIX + "described-" + protocol;
        GroupType type = GroupType.parse(protocol);
        try (var member = new Member(group, protocol, Map.of("client.id", "the-client-" + protocol), List.of(topic))) {
            eventually(() -> shared(topic, 2, member) && stateOf(group) == GroupState.STABLE);
            ConsumerGroupDescription found = described(group);
            equal(type, found.type());
            equal(protocol.equals("classic") ? "range" : "uniform", found.partitionAssignor());
            equal(protocol.equals("consumer"), found.groupEpoch().isPresent());
            equal(found.groupEpoch(), found.targetAssignmentEpoch());
            equal(BOOTSTRAP, found.coordinator().host() + ":" + found.coordinator().port());
            var only = found.members().iterator().next();
            equal("the-client-" + protocol, only.clientId());
            equal("/127.0.0.1", only.host());
            equal(partitions(topic, 2), only.assignment().topicPartitions());
            if (protocol.equals("consumer")) {
                equal(partitions(topic, 2), only.targetAssignment().get().topicPartitions());
                equal(found.groupEpoch(), only.memberEpoch());
            }
            check(listed(new ListGroupsOptions()).contains(group), "listed");
            check(listed(new ListGroupsOptions().withTypes(Set.of(type)).inGroupStates(Set.of(GroupState.STABLE))).contains(group), "by type");
            check(!listed(new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).contains(group), "by state");
            check(listed(new ListGroupsOptions().withProtocolTypes(Set.of("consumer"))).contains(group), "by protocol type");
            check(!listed(new ListGroupsOptions().withProtocolTypes(Set.of("connect"))).contains(group), "by protocol type");
            if (protocol.equals("classic")) {
                var classic = admin.describeClassicGroups(List.of(group)).all().get().get(group);
                equal("consumer", classic.protocol());
                equal("range", classic.protocolData());
            }
        }
        fails(GroupIdNotFoundException.class, admin.describeConsumerGroups(List.of(PREFIX + "missing")).all());
    }

    static Set<String> listed(ListGroupsOptions options) throws Exception {
        return admin.listGroups(options).all().get().stream().map(listing -> listing.groupId()).collect(Collectors.toSet());
    }

    static void delete(String protocol) throws Exception {
        String topic = filled("deleted-" + protocol, 1), group = PREFIX + "deleted-" + protocol;
        var partition = new TopicPartition(topic, 0);
        try (var member = new Member(group, protocol, Map.of("enable.auto.commit", true), List.of(topic))) {
            eventually(() -> member.values.size() == 10);
            fails(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
            fails(GroupSubscribedToTopicException.class, admin.deleteConsumerGroupOffsets(group, Set.of(partition)).partitionResult(partition));
            fails(UnknownMemberIdException.class, admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(1))).all());
        }
        eventually(() -> stateOf(group) == GroupState.EMPTY);
        equal(Map.of(0, 10L), committed(group, topic));
        admin.deleteConsumerGroups(List.of(group)).all().get();
        equal(Map.of(), committed(group, topic));
        fails(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all());
    }

    static void offsetsOfAdmin() throws Exception {
        String topic = filled("admin-offsets", 2), group = PREFIX + "admin-offsets";
        var zero = new TopicPartition(topic, 0);
        var one = new TopicPartition(topic, 1);
        admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(4, "by hand"), one, new OffsetAndMetadata(5))).all().get();
        equal(new OffsetAndMetadata(4, "by hand"), admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(zero));
        equal(Map.of(0, 4L, 1, 5L), committed(group, topic));
        check(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().anyMatch(found -> found.groupId().equals(group) && found.isSimpleConsumerGroup()), "simple");
        admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get();
        equal(Map.of(1, 5L), committed(group, topic));
        fails(GroupIdNotFoundException.class, admin.deleteConsumerGroupOffsets(PREFIX + "missing", Set.of(zero)).all());
        // The last offset goes, and the group with it, sooner or later.
        admin.deleteConsumerGroups(List.of(group)).all().get();
        equal(Map.of(), committed(group, topic));
    }
}
