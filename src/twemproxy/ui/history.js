// What has happened since the page was opened, for the charts: one sample per pool and pair of reports.

import { CLASSES, TIMED_CLASSES, figures, growth, increase, quantile } from "./rates.js";

/** Whose latency a chart shows: a name, and the classes of commands. */
export const CHOICES = [
  ["all but blocking", TIMED_CLASSES],
  ...CLASSES.map((name) => [name, [name]]),
];

export const PHASES = ["whole", "waiting", "server", "writing"];
export const SHARES = [0.5, 0.99, 0.999];

/** What counts as an error, with the scope of each counter. */
export const ERRORS = [
  ["client_err", "client"],
  ["forward_error", "forwarding"],
  ["server_err", "server"],
  ["server_timedout", "timeout"],
];

const LONGEST_SECONDS = 3600;
const MOST_SAMPLES = 60000;

/** Tables show what happened in about this many seconds. */
const RECENT_SECONDS = 10;

export class History {
  constructor() {
    this._reports = []; // those of the last RECENT_SECONDS, newest last
    this._samples = new Map(); // by the name of the pool
  }

  /** Add a report. Returns what has happened in the last RECENT_SECONDS. */
  add(report) {
    const last = this._reports.at(-1);
    if (last && report.now > last.now) this._sample(report, last);
    if (last && report.now < last.now) this._reports = []; // the clock was set back
    const recent = this._reports.find((older) => report.now - older.now <= RECENT_SECONDS) ?? this._reports.at(-1) ?? null;
    this._reports = this._reports.filter((older) => report.now - older.now <= RECENT_SECONDS);
    this._reports.push(report);
    return figures(report, recent);
  }

  /** Break the lines of the charts: the proxy has not answered. */
  interrupt(at) {
    for (const samples of this._samples.values()) {
      if (samples.length > 0 && !samples.at(-1).isGap) samples.push({ at, isGap: true });
    }
  }

  /** The samples of a pool, oldest first. */
  of(pool) {
    return this._samples.get(pool) ?? [];
  }

  _sample(report, last) {
    const seconds = report.now - last.now;
    const former = new Map(last.pools.map((pool) => [pool.name, pool]));
    const most = Math.max(60, Math.floor(MOST_SAMPLES / report.pools.length));
    const names = new Set(report.pools.map((pool) => pool.name));
    for (const name of this._samples.keys()) if (!names.has(name)) this._samples.delete(name);
    for (const pool of report.pools) {
      const older = former.get(pool.name);
      if (!older) continue;
      if (!this._samples.has(pool.name)) this._samples.set(pool.name, []);
      const samples = this._samples.get(pool.name);
      samples.push(sample(pool, older, report.now, seconds, report.latency_bounds_us));
      while (samples.length > most || samples[0].at < report.now - LONGEST_SECONDS) samples.shift();
    }
  }
}

function sample(pool, older, at, seconds, bounds) {
  const former = new Map(older.servers.map((server) => [server.name, server]));
  const pairs = pool.servers
    .filter((server) => former.has(server.name))
    .map((server) => [server, former.get(server.name)]);
  const ofServers = pairs.map(([server, then]) => [server.latency, then.latency]);
  const ofPool = [[pool.latency, older.latency]];
  const latency = new Float32Array(CHOICES.length * PHASES.length * SHARES.length);
  CHOICES.forEach(([, classes], choice) => {
    PHASES.forEach((phase, place) => {
      const isServers = phase === "waiting" || phase === "server";
      const histogram = growth(isServers ? ofServers : ofPool, classes, phase);
      SHARES.forEach((share, position) => {
        const value = quantile(histogram, share, bounds);
        latency[index(choice, place, position)] = value === null ? NaN : value;
      });
    });
  });
  return {
    at,
    requests: CLASSES.map((name) => increase(pool[`replies_${name}`], older[`replies_${name}`]) / seconds),
    errors: ERRORS.map(([name]) =>
      name in pool
        ? increase(pool[name], older[name]) / seconds
        : pairs.reduce((all, [server, then]) => all + increase(server[name], then[name]), 0) / seconds,
    ),
    latency,
  };
}

const index = (choice, phase, share) => (choice * PHASES.length + phase) * SHARES.length + share;

/** A quantile of a sample in microseconds, null if there was no request. The arguments are positions in the tables above. */
export function latencyOf(point, choice, phase, share) {
  if (point.isGap) return null;
  const value = point.latency[index(choice, phase, share)];
  return Number.isNaN(value) ? null : value;
}
