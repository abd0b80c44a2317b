// Figures for people. Each function gives "–" for null, which stands for what is not known.

const UNKNOWN = "–";

/** A number with three significant digits and a suffix: 1234567 is 1.23 M. Below 1000: at most one decimal. */
export function number(value) {
  if (value === null) return UNKNOWN;
  const size = Math.abs(value);
  for (const [unit, suffix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit) return `${digits(size >= 1e4 && unit === 1e4 ? value / 1e3 : value / unit)} ${suffix}`;
  }
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
  return value.toFixed(1);
}

/** A number in full: 1,234,567. */
export const whole = (value) => (value === null ? UNKNOWN : Math.round(value).toLocaleString("en"));

/** A time span in microseconds. */
export function duration(microseconds) {
  if (microseconds === null) return UNKNOWN;
  if (microseconds < 1000) return `${Math.round(microseconds)} µs`;
  if (microseconds < 1e6) return `${digits(microseconds / 1e3)} ms`;
  return `${digits(microseconds / 1e6)} s`;
}

/** A number of bytes, in powers of 1024. */
export function bytes(value) {
  if (value === null) return UNKNOWN;
  let size = value;
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (size < 1024) return unit === "B" ? `${size} B` : `${digits(size)} ${unit}`;
    size /= 1024;
  }
  return `${digits(size)} TB`;
}

/** A share from 0 to 1. */
export function percent(share) {
  if (share === null) return UNKNOWN;
  if (share > 0 && share < 0.00005) return "<0.01 %";
  return `${(100 * share).toFixed(share > 0 && share < 0.01 ? 2 : 1)} %`;
}

/** Seconds that something has lasted. */
export function age(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = Math.max(0, units.findIndex(([unit]) => seconds >= unit));
  if (seconds < 1) return "0 s";
  const [unit, name] = units[at];
  const first = `${Math.floor(seconds / unit)} ${name}`;
  if (at > 1) return first;
  const [next, nextName] = units[at + 1];
  return `${first} ${Math.floor((seconds % unit) / next)} ${nextName}`;
}

/** The time of day of seconds since the epoch. */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

/** Date and time of seconds since the epoch. */
export function moment(at) {
  const date = new Date(at * 1000);
  return `${date.toLocaleDateString("sv")} ${date.toLocaleTimeString("en-GB")}`;
}

function digits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
