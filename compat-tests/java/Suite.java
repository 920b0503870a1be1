import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The tests of Kafka's own Java clients against the broker at $BOOTSTRAP. */
public class Suite {
    static final String BOOTSTRAP = System.getenv("BOOTSTRAP");
    static final boolean SHORT = !System.getenv().getOrDefault("SHORT", "").isEmpty();
    static final String PREFIX = "compat-" + System.currentTimeMillis() / 1000 + "-" + ProcessHandle.current().pid() + "-java-";
    static final Duration PATIENCE = Duration.ofSeconds(30);

    static Admin admin;

    interface Test {
        void run() throws Exception;
    }

    public static void main(String[] args) {
        Map<String, Test> tests = new LinkedHashMap<>();
        tests.put("describe-cluster", Suite::describeCluster);
        tests.put("create-and-describe-topics", Suite::createAndDescribeTopics);
        tests.put("create-topic-answer", Suite::createTopicAnswer);
        tests.put("create-topic-errors", Suite::createTopicErrors);
        tests.put("delete-topics", Suite::deleteTopics);
        tests.put("create-partitions", Suite::createPartitions);
        tests.put("configs", Suite::configs);
        tests.put("config-errors", Suite::configErrors);
        tests.put("list-offsets", Suite::listOffsets);
        tests.put("delete-records", Suite::deleteRecords);
        tests.put("produce-idempotent", () -> roundTrip("idempotent", Map.of()));
        for (String acks : List.of("1", "all")) {
            tests.put("produce-acks-" + acks, () -> roundTrip("acks-" + acks, Map.of("acks", acks, "enable.idempotence", false)));
        }
        tests.put("produce-acks-0", Suite::produceWithoutAcks);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            tests.put("codec-" + codec, () -> roundTrip("codec-" + codec, Map.of("compression.type", codec)));
        }
        tests.put("log-append-time", Suite::logAppendTime);
        tests.put("invalid-timestamp", Suite::invalidTimestamp);
        tests.put("record-errors", Suite::recordErrors);
        tests.put("record-too-large", Suite::recordTooLarge);
        tests.put("headers", Suite::headers);
        tests.put("seek", Suite::seek);
        tests.put("offset-out-of-range", Suite::offsetOutOfRange);
        tests.put("large-records", Suite::largeRecords);
        tests.put("offsets-for-times", Suite::offsetsForTimes);
        tests.put("many-partitions", Suite::manyPartitions);
        Groups.addTo(tests);

        if (args.length > 0) {
            tests.keySet().removeIf(name -> java.util.stream.Stream.of(args).noneMatch(name::contains));
        }
        int failed = 0;
        admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP));
        for (var test : tests.entrySet()) {
            if (SHORT && Groups.LONG_ONLY.contains(test.getKey())) {
                System.out.printf("skip %s (short form)%n", test.getKey());
                continue;
            }
            long start = System.nanoTime();
            Throwable failure = null;
            try {
                test.getValue().run();
            } catch (Exception | AssertionError thrown) {
                failure = thrown;
                failed++;
            }
            System.out.printf("%s %s %.2f s%n", failure == null ? "ok  " : "FAIL", test.getKey(), (System.nanoTime() - start) / 1e9);
            if (failure != null) {
                failure.printStackTrace(System.out);
            }
        }
        admin.close();
        System.exit(failed > 0 ? 1 : 0);
    }

    // --- helpers ---

    static void equal(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }

    static void check(boolean holds, Object what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void fails(Class<? extends Exception> expected, Future<?> answer) throws InterruptedException {
        var thrown = failure(answer);
        check(expected.isInstance(thrown), "expected " + expected + ", got " + thrown);
    }

    static Throwable failure(Future<?> answer) throws InterruptedException {
        try {
            throw new AssertionError("expected a failure, got " + answer.get());
        } catch (ExecutionException thrown) {
            return thrown.getCause();
        }
    }

    /** Waits for what a broker may do after its answer. */
    static void eventually(BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (!condition.getAsBoolean()) {
            check(System.nanoTime() < deadline, "never happened");
            Thread.sleep(10);
        }
    }

    /** Creates a topic of this run and waits until the broker knows it; config is key, value, key, value. */
    static String create(String name, int partitions, String... config) throws Exception {
        String topic = PREFIX + name;
        Map<String, String> configs = new HashMap<>();
        for (int i = 0; i < config.length; i += 2) {
            configs.put(config[i], config[i + 1]);
        }
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        eventually(() -> partitionCount(topic) == partitions);
        // Apache Kafka names a leader a moment before that leader serves; listOffsets asks until it does.
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (int p = 0; p < partitions; p++) {
            ends.put(new TopicPartition(topic, p), OffsetSpec.latest());
        }
        admin.listOffsets(ends).all().get();
        return topic;
    }

    static int partitionCount(String topic) {
        try {
            return describe(topic).partitions().size();
        } catch (ExecutionException | InterruptedException notYet) {
            return 0;
        }
    }

    static TopicDescription describe(String topic) throws ExecutionException, InterruptedException {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> config) {
        Map<String, Object> all = new HashMap<>(config);
        all.put("bootstrap.servers", BOOTSTRAP);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static List<RecordMetadata> send(Map<String, Object> config, Collection<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<RecordMetadata> acked = new ArrayList<>();
        try (var producer = producer(config)) {
            for (var answer : records.stream().map(producer::send).toList()) {
                acked.add(answer.get());
            }
        }
        return acked;
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> config) {
        Map<String, Object> all = new HashMap<>(Map.of("auto.offset.reset", "earliest", "allow.auto.create.topics", false));
        all.putAll(config);
        all.put("bootstrap.servers", BOOTSTRAP);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Polls until there are count records. */
    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (records.size() < count) {
            check(System.nanoTime() < deadline, "only " + records.size() + " of " + count + " records");
            consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        equal(count, records.size());
        return records;
    }

    static List<ConsumerRecord<byte[], byte[]>> receive(String topic, int count) {
        try (var consumer = consumer(Map.of())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            return poll(consumer, count);
        }
    }

    static ProducerRecord<byte[], byte[]> record(String topic, String value) {
        return new ProducerRecord<>(topic, 0, bytes("key"), bytes(value));
    }

    static ProducerRecord<byte[], byte[]> recordAt(String topic, long timestamp) {
        return new ProducerRecord<>(topic, 0, timestamp, bytes("key"), bytes("at " + timestamp));
    }

    // --- admin ---

    static void describeCluster() throws Exception {
        var cluster = admin.describeCluster();
        var nodes = cluster.nodes().get();
        check(nodes.stream().anyMatch(node -> (node.host() + ":" + node.port()).equals(BOOTSTRAP)), nodes);
        check(nodes.contains(cluster.controller().get()), cluster.controller().get());
        equal(22, cluster.clusterId().get().length());
    }

    static void createAndDescribeTopics() throws Exception {
        String topic = create("described", 3);
        TopicDescription found = describe(topic);
        equal(List.of(0, 1, 2), found.partitions().stream().map(p -> p.partition()).toList());
        for (var partition : found.partitions()) {
            equal(List.of(partition.leader()), partition.replicas());
            equal(List.of(partition.leader()), partition.isr());
        }
        check(!found.isInternal() && !found.topicId().equals(Uuid.ZERO_UUID), found);
        var byId = admin.describeTopics(TopicCollection.ofTopicIds(List.of(found.topicId()))).allTopicIds().get();
        equal(topic, byId.get(found.topicId()).name());
        equal(found.topicId(), admin.listTopics().namesToListings().get().get(topic).topicId());
        fails(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of(PREFIX + "missing")).allTopicNames());
        fails(UnknownTopicIdException.class, admin.describeTopics(TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).allTopicIds());
    }

    static void createTopicAnswer() throws Exception {
        String topic = PREFIX + "answer";
        var answer = admin.createTopics(List.of(new NewTopic(topic, Optional.of(2), Optional.empty()).configs(Map.of("retention.ms", "12345"))));
        equal(2, answer.numPartitions(topic).get());
        equal(1, answer.replicationFactor(topic).get());
        equal("12345", answer.config(topic).get().get("retention.ms").value());
        equal("delete", answer.config(topic).get().get("cleanup.policy").value());
        eventually(() -> partitionCount(topic) == 2);
        equal(answer.topicId(topic).get(), describe(topic).topicId());
    }

    static Future<?> creating(NewTopic topic) {
        return admin.createTopics(List.of(topic)).all();
    }

    static void createTopicErrors() throws Exception {
        String topic = create("once", 1);
        fails(TopicExistsException.class, creating(new NewTopic(topic, 1, (short) 1)));
        fails(InvalidTopicException.class, creating(new NewTopic("no/slash", 1, (short) 1)));
        fails(InvalidTopicException.class, creating(new NewTopic("x".repeat(250), 1, (short) 1)));
        fails(InvalidPartitionsException.class, creating(new NewTopic(PREFIX + "none", 0, (short) 1)));
        fails(InvalidReplicationFactorException.class, creating(new NewTopic(PREFIX + "wide", 1, (short) 99)));
        fails(InvalidConfigurationException.class, creating(new NewTopic(PREFIX + "key", 1, (short) 1).configs(Map.of("no.such.key", "1"))));
        var dry = new NewTopic(PREFIX + "dry", 1, (short) 1);
        admin.createTopics(List.of(dry), new CreateTopicsOptions().validateOnly(true)).all().get();
        check(!admin.listTopics().names().get().contains(dry.name()), "validateOnly has created a topic");
    }

    static void deleteTopics() throws Exception {
        String byName = create("by-name", 1), byId = create("by-id", 1);
        Uuid id = describe(byId).topicId();
        admin.deleteTopics(List.of(byName)).all().get();
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        eventually(() -> partitionCount(byName) == 0 && partitionCount(byId) == 0);
        fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(byName)).all());
        fails(UnknownTopicIdException.class, admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
    }

    static void createPartitions() throws Exception {
        String topic = create("grown", 1);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
        eventually(() -> partitionCount(topic) == 3);
        fails(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
        fails(UnknownTopicOrPartitionException.class, admin.createPartitions(Map.of(PREFIX + "missing", NewPartitions.increaseTo(2))).all());
    }

    static Config configOf(ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    static Future<?> altering(ConfigResource resource, String name, String value, AlterConfigOp.OpType type) {
        var op = new AlterConfigOp(new ConfigEntry(name, value), type);
        return admin.incrementalAlterConfigs(Map.of(resource, List.of(op))).all();
    }

    static void configs() throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, create("configs", 1, "retention.ms", "1234567"));
        ConfigEntry own = configOf(resource).get("retention.ms");
        equal("1234567", own.value());
        equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, own.source());
        equal(ConfigEntry.ConfigType.LONG, own.type());
        equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG, configOf(resource).get("segment.bytes").source());
        altering(resource, "retention.ms", "", AlterConfigOp.OpType.DELETE).get();
        altering(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.APPEND).get();
        eventually(() -> {
            try {
                return configOf(resource).get("retention.ms").isDefault()
                    && Set.of(configOf(resource).get("cleanup.policy").value().split(",")).equals(Set.of("compact", "delete"));
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
    }

    static void configErrors() throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, create("config-errors", 1));
        fails(InvalidConfigurationException.class, altering(resource, "no.such.key", "1", AlterConfigOp.OpType.SET));
        fails(InvalidConfigurationException.class, altering(resource, "retention.ms", "soon", AlterConfigOp.OpType.SET));
        fails(InvalidConfigurationException.class, altering(resource, "retention.ms", "1", AlterConfigOp.OpType.APPEND));
        var missing = new ConfigResource(ConfigResource.Type.TOPIC, PREFIX + "missing");
        fails(UnknownTopicOrPartitionException.class, altering(missing, "retention.ms", "1", AlterConfigOp.OpType.SET));
        fails(UnknownTopicOrPartitionException.class, admin.describeConfigs(List.of(missing)).all());
    }

    static ListOffsetsResultInfo offset(String topic, OffsetSpec spec) throws Exception {
        var partition = new TopicPartition(topic, 0);
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
    }

    static void listOffsets() throws Exception {
        String topic = create("offsets", 1);
        long now = System.currentTimeMillis();
        send(Map.of(), List.of(recordAt(topic, now - 2000), recordAt(topic, now), recordAt(topic, now - 1000)));
        equal(0L, offset(topic, OffsetSpec.earliest()).offset());
        equal(3L, offset(topic, OffsetSpec.latest()).offset());
        equal(1L, offset(topic, OffsetSpec.maxTimestamp()).offset());
        equal(now, offset(topic, OffsetSpec.maxTimestamp()).timestamp());
        equal(1L, offset(topic, OffsetSpec.forTimestamp(now - 1500)).offset());
        equal(now, offset(topic, OffsetSpec.forTimestamp(now - 1500)).timestamp());
        equal(-1L, offset(topic, OffsetSpec.forTimestamp(now + 1)).offset());
        // Without tiered storage the local log is all there is, and nothing is remote.
        equal(0L, offset(topic, OffsetSpec.earliestLocal()).offset());
        equal(-1L, offset(topic, OffsetSpec.latestTiered()).offset());
        equal(-1L, offset(topic, OffsetSpec.earliestPendingUpload()).offset());
    }

    static void deleteRecords() throws Exception {
        String topic = create("trimmed", 1);
        var partition = new TopicPartition(topic, 0);
        send(Map.of(), IntStream.range(0, 10).mapToObj(i -> record(topic, "" + i)).toList());
        var answer = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4)));
        equal(4L, answer.lowWatermarks().get(partition).get().lowWatermark());
        equal(4L, offset(topic, OffsetSpec.earliest()).offset());
        equal("4", new String(receive(topic, 6).get(0).value()));
        fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class,
            admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(11))).all());
    }

    // --- producer ---

    /** Random records, there and back, byte for byte. */
    static void roundTrip(String name, Map<String, Object> config) throws Exception {
        String topic = create(name, 1);
        var random = new Random(7);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < (SHORT ? 2_000 : 100_000); i++) {
            byte[] value = new byte[random.nextInt(300)];
            random.nextBytes(value);
            sent.add(new ProducerRecord<>(topic, 0, i % 7 == 0 ? null : bytes("key " + i), i % 11 == 0 ? null : value));
        }
        List<RecordMetadata> acked = send(config, sent);
        List<ConsumerRecord<byte[], byte[]>> received = receive(topic, sent.size());
        for (int i = 0; i < sent.size(); i++) {
            equal((long) i, acked.get(i).offset());
            equal((long) i, received.get(i).offset());
            check(Arrays.equals(sent.get(i).key(), received.get(i).key()), "key " + i);
            check(Arrays.equals(sent.get(i).value(), received.get(i).value()), "value " + i);
        }
    }

    static void produceWithoutAcks() throws Exception {
        String topic = create("acks-0", 1);
        var acked = send(Map.of("acks", "0", "enable.idempotence", false), List.of(record(topic, "a"), record(topic, "b")));
        check(acked.stream().noneMatch(RecordMetadata::hasOffset), acked);
        equal("b", new String(receive(topic, 2).get(1).value()));
    }

    static void logAppendTime() throws Exception {
        String topic = create("append-time", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        var acked = send(Map.of("compression.type", "gzip"), List.of(recordAt(topic, 1_600_000_000_000L)));
        long after = System.currentTimeMillis();
        var received = receive(topic, 1).get(0);
        equal(TimestampType.LOG_APPEND_TIME, received.timestampType());
        check(before <= received.timestamp() && received.timestamp() <= after, received.timestamp());
        equal(received.timestamp(), acked.get(0).timestamp());
    }

    static void invalidTimestamp() throws Exception {
        String topic = create("timestamps", 1, "message.timestamp.after.max.ms", "60000", "message.timestamp.before.max.ms", "60000");
        long now = System.currentTimeMillis();
        try (var producer = producer(Map.of())) {
            fails(InvalidTimestampException.class, producer.send(recordAt(topic, now + 3_600_000)));
            fails(InvalidTimestampException.class, producer.send(recordAt(topic, now - 3_600_000)));
            equal(0L, producer.send(recordAt(topic, now)).get().offset());
        }
    }

    /** KIP-467: which records a batch was refused for, each with its reason; the others are told that they were among them. */
    static void recordErrors() throws Exception {
        String topic = create("record-errors", 1, "cleanup.policy", "compact");
        try (var producer = producer(Map.of("linger.ms", "60000"))) {
            var answers = new ArrayList<Future<RecordMetadata>>();
            for (String key : Arrays.asList("a", null, "b", null))
                answers.add(producer.send(new ProducerRecord<>(topic, 0, key == null ? null : bytes(key), bytes("value"))));
            producer.flush();
            for (int index = 0; index < answers.size(); index++) {
                var answer = answers.get(index);
                var thrown = failure(answer);
                if (index % 2 == 1) {
                    equal(InvalidRecordException.class, thrown.getClass());
                    equal("Compacted topic cannot accept message without key in topic partition " + topic + "-0", thrown.getMessage());
                } else {
                    equal(KafkaException.class, thrown.getClass());
                }
            }
            var alone = producer.send(new ProducerRecord<>(topic, 0, null, bytes("value")));
            producer.flush();
            fails(InvalidRecordException.class, alone);
            var keyed = producer.send(new ProducerRecord<>(topic, 0, bytes("a"), bytes("value")));
            producer.flush();
            equal(0L, keyed.get().offset());
        }
    }

    static void recordTooLarge() throws Exception {
        String topic = create("too-large", 1, "max.message.bytes", "1000");
        try (var producer = producer(Map.of())) {
            fails(RecordTooLargeException.class, producer.send(record(topic, "x".repeat(2000))));
            equal(0L, producer.send(record(topic, "x".repeat(500))).get().offset());
        }
        equal(1L, offset(topic, OffsetSpec.latest()).offset());
    }

    static void headers() throws Exception {
        String topic = create("headers", 1);
        List<Header> sent = List.of(
            new RecordHeader("same", bytes("1")), new RecordHeader("other", new byte[] {0, -1}), new RecordHeader("same", bytes("2")),
            new RecordHeader("null", (byte[]) null), new RecordHeader("", new byte[0]), new RecordHeader("same", bytes("1")));
        send(Map.of(), List.of(new ProducerRecord<>(topic, 0, null, bytes("key"), bytes("value"), sent)));
        equal(sent, Arrays.asList(receive(topic, 1).get(0).headers().toArray()));
    }

    // --- consumer ---

    static void seek() throws Exception {
        String topic = create("seek", 1);
        var partition = new TopicPartition(topic, 0);
        send(Map.of("batch.size", 500), IntStream.range(0, 100).mapToObj(i -> record(topic, "" + i)).toList());
        try (var consumer = consumer(Map.of())) {
            consumer.assign(List.of(partition));
            for (int start : List.of(55, 99, 3)) {
                consumer.seek(partition, start);
                var found = poll(consumer, 100 - start);
                equal((long) start, found.get(0).offset());
                equal("" + start, new String(found.get(0).value()));
                equal(100L, consumer.position(partition));
            }
            consumer.seekToBeginning(List.of(partition));
            equal(0L, consumer.position(partition));
            consumer.seekToEnd(List.of(partition));
            equal(100L, consumer.position(partition));
            equal(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)));
            equal(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)));
        }
    }

    static void offsetOutOfRange() throws Exception {
        String topic = create("out-of-range", 1);
        var partition = new TopicPartition(topic, 0);
        send(Map.of(), List.of(record(topic, "a")));
        try (var consumer = consumer(Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 2);
            try {
                poll(consumer, 1);
                throw new AssertionError("no error");
            } catch (OffsetOutOfRangeException thrown) {
                equal(Map.of(partition, 2L), thrown.offsetOutOfRangePartitions());
            }
        }
        try (var consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 2);
            equal(0L, poll(consumer, 1).get(0).offset());
        }
    }

    static void largeRecords() throws Exception {
        String topic = create("large", 1, "max.message.bytes", "5000000");
        var partition = new TopicPartition(topic, 0);
        String value = "x".repeat(4_000_000);
        send(Map.of("max.request.size", 5_000_000), List.of(record(topic, value), record(topic, "small"), record(topic, value)));
        // The first batch always comes, however small the limits of the fetch are.
        try (var consumer = consumer(Map.of("max.partition.fetch.bytes", 1000, "fetch.max.bytes", 1000))) {
            consumer.assign(List.of(partition));
            var found = poll(consumer, 3);
            equal(List.of(4_000_000, 5, 4_000_000), found.stream().map(record -> record.value().length).toList());
        }
    }

    static void offsetsForTimes() throws Exception {
        String topic = create("times", 2);
        long start = 1_700_000_000_000L;
        send(Map.of(), IntStream.range(0, 10).mapToObj(i -> recordAt(topic, start + i * 1000)).toList());
        var partition = new TopicPartition(topic, 0);
        var empty = new TopicPartition(topic, 1);
        try (var consumer = consumer(Map.of())) {
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(partition, start + 3500, empty, start));
            equal(4L, found.get(partition).offset());
            equal(start + 4000, found.get(partition).timestamp());
            check(found.get(empty) == null, found);
            check(consumer.offsetsForTimes(Map.of(partition, start + 9001)).get(partition) == null, "after the last");
        }
    }

    static void manyPartitions() throws Exception {
        String topic = create("many", 10);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            sent.add(new ProducerRecord<>(topic, i % 10, null, bytes("" + i)));
        }
        send(Map.of(), sent);
        try (var consumer = consumer(Map.of("max.poll.records", 37))) {
            consumer.assign(IntStream.range(0, 10).mapToObj(p -> new TopicPartition(topic, p)).toList());
            for (var record : poll(consumer, 1000)) {
                equal("" + (record.offset() * 10 + record.partition()), new String(record.value()));
            }
        }
    }
}
