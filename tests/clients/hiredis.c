// hiredis with its defaults: blocking calls, a pipeline, a transaction, messages. Called as "hiredis HOST PORT SERVERS".

#include <hiredis/hiredis.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 200, MESSAGES = 100 };

static void check(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static redisContext *connected(const char *host, int port) {
    redisContext *context = redisConnect(host, port);
    check(context != NULL, "no memory for a context");
    check(context->err == 0, context->errstr);
    return context;
}

// Returns the reply, which must have the given type; otherwise the program ends.
static redisReply *expected(redisContext *context, redisReply *reply, int type, const char *what) {
    check(reply != NULL, context->errstr);
    if (reply->type != type) fprintf(stderr, "type %d: %s\n", reply->type, reply->str ? reply->str : "");
    check(reply->type == type, what);
    return reply;
}

static redisReply *ask(redisContext *context, int type, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(context, format, arguments);
    va_end(arguments);
    return expected(context, reply, type, format);
}

static void status(redisContext *context, const char *text, const char *command) {
    redisReply *reply = ask(context, REDIS_REPLY_STATUS, command);
    check(strcmp(reply->str, text) == 0, command);
    freeReplyObject(reply);
}

static void number(redisContext *context, long long value, const char *command) {
    redisReply *reply = ask(context, REDIS_REPLY_INTEGER, command);
    check(reply->integer == value, command);
    freeReplyObject(reply);
}

static void string(redisContext *context, const char *text, const char *command) {
    redisReply *reply = ask(context, REDIS_REPLY_STRING, command);
    check(reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0, command);
    freeReplyObject(reply);
}

static void values(redisContext *context) {
    freeReplyObject(ask(context, REDIS_REPLY_STATUS, "SET greeting %b", "he\r\nllo\0!", (size_t)9));
    redisReply *reply = ask(context, REDIS_REPLY_STRING, "GET greeting");
    check(reply->len == 9 && memcmp(reply->str, "he\r\nllo\0!", 9) == 0, "GET of a value with a zero byte");
    freeReplyObject(reply);
    freeReplyObject(ask(context, REDIS_REPLY_NIL, "GET absent"));
    number(context, 41, "INCRBY counter 41");
    reply = ask(context, REDIS_REPLY_ERROR, "LPUSH counter x");
    check(strncmp(reply->str, "WRONGTYPE ", 10) == 0, "the error of LPUSH");
    freeReplyObject(reply);
    status(context, "PONG", "PING");

    const size_t size = 3 * 1000 * 1000;
    char *large = malloc(size);
    check(large != NULL, "no memory for a large value");
    for (size_t at = 0; at < size; at++) large[at] = "large\r\n"[at % 7];
    freeReplyObject(ask(context, REDIS_REPLY_STATUS, "SET large %b", large, size));
    reply = ask(context, REDIS_REPLY_STRING, "GET large");
    check(reply->len == size && memcmp(reply->str, large, size) == 0, "GET of a large value");
    freeReplyObject(reply);
    free(large);
}

static void containers(redisContext *context) {
    number(context, 2, "HSET profile name Ann city Ulm");
    redisReply *reply = ask(context, REDIS_REPLY_ARRAY, "HGETALL profile");
    check(reply->elements == 4, "HGETALL");
    freeReplyObject(reply);
    number(context, 2, "RPUSH tasks a b");
    string(context, "a", "LPOP tasks");
    reply = ask(context, REDIS_REPLY_ARRAY, "BLPOP tasks 5");
    check(reply->elements == 2 && strcmp(reply->element[1]->str, "b") == 0, "BLPOP");
    freeReplyObject(reply);
    freeReplyObject(ask(context, REDIS_REPLY_NIL, "BLPOP tasks 0.01"));
}

static void pipeline(redisContext *context) {
    for (int at = 0; at < KEYS; at++) {
        check(redisAppendCommand(context, "SET user:%d %d", at, at * at) == REDIS_OK, context->errstr);
        check(redisAppendCommand(context, "GET user:%d", at) == REDIS_OK, context->errstr);
    }
    check(redisAppendCommand(context, "MGET user:7 absent user:11") == REDIS_OK, context->errstr);
    redisReply *reply;
    for (int at = 0; at < KEYS; at++) {
        check(redisGetReply(context, (void **)&reply) == REDIS_OK, context->errstr);
        freeReplyObject(expected(context, reply, REDIS_REPLY_STATUS, "SET in a pipeline"));
        check(redisGetReply(context, (void **)&reply) == REDIS_OK, context->errstr);
        expected(context, reply, REDIS_REPLY_STRING, "GET in a pipeline");
        check(atoi(reply->str) == at * at, "the value of GET in a pipeline");
        freeReplyObject(reply);
    }
    check(redisGetReply(context, (void **)&reply) == REDIS_OK, context->errstr);
    expected(context, reply, REDIS_REPLY_ARRAY, "MGET");
    check(reply->elements == 3 && strcmp(reply->element[0]->str, "49") == 0, "the first value of MGET");
    check(reply->element[1]->type == REDIS_REPLY_NIL, "MGET of no key");
    check(strcmp(reply->element[2]->str, "121") == 0, "the last value of MGET");
    freeReplyObject(reply);
}

static void transaction(redisContext *context) {
    status(context, "OK", "WATCH {order:1}:state");
    status(context, "OK", "MULTI");
    status(context, "QUEUED", "SET {order:1}:state paid");
    status(context, "QUEUED", "INCR {order:1}:count");
    redisReply *reply = ask(context, REDIS_REPLY_ARRAY, "EXEC");
    check(reply->elements == 2 && reply->element[1]->integer == 1, "EXEC");
    freeReplyObject(reply);
}

static void messages(redisContext *context, const char *host, int port) {
    redisContext *listening = connected(host, port);
    freeReplyObject(ask(listening, REDIS_REPLY_ARRAY, "SUBSCRIBE news"));
    for (int at = 0; at < MESSAGES; at++) {
        redisReply *reply = ask(context, REDIS_REPLY_INTEGER, "PUBLISH news %d", at);
        check(reply->integer == 1, "the subscribers of PUBLISH");
        freeReplyObject(reply);
    }
    for (int at = 0; at < MESSAGES; at++) {
        redisReply *message;
        check(redisGetReply(listening, (void **)&message) == REDIS_OK, listening->errstr);
        expected(listening, message, REDIS_REPLY_ARRAY, "a message");
        check(message->elements == 3 && atoi(message->element[2]->str) == at, "the order of messages");
        freeReplyObject(message);
    }
    redisFree(listening);
}

int main(int count, char **arguments) {
    check(count > 2, "HOST and PORT are missing");
    const int port = atoi(arguments[2]);
    redisContext *context = connected(arguments[1], port);
    values(context);
    containers(context);
    pipeline(context);
    transaction(context);
    messages(context, arguments[1], port);
    redisFree(context);
    printf("hiredis %d.%d.%d has done its job\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    return 0;
}
