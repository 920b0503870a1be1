import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.coordinator.group.generated.CoordinatorRecordType;

/**
 * Writes the records of __consumer_offsets that consumer groups are made of, every value in every
 * version, all fields filled, as Kafka's own code encodes them. One line each: kind, version of the
 * value, key and value in hex, without the kind and the version that stand before them in a record.
 *
 * <pre>
 * javac -cp "libs/*" -d target/golden compat-tests/schemas/Golden*.java
 * java -cp "libs/*:target/golden" GoldenRecords > src/coordinator/records/golden.txt
 * </pre>
 *
 * where libs holds the jars of Apache Kafka 4.3.1.
 */
public final class GoldenRecords {
    public static void main(String[] args) throws ReflectiveOperationException {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.US_ASCII);
        for (CoordinatorRecordType type : CoordinatorRecordType.values()) {
            boolean isConsumers = type.id() <= 8 || type.id() == 16;
            if (!isConsumers) {
                continue;
            }
            for (short version = 0; version <= type.highestSupportedVersion(); version++) {
                if (version < type.lowestSupportedVersion()) {
                    continue;
                }
                out.println(type.id() + " " + version
                    + " " + Golden.encode(schema(type.newRecordKey(), (short) 0), type.newRecordKey(), (short) 0)
                    + " " + Golden.encode(schema(type.newRecordValue(), version), type.newRecordValue(), version));
            }
        }
        out.flush();
    }

    private static Schema schema(ApiMessage message, short version) throws ReflectiveOperationException {
        return ((Schema[]) message.getClass().getField("SCHEMAS").get(null))[version];
    }
}
