// node-redis with its defaults: node node_redis.js HOST PORT SERVERS, see job.py.
"use strict";

const assert = require("node:assert/strict");
const { createClient, createClientPool, defineScript, WatchError } = require("redis");
const { host, port, refusedBySeveral } = require("./job.js");

const ADD = defineScript({
  SCRIPT: "return redis.call('incrby', KEYS[1], ARGV[1])",
  NUMBER_OF_KEYS: 1,
  parseCommand(parser, key, number) {
    parser.pushKey(key);
    parser.push(String(number));
  },
  transformReply: (reply) => reply,
});
const numbers = Array.from({ length: 50 }, (_, number) => number);

async function data(client) {
  assert.equal(await client.set("greeting", "hello", { EX: 100 }), "OK");
  assert.equal(await client.get("greeting"), "hello");
  // node-redis pipelines the commands of one turn of the event loop.
  await Promise.all(numbers.map((number) => client.set(`user:${number}`, number)));
  assert.deepEqual(await client.mGet(["user:1", "user:2", "absent"]), ["1", "2", null]);
  assert.equal(await client.hSet("profile", { name: "Ann", visits: 1 }), 2);
  assert.deepEqual({ ...(await client.hGetAll("profile")) }, { name: "Ann", visits: "1" });
  const id = await client.xAdd("events", "*", { kind: "login" });
  const [stream] = await client.xRead({ key: "events", id: "0" }, { BLOCK: 5000 });
  assert.deepEqual([stream.name, stream.messages[0].id], ["events", id]);
  const keys = new Set();
  for await (const found of client.scanIterator({ COUNT: 20 })) found.forEach((key) => keys.add(key));
  assert.equal(keys.size, 53);
  assert.equal(await client.dbSize(), 53);
  assert.equal(await client.del([...keys]), 53);
  await refusedBySeveral("allow_commands", () => client.flushDb());
}

async function transactions(client) {
  assert.deepEqual(await client.multi().set("{order:1}:state", "paid").incr("{order:1}:count").exec(), ["OK", 1]);
  await refusedBySeveral("hash tag", () => {
    const transaction = client.multi();
    for (const number of numbers) transaction.set(`order:${number}`, number);
    return transaction.exec();
  });
  assert.deepEqual(await client.multi().set("one", 1).get("one").execAsPipeline(), ["OK", "1"]);

  const pool = await createClientPool({ socket: { host, port } }).connect();
  await pool.execute(async (watcher) => {
    await watcher.watch("{order:1}:count");
    await client.incr("{order:1}:count");
    await assert.rejects(watcher.multi().set("{order:1}:count", 0).exec(), WatchError);
  });
  await pool.close();
  assert.equal(await client.get("{order:1}:count"), "2");
}

async function messages(client) {
  const subscriber = await client.duplicate().connect();
  const lines = [];
  let enough;
  const heard = new Promise((resolve) => (enough = resolve));
  const hear = (kind) => (text, channel) => lines.push(`${kind} ${channel} ${text}`) === 2 && enough();
  await subscriber.subscribe("news", hear("message"));
  await subscriber.pSubscribe("new*", hear("pmessage"));
  assert.equal(await client.publish("news", "it rains"), 2);
  await heard;
  assert.deepEqual(lines.sort(), ["message news it rains", "pmessage news it rains"]);
  await subscriber.unsubscribe();
  await subscriber.pUnsubscribe();
  await subscriber.close();
}

async function queues(client) {
  const waiting = await client.duplicate().connect();
  const popped = waiting.blPop(["{queue}:urgent", "{queue}:later"], 10);
  assert.equal(await client.rPush("{queue}:later", "work"), 1);
  assert.deepEqual({ ...(await popped) }, { key: "{queue}:later", element: "work" });
  assert.equal(await waiting.brPop("queue", 0.1), null);
  await waiting.close();
}

async function main() {
  const client = await createClient({ socket: { host, port }, scripts: { add: ADD } }).connect();
  for (const task of [data, transactions, messages, queues]) await task(client);
  for (let number = 0; number < 10; number += 1) assert.equal(await client.add(`counter:${number}`, number), number);
  assert.match(await client.info(), /redis_version/);
  const clientId = await client.clientId();
  assert.ok((await client.clientList()).some((row) => row.id === clientId));
  await client.select(0);
  await client.close();
}

main();
