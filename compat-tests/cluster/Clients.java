import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java clients against a cluster: `load` writes and reads until its stdin ends, `nearest` reads from the replica of its rack. */
public class Clients {
    static final long PATIENCE_MS = 60_000;
    static final Duration POLL = Duration.ofMillis(100);

    public static void main(String[] args) throws Exception {
        Map<String, Object> answer = switch (args[0]) {
            case "load" -> new Load(args[1], args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]), args[5]).run();
            case "nearest" -> nearest(args[1], args[2], args[3], Integer.parseInt(args[4]));
            default -> throw new IllegalArgumentException(args[0]);
        };
        System.out.println(new ObjectMapper().writeValueAsString(answer));
        System.exit(0);
    }

    /** The longest time between two successes. */
    static class Progress {
        long last, longest, count;

        void step() {
            long now = System.nanoTime();
            longest = count > 0 ? Math.max(longest, now - last) : 0;
            last = now;
            count++;
        }

        long longestMs() {
            return longest / 1_000_000;
        }
    }

    /**
     * Numbered records to every partition, by one producer and one group member. The number of each record in its partition
     * must be its offset: then nothing is lost, doubled or out of order.
     */
    static class Load {
        final String bootstrap, topic, protocol;
        final int partitions, rate;
        final List<String> failures = new ArrayList<>(), errors = new ArrayList<>();
        final Progress acks = new Progress(), reads = new Progress();
        final AtomicBoolean stopping = new AtomicBoolean(), reading = new AtomicBoolean(true);
        long rereads;

        Load(String bootstrap, String topic, int partitions, int rate, String protocol) {
            this.bootstrap = bootstrap;
            this.topic = topic;
            this.partitions = partitions;
            this.rate = rate;
            this.protocol = protocol;
        }

        Map<String, Object> run() throws Exception {
            Thread consumer = new Thread(this::consume), input = new Thread(this::awaitEnd);
            input.setDaemon(true);
            consumer.start();
            input.start();
            long total = produce();
            long deadline = System.currentTimeMillis() + PATIENCE_MS;
            while (readSoFar() < acks.count && System.currentTimeMillis() < deadline) {
                Thread.sleep(5);
            }
            reading.set(false);
            consumer.join();
            return Map.of("sent", total, "acked", acks.count, "read", reads.count, "rereads", rereads, "failures", failures,
                "errors", errors, "longest_ack_ms", acks.longestMs(), "longest_read_ms", reads.longestMs());
        }

        synchronized long readSoFar() {
            return reads.count;
        }

        void awaitEnd() {
            try {
                System.in.readAllBytes();
            } catch (java.io.IOException gone) {
                failures.add(gone.toString());
            }
            stopping.set(true);
        }

        long produce() throws InterruptedException {
            Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "enable.idempotence", true, "acks", "all", "linger.ms", 2);
            long[] sent = new long[partitions];
            long total = 0;
            boolean said = false;
            try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
                long start = System.nanoTime();
                while (!stopping.get()) {
                    for (long due = (System.nanoTime() - start) * rate / 1_000_000_000; total < due; total++) {
                        int partition = (int) (total % partitions);
                        long number = sent[partition]++;
                        byte[] value = Long.toString(number).getBytes(StandardCharsets.UTF_8);
                        producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, failure) -> {
                            synchronized (this) {
                                if (failure != null) {
                                    failures.add(failure.toString());
                                } else if (metadata.offset() != number) {
                                    failures.add("record " + number + " of partition " + partition + " is at " + metadata.offset());
                                } else {
                                    acks.step();
                                }
                            }
                        });
                    }
                    synchronized (this) {
                        if (!said && acks.count > 0 && reads.count > 0) {
                            said = true;
                            System.out.println("under way");
                        }
                    }
                    Thread.sleep(2);
                }
                producer.flush();
            }
            return total;
        }

        void consume() {
            Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", topic, "auto.offset.reset", "earliest",
                "auto.commit.interval.ms", 1000, "group.protocol", protocol);
            Map<Integer, Long> next = new HashMap<>();
            try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of(topic));
                while (reading.get()) {
                    try {
                        var records = consumer.poll(POLL);
                        synchronized (this) {
                            records.forEach(record -> check(record, next));
                        }
                    } catch (RuntimeException failure) {
                        synchronized (this) {
                            errors.add(failure.toString());
                        }
                    }
                }
            }
        }

        void check(ConsumerRecord<byte[], byte[]> record, Map<Integer, Long> next) {
            long expected = next.getOrDefault(record.partition(), 0L);
            if (!new String(record.value(), StandardCharsets.UTF_8).equals(Long.toString(record.offset()))) {
                errors.add(new String(record.value(), StandardCharsets.UTF_8) + " at offset " + record.offset());
            } else if (record.offset() > expected) {
                errors.add("partition " + record.partition() + " jumps from " + expected + " to " + record.offset());
            } else if (record.offset() < expected) {
                rereads++;
                return;
            } else {
                reads.step();
            }
            next.put(record.partition(), record.offset() + 1);
        }
    }

    /** Reads partition 0 as a client of a rack until it has count records, and tells the replica that it prefers then. */
    static Map<String, Object> nearest(String bootstrap, String topic, String rack, int count) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "client.rack", rack, "auto.offset.reset", "earliest",
            "fetch.max.wait.ms", 100, "max.partition.fetch.bytes", 16384);
        int read = 0;
        var preferred = new TreeMap<String, Integer>();
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seekToBeginning(List.of(new TopicPartition(topic, 0)));
            long deadline = System.currentTimeMillis() + PATIENCE_MS;
            while (read < count && System.currentTimeMillis() < deadline) {
                read += consumer.poll(POLL).count();
            }
            consumer.metrics().forEach((name, metric) -> {
                if (name.name().equals("preferred-read-replica")) {
                    preferred.put(name.tags().get("partition"), ((Number) metric.metricValue()).intValue());
                }
            });
        }
        return Map.of("read", read, "preferred", preferred);
    }
}
