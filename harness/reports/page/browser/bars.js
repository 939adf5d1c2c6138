// Intervals drawn beside their numbers: one scale per column, from the least bound to the greatest.
const WIDTH = 104;
const HEIGHT = 22;
const PAD = 4;

/** Scales by column, over all rows of the boards (not the filtered ones: a bar must not move while one types). */
function scalesOf(columns, boards) {
  const found = new Map();
  for (const column of columns) {
    if (column.metric) {
      const all = boards.flatMap(board => board.places.map(place => measured(place, column.metric)));
      const scale = scaleOf(all.flat(), bestOf(boards, column.metric));
      if (scale) found.set(column.key, scale);
    }
  }
  const ranking = found.get(boards[0]?.metric);
  if (ranking) found.set("over_seeds", {...ranking, best: null});
  return found;
}

/** The best value of a column of the only board, whichever row has it; with several there is no such line. */
function bestOf(boards, metric) {
  if (boards.length !== 1) return null;
  const values = boards[0].places.map(place => valueOf(place, metric)).filter(isNumber);
  return values.length > 1 ? (isLower(metric) ? Math.min(...values) : Math.max(...values)) : null;
}

function scaleOf(bounds, best) {
  const numbers = bounds.filter(isNumber);
  if (!numbers.length) return null;
  const least = numbers.reduce((a, b) => Math.min(a, b));
  const most = numbers.reduce((a, b) => Math.max(a, b));
  const step = niceStep((most - least) / 4 || 0.1);
  const low = Math.floor(least / step + 1e-9) * step;
  const high = Math.max(Math.ceil(most / step - 1e-9) * step, low + step);
  return {low, high, best, step, at: value => PAD + ((value - low) / (high - low)) * (WIDTH - 2 * PAD)};
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999) * power;
}

function bar(scale, value, low, high, kind = "rows", dots = [value]) {
  const middle = HEIGHT / 2;
  const line = (x1, x2, y1, y2, style) => svg("line", {x1, x2, y1, y2, class: style});
  const parts = [line(PAD, WIDTH - PAD, middle, middle, "rail")];
  if (isNumber(scale.best)) parts.push(line(scale.at(scale.best), scale.at(scale.best), 0, HEIGHT, "best"));
  if (isNumber(low) && isNumber(high)) {
    const [from, to] = [scale.at(low), scale.at(high)];
    parts.push(
      line(from, to, middle, middle, "whisker"),
      line(from, from, middle - 3, middle + 3, "whisker"),
      line(to, to, middle - 3, middle + 3, "whisker"),
    );
  }
  for (const dot of dots.filter(isNumber))
    parts.push(svg("circle", {cx: scale.at(dot), cy: middle, r: dots.length > 1 ? 2.2 : 2.9, class: "dot"}));
  return svg(
    "svg",
    {
      class: `interval ${kind}`,
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      width: WIDTH,
      height: HEIGHT,
      "aria-hidden": "true",
      focusable: "false",
    },
    parts,
  );
}

function axis(scale) {
  const digits = scale.step >= 1 ? 0 : Math.max(1, Math.ceil(-Math.log10(scale.step) - 1e-9));
  const label = (value, anchor) =>
    svg("text", {x: scale.at(value), y: 9, "text-anchor": anchor}, minus((Math.abs(value) < 1e-9 ? 0 : value).toFixed(digits)));
  return svg(
    "svg",
    {class: "axis", viewBox: `0 0 ${WIDTH} 10`, width: WIDTH, height: 10, "aria-hidden": "true", focusable: "false"},
    label(scale.low, "start"),
    label(scale.high, "end"),
  );
}
