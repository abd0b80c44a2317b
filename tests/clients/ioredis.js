// ioredis with its defaults: node ioredis.js HOST PORT SERVERS, see job.py.
"use strict";

const assert = require("node:assert/strict");
const { Redis } = require("ioredis");
const { host, port, refusedBySeveral } = require("./job.js");

async function data(redis) {
  assert.equal(await redis.set("greeting", "hello", "EX", 100), "OK");
  assert.equal(await redis.get("greeting"), "hello");
  const users = Object.fromEntries(Array.from({ length: 50 }, (_, number) => [`user:${number}`, String(number)]));
  assert.equal(await redis.mset(users), "OK");
  assert.deepEqual(await redis.mget("user:1", "user:2", "absent"), ["1", "2", null]);
  assert.equal(await redis.hset("profile", { name: "Ann", visits: 1 }), 2);
  assert.deepEqual({ ...(await redis.hgetall("profile")) }, { name: "Ann", visits: "1" });
  const id = await redis.xadd("events", "*", "kind", "login");
  const [[stream, [[read]]]] = await redis.xread("BLOCK", 5000, "STREAMS", "events", "0");
  assert.deepEqual([stream, read], ["events", id]);

  const replies = await redis.pipeline().set("one", 1).incr("one").get("absent").lpush("one", 1).exec();
  assert.deepEqual(replies.slice(0, 3), [[null, "OK"], [null, 2], [null, null]]);
  assert.match(replies[3][0].message, /WRONGTYPE/);

  const keys = new Set();
  for await (const found of redis.scanStream({ count: 20 })) found.forEach((key) => keys.add(key));
  assert.equal(keys.size, 54);
  assert.equal(await redis.dbsize(), 54);
  assert.equal(await redis.del(...keys), 54);
  await refusedBySeveral("allow_commands", () => redis.flushdb());
}

async function transactions(redis) {
  const replies = await redis.multi().set("{order:1}:state", "paid").incr("{order:1}:count").exec();
  assert.deepEqual(replies, [[null, "OK"], [null, 1]]);
  await redis.multi({ pipeline: false });
  assert.equal(await redis.incr("{order:1}:count"), "QUEUED");
  assert.deepEqual(await redis.exec(), [[null, 2]]);
  await refusedBySeveral("hash tag", () => {
    const transaction = redis.multi();
    for (let number = 0; number < 20; number += 1) transaction.set(`order:${number}`, number);
    return transaction.exec();
  });

  const watcher = redis.duplicate();
  await watcher.watch("{order:1}:count");
  await redis.incr("{order:1}:count");
  assert.equal(await watcher.multi().set("{order:1}:count", 0).exec(), null);
  await watcher.quit();
  assert.equal(await redis.get("{order:1}:count"), "3");
}

async function messages(redis) {
  const subscriber = redis.duplicate();
  const heard = new Promise((resolve) => {
    const lines = [];
    const hear = (line) => lines.push(line) === 2 && resolve(lines.sort());
    subscriber.on("message", (channel, text) => hear(`message ${channel} ${text}`));
    subscriber.on("pmessage", (pattern, channel, text) => hear(`pmessage ${pattern} ${channel} ${text}`));
  });
  assert.equal(await subscriber.subscribe("news"), 1);
  assert.equal(await subscriber.psubscribe("new*"), 2);
  assert.equal(await redis.publish("news", "it rains"), 2);
  assert.deepEqual(await heard, ["message news it rains", "pmessage new* news it rains"]);
  assert.equal(await subscriber.unsubscribe("news"), 1);
  assert.equal(await subscriber.punsubscribe("new*"), 0);
  assert.equal(await subscriber.incr("listened"), 1);
  await subscriber.quit();
}

async function queues(redis) {
  const waiting = redis.duplicate();
  const popped = waiting.blpop("{queue}:urgent", "{queue}:later", 10);
  assert.equal(await redis.rpush("{queue}:later", "work"), 1);
  assert.deepEqual(await popped, ["{queue}:later", "work"]);
  assert.equal(await waiting.brpop("queue", 0.1), null);
  await waiting.quit();
}

async function scripts(redis) {
  redis.defineCommand("add", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
  for (let number = 0; number < 10; number += 1) assert.equal(await redis.add(`counter:${number}`, number), number);
  assert.deepEqual(await redis.pipeline().add("counter:1", 1).add("counter:2", 1).exec(), [[null, 2], [null, 3]]);
}

async function autopipelining() {
  const redis = new Redis({ host, port, enableAutoPipelining: true });
  const numbers = Array.from({ length: 50 }, (_, number) => number);
  await Promise.all(numbers.map((number) => redis.set(`auto:${number}`, number)));
  assert.deepEqual(await Promise.all(numbers.map((number) => redis.get(`auto:${number}`))), numbers.map(String));
  await redis.quit();
}

async function main() {
  const redis = new Redis({ host, port });
  for (const task of [data, transactions, messages, queues, scripts, autopipelining]) await task(redis);
  assert.match(await redis.info(), /redis_version/);
  assert.match(await redis.client("LIST"), /id=/);
  assert.equal(await redis.select(0), "OK");
  await redis.quit();
}

main();
