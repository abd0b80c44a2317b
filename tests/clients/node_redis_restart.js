// node-redis while the proxy behind its address is replaced: node node_redis_restart.js HOST PORT 1 [TYPE].
// TYPE is its option maintEndpointType. With "none" it connects again in time, and no command fails. By default it asks
// for an address, is not told, and the command that is in flight at the end may fail.
// It counts until the key stop exists.
"use strict";

const assert = require("node:assert/strict");
const { setTimeout } = require("node:timers/promises");
const { createClient } = require("redis");
const { host, port } = require("./job.js");

const maintEndpointType = process.argv[5];

async function main() {
  const client = createClient({ socket: { host, port }, maintEndpointType });
  client.on("error", (error) => assert.ok(maintEndpointType === undefined, error));
  await client.connect();
  let counted = 0;
  for (;;) {
    try {
      if (await client.exists("stop")) break;
      const number = await client.incr("n0");
      if (maintEndpointType !== undefined) assert.equal(number, ++counted);
      if (number === 1) await client.incr("running");
    } catch (error) {
      if (maintEndpointType !== undefined) throw error;
    }
    await setTimeout(10);
  }
  client.destroy();
}

main();
