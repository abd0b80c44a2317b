# Rails' cache store in redis with its defaults.

require_relative "job"
require "active_support"
require "active_support/cache"
require "active_support/cache/redis_cache_store"
require "active_support/notifications"

def values(cache)
  same true, !!cache.write("greeting", { text: "hello", at: Time.at(0) }, expires_in: 100)
  same({ text: "hello", at: Time.at(0) }, cache.read("greeting"))
  same nil, cache.read("absent")
  same true, cache.exist?("greeting")
  same "made", cache.fetch("absent") { "made" }
  same "made", cache.fetch("absent") { raise "it was there" }
  same true, !!cache.delete("absent")
  same "x" * 100_000, cache.fetch("large") { "x" * 100_000 }
end

def many(cache)
  users = (0...50).to_h { |number| ["user:#{number}", number] }
  cache.write_multi(users)
  same users, cache.read_multi(*users.keys, "absent")
  same({ "user:1" => 1, "new" => "NEW" }, cache.fetch_multi("user:1", "new", &:upcase))
  same 50, cache.delete_multi(users.keys)
end

def counters(cache)
  cache.write("visits", 40, raw: true)
  same 45, cache.increment("visits", 5)
  same 42, cache.decrement("visits", 3)
  same "42", cache.read("visits", raw: true)
end

def patterns(cache)
  20.times { |number| cache.write("page:#{number}", number) }
  cache.delete_matched("page:*")
  same({}, cache.read_multi(*(0...20).map { |number| "page:#{number}" }))
end

# Without an error handler the store treats errors as misses.
cache = ActiveSupport::Cache::RedisCacheStore.new(url: URL, error_handler: ->(exception:, **) { raise exception })
[:values, :many, :counters, :patterns].each { |task| send(task, cache) }
puts "Rails' store #{ActiveSupport::VERSION::STRING} has done its job"
