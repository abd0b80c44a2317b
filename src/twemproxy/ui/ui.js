// The dashboard: asks for a report every few seconds, and shows it.

import { byId, setText } from "./elements.js";
import { clock } from "./format.js";
import { History } from "./history.js";
import { Attention, Charts, Events, HotKeys, Pools, Ring, Servers, Settings, showFacts, Slow, Tiles, Workers } from "./sections.js";
import { chooseTheme, theme } from "./theme.js";

// Milliseconds from one question to the next.
const INTERVAL = 2000;
const HIDDEN_INTERVAL = 30000;
// A report takes the proxy 9 microseconds per server and 34 per kilobyte, of which it has more with each class of commands
// and bucket of latency in use. This keeps it below half a percent of a processor.
const INTERVAL_PER_SERVER = 2;
const INTERVAL_PER_KILOBYTE = 7;
const LONGEST_ANSWER = 5000;
const MOST_ATTEMPTS = 3;

const history = new History();
const tiles = new Tiles();
const attention = new Attention();
const pools = new Pools((name) => { location.hash = `pool=${encodeURIComponent(name)}`; });
const charts = new Charts();
const ring = new Ring();
const servers = new Servers();
const hotKeys = new HotKeys();
const slow = new Slow();
const events = new Events();
const settings = new Settings();
const workers = new Workers();

let last = null; // the last report and what happens now
let chosen = ""; // the name of a pool
let size = 0; // of the last report, in kilobytes
let silentSince = null;
let isPaused = false;
let timer = null;
let isAsking = false;

async function poll() {
  clearTimeout(timer);
  if (isAsking) return; // it goes on when the answer is there
  isAsking = true;
  const began = performance.now();
  try {
    const response = await ask(AbortSignal.timeout(LONGEST_ANSWER));
    if (!response.ok) throw new Error(`it answers with status ${response.status}`);
    const text = await response.text();
    size = text.length / 1000;
    const report = JSON.parse(text);
    if (!isPaused) last = [report, history.add(report)];
    silentSince = null;
  } catch (error) {
    silentSince ??= Date.now() / 1000;
    if (last) history.interrupt(last[0].now + (Date.now() / 1000 - silentSince));
    complain(error);
  }
  isAsking = false;
  if (silentSince === null && last) show();
  if (!isPaused) timer = setTimeout(poll, Math.max(0, interval() - (performance.now() - began)));
}

// A connection on which a busy browser sends nothing for 200 ms gets the document for nutcracker's readers, which is not
// HTTP: that is no reason to say that the proxy does not answer.
async function ask(signal) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fetch("ui/report.json", { cache: "no-store", signal });
    } catch (error) {
      if (!(error instanceof TypeError) || attempt === MOST_ATTEMPTS) throw error;
    }
  }
}

function interval() {
  if (document.hidden) return HIDDEN_INTERVAL;
  const servers = last ? last[0].pools.reduce((all, pool) => all + pool.servers.length, 0) : 0;
  const wanted = INTERVAL_PER_SERVER * servers + INTERVAL_PER_KILOBYTE * size;
  return Math.min(HIDDEN_INTERVAL, Math.max(INTERVAL, wanted));
}

function complain(error) {
  const reason = error.name === "TimeoutError" ? "no answer in time" : error instanceof TypeError ? "no connection" : error.message;
  const old = last ? ` The figures below are of ${clock(last[0].now)}.` : "";
  setText(byId("banner"), `The proxy has not answered since ${clock(silentSince)} (${reason}).${old} This page keeps asking.`);
  byId("banner").hidden = false;
  document.body.classList.add("stale");
  showState("no answer", "bad");
}

function showState(text, look) {
  byId("state").className = `pill ${look}`;
  setText(byId("state"), text);
}

function show() {
  const [report, now] = last;
  byId("banner").hidden = true;
  document.body.classList.remove("stale");
  if (isPaused) showState("paused", "");
  else showState(report.ready ? "ready" : "not ready", report.ready ? "good" : "bad");
  const names = report.pools.map(({ name }) => name);
  const at = names.indexOf(names.includes(chosen) ? chosen : [...names].sort()[0]);
  const pool = report.pools[at];
  chosen = pool?.name ?? "";
  tiles.show(report, now);
  attention.show(report, now);
  showFacts(report, pool);
  pools.show(report, now, chosen);
  events.show(report);
  workers.show(report);
  if (pool) {
    charts.show(report, history, pool);
    ring.show(now.pools[at]);
    servers.show(pool, now.pools[at]);
    hotKeys.show(pool);
    slow.show(pool);
    settings.show(report, pool);
  }
  setText(byId("updated"), `as of ${clock(report.now)}`);
  byId("updated").dataset.at = report.now;
}

function follow() {
  const match = /^#pool=(.*)$/.exec(location.hash);
  if (!match) return;
  try {
    chosen = decodeURIComponent(match[1]);
  } catch {
    return; // not an address of this page
  }
  if (last) show();
}

byId("theme").value = theme();
byId("theme").addEventListener("change", (event) => chooseTheme(event.target.value));
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", isPaused);
  setText(byId("pause"), isPaused ? "Go on" : "Pause");
  if (isPaused) clearTimeout(timer);
  if (isPaused && last && silentSince === null) show();
  if (!isPaused) poll();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !isPaused) poll();
});
addEventListener("hashchange", follow);
follow();
poll();
