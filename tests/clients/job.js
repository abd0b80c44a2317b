// What job.py has, for the jobs in JavaScript.
"use strict";

const assert = require("node:assert/strict");

const [host, port, servers] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];

// What `attempt` does works with one server; with several it fails with an error in whose text the remedy stands.
async function refusedBySeveral(remedy, attempt) {
  if (servers === 1) {
    await attempt();
    return;
  }
  await assert.rejects(attempt, (error) => {
    const texts = [error, ...(error.previousErrors ?? []), ...(error.errorIndexes ?? []).map((at) => error.replies[at])];
    assert.ok(texts.some((text) => String(text).includes(remedy)), `an error that does not say ${remedy}: ${texts}`);
    return true;
  });
}

module.exports = { host, port, servers, refusedBySeveral };
