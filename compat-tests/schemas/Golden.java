import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

/**
 * Writes every request and response of Apache Kafka in every version, all fields filled, as Kafka's
 * own code encodes them. One line each: key, version, "request" or "response", the body in hex.
 *
 * <pre>
 * javac -cp "libs/*" -d target/golden compat-tests/schemas/Golden.java
 * java -cp "libs/*:target/golden" Golden > tests/it/golden/messages.txt
 * </pre>
 *
 * where libs holds kafka-clients-4.3.1.jar and slf4j-api, which it wants.
 *
 * The values come from a counter, by the schema that a version has at run time. The generated class
 * of the message then reads these bytes to their end and writes them again; that is the line.
 */
public final class Golden {
    private static int counter;

    public static void main(String[] args) {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (ApiMessageType type : ApiMessageType.values()) {
            Schema[] requests = type.requestSchemas();
            Schema[] responses = type.responseSchemas();
            for (short version = 0; version < requests.length; version++) {
                if (requests[version] == null || version < type.lowestSupportedVersion()) {
                    continue;
                }
                String start = type.apiKey() + " " + version;
                out.println(start + " request "
                    + encode(requests[version], type.newRequest(), version));
                out.println(start + " response "
                    + encode(responses[version], type.newResponse(), version));
            }
        }
        out.flush();
    }

    static String encode(Schema schema, ApiMessage message, short version) {
        counter = 0;
        Struct filled = struct(schema);
        ByteBuffer bytes = ByteBuffer.allocate(filled.sizeOf());
        filled.writeTo(bytes);
        bytes.flip();
        message.read(new ByteBufferAccessor(bytes), version);
        if (bytes.hasRemaining()) {
            throw new IllegalStateException(message + " leaves " + bytes.remaining() + " bytes");
        }
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer again = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(again), cache, version);
        return HexFormat.of().formatHex(again.array());
    }

    private static Struct struct(Schema schema) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            struct.set(field, value(field.def.type));
        }
        return struct;
    }

    private static Object value(Type type) {
        counter++;
        if (type instanceof Schema) {
            return struct((Schema) type);
        }
        if (type instanceof TaggedFields) {
            Map<Integer, Object> values = new TreeMap<>();
            for (Map.Entry<Integer, Field> field : ((TaggedFields) type).fields().entrySet()) {
                values.put(field.getKey(), value(field.getValue().type));
            }
            return values;
        }
        if (type.isArray()) {
            Type element = type.arrayElementType().get();
            return new Object[] {value(element), value(element)};
        }
        String name = type.toString().replace("COMPACT_", "").replace("NULLABLE_", "");
        switch (name) {
            case "BOOLEAN": return true;
            case "INT8": return (byte) (counter % 100 + 1);
            case "INT16": return (short) (1000 + counter);
            case "UINT16": return 40_000 + counter;
            case "INT32": return 100_000 + counter;
            case "UINT32": return 3_000_000_000L + counter;
            case "INT64": return 10_000_000_000L + counter;
            case "FLOAT64": return 0.5 + counter;
            case "UUID": return new Uuid(0x0102030405060708L, counter);
            case "STRING": return "text-" + counter;
            case "BYTES": return ByteBuffer.wrap(new byte[] {1, (byte) counter, 3});
            case "RECORDS": return MemoryRecords.withRecords(Compression.NONE,
                new SimpleRecord(1_700_000_000_000L, new byte[] {'k'}, new byte[] {'v'}));
            default: throw new IllegalStateException("no value for " + type);
        }
    }
}
