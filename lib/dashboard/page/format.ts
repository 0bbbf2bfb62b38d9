/** Figures for a person. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;

export const UNKNOWN = "unknown";

/** Bytes with three digits or so: `"734 MiB"`, `"1.25 GiB"`. */
export function bytes(count: number | null): string {
  if (count === null) return UNKNOWN;
  let unit = 0;
  let value = count;
  // 1,023.9 is written as 1024 otherwise.
  while (Math.abs(value) >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${digits(value, unit === 0 ? 0 : 2)} ${UNITS[unit]}`;
}

/** `"2.9 %"`; what is little but not nothing is `"< 0.1 %"`. */
export function percent(value: number | null): string {
  if (value === null) return UNKNOWN;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return `${value < 9.95 ? trimmed(value.toFixed(1)) : value.toFixed(0)} %`;
}

/** A CPU's percent as cores: `"1.4"`. */
export function cores(cpuPercent: number): string {
  return trimmed((cpuPercent / 100).toFixed(cpuPercent < 1000 ? 2 : 1));
}

/** The two largest units: `"3 h 5 min"`. */
export function duration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `"1 process"`, `"2 processes"`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** For where there is no element to isolate it: whatever directions a name has in it, they end with it. */
export function isolated(text: string): string {
  return `\u2068${text}\u2069`;
}

/** A name that may be of any length, for a sentence. */
export function brief(text: string, length = 80): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

function digits(value: number, most: number): string {
  const whole = Math.abs(value) < 9.995 ? 1 : Math.abs(value) < 99.95 ? 2 : 3;
  return value.toFixed(Math.max(0, Math.min(most, 3 - whole)));
}

function trimmed(decimal: string): string {
  return decimal.includes(".") ? decimal.replace(/\.?0+$/, "") : decimal;
}
