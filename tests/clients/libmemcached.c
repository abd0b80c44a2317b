// libmemcached with its defaults: values, counters, cas, multi-gets, large values. Called as
// "libmemcached HOST PORT SERVERS".

#include <libmemcached/memcached.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 200 };

static memcached_st *client;

static void check(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, memcached_last_error_message(client));
    exit(1);
}

static memcached_return_t set(const char *key, const char *value, size_t size, uint32_t flags) {
    return memcached_set(client, key, strlen(key), value, size, 100, flags);
}

// The value of a key, which the caller frees, or NULL.
static char *get(const char *key, size_t *size, uint32_t *flags, memcached_return_t *result) {
    return memcached_get(client, key, strlen(key), size, flags, result);
}

static void values(void) {
    size_t size;
    uint32_t flags;
    memcached_return_t result;
    check(set("greeting", "he\r\nllo", 7, 42) == MEMCACHED_SUCCESS, "set");
    char *value = get("greeting", &size, &flags, &result);
    check(value != NULL && size == 7 && flags == 42 && memcmp(value, "he\r\nllo", 7) == 0, "get");
    free(value);
    check(get("absent", &size, &flags, &result) == NULL && result == MEMCACHED_NOTFOUND, "get of no key");
    check(memcached_add(client, "greeting", 8, "x", 1, 0, 0) == MEMCACHED_NOTSTORED, "add of a key that exists");
    check(memcached_append(client, "greeting", 8, "!", 1, 0, 0) == MEMCACHED_SUCCESS, "append");
    value = get("greeting", &size, &flags, &result);
    check(value != NULL && size == 8, "get of what was appended");
    free(value);
    check(memcached_touch(client, "greeting", 8, 200) == MEMCACHED_SUCCESS, "touch");
    check(memcached_delete(client, "greeting", 8, 0) == MEMCACHED_SUCCESS, "delete");
    check(memcached_delete(client, "greeting", 8, 0) == MEMCACHED_NOTFOUND, "delete of no key");
}

static void counters(void) {
    uint64_t value;
    check(set("counter", "40", 2, 0) == MEMCACHED_SUCCESS, "set of a number");
    check(memcached_increment(client, "counter", 7, 5, &value) == MEMCACHED_SUCCESS && value == 45, "increment");
    check(memcached_decrement(client, "counter", 7, 3, &value) == MEMCACHED_SUCCESS && value == 42, "decrement");
}

static void large_value(void) {
    const size_t size = 900 * 1000;
    char *large = malloc(size);
    check(large != NULL, "no memory for a large value");
    for (size_t at = 0; at < size; at++) large[at] = "END\r\n"[at % 5];
    check(set("large", large, size, 0) == MEMCACHED_SUCCESS, "set of a large value");
    size_t found;
    uint32_t flags;
    memcached_return_t result;
    char *value = get("large", &found, &flags, &result);
    check(value != NULL && found == size && memcmp(value, large, size) == 0, "get of a large value");
    free(value);
    free(large);
}

static void many(void) {
    static char names[KEYS + 1][16];
    const char *keys[KEYS + 1];
    size_t lengths[KEYS + 1];
    for (int at = 0; at <= KEYS; at++) {
        snprintf(names[at], sizeof names[at], "user:%d", at);
        keys[at] = names[at];
        lengths[at] = strlen(names[at]);
        // The last key is never stored.
        if (at < KEYS) check(set(names[at], names[at], lengths[at], at) == MEMCACHED_SUCCESS, "set of many");
    }
    check(memcached_mget(client, keys, lengths, KEYS + 1) == MEMCACHED_SUCCESS, "mget");
    int found = 0;
    memcached_return_t result;
    memcached_result_st *item;
    while ((item = memcached_fetch_result(client, NULL, &result)) != NULL) {
        const size_t length = memcached_result_key_length(item);
        check(length == memcached_result_length(item), "the length of a value of many");
        check(memcmp(memcached_result_key_value(item), memcached_result_value(item), length) == 0, "a value of many");
        check(strcmp(names[memcached_result_flags(item)], memcached_result_value(item)) == 0, "the flags of many");
        memcached_result_free(item);
        found++;
    }
    check(found == KEYS, "the number of values of many");
}

static void cas(void) {
    check(memcached_behavior_set(client, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1) == MEMCACHED_SUCCESS, "cas is not supported");
    check(set("balance", "10", 2, 0) == MEMCACHED_SUCCESS, "set of the balance");
    const char *key = "balance";
    const size_t length = strlen(key);
    check(memcached_mget(client, &key, &length, 1) == MEMCACHED_SUCCESS, "gets");
    memcached_return_t result;
    memcached_result_st *item = memcached_fetch_result(client, NULL, &result);
    check(item != NULL, "the result of gets");
    const uint64_t unique = memcached_result_cas(item);
    memcached_result_free(item);
    check(memcached_fetch_result(client, NULL, &result) == NULL, "a second result of gets");
    check(memcached_cas(client, key, length, "11", 2, 0, 0, unique) == MEMCACHED_SUCCESS, "cas");
    check(memcached_cas(client, key, length, "12", 2, 0, 0, unique) == MEMCACHED_DATA_EXISTS, "cas of what has changed");
}

int main(int count, char **arguments) {
    client = memcached_create(NULL);
    check(client != NULL && count > 2, "HOST and PORT are missing");
    check(memcached_server_add(client, arguments[1], (in_port_t)atoi(arguments[2])) == MEMCACHED_SUCCESS, "the server");
    values();
    counters();
    large_value();
    many();
    cas();
    check(memcached_version(client) == MEMCACHED_SUCCESS, "version");
    memcached_free(client);
    printf("libmemcached %s has done its job\n", LIBMEMCACHED_VERSION_STRING);
    return 0;
}
