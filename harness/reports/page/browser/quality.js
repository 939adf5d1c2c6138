// Quality against cost and speed, and the Pareto front, which the payload holds.
import {plot} from "./charts.js";
import {betterOf, boardName, dagger, isLower, measured, nameOf, titleOf, valueOf} from "./data.js";
import {el, empty, figure, menu, note} from "./dom.js";
import {decimal, entries as countOf, interval, isNumber, rate} from "./format.js";
import {boardNow, entriesNow, madeNow, metricNow} from "./scope.js";
import {figuresBox, fillSection, metricMenu} from "./sections.js";
import {choose, state} from "./state.js";

const AXES = {
  cost: {title: "Against cost", words: "US dollars per 1,000 rows", unit: "", suffix: "_less", side: "left"},
  rate: {title: "Against throughput", words: "rows per second", unit: " rows/s", suffix: "", side: "right"},
};

const shownX = (entry, axis) => `${axis === "cost" ? entry.texts.cost : rate(entry.rate)}${dagger(entry)}`;

export function drawQuality() {
  const board = boardNow();
  if (!board) return fillSection("quality", {});
  const metric = metricNow(board);
  const rates = board.panels.filter(({axis}) => axis === "rate");
  const machine = rates.find(panel => panel.machine === state.machine) ?? rates[0];
  const machines = rates.map(panel => [panel.machine, panel.machine]).sort();
  const panels = [board.panels[0], machine ?? {axis: "rate", fronts: {}}];
  return fillSection("quality", {
    controls: [
      metricMenu(board),
      machines.length > 1 ? menu("Machine (throughput)", machines, machine.machine, name => choose({machine: name})) : "",
    ],
    slots: {board: boardName(board), metric: `${titleOf(metric)}: ${betterOf(metric)}`},
    content: [el("div.two", panels.map(panel => panelOf(board, panel, metric)))],
  });
}

function panelOf(board, {axis, machine, fronts}, metric) {
  const {title, words, unit, suffix, side} = AXES[axis];
  const entries = entriesNow().filter(entry => entry.board === board);
  const labels = fronts[metric]?.[madeNow()] ?? fronts[metric]?.[""] ?? {};
  const known = entries.filter(entry => isNumber(entry[axis]) && isNumber(valueOf(entry, metric)));
  const rows = known.filter(entry => !machine || entry.machine === machine);
  const left = notDrawn(entries, rows, axis, metric);
  if (!rows.length)
    return figure(title, "", empty(entries.length ? `Nothing to draw: ${left.join(" ")}` : "No entry matches the filters."));
  const front = rows.filter(entry => entry.at in labels).sort((a, b) => (axis === "cost" ? a[axis] - b[axis] : b[axis] - a[axis]));
  const listed = entry => `${nameOf(entry)}: ${titleOf(metric)} ${decimal(valueOf(entry, metric))}, ${shownX(entry, axis)}`;
  const figures = {
    heads: ["Model", "How", titleOf(metric), "95% interval", words, "Front"],
    lines: rows.map(entry => {
      const [value, low, high] = measured(entry, metric);
      const isFront = entry.at in labels ? "yes" : "";
      return [entry.backend, entry.how, decimal(value), interval(low, high), shownX(entry, axis), isFront];
    }),
    texts: 2,
  };
  const points = rows.filter(entry => entry[axis] > 0).map(entry => pointOf(entry, axis, metric, labels));
  const chart = `quality${isLower(metric) ? "_lower" : ""}${suffix}`;
  return figure(
    title,
    `${machine ? `on ${machine}: ` : ""}${isLower(metric) ? "down" : "up"} and to the ${side} is better`,
    points.length ? plot(`${title}, chart`, chart, points, {x: words, y: titleOf(metric)}) : "",
    el(
      "details",
      el("summary", {text: `On the front: ${countOf(front.length)}`}),
      el("ul", front.map(entry => el("li", {text: `${listed(entry)}${unit || " per 1,000 rows"}`}))),
    ),
    figuresBox(`${title}, all figures`, figures),
    rows.some(entry => entry.busy) ? note("† timed on a busy machine: the figure would be better on an idle one.") : "",
    left.length ? note(`Of ${countOf(entries.length)} not drawn: ${left.join(" ")}`) : "",
  );
}

function pointOf(entry, axis, metric, labels) {
  const [value, low, high] = measured(entry, metric);
  const {backend: name, how, engine, busy, at} = entry;
  const front = at in labels;
  const timed = busy ? "† on a busy machine" : "";
  return {name, how, engine, value, low, high, x: entry[axis], key: nameOf(entry), front, label: labels[at] ?? name, timed};
}

/** Why entries are not drawn, each kind with its number. */
function notDrawn(entries, rows, axis, metric) {
  const missing = entries.filter(entry => !isNumber(entry[axis]));
  const bases = [...new Set(missing.map(entry => entry.notes.cost).filter(Boolean))].slice(0, 3).join("; ");
  const why = axis === "rate" ? "without a measured rate" : `without a known cost${bases ? ` (${bases})` : ""}`;
  const valued = entries.filter(entry => isNumber(entry[axis]) && isNumber(valueOf(entry, metric)));
  const found = [
    [missing, why],
    [valued.filter(entry => !rows.includes(entry)), "on another machine"],
    [entries.filter(entry => isNumber(entry[axis]) && !isNumber(valueOf(entry, metric))), `without a value of ${titleOf(metric)}`],
    [rows.filter(entry => entry[axis] === 0), `at 0 ${axis === "cost" ? "dollars" : "rows/s"}, which a logarithmic axis can’t show`],
  ];
  return found.filter(([some]) => some.length).map(([some, words]) => `${countOf(some.length)} ${words}.`);
}
