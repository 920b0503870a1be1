import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.message.AlterConfigsRequestData;
import org.apache.kafka.common.message.CreateTopicsRequestData;
import org.apache.kafka.common.message.DescribeConfigsRequestData;
import org.apache.kafka.common.message.DescribeConfigsResponseData;
import org.apache.kafka.common.message.IncrementalAlterConfigsRequestData;
import org.apache.kafka.common.protocol.ApiKeys;

/** The scenarios of configs: of topics, of one broker and of all of them. What they set for brokers they take back. */
final class Configs {
    static final byte TOPIC = ConfigResource.Type.TOPIC.id(), BROKER = ConfigResource.Type.BROKER.id();
    static final byte SET = 0, DELETE = 1, APPEND = 2, SUBTRACT = 3;
    /** The brokers of both kinds have it; the empty name stands for all. */
    static final String ONE = "1", ALL = "";

    private Configs() {
    }

    // --- requests ---

    record Change(byte op, String key, String value) {
    }

    static Change set(String key, String value) {
        return new Change(SET, key, value);
    }

    static Change delete(String key) {
        return new Change(DELETE, key, null);
    }

    static IncrementalAlterConfigsRequestData altering(byte kind, String name, Change... changes) {
        var resource = new IncrementalAlterConfigsRequestData.AlterConfigsResource().setResourceType(kind).setResourceName(name);
        for (Change change : changes) {
            resource.configs().add(new IncrementalAlterConfigsRequestData.AlterableConfig().setName(change.key)
                .setConfigOperation(change.op).setValue(change.value));
        }
        var request = new IncrementalAlterConfigsRequestData();
        request.resources().add(resource);
        return request;
    }

    static void alter(byte kind, String name, Change... changes) throws Exception {
        Differential.wire.ask(ApiKeys.INCREMENTAL_ALTER_CONFIGS, 1, altering(kind, name, changes));
    }

    /** With pairs of keys and values that replace all that is set. */
    static void replace(byte kind, String name, String... pairs) throws Exception {
        var resource = new AlterConfigsRequestData.AlterConfigsResource().setResourceType(kind).setResourceName(name);
        for (int i = 0; i < pairs.length; i += 2) {
            resource.configs().add(new AlterConfigsRequestData.AlterableConfig().setName(pairs[i]).setValue(pairs[i + 1]));
        }
        var request = new AlterConfigsRequestData();
        request.resources().add(resource);
        Differential.wire.ask(ApiKeys.ALTER_CONFIGS, 2, request);
    }

    static DescribeConfigsRequestData describing(byte kind, String name, String... keys) {
        var resource = new DescribeConfigsRequestData.DescribeConfigsResource().setResourceType(kind).setResourceName(name)
            .setConfigurationKeys(List.of(keys));
        return new DescribeConfigsRequestData().setResources(List.of(resource)).setIncludeSynonyms(true);
    }

    static void describe(byte kind, String name, String... keys) throws Exception {
        Differential.wire.ask(ApiKeys.DESCRIBE_CONFIGS, 4, describing(kind, name, keys));
    }

    /** Waits until a key has this value here: a broker may learn of it later than whoever set it. */
    static void until(byte kind, String name, String key, String value) throws Exception {
        Differential.until(() -> {
            DescribeConfigsResponseData answer =
                Differential.wire.askSilently(ApiKeys.DESCRIBE_CONFIGS, 4, describing(kind, name, key));
            var configs = answer.results().get(0).configs();
            return value == null ? configs.isEmpty() : !configs.isEmpty() && value.equals(configs.get(0).value());
        });
    }

    static void untilShown(String key, String value) throws Exception {
        until(BROKER, ONE, key, value);
    }

    /** A topic of the scenario, perhaps with configs. */
    static String topic(String name, String... pairs) throws Exception {
        String topic = Differential.PREFIX + name;
        var creatable = new CreateTopicsRequestData.CreatableTopic().setName(topic).setNumPartitions(1).setReplicationFactor((short) 1);
        for (int i = 0; i < pairs.length; i += 2) {
            creatable.configs().add(new CreateTopicsRequestData.CreatableTopicConfig().setName(pairs[i]).setValue(pairs[i + 1]));
        }
        var request = new CreateTopicsRequestData().setTimeoutMs(30_000);
        request.topics().add(creatable);
        Differential.wire.askSilently(ApiKeys.CREATE_TOPICS, 6, request);
        until(TOPIC, topic, "preallocate", "false");
        return topic;
    }

    // --- scenarios ---

    /** Every key of topics: what it is by default, with a value of its own, and what it does not take. */
    static void keysOfTopics() throws Exception {
        String topic = topic("keys");
        String[] valid = {
            "cleanup.policy=compact", "cleanup.policy=", "cleanup.policy=compact, delete", "cleanup.policy=delete,delete",
            "compression.gzip.level=9", "compression.gzip.level=-1", "compression.lz4.level=17", "compression.type=zstd",
            "compression.type= lz4 ", "compression.zstd.level=-131072", "delete.retention.ms=0", "file.delete.delay.ms=0",
            "flush.messages=1", "flush.ms=0", "follower.replication.throttled.replicas=0:1,1:2",
            "follower.replication.throttled.replicas=*", "index.interval.bytes=0", "leader.replication.throttled.replicas=",
            "local.retention.bytes=5", "local.retention.ms=-2", "max.compaction.lag.ms=1", "max.message.bytes=0",
            "message.timestamp.after.max.ms=0", "message.timestamp.before.max.ms=0", "message.timestamp.type=LogAppendTime",
            "min.cleanable.dirty.ratio=0.25", "min.compaction.lag.ms=0", "preallocate= TRUE ",
            "remote.log.copy.disable=true", "remote.log.delete.on.disable=true", "remote.storage.enable=false",
            "retention.bytes=-7", "retention.ms=-1", "retention.ms= 10 ", "segment.bytes=1048576", "segment.index.bytes=4",
            "segment.jitter.ms=9999999999999", "segment.ms=1", "unclean.leader.election.enable=true",
        };
        for (String pair : valid) {
            String[] parts = pair.split("=", 2);
            alter(TOPIC, topic, set(parts[0], parts[1]));
            until(TOPIC, topic, parts[0], shown(parts[1]));
            describe(TOPIC, topic, parts[0]);
            alter(TOPIC, topic, delete(parts[0]));
        }
        String[] refused = {
            "cleanup.policy=foo", "cleanup.policy=compact,,delete", "compression.gzip.level=0", "compression.gzip.level=10",
            "compression.lz4.level=0", "compression.lz4.level=18", "compression.type=Gzip", "compression.zstd.level=23",
            "compression.zstd.level=-131073", "delete.retention.ms=-1", "file.delete.delay.ms=-1", "flush.messages=0", "flush.ms=-1",
            "follower.replication.throttled.replicas=*,0:1", "index.interval.bytes=-1", "leader.replication.throttled.replicas=foo",
            "local.retention.bytes=-3", "local.retention.ms=-3", "max.compaction.lag.ms=0", "max.message.bytes=-1",
            "max.message.bytes=99999999999", "message.timestamp.after.max.ms=-1", "message.timestamp.before.max.ms=-1",
            "message.timestamp.type=foo", "min.cleanable.dirty.ratio=1.1", "min.compaction.lag.ms=-1", "min.insync.replicas=0",
            "preallocate=yes", "remote.log.copy.disable=1", "remote.storage.enable=true", "retention.bytes=x", "retention.ms=-2",
            "retention.ms=1.5", "retention.ms=", "segment.bytes=1048575", "segment.index.bytes=3", "segment.jitter.ms=-1",
            "segment.ms=0", "unclean.leader.election.enable=1", "message.format.version=3.0", "message.downconversion.enable=true",
            "no.such.key=1",
        };
        for (String pair : refused) {
            String[] parts = pair.split("=", 2);
            alter(TOPIC, topic, set(parts[0], parts[1]));
        }
    }

    /** How DescribeConfigs shows a value. */
    private static String shown(String text) {
        String trimmed = text.trim();
        List<String> items = new ArrayList<>();
        for (String item : trimmed.split(",")) {
            if (!items.contains(item.trim())) {
                items.add(item.trim());
            }
        }
        return trimmed.equals("TRUE") ? "true" : String.join(",", items);
    }

    static void alteringTopics() throws Exception {
        String topic = topic("altering", "retention.ms", "1000", "segment.ms", "9");
        String[] keys = {"cleanup.policy", "retention.ms", "segment.ms", "max.message.bytes"};
        describe(TOPIC, topic, keys);
        alter(TOPIC, topic, set("max.message.bytes", "2000"), delete("segment.ms"), new Change(APPEND, "cleanup.policy", "compact"));
        until(TOPIC, topic, "max.message.bytes", "2000");
        describe(TOPIC, topic, keys);
        alter(TOPIC, topic, new Change(SUBTRACT, "cleanup.policy", "delete"), delete("no.such.key"));
        until(TOPIC, topic, "cleanup.policy", "compact");
        describe(TOPIC, topic, keys);
        replace(TOPIC, topic, "segment.ms", "7");
        until(TOPIC, topic, "segment.ms", "7");
        describe(TOPIC, topic, keys);
        // One that is wrong takes all others of its resource with it.
        alter(TOPIC, topic, set("segment.ms", "8"), set("retention.ms", "soon"));
        replace(TOPIC, topic, "segment.ms", "8", "no.such.key", "1");
        alter(TOPIC, topic, set("min.compaction.lag.ms", "10"), set("max.compaction.lag.ms", "5"));
        alter(TOPIC, topic, new Change(APPEND, "retention.ms", "1"));
        alter(TOPIC, topic, new Change(SUBTRACT, "no.such.key", "1"));
        alter(TOPIC, topic, set("segment.ms", "8"), delete("segment.ms"));
        alter(TOPIC, topic, set("segment.ms", null));
        String throttled = "leader.replication.throttled.replicas";
        String many = String.join(",", IntStream.range(10_000, 12_730).mapToObj(i -> "0:" + i + "0000").toList()) + ",0:12345";
        Differential.wire.say(many.length() + " bytes, and a few more");
        Differential.wire.name(many, "(many)");
        alter(TOPIC, topic, set(throttled, many));
        until(TOPIC, topic, throttled, many);
        alter(TOPIC, topic, new Change(APPEND, throttled, "0:1"));
        alter(TOPIC, topic, delete(throttled));
        alter(TOPIC, Differential.PREFIX + "unknown", set("segment.ms", "8"));
        alter(TOPIC, "", set("segment.ms", "8"));
        describe(TOPIC, topic, keys);
        describe(TOPIC, Differential.PREFIX + "unknown");
        var request = altering(TOPIC, topic, set("segment.ms", "8")).setValidateOnly(true);
        Differential.wire.ask(ApiKeys.INCREMENTAL_ALTER_CONFIGS, 1, request);
        describe(TOPIC, topic, "segment.ms");
        replace(TOPIC, topic);
        until(TOPIC, topic, "segment.ms", "604800000");
        describe(TOPIC, topic, keys);
    }

    /** What a topic has, what its broker has, what all have, and what nobody has said. */
    static void layers() throws Exception {
        String topic = topic("layers");
        String key = "log.retention.ms";
        String[] related = {key, "log.retention.minutes", "log.retention.hours"};
        describe(TOPIC, topic, "retention.ms");
        describe(BROKER, ONE, related);
        alter(BROKER, ALL, set(key, "3000"));
        untilShown(key, "3000");
        describe(TOPIC, topic, "retention.ms");
        describe(BROKER, ONE, related);
        describe(BROKER, ALL, related);
        alter(BROKER, ONE, set(key, " 2000 "));
        untilShown(key, "2000");
        describe(TOPIC, topic, "retention.ms");
        describe(BROKER, ONE, related);
        alter(TOPIC, topic, set("retention.ms", "1000"));
        until(TOPIC, topic, "retention.ms", "1000");
        describe(TOPIC, topic, "retention.ms");
        alter(BROKER, ALL, delete(key));
        until(BROKER, ALL, key, null);
        describe(TOPIC, topic, "retention.ms");
        // It takes back what is not said anew.
        replace(BROKER, ONE, "log.retention.bytes", "77");
        untilShown("log.retention.bytes", "77");
        describe(BROKER, ONE, key, "log.retention.bytes");
        describe(TOPIC, topic, "retention.ms", "retention.bytes");
        replace(BROKER, ONE);
        untilShown("log.retention.bytes", "-1");
        describe(TOPIC, topic, "retention.ms", "retention.bytes");
    }

    /** Every key of brokers that can be set while they run and has an effect in both. */
    static void keysOfBrokers() throws Exception {
        String[] valid = {
            "compression.gzip.level=9", "compression.lz4.level=17", "compression.type=lz4", "compression.zstd.level=22",
            "follower.replication.throttled.rate=100", "leader.replication.throttled.rate=100", "log.cleaner.backoff.ms=7",
            "log.cleaner.dedupe.buffer.size=5000000", "log.cleaner.delete.retention.ms=7", "log.cleaner.io.max.bytes.per.second=1000",
            "log.cleaner.max.compaction.lag.ms=7", "log.cleaner.min.cleanable.ratio=0.25", "log.cleaner.min.compaction.lag.ms=7",
            "log.cleaner.threads=2", "log.cleanup.policy=compact,delete", "log.flush.interval.messages=7", "log.flush.interval.ms=7",
            "log.index.interval.bytes=7", "log.index.size.max.bytes=7777", "log.local.retention.bytes=7", "log.local.retention.ms=7",
            "log.message.timestamp.after.max.ms=7", "log.message.timestamp.before.max.ms=7",
            "log.message.timestamp.type=LogAppendTime", "log.preallocate=true", "log.retention.bytes=7", "log.retention.ms=7",
            "log.roll.jitter.ms=7", "log.roll.ms=7", "log.segment.bytes=1048576", "log.segment.delete.delay.ms=7",
            "max.connections=777", "max.connections.per.ip=777", "message.max.bytes=777", "producer.id.expiration.ms=7",
            "unclean.leader.election.enable=true",
        };
        for (String name : new String[] {ALL, ONE}) {
            for (String pair : valid) {
                String[] parts = pair.split("=", 2);
                alter(BROKER, name, set(parts[0], parts[1]));
                String value = parts[0].endsWith("per.second") ? "1000.0" : parts[1];
                untilShown(parts[0], value);
                describe(BROKER, ONE, parts[0]);
                describe(BROKER, ALL, parts[0]);
                alter(BROKER, name, delete(parts[0]));
            }
        }
        String[] fixed = {
            "auto.create.topics.enable", "default.replication.factor", "fetch.max.bytes", "log.cleaner.enable", "log.dirs",
            "log.flush.scheduler.interval.ms", "log.retention.check.interval.ms", "log.retention.hours", "log.retention.minutes",
            "log.roll.hours", "log.roll.jitter.hours", "node.id", "num.partitions", "offsets.retention.minutes",
            "replica.lag.time.max.ms", "socket.request.max.bytes",
        };
        for (String key : fixed) {
            if (!key.equals("log.dirs") && !key.equals("node.id")) {
                describe(BROKER, ONE, key);
            }
            alter(BROKER, ONE, set(key, "1"));
            alter(BROKER, ALL, set(key, "1"));
            alter(BROKER, ONE, delete(key));
        }
    }

    static void brokersRefused() throws Exception {
        String[] refused = {
            "compression.type=nope", "compression.lz4.level=18", "leader.replication.throttled.rate=-1", "log.cleaner.backoff.ms=-1",
            "log.cleaner.dedupe.buffer.size=1000", "log.cleaner.threads=0", "log.cleaner.threads=-1", "log.cleaner.threads=5",
            "log.cleanup.policy=foo", "log.local.retention.ms=604800001", "log.local.retention.ms=-1", "log.retention.ms=0",
            "log.retention.ms=soon", "log.roll.ms=0", "log.segment.bytes=1000", "max.connections=0", "max.connections.per.ip=0",
            "message.max.bytes=-1", "producer.id.expiration.ms=0", "unclean.leader.election.enable=maybe",
        };
        for (String pair : refused) {
            String[] parts = pair.split("=", 2);
            alter(BROKER, ONE, set(parts[0], parts[1]));
            replace(BROKER, ONE, parts[0], parts[1]);
        }
        alter(BROKER, ONE, set("min.insync.replicas", "2"));
        alter(BROKER, ONE, new Change(APPEND, "log.retention.ms", "1"));
        alter(BROKER, ONE, new Change(SUBTRACT, "log.retention.ms", "1"));
        alter(BROKER, ONE, new Change(APPEND, "no.such.key", "1"));
        alter(BROKER, ONE, set("log.retention.ms", "5"), set("log.retention.ms", "6"));
        alter(BROKER, ONE, set("log.retention.ms", null));
        alter(BROKER, ONE, new Change((byte) 9, "log.retention.ms", "8"));
        alter(BROKER, "7", set("log.retention.ms", "5"));
        alter(BROKER, "one", set("log.retention.ms", "5"));
        describe(BROKER, "7", "log.retention.ms");
        describe(BROKER, "one", "log.retention.ms");
        var request = altering(BROKER, ONE, set("log.retention.ms", "5")).setValidateOnly(true);
        Differential.wire.ask(ApiKeys.INCREMENTAL_ALTER_CONFIGS, 1, request);
        describe(BROKER, ONE, "log.retention.ms");
        // Lists begin with the default, whatever all brokers have.
        alter(BROKER, ALL, new Change(APPEND, "log.cleanup.policy", "compact"));
        untilShown("log.cleanup.policy", "delete,compact");
        alter(BROKER, ALL, new Change(SUBTRACT, "log.cleanup.policy", "delete"));
        untilShown("log.cleanup.policy", "compact");
        alter(BROKER, ONE, new Change(APPEND, "log.cleanup.policy", "compact"));
        untilShown("log.cleanup.policy", "delete,compact");
        describe(BROKER, ONE, "log.cleanup.policy");
        alter(BROKER, ONE, delete("log.cleanup.policy"));
        alter(BROKER, ALL, delete("log.cleanup.policy"));
        untilShown("log.cleanup.policy", "delete");
    }
}
