// Numbers and names as they are read.
export const unique = values => [...new Set(values)];
export const sum = values => values.reduce((total, value) => total + value, 0);
export const isNumber = value => typeof value === "number" && Number.isFinite(value);
export const whole = number => number.toLocaleString("en", {maximumFractionDigits: 0});
export const minus = text => text.replace("-", "−");
export const decimal = value => (isNumber(value) ? minus(value.toFixed(3)) : "–");
export const rate = value => (!isNumber(value) ? "–" : value < 100 ? value.toFixed(1) : whole(value));
export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
export const entries = count => plural(count, "entry", "entries");

export const interval = (low, high) =>
  isNumber(low) && isNumber(high) ? `${decimal(low)}${low < 0 ? " to " : "–"}${decimal(high)}` : "";

export const share = part =>
  !isNumber(part) ? "–" : part === 0 ? "0%" : part < 0.001 ? "<0.1%" : `${(100 * part).toFixed(1)}%`;

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** A name beside a number: one that is written from right to left would draw the number to its other side. */
export const isolated = name => (RIGHT_TO_LEFT.test(name) ? `\u2068${name}\u2069` : name);

/** "Japanese" for "ja"; a name that is no language stays as it is. */
export function languageName(code) {
  if (!/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(code)) return code;
  try {
    return new Intl.DisplayNames(["en"], {type: "language"}).of(code) ?? code;
  } catch {
    return code;
  }
}
