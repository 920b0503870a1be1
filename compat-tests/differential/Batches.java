import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;
import org.apache.kafka.common.utils.ByteUtils;
import org.apache.kafka.common.utils.Crc32C;

/** Batches that are not as they should be, one by one. */
final class Batches {
    static final int VERSION = 9;
    /** Where fields lie in a batch. */
    static final int LENGTH = 8, EPOCH = 12, MAGIC = 16, CHECKSUM = 17, ATTRIBUTES = 21, LAST_DELTA = 23, PRODUCER_ID = 43, COUNT = 57, HEAD = 61;

    private Batches() {
    }

    // --- batches ---

    static byte[] bytes(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    static byte[] batch(Compression codec, int size) {
        var records = new SimpleRecord[3];
        for (int i = 0; i < records.length; i++) {
            records[i] = new SimpleRecord(System.currentTimeMillis(), ("k" + i).getBytes(StandardCharsets.UTF_8), new byte[size]);
        }
        return bytes(MemoryRecords.withRecords(codec, records));
    }

    static byte[] good() {
        return batch(Compression.NONE, 5);
    }

    static byte[] spoilt(int at, long value, int size) {
        byte[] batch = good();
        put(batch, at, value, size);
        return batch;
    }

    /** With a checksum that is right again. */
    static byte[] changed(int at, long value, int size) {
        return summed(spoilt(at, value, size));
    }

    static void put(byte[] batch, int at, long value, int size) {
        for (int i = 0; i < size; i++) {
            batch[at + i] = (byte) (value >> 8 * (size - 1 - i));
        }
    }

    static byte[] summed(byte[] batch) {
        put(batch, CHECKSUM, Crc32C.compute(batch, ATTRIBUTES, batch.length - ATTRIBUTES), 4);
        return batch;
    }

    /** One record, whose bytes behind its size are given. */
    static byte[] ofRecord(int... body) {
        ByteBuffer record = ByteBuffer.allocate(200);
        ByteUtils.writeVarint(body.length, record);
        for (int part : body) {
            record.put((byte) part);
        }
        byte[] head = good();
        ByteBuffer batch = ByteBuffer.allocate(HEAD + record.position());
        batch.put(head, 0, HEAD).put(record.flip());
        byte[] bytes = batch.array();
        put(bytes, LENGTH, bytes.length - 12, 4);
        put(bytes, LAST_DELTA, 0, 4);
        put(bytes, COUNT, 1, 4);
        return summed(bytes);
    }

    static byte[] joined(byte[] one, byte[] other) {
        return ByteBuffer.allocate(one.length + other.length).put(one).put(other).array();
    }

    static byte[] first(byte[] batch, int size) {
        return Arrays.copyOf(batch, size);
    }

    // --- requests ---

    static void send(String topic, String what, byte[] batch) throws Exception {
        var records = MemoryRecords.readableRecords(ByteBuffer.wrap(batch));
        var data = new ProduceRequestData.PartitionProduceData().setIndex(0).setRecords(records);
        var topics = new ProduceRequestData.TopicProduceDataCollection();
        topics.add(new ProduceRequestData.TopicProduceData().setName(topic).setPartitionData(List.of(data)));
        Differential.wire.say(what);
        var request = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(30_000).setTopicData(topics);
        Differential.wire.ask(ApiKeys.PRODUCE, VERSION, request);
    }

    // --- scenarios ---

    static void refused() throws Exception {
        String topic = Configs.topic("refused");
        send(topic, "no bytes", new byte[0]);
        send(topic, "half a head", first(good(), 30));
        send(topic, "half a batch", first(good(), good().length - 1));
        send(topic, "a length of nothing", spoilt(LENGTH, 0, 4));
        send(topic, "a negative length", spoilt(LENGTH, -1, 4));
        send(topic, "a length beyond the end", spoilt(LENGTH, 1000, 4));
        send(topic, "another checksum", spoilt(CHECKSUM, 0, 4));
        for (int magic : new int[] {0, 1, 3}) {
            send(topic, "magic " + magic, spoilt(MAGIC, magic, 1));
        }
        send(topic, "a base offset", spoilt(0, 5, 8));
        send(topic, "an epoch", spoilt(EPOCH, 5, 4));
        send(topic, "two batches", joined(good(), good()));
        send(topic, "a count too high", changed(COUNT, 4, 4));
        send(topic, "a count too low", changed(COUNT, 2, 4));
        send(topic, "no count", changed(COUNT, 0, 4));
        send(topic, "a negative count", changed(COUNT, -1, 4));
        send(topic, "a last delta too high", changed(LAST_DELTA, 3, 4));
        byte[] lower = spoilt(COUNT, 2, 4);
        put(lower, LAST_DELTA, 1, 4);
        send(topic, "a count and a delta too low", summed(lower));
        send(topic, "a control batch", changed(ATTRIBUTES, 0x20, 2));
        send(topic, "a producer without a sequence", changed(PRODUCER_ID, 5, 8));
        send(topic, "nothing behind the key", ofRecord(0, 0, 0, 2, 'k'));
        send(topic, "no headers", ofRecord(0, 0, 0, 2, 'k', 1));
        send(topic, "a key too long", ofRecord(0, 0, 0, 8, 'k', 1, 0));
        send(topic, "a value too long", ofRecord(0, 0, 0, 2, 'k', 8, 'v', 0));
        send(topic, "a negative number of headers", ofRecord(0, 0, 0, 2, 'k', 1, 1));
        send(topic, "too many headers", ofRecord(0, 0, 0, 2, 'k', 1, 4, 2, 'h', 1));
        send(topic, "a header without a key", ofRecord(0, 0, 0, 2, 'k', 1, 2, 1, 1));
        send(topic, "a byte too many", ofRecord(0, 0, 0, 2, 'k', 1, 0, 0));
        send("__consumer_offsets", "a topic of the broker", good());
        send(Differential.PREFIX + "unknown", "no topic", good());

        String compacted = Configs.topic("refused-compacted", "cleanup.policy", "compact");
        send(compacted, "no key", ofRecord(0, 0, 0, 1, 1, 0));

        String small = Configs.topic("refused-small", "max.message.bytes", "1000");
        send(small, "more than max.message.bytes", batch(Compression.NONE, 1000));
        send(small, "compressed", batch(Compression.gzip().build(), 1000));
        String segments = Configs.topic("refused-segments", "max.message.bytes", "10000000", "segment.bytes", "1048576");
        send(segments, "more than segment.bytes", batch(Compression.NONE, 500_000));
    }
}
