import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.requests.RequestUtils;
import org.apache.kafka.common.requests.ResponseHeader;

/**
 * Requests as Kafka's own classes encode them, each over a connection of its own, and a transcript of them and their answers,
 * in which everything that another run or another broker would have otherwise has a name instead.
 */
final class Wire {
    static final String CLIENT = "client";
    private static final Pattern GENERATED = Pattern.compile("\"((?:[a-z-]+-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\"");

    private final String host;
    private final int port;
    private final StringBuilder transcript = new StringBuilder();
    private final Map<String, String> names = new LinkedHashMap<>();

    Wire(String bootstrap) {
        host = bootstrap.substring(0, bootstrap.lastIndexOf(':'));
        port = Integer.parseInt(bootstrap.substring(bootstrap.lastIndexOf(':') + 1));
    }

    /** From here on the transcript has the name where this text would be. */
    void name(String text, String name) {
        names.put(text, name);
    }

    void say(String line) {
        transcript.append(line).append('\n');
    }

    String transcript() {
        return transcript.toString();
    }

    /** A request that may be answered much later; its answer comes into the transcript when it is taken. */
    final class Pending {
        private final String title;
        private final ApiKeys api;
        private final short version;
        private final CompletableFuture<ApiMessage> answer;

        Pending(ApiKeys api, int version, ApiMessage request) {
            this.api = api;
            this.version = (short) version;
            title = api.name + " " + version;
            answer = CompletableFuture.supplyAsync(() -> exchange(api, this.version, request), task -> new Thread(task).start());
            say(title + " " + text(request, this.version, request(api), false));
        }

        boolean isAnswered() {
            return answer.isDone();
        }

        @SuppressWarnings("unchecked")
        <T extends ApiMessage> T take() throws Exception {
            ApiMessage taken = answer.get(40, TimeUnit.SECONDS);
            say("  " + title + " -> " + text(taken, version, response(api), true));
            return (T) taken;
        }
    }

    Pending start(ApiKeys api, int version, ApiMessage request) {
        return new Pending(api, version, request);
    }

    <T extends ApiMessage> T ask(ApiKeys api, int version, ApiMessage request) throws Exception {
        return start(api, version, request).take();
    }

    /** The answer without a line in the transcript, for what has to be asked until it is so. */
    @SuppressWarnings("unchecked")
    <T extends ApiMessage> T askSilently(ApiKeys api, int version, ApiMessage request) {
        return (T) exchange(api, (short) version, request);
    }

    private ApiMessage exchange(ApiKeys api, short version, ApiMessage request) {
        try (var socket = new Socket(host, port)) {
            socket.setSoTimeout(35_000);
            var header = new RequestHeader(api, version, CLIENT, 7);
            ByteBuffer bytes = RequestUtils.serialize(header.data(), header.headerVersion(), request, version);
            ByteBuffer frame = ByteBuffer.allocate(4 + bytes.remaining()).putInt(bytes.remaining()).put(bytes);
            socket.getOutputStream().write(frame.array());
            var in = new DataInputStream(socket.getInputStream());
            var answer = ByteBuffer.wrap(in.readNBytes(in.readInt()));
            ResponseHeader.parse(answer, api.responseHeaderVersion(version));
            ApiMessage response = response(api);
            response.read(new ByteBufferAccessor(answer), version);
            if (answer.hasRemaining()) {
                throw new IllegalStateException(api + " " + version + ": " + answer.remaining() + " bytes too many");
            }
            return response;
        } catch (IOException failure) {
            throw new IllegalStateException(api + " " + version + ": " + failure, failure);
        }
    }

    private static ApiMessage request(ApiKeys api) {
        return api.messageType.newRequest();
    }

    private static ApiMessage response(ApiKeys api) {
        return api.messageType.newResponse();
    }

    /** A message in JSON, without what has its default, is not comparable or is free text. */
    private String text(ApiMessage message, short version, ApiMessage defaults, boolean sorted) {
        ObjectNode json = (ObjectNode) json(message, version), plain = (ObjectNode) json(defaults, version);
        List<String> same = new ArrayList<>();
        json.fieldNames().forEachRemaining(field -> {
            if (!field.equals("errorCode") && json.get(field).equals(plain.get(field))) {
                same.add(field);
            }
        });
        json.remove(same);
        return replaced(canonical(json, sorted).toString());
    }

    private static JsonNode json(ApiMessage message, short version) {
        try {
            var converter = Class.forName(message.getClass().getName() + "JsonConverter");
            return (JsonNode) converter.getMethod("write", message.getClass(), short.class).invoke(null, message, version);
        } catch (ReflectiveOperationException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Sorted: with lists in an order of their own, because that of an answer means nothing. */
    private JsonNode canonical(JsonNode node, boolean sorted) {
        if (node instanceof ArrayNode array) {
            List<JsonNode> items = new ArrayList<>();
            array.forEach(item -> items.add(canonical(item, sorted)));
            if (sorted) {
                items.sort(Comparator.comparing(item -> replaced(item.toString())));
            }
            return JsonNodeFactory.instance.arrayNode().addAll(items);
        }
        if (!(node instanceof ObjectNode object)) {
            return node;
        }
        ObjectNode copy = JsonNodeFactory.instance.objectNode();
        object.fields().forEachRemaining(field -> {
            switch (field.getKey()) {
                case "throttleTimeMs", "errorMessage", "authorizedOperations" -> {
                    if (field.getKey().startsWith("auth") && field.getValue().asInt() != Integer.MIN_VALUE) {
                        copy.set(field.getKey(), field.getValue());
                    }
                }
                case "errorCode" -> copy.put("errorCode", Errors.forCode((short) field.getValue().asInt()).name());
                // The first one counts.
                case "synonyms" -> copy.set(field.getKey(), canonical(field.getValue(), false));
                default -> copy.set(field.getKey(), canonical(field.getValue(), sorted));
            }
        });
        return copy;
    }

    /** With the names for what another run would have otherwise. */
    String replaced(String json) {
        for (var named : names.entrySet()) {
            json = json.replace(named.getKey(), named.getValue());
        }
        return GENERATED.matcher(json).replaceAll("\"(a generated id)\"");
    }
}
