// The sections of the page. Each has `show`, which gets the report and what happens now, and draws.

import { shortened, TimeChart, Timeline } from "./charts.js";
import { byId, element, setText } from "./elements.js";
import { age, bytes, clock, duration, moment, number, percent, whole } from "./format.js";
import { CHOICES, ERRORS, latencyOf, PHASES, SHARES } from "./history.js";
import { CLASSES } from "./rates.js";
import { DataTable } from "./tables.js";

const MOST_BARS = 12;

/** Seconds. */
const SHORTEST_AXIS = 60;
const SHARE_NAMES = ["p50", "p99", "p99.9"];

const rate = (value) => (value !== null && value > 0 && value < 100 ? value.toFixed(1) : number(value));

export class Tiles {
  constructor() {
    this._tiles = new Map();
    const all = [
      ["requests", "Requests per second"],
      ["errors", "Errors per second"],
      ["p50", "Latency, median"],
      ["p99", "Latency, 99 %"],
      ["clients", "Clients"],
      ["queue", "Requests in flight"],
      ["servers", "Live servers"],
      ["memory", "Memory held"],
    ];
    for (const [name, title] of all) {
      const value = element("dd");
      const tile = element("div", { class: "tile", id: `tile-${name}` }, element("dt", {}, title), value);
      this._tiles.set(name, [tile, value]);
      byId("tiles").append(tile);
    }
  }

  show(report, now) {
    const servers = report.pools.reduce((all, pool) => all + pool.servers.length, 0);
    const live = now.pools.reduce((all, pool) => all + pool.servers_live, 0);
    this._set("requests", rate(now.requests));
    this._set("errors", rate(now.errors), now.errors > 0 ? "bad" : "");
    this._set("p50", duration(now.p50));
    this._set("p99", duration(now.p99));
    this._set("clients", whole(now.clients));
    this._set("queue", whole(now.queue));
    this._set("servers", `${live}/${servers}`, live < servers ? "bad" : "");
    this._set("memory", bytes(report.process.memory_held));
  }

  _set(name, text, look = "") {
    const [tile, value] = this._tiles.get(name);
    setText(value, text);
    tile.className = `tile ${look}`.trim();
  }
}

/** What an operator should look at, in words. */
export class Attention {
  show(report, now) {
    const lines = [];
    if (!report.ready) lines.push("The proxy is starting or stopping: it is not ready for clients.");
    const reload = report.config.last_reload;
    if (reload?.failed) lines.push(`The last reload failed, and the former configuration is served: ${reload.text}`);
    if (report.process.memory_waiting > 0) lines.push(`${whole(report.process.memory_waiting)} clients wait because of --max-memory.`);
    now.pools.forEach((pool, at) => {
      const ejected = report.pools[at].servers.filter(({ state }) => state === "ejected");
      if (ejected.length > 0) {
        const [first] = ejected;
        const why = first.ejected_why ? ` (${first.ejected_why})` : "";
        lines.push(`Pool ${pool.name}: ${first.name} is ejected${why}${ejected.length > 1 ? `, and ${ejected.length - 1} more servers` : ""}.`);
      }
      const skewed = pool.servers.filter(({ is_skewed }) => is_skewed);
      if (skewed.length > 0) {
        const most = skewed.reduce((a, b) => (b.excess > a.excess ? b : a));
        const more = skewed.length > 1 ? `, and ${skewed.length - 1} more servers more than twice theirs` : "";
        lines.push(`Pool ${pool.name}: ${most.name} gets ${times(most)} its share of the requests${more}.`);
      }
    });
    const list = byId("attention");
    const texts = [...list.children].map(({ textContent }) => textContent);
    if (texts.join("\n") !== lines.join("\n")) list.replaceChildren(...lines.map((line) => element("li", {}, line)));
  }
}

const times = ({ excess }) => `${excess.toFixed(1)} times`;

export class Pools {
  /** `choose(name)`: called when the user opens a pool. */
  constructor(choose) {
    this._chosen = "";
    this._table = new DataTable(byId("pools"), {
      label: "Pools",
      filter: ({ name, report }) => `${name} ${report.listen} ${report.protocol}`,
      placeholder: "Filter pools",
      sort: "name",
      isDescending: false,
      most: 8,
      rowClass: ({ name }) => (name === this._chosen ? "chosen" : ""),
      columns: [
        {
          name: "name", title: "Pool", value: ({ name }) => name, isHeader: true, look: "name",
          draw: (cell, row) => {
            if (!cell.firstChild) {
              const button = element("button", { type: "button", class: "link" });
              button.addEventListener("click", () => choose(cell.pool));
              cell.append(button);
            }
            cell.pool = row.name;
            setText(cell.firstChild, row.name);
            cell.firstChild.title = row.name;
            if (row.name === this._chosen) cell.firstChild.setAttribute("aria-current", "true");
            else cell.firstChild.removeAttribute("aria-current");
          },
        },
        { name: "protocol", title: "Protocol", value: ({ report }) => report.protocol, text: ({ report }) => report.protocol, isWide: true },
        { name: "listen", title: "Listens on", value: ({ report }) => report.listen, text: ({ report }) => report.listen, isWide: true },
        { name: "servers", title: "Live servers", isNumber: true, value: ({ servers_live }) => servers_live, text: ({ servers_live, servers }) => `${servers_live} of ${servers.length}` },
        { name: "clients", title: "Clients", isNumber: true, value: ({ clients }) => clients, text: ({ clients }) => whole(clients) },
        { name: "requests", title: "Requests/s", isNumber: true, value: ({ requests }) => requests, text: ({ requests }) => rate(requests) },
        { name: "errors", title: "Errors/s", isNumber: true, value: ({ errors }) => errors, text: ({ errors }) => rate(errors) },
        { name: "p50", title: "p50", isNumber: true, value: ({ p50 }) => p50, text: ({ p50 }) => duration(p50) },
        { name: "p99", title: "p99", isNumber: true, value: ({ p99 }) => p99, text: ({ p99 }) => duration(p99) },
        { name: "p999", title: "p99.9", isNumber: true, isWide: true, value: ({ p999 }) => p999, text: ({ p999 }) => duration(p999) },
        { name: "queue", title: "In flight", isNumber: true, isWide: true, value: ({ queue }) => queue, text: ({ queue }) => whole(queue) },
      ],
    });
  }

  show(report, now, chosen) {
    this._chosen = chosen;
    this._table.show(now.pools.map((pool, at) => ({ ...pool, report: report.pools[at] })));
  }
}

/** The charts of the chosen pool. */
export class Charts {
  constructor() {
    this._range = byId("range");
    const classes = (id) => choice(id, "Commands", CHOICES.map(([name]) => name));
    this._ofLatency = classes("latency-classes");
    this._ofPhases = classes("phases-classes");
    this._share = choice("phases-share", "Percentile", SHARE_NAMES, 1);
    this._requests = new TimeChart(byId("requests"), {
      title: "Requests per second",
      series: CLASSES.map((name, at) => ({ name, line: `c${at + 1}` })),
      format: rate,
    });
    this._errors = new TimeChart(byId("errors"), {
      title: "Errors per second",
      series: ERRORS.map(([, name], at) => ({ name, line: `c${[2, 4, 5, 3][at]}` })),
      format: rate,
    });
    this._latency = new TimeChart(byId("latency"), {
      title: "Latency",
      series: SHARE_NAMES.map((name, at) => ({ name, line: `r${at + 1}` })),
      format: duration,
      isLog: true,
      controls: [this._ofLatency.label],
    });
    this._phases = new TimeChart(byId("phases"), {
      title: "Parts of the latency",
      series: PHASES.slice(1).map((name, at) => ({ name, line: `c${at + 1}` })),
      format: duration,
      isLog: true,
      controls: [this._share.label, this._ofPhases.label],
    });
    for (const select of [this._range, this._ofLatency.select, this._ofPhases.select, this._share.select]) {
      select.addEventListener("change", () => this._last && this.show(...this._last));
    }
  }

  show(report, history, pool) {
    this._last = [report, history, pool];
    const to = report.now;
    const earliest = to - Number(this._range.value);
    const samples = history.of(pool.name).filter(({ at }) => at >= earliest);
    // The axis grows with the samples, up to the chosen time.
    const from = Math.max(earliest, Math.min(samples[0]?.at ?? to, to - SHORTEST_AXIS));
    const marks = report.events
      .filter((event) => event.at >= from && (event.pool === "" || event.pool === pool.name))
      .map(({ at, kind, server, text }) => ({ at, kind, text: [kind, server, text].filter(Boolean).join(" ") }));
    const ofLatency = this._ofLatency.select.selectedIndex;
    const ofPhases = this._ofPhases.select.selectedIndex;
    const share = this._share.select.selectedIndex;
    const draw = (chart, size, values) => {
      const nothing = Array(size).fill(null);
      chart.show(samples.map((each) => ({ at: each.at, isGap: each.isGap, values: each.isGap ? nothing : values(each) })), from, to, marks);
    };
    draw(this._requests, CLASSES.length, ({ requests }) => requests);
    draw(this._errors, ERRORS.length, ({ errors }) => errors);
    draw(this._latency, SHARES.length, (each) => SHARES.map((_, at) => latencyOf(each, ofLatency, 0, at)));
    draw(this._phases, PHASES.length - 1, (each) => PHASES.slice(1).map((_, at) => latencyOf(each, ofPhases, at + 1, share)));
  }
}

function choice(id, title, names, chosen = 0) {
  const select = element("select", { id }, ...names.map((name) => element("option", {}, name)));
  select.selectedIndex = chosen;
  return { select, label: element("label", {}, element("span", { class: "unseen" }, title), select) };
}

/** Bars with each server's share of the keys and of the requests. */
export class Ring {
  show(pool) {
    const differs = ({ traffic, share }) => Math.abs((traffic ?? share) - share);
    const all = pool.servers;
    const shown = all.length <= MOST_BARS ? all : [...all].sort((a, b) => b.is_skewed - a.is_skewed || differs(b) - differs(a)).slice(0, MOST_BARS);
    const most = Math.max(1e-9, ...shown.flatMap(({ share, traffic }) => [share, traffic ?? 0]));
    const list = byId("ring");
    while (list.children.length < shown.length) list.append(bars());
    while (list.children.length > shown.length) list.lastChild.remove();
    shown.forEach((server, at) => {
      const [name, keys, requests] = list.children[at].children;
      list.children[at].className = server.is_skewed ? "skewed" : "";
      setText(name, `${server.name}${server.is_live ? "" : " (ejected)"}`);
      name.title = server.name;
      fillBar(keys, server.share, most, percent(server.share));
      fillBar(requests, server.traffic ?? 0, most, percent(server.traffic) + (server.is_skewed ? `, ${server.excess.toFixed(1)}×` : ""));
    });
    setText(byId("ring-more"), all.length > shown.length ? `These ${shown.length} of ${all.length} servers differ most; the table below has all.` : "");
  }
}

function bars() {
  const bar = (line, text) =>
    element("span", { class: "share" }, element("i", { class: `bar ${line}` }), element("span", { class: "unseen" }, text), element("b"), element("em", {}, "its share"));
  return element("li", {}, element("span", { class: "name" }), bar("c1", "keys "), bar("c2", "requests "));
}

function fillBar(target, share, most, text) {
  target.firstChild.style.setProperty("--size", share / most);
  setText(target.children[2], text);
}

export class Servers {
  constructor() {
    const column = (name, title, text, more = {}) => ({ name, title, isNumber: true, value: (row) => row[name], text: (row) => text(row[name]), ...more });
    this._table = new DataTable(byId("servers"), {
      label: "Servers",
      filter: ({ name, report, is_live, is_skewed }) => `${name} ${report.address} ${is_live ? "live" : "ejected"} ${is_skewed ? "skewed" : ""}`,
      placeholder: "Filter: name, address, live, ejected, skewed",
      sort: null,
      rowClass: ({ is_live, is_skewed }) => (is_live ? (is_skewed ? "skewed" : "") : "ejected"),
      columns: [
        { name: "name", title: "Server", value: ({ name }) => name, text: ({ name }) => name, isHeader: true, look: "name" },
        { name: "address", title: "Address", isWide: true, look: "name", value: ({ report }) => report.address, text: ({ report }) => report.address },
        {
          name: "state", title: "State", value: ({ is_live }) => (is_live ? 0 : 1),
          draw: (cell, { is_live, report }) => {
            if (!cell.firstChild) cell.append(element("span", { class: "pill" }));
            cell.firstChild.className = `pill ${is_live ? "good" : "bad"}`;
            setText(cell.firstChild, is_live ? "live" : "ejected");
            cell.title = is_live ? "" : `since ${report.ejected_since ? moment(report.ejected_since) : "?"}: ${report.ejected_why}`;
          },
        },
        { name: "weight", title: "Weight", isNumber: true, isWide: true, value: ({ report }) => report.weight, text: ({ report }) => whole(report.weight) },
        column("share", "Keys", percent, { help: "share of the keys" }),
        column("traffic", "Requests", (value) => percent(value), { help: "share of the requests of the last 10 s" }),
        column("requests", "Requests/s", rate),
        column("server_p50", "p50", duration, { help: "from sending a request to its reply" }),
        column("server_p99", "p99", duration, { help: "from sending a request to its reply" }),
        column("waiting_p99", "Waiting p99", duration, { help: "from reading a request to sending it", isWide: true }),
        column("errors", "Errors/s", rate),
        column("queue", "In flight", whole),
        { name: "connections", title: "Connections", isNumber: true, isWide: true, value: ({ report }) => connectionsOf(report), text: ({ report }) => whole(connectionsOf(report)) },
      ],
    });
  }

  show(report, now) {
    this._table.show(now.servers.map((server, at) => ({ ...server, report: report.servers[at] })));
  }
}

const connectionsOf = (server) => server.server_connections + (server.server_further ?? 0);

export class HotKeys {
  constructor() {
    this._table = new DataTable(byId("hot"), {
      label: "Hot keys",
      sort: "requests",
      most: 10,
      empty: "No key has requests now.",
      columns: [
        { name: "key", title: "Key", isHeader: true, look: "name", value: ({ key }) => key, text: ({ key }) => key },
        { name: "requests", title: "Requests/s", isNumber: true, help: "an estimate, and by how much it may be too high", value: (row) => row.requests_per_second, text: (row) => `${rate(row.requests_per_second)}${row.error > 0 ? ` −${rate(row.error)}` : ""}` },
        { name: "bytes", title: "Bytes/s", isNumber: true, value: (row) => row.bytes_per_second, text: (row) => bytes(row.bytes_per_second) },
        { name: "largest", title: "Largest", isNumber: true, help: "the largest request or reply", value: (row) => row.largest, text: (row) => bytes(row.largest) },
        { name: "server", title: "Server", look: "name", value: ({ server }) => server, text: ({ server }) => server },
      ],
    });
  }

  show(pool) {
    this._table.show(pool.hot_keys ?? []);
  }
}

export class Slow {
  constructor() {
    const time = (name, title, more = {}) => ({ name, title, isNumber: true, value: (row) => row[name], text: (row) => duration(row[name] ?? null), ...more });
    this._table = new DataTable(byId("slow"), {
      label: "Slow requests",
      sort: "at",
      most: 10,
      empty: "No request was slow.",
      columns: [
        { name: "at", title: "Time", value: ({ at }) => at, text: ({ at }) => clock(at) },
        { name: "command", title: "Request", isHeader: true, look: "text", value: ({ command }) => command.join(" "), text: ({ command }) => shortened(command.join(" "), 200) },
        time("whole_us", "Whole"),
        time("waiting_us", "Waiting", { isWide: true }),
        time("server_us", "Server"),
        time("writing_us", "Writing", { isWide: true }),
        { name: "server", title: "Server", look: "name", value: ({ server }) => server, text: ({ server }) => server },
        { name: "client", title: "Client", isWide: true, look: "name", value: ({ client }) => client, text: ({ client }) => client },
      ],
    });
  }

  show(pool) {
    this._table.show(pool.slow ?? []);
  }
}

export class Events {
  constructor() {
    this._range = byId("events-range");
    this._range.addEventListener("change", () => this._last && this.show(this._last));
    this._timeline = new Timeline(byId("timeline"));
    this._table = new DataTable(byId("events"), {
      label: "Events",
      filter: ({ kind, pool, server, text }) => `${kind} ${pool} ${server} ${text}`,
      placeholder: "Filter events",
      sort: "at",
      most: 8,
      empty: "Nothing has happened since the start.",
      columns: [
        { name: "at", title: "Time", look: "time", value: ({ at }) => at, text: ({ at }) => moment(at) },
        { name: "kind", title: "Event", value: ({ kind }) => kind, text: ({ kind }) => kind },
        { name: "pool", title: "Pool", look: "name", isWide: true, value: ({ pool }) => pool, text: ({ pool }) => pool },
        { name: "server", title: "Server", look: "name", value: ({ server }) => server, text: ({ server }) => server },
        { name: "text", title: "What", look: "text", value: ({ text }) => text, text: ({ text }) => text },
      ],
    });
  }

  show(report) {
    this._last = report;
    this._timeline.show(report.events, report.now - Number(this._range.value), report.now);
    this._table.show(report.events);
  }
}

export class Settings {
  constructor() {
    this._only = byId("only-changed");
    this._only.addEventListener("change", () => this._last && this.show(...this._last));
    this._table = new DataTable(byId("settings"), {
      label: "Directives",
      filter: ({ name, value }) => `${name} ${value}`,
      placeholder: "Filter directives",
      sort: null,
      most: 10,
      empty: "Every directive has its default.",
      rowClass: ({ isChanged }) => (isChanged ? "differs" : ""),
      columns: [
        { name: "name", title: "Directive", isHeader: true, look: "name", value: ({ name }) => name, text: ({ name }) => name },
        { name: "value", title: "Value", look: "text", value: ({ value }) => value, text: ({ value }) => value },
        { name: "changed", title: "Default?", value: ({ isChanged }) => (isChanged ? 1 : 0), text: ({ isChanged }) => (isChanged ? "differs" : "default") },
      ],
    });
  }

  show(report, pool) {
    this._last = [report, pool];
    const { config } = report;
    const reload = config.last_reload;
    const verdict = reload ? `; last reload ${moment(reload.at)}: ${reload.failed ? "failed: " : ""}${reload.text}` : "";
    setText(byId("config-facts"), `${config.file}, generation ${config.generation}, fingerprint ${config.fingerprint}, loaded ${moment(config.loaded_at)}${verdict}`);
    const changed = new Set(pool.changed);
    const own = { listen: pool.listen, hash: pool.hash, distribution: pool.distribution, hash_tag: pool.hash_tag ?? "", redis: pool.protocol === "redis" };
    const rows = Object.entries({ ...own, ...pool.settings }).map(([name, value]) => ({
      name,
      value: typeof value === "string" ? value : JSON.stringify(value),
      isChanged: changed.has(name),
    }));
    this._table.show(this._only.checked ? rows.filter(({ isChanged }) => isChanged) : rows);
  }
}

export class Workers {
  constructor() {
    const column = (name, title, text = whole) => ({ name, title, isNumber: true, value: (row) => row[name] ?? null, text: (row) => text(row[name] ?? null) });
    this._table = new DataTable(byId("workers"), {
      label: "Workers",
      sort: null,
      most: 10,
      columns: [
        { name: "number", title: "Worker", isHeader: true, value: (row) => row.number, text: (row) => String(row.number) },
        { name: "pid", title: "Process id", isNumber: true, value: ({ pid }) => pid, text: ({ pid }) => String(pid) },
        column("curr_connections", "Connections"),
        column("recent_requests", "Requests/s"),
        column("recent_clients", "New clients/s"),
        column("memory_held", "Memory held", bytes),
      ],
    });
  }

  show(report) {
    this._table.show(report.workers);
  }
}

/** Facts about the proxy and the chosen pool, as sentences. */
export function showFacts(report, pool) {
  setText(byId("host"), report.hostname);
  document.title = `${report.hostname} – nutcracker`;
  const workers = report.workers.length === 1 ? "1 worker" : `${report.workers.length} workers`;
  setText(byId("facts"), `version ${report.version}, process ${report.pid}, ${workers}, up ${age(report.now - report.started_at)}`);
  if (pool) {
    setText(byId("pool-title"), pool.name);
    const tag = pool.hash_tag ? `, hash tag ${pool.hash_tag}` : "";
    setText(byId("pool-facts"), `${pool.protocol} on ${pool.listen}; ${pool.distribution}, ${pool.hash}${tag}; ring ${pool.ring_fingerprint}`);
  }
}

