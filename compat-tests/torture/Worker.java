import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** A client for the torture harness, with Apache Kafka's own clients. The protocol is described in src/worker.rs. */
public class Worker {
    static String bootstrap;
    static KafkaProducer<String, String> producer;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        producer = newProducer();
        say("ready");
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            var words = line.split(" ");
            switch (words[0]) {
                case "send" -> send(words[1], Integer.parseInt(words[2]), words[3]);
                case "ask" -> answer(words[1], words[2], Arrays.asList(words).subList(3, words.length));
                default -> throw new IllegalArgumentException(line);
            }
        }
        // The other threads have nobody to tell.
        Runtime.getRuntime().halt(0);
    }

    static KafkaProducer<String, String> newProducer() {
        return new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", "2"), new StringSerializer(), new StringSerializer());
    }

    static synchronized void say(String line) {
        System.out.println(line.replace('\n', ' '));
        System.out.flush();
    }

    static void send(String topic, int partition, String value) {
        var name = topic + " " + partition + " " + value;
        try {
            producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, failure) -> {
                if (failure == null) {
                    say("sent " + name + " " + metadata.offset());
                } else {
                    say("unsure " + name + " " + failure);
                }
            });
        } catch (RuntimeException failure) {
            say("unsure " + name + " " + failure);
            if (!(failure instanceof RetriableException)) {
                say("fatal producer: " + failure);
                producer.close(Duration.ZERO);
                producer = newProducer();
            }
        }
    }

    static void answer(String id, String verb, List<String> args) {
        switch (verb) {
            case "read" -> consume(id, null, args);
            case "join" -> consume(id, args.get(0), args);
            default -> say("answer " + id + " fail unknown: " + verb);
        }
    }

    /** `read TOPIC PARTITION...` from the beginning, or `join GROUP TOPIC`, until the process ends. */
    static void consume(String id, String group, List<String> args) {
        var settings = new java.util.HashMap<String, Object>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest"));
        if (group == null) {
            settings.put("enable.auto.commit", "false");
        } else {
            settings.put("group.id", group);
            settings.put("auto.commit.interval.ms", "1000");
        }
        var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        if (group == null) {
            var partitions = args.stream().skip(1).map(word -> new TopicPartition(args.get(0), Integer.parseInt(word))).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
        } else {
            consumer.subscribe(List.of(args.get(1)));
        }
        say("answer " + id + " ok");
        var thread = new Thread(() -> {
            while (true) {
                try {
                    poll(consumer);
                } catch (RuntimeException failure) {
                    say((failure instanceof RetriableException ? "note" : "fatal") + " consumer: " + failure);
                }
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    static void poll(KafkaConsumer<String, String> consumer) {
        var polled = consumer.poll(Duration.ofMillis(500));
        for (var partition : polled.partitions()) {
            var words = new ArrayList<String>();
            for (ConsumerRecord<String, String> r : polled.records(partition)) {
                words.add(r.offset() + ":" + r.value() + r.leaderEpoch().map(epoch -> ":" + epoch).orElse(""));
            }
            say("polled " + partition.topic() + " " + partition.partition() + " " + String.join(" ", words));
        }
    }
}
