// Elements, numbers and the state in the address. Every text from the data goes through textContent.
/** What an element holds as JSON. Only `isolated` may write the two marks of an isolate: in the data they are shown as text. */
const read = id =>
  JSON.parse(
    document.getElementById(id).textContent.replace(/[\u2068\u2069]/g, char => `\\\\u${char.charCodeAt(0).toString(16)}`),
  );
const DATA = read("data");
const find = (selector, from = document) => from.querySelector(selector);

/** An element: `props` are attributes, but for `text`, and functions, which are listeners (`onclick` for "click"). */
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, props, children);
}

function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

// What moves a cursor, reorders a line or shows nothing at all: a name that holds it would change more than its own cell.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066\u2067]/g;
const plain = text =>
  typeof text === "string" ? text.replace(UNSAFE, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`) : text;

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** A name within a sentence: one that is written from right to left would draw the number that follows it to its other side. */
const isolated = name => (RIGHT_TO_LEFT.test(name) ? `\u2068${plain(name)}\u2069` : name);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = plain(value);
    else if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(
    ...children
      .flat()
      .filter(child => child !== null && child !== undefined && child !== "")
      .map(plain),
  );
  return node;
}

const unique = values => [...new Set(values)];
const sum = values => values.reduce((total, value) => total + value, 0);
const by = (items, key) => new Map(items.map(item => [key(item), item]));

// ---- Numbers as they are read

const whole = number => number.toLocaleString("en", {maximumFractionDigits: 0});
const isNumber = value => typeof value === "number" && Number.isFinite(value);
const minus = text => text.replace("-", "−");
const decimal = value => (isNumber(value) ? minus(value.toFixed(3)) : "–");
const interval = (low, high) => (isNumber(low) && isNumber(high) ? `${decimal(low)}${low < 0 ? " to " : "–"}${decimal(high)}` : "");
const share = part =>
  !isNumber(part) ? "–" : part === 0 ? "0%" : part < 0.001 ? "<0.1%" : `${(100 * part).toFixed(1)}%`;
const rate = value => (!isNumber(value) ? "–" : value < 100 ? value.toFixed(1) : whole(value));

/** Dollars to two significant digits, however small. */
function dollars(value) {
  if (!isNumber(value)) return "–";
  if (value === 0) return "$0";
  if (value >= 100) return `$${whole(value)}`;
  if (value < 1e-6) return "$<0.000001";
  const digits = Math.max(2, 1 - Math.floor(Math.log10(value)));
  return `$${value.toFixed(Math.min(digits, 12))}`;
}

const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined); // a name may be "constructor"
const titleOf = metric => own(DATA.titles, metric) ?? metric;
const isLower = metric => DATA.lower_is_better.includes(metric);
const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;
const listed = names => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

/** "Japanese" for "ja"; a name that is no language stays as it is. */
function languageName(code) {
  if (!/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/.test(code)) return code;
  try {
    return new Intl.DisplayNames(["en"], {type: "language"}).of(code) ?? code;
  } catch {
    return code;
  }
}

// ---- What the reader chose: in the address, so that a view can be linked

const DEFAULTS = {
  task: "",
  lang: "",
  rows: "",
  engine: "",
  made: "",
  q: "",
  cols: "",
  sort: "",
  run: "",
  metric: "",
  lines: "",
  section: "",
  matrix: "",
  a: "",
  b: "",
  kind: "",
  machine: "",
};
let state = {...DEFAULTS};

function stateFrom(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
}

function hashOf(values) {
  const given = Object.entries(values).filter(([name, value]) => value !== DEFAULTS[name]);
  return `#${new URLSearchParams(given)}`;
}

/** Change the state and draw what hangs on it. What opens something (`push`) can be left by the browser's way back. */
function choose(changes, push = false) {
  state = {...state, ...changes};
  history[push ? "pushState" : "replaceState"](null, "", hashOf(state));
  draw(Object.keys(changes));
}
