// Line charts over time, and the timeline of events, as SVG. Each chart can be read with the keyboard and as a table.

import { element, setText, svg } from "./elements.js";
import { clock, moment } from "./format.js";

const HEIGHT = 190;
const MARGIN = { top: 10, right: 10, bottom: 22, left: 58 };
const MOST_ROWS = 60;

/** A chart of several lines over the same time. */
export class TimeChart {
  /** `series`: name and CSS class of each line. `format`: gives a value as text. `isLog`: logarithmic axis of values. */
  constructor(parent, { title, series, format, isLog = false, controls = [] }) {
    this._series = series;
    this._format = format;
    this._isLog = isLog;
    this._points = [];
    this._focused = null;
    this._plot = svg("svg", { role: "img", "aria-label": `${title}: line chart`, tabindex: 0, height: HEIGHT });
    this._tip = element("div", { class: "tip", hidden: true });
    this._spoken = element("p", { class: "unseen", role: "status" });
    this._values = series.map(() => element("b"));
    const legend = element(
      "ul",
      { class: "legend" },
      ...series.map(({ name, line }, at) => element("li", {}, element("i", { class: `key ${line}` }), `${name} `, this._values[at])),
    );
    this._body = element("tbody");
    this._table = element(
      "details",
      { class: "as-table" },
      element("summary", {}, "Values as a table"),
      element(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}: values` },
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, ...["Time", ...series.map(({ name }) => name)].map((name) => element("th", { scope: "col" }, name)))),
          this._body,
        ),
      ),
    );
    this._table.addEventListener("toggle", () => this._fillTable());
    this._box = element("div", { class: "plot" }, this._plot, this._tip);
    parent.append(
      element("div", { class: "chart-head" }, element("h3", {}, title), ...controls),
      legend,
      this._box,
      this._spoken,
      this._table,
    );
    this._plot.addEventListener("pointermove", (event) => this._point(event.clientX - this._plot.getBoundingClientRect().left));
    this._plot.addEventListener("pointerleave", () => this._focus(null));
    this._plot.addEventListener("blur", () => this._focus(null));
    this._plot.addEventListener("keydown", (event) => this._key(event));
    new ResizeObserver(() => this._draw()).observe(this._box);
  }

  /** Show these points: `at` in seconds since the epoch, and `values`, null where nothing is known.
   *
   * `from`, `to`: the axis of time. `marks`: times and texts of events.
   */
  show(points, from, to, marks) {
    const focused = this._focused === null ? null : this._points[this._focused]?.at;
    this._points = points;
    [this._from, this._to, this._marks] = [from, to, marks];
    this._focused = focused === null ? null : points.findIndex((point) => point.at === focused);
    if (this._focused === -1) this._focus(null);
    const last = points.at(-1);
    this._values.forEach((value, at) => setText(value, this._format(last?.values[at] ?? null)));
    this._draw();
    this._fillTable();
  }

  _draw() {
    const width = this._box.clientWidth;
    if (width === 0 || this._from === undefined) return;
    this._plot.setAttribute("width", width);
    const values = this._points.flatMap((point) => point.values).filter((value) => value !== null);
    const axis = this._isLog ? logAxis(values) : linearAxis(values);
    const bottom = HEIGHT - MARGIN.bottom;
    this._x = (at) => MARGIN.left + ((at - this._from) / (this._to - this._from)) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => bottom - axis.place(value) * (bottom - MARGIN.top);
    const drawn = [];
    for (const tick of axis.ticks) {
      drawn.push(
        svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
        svg("text", { class: "axis", x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, this._format(tick).replace(/\.0+(?= |$)/, "")),
      );
    }
    for (const at of timeTicks(this._from, this._to, width)) {
      drawn.push(svg("text", { class: "axis", x: this._x(at), y: HEIGHT - 5, "text-anchor": "middle" }, timeLabel(at, this._to - this._from)));
    }
    for (const { at, kind } of this._marks.filter((mark) => mark.at >= this._from && mark.at <= this._to)) {
      drawn.push(svg("line", { class: `mark ${kind}`, x1: this._x(at), x2: this._x(at), y1: MARGIN.top, y2: bottom }));
    }
    this._series.forEach(({ line }, at) => {
      drawn.push(svg("path", { class: `line ${line}`, d: path(this._points, at, this._x, y) }));
    });
    if (values.length === 0) {
      drawn.push(svg("text", { class: "nothing", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no requests yet"));
    }
    this._cross = svg("g", { class: "cross" });
    this._place = { y, bottom, width };
    this._plot.replaceChildren(...drawn, this._cross);
    if (this._focused !== null) this._focus(this._focused);
  }

  _point(x) {
    let nearest = null;
    this._points.forEach((point, at) => {
      if (point.isGap) return;
      if (nearest === null || Math.abs(this._x(point.at) - x) < Math.abs(this._x(this._points[nearest].at) - x)) nearest = at;
    });
    this._focus(nearest);
  }

  _key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this._focus(null);
    if (!(event.key in steps) || this._points.length === 0) return;
    event.preventDefault();
    const start = this._focused ?? this._points.length;
    let at = Math.min(this._points.length - 1, Math.max(0, start + steps[event.key]));
    while (this._points[at].isGap && at > 0) at -= 1;
    this._focus(at);
    const point = this._points[at];
    setText(this._spoken, `${clock(point.at)}: ${this._texts(point).join(", ")}`);
  }

  _texts(point) {
    return this._series.map(({ name }, at) => `${name} ${this._format(point.values[at])}`);
  }

  _focus(at) {
    this._focused = at;
    const point = at === null ? undefined : this._points[at];
    this._tip.hidden = !point;
    if (!this._cross) return;
    if (!point) {
      this._cross.replaceChildren();
      return;
    }
    const x = this._x(point.at);
    const { y, bottom, width } = this._place;
    this._cross.replaceChildren(
      svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: bottom }),
      ...this._series.flatMap(({ line }, place) =>
        point.values[place] === null ? [] : [svg("circle", { class: `dot ${line}`, cx: x, cy: y(point.values[place]), r: 4 })],
      ),
    );
    const marks = this._marks.filter((mark) => Math.abs(this._x(mark.at) - x) < 5);
    this._tip.replaceChildren(
      element("b", {}, clock(point.at)),
      ...this._series.map(({ name, line }, place) =>
        element("div", {}, element("i", { class: `key ${line}` }), `${name} `, element("b", {}, this._format(point.values[place]))),
      ),
      ...marks.slice(0, 3).map((mark) => element("div", { class: "muted" }, mark.text)),
    );
    this._tip.classList.toggle("left", x > width / 2);
    this._tip.style.left = `${x}px`;
  }

  _fillTable() {
    if (!this._table.open) return;
    const rows = this._points.filter((point) => !point.isGap).slice(-MOST_ROWS).reverse();
    this._body.replaceChildren(
      ...rows.map((point) =>
        element("tr", {}, element("th", { scope: "row" }, clock(point.at)), ...point.values.map((value) => element("td", { class: "number" }, this._format(value)))),
      ),
    );
  }
}

function path(points, at, x, y) {
  let drawn = "";
  let isOpen = false;
  for (const point of points) {
    const value = point.isGap ? null : point.values[at];
    if (value !== null) drawn += `${isOpen ? "L" : "M"}${x(point.at).toFixed(1)} ${y(value).toFixed(1)}`;
    isOpen = value !== null;
  }
  return drawn;
}

function linearAxis(values) {
  const most = Math.max(1e-9, ...values);
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = most <= 1e-9 ? 1 : [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const top = step * Math.max(1, Math.ceil(most / step));
  const ticks = [];
  for (let tick = 0; tick <= top * 1.0001; tick += step) ticks.push(tick);
  return { ticks, place: (value) => value / top };
}

function logAxis(values) {
  const positive = values.map((value) => Math.max(1, value));
  const low = Math.floor(Math.log10(Math.min(100, ...positive)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(1000, ...positive))));
  const ticks = [];
  for (let power = low; power <= high; power += 1) ticks.push(10 ** power);
  return { ticks, place: (value) => (Math.log10(Math.max(1, value)) - low) / (high - low) };
}

/** The label of a time; with seconds if the axis is short. */
const timeLabel = (at, seconds) => (seconds < 150 ? clock(at) : clock(at).slice(0, 5));

function timeTicks(from, to, width) {
  const steps = [10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const step = steps.find((each) => ((to - from) / each) * 75 < width - MARGIN.left) ?? 86400;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    // A label at an edge would be cut off.
    if ((at - from) / (to - from) < 0.97 && (at - from) / (to - from) > 0.02) ticks.push(at);
  }
  return ticks;
}

const LANE = 20;
const MOST_LANES = 12;

/** Return the times in which servers were ejected: for each lane its name and spans, most recent ejection first. */
export function ejections(events, now) {
  const lanes = new Map();
  for (const event of events) {
    if (event.kind !== "ejected" && event.kind !== "readmitted") continue;
    const key = JSON.stringify([event.pool, event.server]);
    if (!lanes.has(key)) lanes.set(key, { pool: event.pool, server: event.server, spans: [] });
    const { spans } = lanes.get(key);
    if (event.kind === "ejected") spans.push({ from: event.at, to: null });
    else if (spans.length > 0 && spans.at(-1).to === null) spans.at(-1).to = event.at;
  }
  const found = [...lanes.values()].filter(({ spans }) => spans.length > 0);
  for (const { spans } of found) {
    // An event that is lost must not make an ejection last forever.
    spans.forEach((span, at) => {
      if (span.to === null && at + 1 < spans.length) span.to = spans[at + 1].from;
    });
  }
  return found.sort((a, b) => (b.spans.at(-1).to ?? now) - (a.spans.at(-1).to ?? now));
}

/** The timeline: a lane per server that was ejected, and marks for reloads, workers and upgrades. */
export class Timeline {
  constructor(parent) {
    this._plot = svg("svg", { role: "img" });
    this._box = element("div", { class: "plot" }, this._plot);
    this._more = element("p", { class: "muted" });
    parent.append(this._box, this._more);
    new ResizeObserver(() => this._draw()).observe(this._box);
  }

  show(events, from, to) {
    [this._events, this._from, this._to] = [events, from, to];
    this._draw();
  }

  _draw() {
    const width = this._box.clientWidth;
    if (width === 0 || !this._events) return;
    const left = Math.min(180, width * 0.32);
    const all = ejections(this._events, this._to).filter(({ spans }) => spans.some((span) => (span.to ?? this._to) >= this._from));
    const lanes = all.slice(0, MOST_LANES);
    const height = (lanes.length + 1) * LANE + 24;
    const x = (at) => left + ((Math.min(Math.max(at, this._from), this._to) - this._from) / (this._to - this._from)) * (width - left - 10);
    const drawn = [svg("text", { class: "axis", x: 0, y: 14 }, "proxy")];
    drawn.push(svg("line", { class: "grid", x1: left, x2: width - 10, y1: LANE - 1, y2: LANE - 1 }));
    const marks = this._events.filter(({ kind, at }) => kind !== "ejected" && kind !== "readmitted" && at >= this._from);
    for (const { at, kind, text } of marks) {
      drawn.push(
        svg("line", { class: `mark ${kind}`, x1: x(at), x2: x(at), y1: 4, y2: height - 20 }),
        svg("circle", { class: `event ${kind}`, cx: x(at), cy: 9, r: 4 }, svg("title", {}, `${moment(at)} ${kind}: ${text}`)),
      );
    }
    lanes.forEach(({ pool, server, spans }, at) => {
      const top = (at + 1) * LANE;
      const name = svg("text", { class: "axis", x: 0, y: top + 14 }, shortened(server, Math.floor(left / 7)), svg("title", {}, `${pool}: ${server}`));
      drawn.push(name, svg("line", { class: "grid", x1: left, x2: width - 10, y1: top + LANE - 1, y2: top + LANE - 1 }));
      for (const span of spans.filter(({ to }) => (to ?? this._to) >= this._from)) {
        const until = span.to ?? this._to;
        const text = `ejected ${moment(span.from)} ${span.to === null ? "until now" : `to ${clock(span.to)}`}`;
        drawn.push(
          svg("rect", { class: "ejection", x: x(span.from), y: top + 4, width: Math.max(3, x(until) - x(span.from)), height: LANE - 9, rx: 2 }, svg("title", {}, text)),
        );
      }
    });
    for (const at of timeTicks(this._from, this._to, width - left)) {
      const place = x(at);
      if (place > left + 15) drawn.push(svg("text", { class: "axis", x: place, y: height - 5, "text-anchor": "middle" }, timeLabel(at, this._to - this._from)));
    }
    this._plot.setAttribute("width", width);
    this._plot.setAttribute("height", height);
    this._plot.setAttribute("aria-label", `timeline: ${all.length} servers with ejections, ${marks.length} other events; the table below has them`);
    this._plot.replaceChildren(...drawn);
    const rest = all.length - lanes.length;
    setText(this._more, rest > 0 ? `and ${rest} more servers with ejections` : all.length === 0 ? "No server was ejected in this time." : "");
  }
}

export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
