import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.MemcachedClient;

/** spymemcached with its defaults: values, counters, cas, multi-gets. Called with HOST PORT SERVERS. */
public final class Spymemcached {
    private static void same(Object expected, Object actual) {
        if (!Objects.equals(expected, actual)) {
            throw new IllegalStateException(actual + " instead of " + expected);
        }
    }

    private static void values(MemcachedClient client) throws Exception {
        same(true, client.set("greeting", 100, "hello").get());
        same("hello", client.get("greeting"));
        same(null, client.get("absent"));
        same(false, client.add("greeting", 0, "x").get());
        same(true, client.replace("greeting", 0, List.of(1, 2, 3).toString()).get());
        same("[1, 2, 3]", client.get("greeting"));
        same(true, client.touch("greeting", 100).get());
        same(true, client.delete("greeting").get());
        same(false, client.delete("greeting").get());
        same(true, client.set("counter", 0, "40").get());
        same(45L, client.incr("counter", 5));
        same(42L, client.decr("counter", 3));
        byte[] large = new byte[900_000];
        new Random(1).nextBytes(large);
        same(true, client.set("large", 0, large).get());
        same(true, Arrays.equals(large, (byte[]) client.get("large")));
    }

    private static void many(MemcachedClient client) throws Exception {
        Map<String, Object> users = new HashMap<>();
        Map<String, Future<Boolean>> stored = new HashMap<>();
        for (int number = 0; number < 500; number++) {
            users.put("user:" + number, "number " + number);
            stored.put("user:" + number, client.set("user:" + number, 0, "number " + number));
        }
        for (Future<Boolean> each : stored.values()) {
            same(true, each.get());
        }
        same(users, client.getBulk(users.keySet()));
        Map<String, Future<Object>> asked = new HashMap<>();
        for (String key : users.keySet()) {
            asked.put(key, client.asyncGet(key));
        }
        for (Map.Entry<String, Future<Object>> each : asked.entrySet()) {
            same(users.get(each.getKey()), each.getValue().get());
        }
    }

    private static void cas(MemcachedClient client) throws Exception {
        same(true, client.set("balance", 0, "10").get());
        CASValue<Object> item = client.gets("balance");
        same(CASResponse.OK, client.cas("balance", item.getCas(), "11"));
        same(CASResponse.EXISTS, client.cas("balance", item.getCas(), "12"));
        same("11", client.get("balance"));
    }

    public static void main(String[] arguments) throws Exception {
        MemcachedClient client =
                new MemcachedClient(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])));
        values(client);
        many(client);
        cas(client);
        same(1, client.getVersions().size());
        client.shutdown(5, TimeUnit.SECONDS);
        System.out.println("spymemcached has done its job");
    }
}
