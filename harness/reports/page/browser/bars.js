// Intervals drawn beside their numbers: one scale per column, over all entries of the boards (a bar must not move while one types).
import {isLower, measured, valueOf} from "./data.js";
import {svg} from "./dom.js";
import {isNumber, minus} from "./format.js";

const WIDTH = 104;
const HEIGHT = 22;
const PAD = 4;
const HIDDEN = {"aria-hidden": "true", focusable: "false"};

export function scalesOf(columns, boards) {
  const found = new Map();
  for (const {key, kind} of columns) {
    const bounds = kind === "metric" ? boards.flatMap(board => board.places.flatMap(place => measured(place, key))) : [];
    const scale = scaleOf(bounds.filter(isNumber), bestOf(boards, key));
    if (scale) found.set(key, scale);
  }
  const ranking = found.get(boards[0]?.metric);
  if (ranking) found.set("over_seeds", {...ranking, best: null});
  return found;
}

/** The best value of a column of the only board, whichever entry has it; with several there is no such line. */
function bestOf(boards, metric) {
  if (boards.length !== 1) return null;
  const values = boards[0].places.map(place => valueOf(place, metric)).filter(isNumber);
  return values.length > 1 ? (isLower(metric) ? Math.min(...values) : Math.max(...values)) : null;
}

function scaleOf(bounds, best) {
  if (!bounds.length) return null;
  const least = bounds.reduce((a, b) => Math.min(a, b));
  const most = bounds.reduce((a, b) => Math.max(a, b));
  const step = niceStep((most - least) / 4 || 0.1);
  const low = Math.floor(least / step + 1e-9) * step;
  const high = Math.max(Math.ceil(most / step - 1e-9) * step, low + step);
  return {low, high, best, step, at: value => PAD + ((value - low) / (high - low)) * (WIDTH - 2 * PAD)};
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999) * power;
}

export function bar(scale, value, low, high, kind = "rows", dots = [value]) {
  const middle = HEIGHT / 2;
  const line = (x1, x2, y1, y2, style) => svg("line", {x1, x2, y1, y2, class: style});
  const parts = [line(PAD, WIDTH - PAD, middle, middle, "rail")];
  if (isNumber(scale.best)) parts.push(line(scale.at(scale.best), scale.at(scale.best), 0, HEIGHT, "best"));
  if (isNumber(low) && isNumber(high)) {
    const [from, to] = [scale.at(low), scale.at(high)];
    const end = x => line(x, x, middle - 3, middle + 3, "whisker");
    parts.push(line(from, to, middle, middle, "whisker"), end(from), end(to));
  }
  const r = dots.length > 1 ? 2.2 : 2.9;
  parts.push(...dots.filter(isNumber).map(dot => svg("circle", {cx: scale.at(dot), cy: middle, r, class: "dot"})));
  const size = {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT};
  return svg("svg", {class: `interval ${kind}`, ...size, ...HIDDEN}, parts);
}

export function axis(scale) {
  const digits = scale.step >= 1 ? 0 : Math.max(1, Math.ceil(-Math.log10(scale.step) - 1e-9));
  const label = (value, anchor) =>
    svg("text", {x: scale.at(value), y: 9, "text-anchor": anchor}, minus((Math.abs(value) < 1e-9 ? 0 : value).toFixed(digits)));
  const size = {viewBox: `0 0 ${WIDTH} 10`, width: WIDTH, height: 10};
  return svg("svg", {class: "axis", ...size, ...HIDDEN}, label(scale.low, "start"), label(scale.high, "end"));
}
