import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Function;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Apache Kafka's command line tools in one JVM, since starting one takes longer than what most tools do.
 *
 * A line of JSON on stdin starts a tool: {"id": 1, "class": "org…", "args": […], "in": FILE, "out": FILE, "err": FILE};
 * {"id": 1, "stop": true} does to it what SIGTERM would. When a tool has ended, a line on stdout says so: {"id": 1, "code": 0}.
 * Several may run at a time; each has its standard streams and static fields to itself.
 */
public class Tools {
    static final InheritableThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();
    static final Map<Integer, Call> CALLS = new ConcurrentHashMap<>();
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream ANSWERS = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    static final PrintStream LOG = new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        InputStream commands = System.in;
        System.setOut(new PrintStream(new Routed(call -> call.out, LOG), true));
        System.setErr(new PrintStream(new Routed(call -> call.err, LOG), true));
        System.setIn(new RoutedInput());
        Exit.setExitProcedure((code, message) -> ended(code));
        Exit.setHaltProcedure((code, message) -> ended(code));
        Exit.setShutdownHookAdder((name, hook) -> CURRENT.get().hooks.add(hook));

        var lines = new BufferedReader(new InputStreamReader(commands, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode command = JSON.readTree(line);
            int id = command.get("id").asInt();
            if (command.has("stop")) {
                CALLS.get(id).stop();
            } else {
                CALLS.put(id, new Call(command));
                new Thread(CALLS.get(id)::run, "tool-" + id).start();
            }
        }
        Runtime.getRuntime().halt(0);
    }

    /** What stands for the end of the process: the first code counts, and nothing after it is run. */
    static void ended(int code) {
        Call call = CURRENT.get();
        call.code = call.code == null ? code : call.code;
        throw new Ended();
    }

    static class Ended extends Error {}

    static class Call {
        final int id;
        final String main;
        final String[] args;
        final ToolLoader loader = new ToolLoader();
        final InputStream in;
        final PrintStream out, err;
        final List<Runnable> hooks = new CopyOnWriteArrayList<>();
        volatile Integer code;
        Thread stopping;

        Call(JsonNode command) throws IOException {
            id = command.get("id").asInt();
            main = command.get("class").asText();
            args = JSON.convertValue(command.get("args"), String[].class);
            in = command.has("in") ? Files.newInputStream(Path.of(command.get("in").asText())) : InputStream.nullInputStream();
            out = new PrintStream(new FileOutputStream(command.get("out").asText()), true, StandardCharsets.UTF_8);
            err = new PrintStream(new FileOutputStream(command.get("err").asText()), true, StandardCharsets.UTF_8);
        }

        void run() {
            CURRENT.set(this);
            try {
                Thread.currentThread().setContextClassLoader(loader);
                Class.forName(main, true, loader).getMethod("main", String[].class).invoke(null, (Object) args);
            } catch (InvocationTargetException thrown) {
                if (!(thrown.getCause() instanceof Ended)) {
                    thrown.getCause().printStackTrace(err);
                    code = code == null ? 1 : code;
                }
            } catch (ReflectiveOperationException thrown) {
                thrown.printStackTrace(err);
                code = 1;
            }
            stop();
            try {
                stopping.join();
            } catch (InterruptedException never) {
                throw new IllegalStateException(never);
            }
            out.close();
            err.close();
            ANSWERS.println("{\"id\": " + id + ", \"code\": " + (code == null ? 0 : code) + "}");
        }

        /** Runs the hooks once, as a process does that ends by itself or is told to end. */
        synchronized void stop() {
            if (stopping == null) {
                stopping = new Thread(() -> {
                    CURRENT.set(this);
                    hooks.forEach(Runnable::run);
                    ownHooks().forEach(Runnable::run);
                });
                stopping.start();
            }
        }

        /** The threads that this call has left with the JVM (which must open java.lang for that) to be run at its end. */
        List<Thread> ownHooks() {
            try {
                var all = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
                all.setAccessible(true);
                return List.copyOf(((Map<?, ?>) all.get(null)).keySet()).stream().map(Thread.class::cast)
                    .filter(hook -> hook.getContextClassLoader() == loader && Runtime.getRuntime().removeShutdownHook(hook)).toList();
            } catch (ReflectiveOperationException thrown) {
                throw new IllegalStateException(thrown);
            }
        }
    }

    /** Loads the tools' own classes anew for each call, because some keep state in static fields. */
    static class ToolLoader extends URLClassLoader {
        ToolLoader() {
            super(new URL[] {of("org.apache.kafka.tools.GroupsCommand")}, Tools.class.getClassLoader());
        }

        static URL of(String name) {
            try {
                return Class.forName(name, false, Tools.class.getClassLoader()).getProtectionDomain().getCodeSource().getLocation();
            } catch (ClassNotFoundException missing) {
                throw new IllegalStateException(missing);
            }
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                Class<?> found = findLoadedClass(name);
                if (found != null) {
                    return found;
                }
                if (name.startsWith("org.apache.kafka.tools.")) {
                    try {
                        return findClass(name);
                    } catch (ClassNotFoundException elsewhere) {
                        return super.loadClass(name, resolve);
                    }
                }
                return super.loadClass(name, resolve);
            }
        }
    }

    static class Routed extends OutputStream {
        final Function<Call, PrintStream> stream;
        final PrintStream otherwise;

        Routed(Function<Call, PrintStream> stream, PrintStream otherwise) {
            this.stream = stream;
            this.otherwise = otherwise;
        }

        PrintStream target() {
            Call call = CURRENT.get();
            return call == null ? otherwise : stream.apply(call);
        }

        @Override
        public void write(int one) {
            target().write(one);
        }

        @Override
        public void write(byte[] bytes, int from, int length) {
            target().write(bytes, from, length);
        }

        @Override
        public void flush() {
            target().flush();
        }
    }

    static class RoutedInput extends InputStream {
        @Override
        public int read() throws IOException {
            return CURRENT.get().in.read();
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws IOException {
            return CURRENT.get().in.read(bytes, from, length);
        }
    }
}
