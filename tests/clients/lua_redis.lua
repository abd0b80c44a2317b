-- lua-redis with its defaults: strings, pipelines, hashes, transactions, pub/sub, scripts.

local redis = require("redis")
local host, port = arg[1], tonumber(arg[2])

local function same(expected, actual)
  if expected ~= actual then
    error(tostring(actual) .. " instead of " .. tostring(expected), 2)
  end
end

local function strings(client)
  same(true, client:set("greeting", "he\r\nllo"))
  same("he\r\nllo", client:get("greeting"))
  same(nil, client:get("absent"))
  same(41, client:incrby("counter", 41))
  local well, message = pcall(client.lpush, client, "counter", "x")
  same(false, well)
  assert(message:find("WRONGTYPE"), message)
  local users, names = {}, {}
  for number = 1, 50 do
    users["user:" .. number] = tostring(number)
    names[number] = "user:" .. number
  end
  same(true, client:mset(users))
  for number, value in ipairs(client:mget(names)) do
    same(tostring(number), value)
  end
  same(50, client:del(names))
end

local function pipelines(client)
  local replies = client:pipeline(function(pipeline)
    for number = 1, 50 do
      pipeline:set("page:" .. number, number)
      pipeline:get("page:" .. number)
    end
  end)
  for number = 1, 50 do
    same(tostring(number), replies[2 * number])
  end
end

local function containers(client)
  same(true, client:hmset("profile", { name = "Ann", visits = 1 }))
  same(5, client:hincrby("profile", "visits", 4))
  local profile = client:hgetall("profile")
  same("Ann", profile.name)
  same("5", profile.visits)
  same(2, client:rpush("tasks", "a", "b"))
  same("a", client:blpop("tasks", 5)[2])
end

local function transactions(client)
  local replies = client:transaction(function(transaction)
    transaction:set("{order:1}:state", "paid")
    transaction:incr("{order:1}:count")
  end)
  same(1, replies[2])
  local options = { watch = "{order:1}:count", cas = true, retry = 1 }
  client:transaction(options, function(transaction)
    local count = transaction:get("{order:1}:count")
    transaction:multi()
    transaction:set("{order:1}:count", count + 1)
  end)
  same("2", client:get("{order:1}:count"))
  same(5, client:eval("return redis.call('incrby', KEYS[1], ARGV[1])", 1, "{order:1}:count", 3))
end

local function messages(client, subscriber)
  local received = 0
  for message, stop in subscriber:pubsub({ subscribe = { "news" } }) do
    if message.kind == "subscribe" then
      for number = 1, 50 do
        same(1, client:publish("news", number))
      end
    elseif message.kind == "message" then
      received = received + 1
      same(tostring(received), message.payload)
      if received == 50 then
        stop()
      end
    end
  end
  same(50, received)
end

local client = redis.connect(host, port)
strings(client)
pipelines(client)
containers(client)
transactions(client)
assert(client:info().server.redis_version, "no version in INFO")
messages(client, redis.connect(host, port))
print(redis._VERSION .. " has done its job")
