// A table that sorts, filters, and keeps only the rows in the page that can be seen.

import { element, setText } from "./elements.js";

const ROW_HEIGHT = 34;
const MARGIN_ROWS = 8;

/** Columns have `name`, `title`, `value(row)` for sorting, and either `text(row)` or `draw(cell, row)`.
 *
 * Optional: `isNumber`, `isWide` (left out on narrow screens), `help`, `isHeader` (the cell names the row).
 */
export class DataTable {
  constructor(parent, { label, columns, key, sort, isDescending = true, filter = null, placeholder = "", empty = "nothing", rowClass = null, most = 14 }) {
    Object.assign(this, { _columns: columns, _key: key, _filterText: filter, _sort: sort, _isDescending: isDescending, _empty: empty, _rowClass: rowClass });
    this._rows = [];
    this._shown = [];
    this._slots = [];
    this._count = element("span", { class: "muted", role: "status" });
    this._headers = columns.map((column) => this._header(column));
    this._body = element("tbody");
    this._above = element("tr", { class: "spacer", "aria-hidden": "true" }, element("td", { colspan: columns.length }));
    this._below = element("tr", { class: "spacer", "aria-hidden": "true" }, element("td", { colspan: columns.length }));
    this._table = element("table", { class: "data" }, element("caption", { class: "unseen" }, label), element("thead", {}, element("tr", {}, ...this._headers)), this._body);
    this._scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, this._table);
    this._scroll.style.maxHeight = `${(most + 1) * ROW_HEIGHT + 4}px`;
    this._scroll.addEventListener("scroll", () => this._draw(), { passive: true });
    new ResizeObserver(() => this._draw()).observe(this._scroll);
    if (filter) {
      this._input = element("input", { type: "search", placeholder, "aria-label": `${label}: ${placeholder}` });
      this._input.addEventListener("input", () => this._arrange());
      parent.append(element("div", { class: "table-head" }, this._input, this._count));
    }
    parent.append(this._scroll);
  }

  /** Show these rows. */
  show(rows) {
    this._rows = rows;
    this._arrange();
  }

  _header(column) {
    const button = element("button", { type: "button", title: column.help ?? null }, column.title);
    button.addEventListener("click", () => {
      this._isDescending = this._sort === column.name ? !this._isDescending : Boolean(column.isNumber);
      this._sort = column.name;
      this._arrange();
    });
    return element("th", { scope: "col", class: this._cellClass(column) }, button);
  }

  _cellClass(column) {
    return [column.isNumber ? "number" : "", column.isWide ? "wide-only" : "", column.look ?? ""].join(" ").trim();
  }

  _arrange() {
    const column = this._columns.find(({ name }) => name === this._sort);
    const wanted = (this._input?.value ?? "").trim().toLowerCase();
    const kept = wanted === "" ? [...this._rows] : this._rows.filter((row) => this._filterText(row).toLowerCase().includes(wanted));
    if (column) {
      const direction = this._isDescending ? -1 : 1;
      const keyed = kept.map((row, at) => [column.value(row), at, row]);
      keyed.sort(([a, first], [b, second]) => direction * compared(a, b) || first - second);
      this._shown = keyed.map(([, , row]) => row);
    } else {
      this._shown = kept;
    }
    this._headers.forEach((header, at) => {
      const { name } = this._columns[at];
      if (name === this._sort) header.setAttribute("aria-sort", this._isDescending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
    this._table.setAttribute("aria-rowcount", this._shown.length + 1);
    const [shown, all] = [this._shown.length, this._rows.length];
    setText(this._count, shown === all ? `${all}` : `${shown} of ${all}`);
    this._draw();
  }

  _draw() {
    const visible = Math.ceil((this._scroll.clientHeight || 400) / ROW_HEIGHT) + 2 * MARGIN_ROWS;
    const most = Math.max(0, this._shown.length - visible);
    const first = Math.min(most, Math.max(0, Math.floor(this._scroll.scrollTop / ROW_HEIGHT) - MARGIN_ROWS));
    const rows = this._shown.slice(first, first + visible);
    if (rows.length === 0) {
      this._slots = [];
      const text = this._rows.length > 0 ? "nothing matches the filter" : this._empty;
      this._body.replaceChildren(element("tr", {}, element("td", { colspan: this._columns.length, class: "muted" }, text)));
      return;
    }
    if (this._slots.length !== rows.length) {
      while (this._slots.length < rows.length) this._slots.push(this._slot());
      this._slots.length = rows.length;
      this._body.replaceChildren(this._above, ...this._slots.map(({ line }) => line), this._below);
    }
    rows.forEach((row, at) => this._fill(this._slots[at], row, first + at));
    this._above.hidden = first === 0;
    this._below.hidden = first === most;
    this._above.firstChild.style.height = `${first * ROW_HEIGHT}px`;
    this._below.firstChild.style.height = `${(most - first) * ROW_HEIGHT}px`;
  }

  _slot() {
    const cells = this._columns.map((column) =>
      element(column.isHeader ? "th" : "td", { class: this._cellClass(column), scope: column.isHeader ? "row" : null }),
    );
    return { line: element("tr", {}, ...cells), cells };
  }

  _fill({ line, cells }, row, position) {
    line.setAttribute("aria-rowindex", position + 2);
    const look = this._rowClass ? this._rowClass(row) : "";
    if (line.className !== look) line.className = look;
    this._columns.forEach((column, at) => {
      if (column.draw) {
        column.draw(cells[at], row);
      } else {
        const text = column.text(row);
        setText(cells[at], text);
        if (cells[at].title !== text) cells[at].title = text;
      }
    });
  }
}

function compared(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  return a < b ? -1 : 1;
}
