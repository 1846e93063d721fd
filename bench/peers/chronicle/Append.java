import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Properties;
import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.queue.ChronicleQueue;
import net.openhft.chronicle.queue.ExcerptAppender;

/**
 * Appends to a Chronicle Queue, timed: {@code Append DIR APPENDS BYTES RATE}. Each append has a reading of the clock
 * before it and one after; so has nothing at all, whose median is the clock's own. Two rounds count for nobody: what
 * runs then is not compiled yet.
 */
public final class Append {
    private static final int WARM_UP_ROUNDS = 2;

    public static void main(String[] arguments) throws IOException {
        Path dir = Path.of(arguments[0]);
        int appends = Integer.parseInt(arguments[1]);
        byte[] payload = new byte[Integer.parseInt(arguments[2])];
        Arrays.fill(payload, (byte) 7);
        long intervalNs = 1_000_000_000L / Long.parseLong(arguments[3]);
        Bytes<?> bytes = Bytes.allocateElasticDirect(payload.length);
        try (ChronicleQueue queue = ChronicleQueue.singleBuilder(dir).build();
                ExcerptAppender appender = queue.createAppender()) {
            Runnable append = () -> {
                bytes.clear();
                bytes.write(payload);
                appender.writeBytes(bytes);
            };
            for (int round = 0; round < WARM_UP_ROUNDS; round++) {
                times(() -> {}, appends, intervalNs);
                times(append, appends, intervalNs);
            }
            long[] clock = times(() -> {}, appends, intervalNs);
            long[] taken = times(append, appends, intervalNs);
            System.out.println("version " + version());
            System.out.println("java " + Runtime.version());
            System.out.println("clock_p50_ns " + at(clock, 500));
            System.out.println("p50_ns " + at(taken, 500));
            System.out.println("p99_ns " + at(taken, 990));
            System.out.println("p999_ns " + at(taken, 999));
        }
    }

    private static String version() throws IOException {
        String path = "/META-INF/maven/net.openhft/chronicle-queue/pom.properties";
        Properties properties = new Properties();
        try (InputStream stream = ChronicleQueue.class.getResourceAsStream(path)) {
            properties.load(stream);
        }
        return properties.getProperty("version");
    }

    private static long[] times(Runnable operation, int count, long intervalNs) {
        long[] times = new long[count];
        long planned = System.nanoTime();
        for (int index = 0; index < count; index++) {
            while (System.nanoTime() < planned) {
                Thread.onSpinWait();
            }
            long before = System.nanoTime();
            operation.run();
            times[index] = System.nanoTime() - before;
            planned += intervalNs;
        }
        Arrays.sort(times);
        return times;
    }

    private static long at(long[] sorted, int thousandths) {
        return sorted[(int) Math.min(sorted.length - 1L, (long) sorted.length * thousandths / 1000)];
    }
}
