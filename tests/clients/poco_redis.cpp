// Poco's redis client with its defaults, Debian's client for C++. Called as ``poco_redis HOST PORT SERVERS``.

#include <Poco/Delegate.h>
#include <Poco/Event.h>
#include <Poco/Redis/AsyncReader.h>
#include <Poco/Redis/Client.h>
#include <Poco/Redis/Command.h>
#include <Poco/Redis/Exception.h>

#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

using Poco::Redis::Array;
using Poco::Redis::BulkString;
using Poco::Redis::Client;
using Poco::Redis::Command;

namespace {

constexpr int KEYS = 50;
constexpr int MESSAGES = 5;  // Poco's reader waits for 0.1 s after each.

void check(bool condition, const std::string& what) {
    if (!condition) throw std::runtime_error(what);
}

void strings(Client& client) {
    check(client.execute<std::string>(Command::set("greeting", "he\r\nllo")) == "OK", "SET");
    check(client.execute<BulkString>(Command::get("greeting")).value() == "he\r\nllo", "GET");
    check(client.execute<BulkString>(Command::get("absent")).isNull(), "GET of no key");
    check(client.execute<Poco::Int64>(Command::incr("counter", 41)) == 41, "INCRBY");
    try {
        client.execute<Poco::Int64>(Command::lpush("counter", "x"));
        check(false, "LPUSH to a number went well");
    } catch (const Poco::Redis::RedisException& error) {
        check(error.displayText().find("WRONGTYPE") != std::string::npos, error.displayText());
    }
}

void pipelines(Client& client) {
    std::vector<Array> commands;
    for (int number = 0; number < KEYS; number++) {
        const std::string key = "user:" + std::to_string(number);
        commands.push_back(Command::set(key, std::to_string(number * number)));
        commands.push_back(Command::get(key));
    }
    const Array replies = client.sendCommands(commands);
    check(replies.size() == 2 * KEYS, "replies of a pipeline");
    for (int number = 0; number < KEYS; number++)
        check(replies.get<BulkString>(2 * number + 1).value() == std::to_string(number * number), "GET in a pipeline");
    const Array values = client.execute<Array>(Command::mget({"user:7", "absent", "user:11"}));
    check(values.get<BulkString>(0).value() == "49" && values.get<BulkString>(1).isNull(), "MGET");
    check(values.get<BulkString>(2).value() == "121", "MGET");
}

void containers(Client& client) {
    check(client.execute<Poco::Int64>(Command::hset("profile", "name", "Ann")) == 1, "HSET");
    check(client.execute<Poco::Int64>(Command::hincrby("profile", "visits", 5)) == 5, "HINCRBY");
    check(client.execute<Array>(Command::hgetall("profile")).size() == 4, "HGETALL");
    check(client.execute<Poco::Int64>(Command::rpush("tasks", std::vector<std::string>{"a", "b"})) == 2, "RPUSH");
    check(client.execute<BulkString>(Command::lpop("tasks")).value() == "a", "LPOP");
    check(client.execute<Array>(Command::blpop({"tasks"})).get<BulkString>(1).value() == "b", "BLPOP");
}

void transactions(Client& client) {
    check(client.execute<std::string>(Array().add("MULTI")) == "OK", "MULTI");
    check(client.execute<std::string>(Command::set("{order:1}:state", "paid")) == "QUEUED", "SET in MULTI");
    check(client.execute<std::string>(Command::incr("{order:1}:count")) == "QUEUED", "INCR in MULTI");
    check(client.execute<Array>(Array().add("EXEC")).get<Poco::Int64>(1) == 1, "EXEC");
}

class Subscriber {
public:
    void onMessage(const void*, Poco::Redis::RedisEventArgs& arguments) {
        const Array message = arguments.message().cast<Poco::Redis::Type<Array>>()->value();
        const std::string kind = message.get<BulkString>(0).value();
        if (kind == "subscribe") subscribed.set();
        if (kind != "message") return;
        in_order &= message.get<BulkString>(2).value() == std::to_string(received);
        if (++received == MESSAGES) complete.set();
    }

    Poco::Event subscribed, complete;
    int received = 0;
    bool in_order = true;
};

void messages(Client& client, const std::string& host, int port) {
    Client listening(host, port);
    Subscriber subscriber;
    Poco::Redis::AsyncReader reader(listening);
    reader.redisResponse += Poco::delegate(&subscriber, &Subscriber::onMessage);
    listening.execute<void>(Array().add("SUBSCRIBE").add("news"));
    listening.flush();
    reader.start();
    subscriber.subscribed.wait(10000);
    for (int number = 0; number < MESSAGES; number++) {
        const Array publish = Array().add("PUBLISH").add("news").add(std::to_string(number));
        check(client.execute<Poco::Int64>(publish) == 1, "PUBLISH");
    }
    subscriber.complete.wait(10000);
    check(subscriber.in_order, "the order of messages");
    reader.redisResponse -= Poco::delegate(&subscriber, &Subscriber::onMessage);
    reader.stop();
    // The reader stops with the next reply.
    listening.execute<void>(Array().add("UNSUBSCRIBE"));
    listening.flush();
}

}  // namespace

int main(int count, char** arguments) {
    try {
        check(count > 2, "HOST and PORT are missing");
        const int port = std::stoi(arguments[2]);
        Client client(arguments[1], port);
        strings(client);
        pipelines(client);
        containers(client);
        transactions(client);
        messages(client, arguments[1], port);
    } catch (const Poco::Exception& error) {
        std::cerr << error.displayText() << "\n";
        return 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
    std::cout << "Poco's client has done its job\n";
    return 0;
}
