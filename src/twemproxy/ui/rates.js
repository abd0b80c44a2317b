// What happens now, from two reports. commands/rates.py computes the same for `nutcracker top`.

export const CLASSES = ["read", "write", "script", "blocking", "other"];

/** Classes whose latency is shown by default: a command that waits for a key is not slow. */
export const TIMED_CLASSES = CLASSES.filter((name) => name !== "blocking");

/** A server is skewed when it gets more than this many times its part of the requests. */
const SKEW = 2;

/** Fewer requests than this between two reports say nothing about shares. */
const ENOUGH_REQUESTS = 100;

/** The growth of a counter. One that is less than before has begun anew. */
export const increase = (newer, older) => (newer >= older ? newer - older : newer);

/** The sum of the growth of histograms, as `buckets` by index, `count` and `total_us`.
 *
 * `pairs`: newer and older `latency` of pools or servers; the older one may be undefined, for one that is new.
 */
export function growth(pairs, classes, phase) {
  const sum = { buckets: new Map(), count: 0, total_us: 0 };
  for (const [newer, older] of pairs) {
    for (const name of classes) {
      const now = newer[name]?.[phase];
      if (!now) continue;
      const then = older?.[name]?.[phase];
      const grows = then !== undefined && then.count <= now.count;
      sum.count += grows ? now.count - then.count : now.count;
      sum.total_us += grows ? now.total_us - then.total_us : now.total_us;
      for (const [bucket, number] of Object.entries(now.buckets)) {
        const more = grows ? number - (then.buckets[bucket] ?? 0) : number;
        if (more > 0) sum.buckets.set(Number(bucket), (sum.buckets.get(Number(bucket)) ?? 0) + more);
      }
    }
  }
  return sum;
}

/** The value in microseconds that a share of the values of a histogram do not exceed; null without values.
 *
 * `bounds`: the lower bounds of all buckets. Values are taken as spread evenly over their bucket.
 */
export function quantile(histogram, share, bounds) {
  let number = 0;
  for (const count of histogram.buckets.values()) number += count;
  const wanted = share * number;
  let seen = 0;
  for (const bucket of [...histogram.buckets.keys()].sort((a, b) => a - b)) {
    const count = histogram.buckets.get(bucket);
    if (seen + count >= wanted) {
      const width = bucket + 1 < bounds.length ? bounds[bucket + 1] - bounds[bucket] : bounds[bucket] - bounds[bucket - 1];
      return bounds[bucket] + (width * (wanted - seen)) / count;
    }
    seen += count;
  }
  return null;
}

/** What happens between two reports of a proxy. `older` is null before there are two: then rates are null. */
export function figures(newer, older) {
  const seconds = older && newer.now > older.now ? newer.now - older.now : null;
  const former = new Map((seconds === null ? [] : older.pools).map((pool) => [pool.name, pool]));
  const pools = newer.pools.map((pool) => poolFigures(pool, former.get(pool.name), seconds, newer.latency_bounds_us));
  const pairs = newer.pools.filter((pool) => former.has(pool.name)).map((pool) => [pool.latency, former.get(pool.name).latency]);
  return {
    seconds,
    clients: sum(pools, "clients"),
    requests: seconds && increase(newer.process.client_requests, older.process.client_requests) / seconds,
    errors: seconds && sum(pools, "errors"),
    queue: sum(pools, "queue"),
    ...percentiles(pairs, "whole", newer.latency_bounds_us),
    pools,
  };
}

function poolFigures(newer, older, seconds, bounds) {
  const former = new Map((older?.servers ?? []).map((server) => [server.name, server]));
  const total = newer.servers.reduce((all, server) => all + requestsOf(server, former.get(server.name)), 0);
  const live = newer.servers.reduce((all, server) => all + (isLive(server) ? server.share : 0), 0);
  const servers = newer.servers.map((server) => serverFigures(server, former.get(server.name), seconds, total, live, bounds));
  return {
    name: newer.name,
    clients: newer.client_connections,
    servers_live: newer.servers.filter(isLive).length,
    requests: older ? perSecond(newer, older, CLASSES.map((name) => `replies_${name}`), seconds) : null,
    errors: older ? perSecond(newer, older, ["client_err", "forward_error"], seconds) : null,
    queue: sum(servers, "queue"),
    ...percentiles(older ? [[newer.latency, older.latency]] : [], "whole", bounds),
    servers,
  };
}

function serverFigures(newer, older, seconds, total, live, bounds) {
  const pairs = older ? [[newer.latency, older.latency]] : [];
  const waiting = growth(pairs, TIMED_CLASSES, "waiting");
  const server = growth(pairs, TIMED_CLASSES, "server");
  const traffic = total > 0 ? requestsOf(newer, older) / total : null;
  // The keys of ejected servers are at the live ones.
  const excess = isLive(newer) && newer.share > 0 && total >= ENOUGH_REQUESTS ? (traffic * live) / newer.share : null;
  return {
    name: newer.name,
    is_live: isLive(newer),
    share: newer.share,
    traffic,
    excess,
    is_skewed: excess !== null && excess > SKEW,
    requests: older ? perSecond(newer, older, ["requests"], seconds) : null,
    errors: older ? perSecond(newer, older, ["server_err", "server_timedout"], seconds) : null,
    queue: newer.in_queue + newer.out_queue,
    waiting_p99: quantile(waiting, 0.99, bounds),
    server_p50: quantile(server, 0.5, bounds),
    server_p99: quantile(server, 0.99, bounds),
  };
}

function percentiles(pairs, phase, bounds) {
  const histogram = growth(pairs, TIMED_CLASSES, phase);
  return {
    p50: quantile(histogram, 0.5, bounds),
    p99: quantile(histogram, 0.99, bounds),
    p999: quantile(histogram, 0.999, bounds),
  };
}

const isLive = (server) => server.state === "live";

const requestsOf = (newer, older) => (older ? increase(newer.requests, older.requests) : 0);

const perSecond = (newer, older, names, seconds) =>
  names.reduce((all, name) => all + increase(newer[name], older[name]), 0) / seconds;

const sum = (rows, name) => rows.reduce((all, row) => all + (row[name] ?? 0), 0);
