# redis-rb with its defaults: strings, pipelines, hashes, transactions, pub/sub, SCAN, scripts.

require_relative "job"
require "redis"

def strings(redis)
  same "OK", redis.set("greeting", "he\r\nllo", ex: 100)
  same "he\r\nllo", redis.get("greeting")
  same nil, redis.get("absent")
  same 41, redis.incrby("counter", 41)
  begin
    redis.lpush("counter", "x")
    raise "LPUSH to a number went well"
  rescue Redis::CommandError => error
    same true, error.message.start_with?("WRONGTYPE")
  end
  users = (0...50).to_h { |number| ["user:#{number}", number.to_s] }
  same "OK", redis.mset(*users.to_a.flatten)
  same users.values + [nil], redis.mget(*users.keys, "absent")
  same({ "user:1" => "1", "user:2" => "2" }, redis.mapped_mget("user:1", "user:2"))
end

def pipelines(redis)
  replies = redis.pipelined do |pipeline|
    50.times do |number|
      pipeline.set("page:#{number}", number)
      pipeline.get("page:#{number}")
    end
  end
  replies.each_slice(2).with_index { |pair, number| same ["OK", number.to_s], pair }
end

def containers(redis)
  same 2, redis.hset("profile", "name", "Ann", "visits", 1)
  same 5, redis.hincrby("profile", "visits", 4)
  same({ "name" => "Ann", "visits" => "5" }, redis.hgetall("profile"))
  same 2, redis.rpush("tasks", %w[a b])
  same %w[tasks a], redis.blpop("tasks", timeout: 5)
  same 2, redis.zadd("board", [[1, "x"], [2, "y"]])
  same [["x", 1.0], ["y", 2.0]], redis.zrange("board", 0, -1, with_scores: true)
  first = redis.xadd("events", { kind: "login" })
  same [[first, { "kind" => "login" }]], redis.xrange("events")
end

def transactions(redis)
  replies = redis.multi do |transaction|
    transaction.set("{order:1}:state", "paid")
    transaction.incr("{order:1}:count")
  end
  same ["OK", 1], replies
  replies = redis.watch("{order:1}:count") do
    Redis.new(host: HOST, port: PORT).incr("{order:1}:count")
    redis.multi { |transaction| transaction.incr("{order:1}:count") }
  end
  same nil, replies
  same "2", redis.get("{order:1}:count")
  script = "return {KEYS[1], redis.call('incrby', KEYS[1], ARGV[1])}"
  same ["{order:1}:count", 5], redis.eval(script, keys: ["{order:1}:count"], argv: [3])
end

def all_keys(redis)
  found = redis.scan_each(match: "user:*", count: 20).to_a.uniq
  same 50, found.size
  same 50, redis.del(*found)
  same true, redis.info["redis_version"].include?(".")
end

def messages(redis)
  received = []
  redis.subscribe_with_timeout(10, "news") do |on|
    on.subscribe do
      Thread.new do
        publisher = Redis.new(host: HOST, port: PORT)
        50.times { |number| same 1, publisher.publish("news", number) }
      end
    end
    on.message do |_, message|
      received << message
      redis.unsubscribe("news") if received.size == 50
    end
  end
  same (0...50).map(&:to_s), received
  same "PONG", redis.ping
end

Thread.abort_on_exception = true
redis = Redis.new(host: HOST, port: PORT)
[:strings, :pipelines, :containers, :transactions, :all_keys, :messages].each { |task| send(task, redis) }
puts "redis-rb #{Redis::VERSION} has done its job"
