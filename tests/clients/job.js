// The counterpart of job.py for the jobs in JavaScript.
"use strict";

const assert = require("node:assert/strict");

const [host, port, servers] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];

// `attempt` works with one server; with several servers it fails with an error whose text contains the remedy.
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
