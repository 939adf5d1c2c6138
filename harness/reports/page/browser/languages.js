// Languages side by side.
import {plot} from "./charts.js";
import {betterOf, BOARDS, DATA, ENTRIES, ENTRY_OF, isLower, measured, nameOf, titleOf, valueOf} from "./data.js";
import {empty, menu, note} from "./dom.js";
import {decimal, interval, isNumber, isolated, languageName, sum, unique} from "./format.js";
import {boardNow, mainBoard, metricNow, passes} from "./scope.js";
import {figuresBox, fillSection} from "./sections.js";
import {choose, state} from "./state.js";

const MOST_LINES = 40;
const boardsOfTask = () => BOARDS.filter(board => board.task === boardNow()?.task);

/** Of each language the main rows, and there the best configuration of each backend; by the mean distance from the best. */
function backendGrid(metric) {
  const boards = [...Map.groupBy(boardsOfTask(), board => board.lang).values()].map(mainBoard);
  const lines = new Map();
  for (const entry of ENTRIES) {
    const value = valueOf(entry, metric);
    if (!boards.includes(entry.board) || !passes(entry) || !isNumber(value)) continue;
    const line = lines.get(entry.backend) ?? lines.set(entry.backend, new Map()).get(entry.backend);
    const kept = line.get(entry.board);
    if (!kept || (isLower(metric) ? value < valueOf(kept, metric) : value > valueOf(kept, metric))) line.set(entry.board, entry);
  }
  const found = [...lines].map(([name, entries]) => ({name, entries}));
  const ranges = rangesOf(boards, found, metric);
  const gap = ({entries}) =>
    sum([...entries].map(([board, entry]) => Math.abs(valueOf(entry, metric) - ranges.get(board).best))) / entries.size;
  return {boards, lines: found.sort((a, b) => gap(a) - gap(b))};
}

/** The best and the worst value of each column. */
function rangesOf(boards, lines, metric) {
  const range = board => {
    const values = lines.filter(({entries}) => entries.has(board)).map(({entries}) => valueOf(entries.get(board), metric));
    const ends = [Math.min(...values), Math.max(...values)];
    const [best, worst] = isLower(metric) ? ends : ends.reverse();
    return {best, worst};
  };
  return new Map(boards.map(board => [board, range(board)]));
}

/** The tables of several languages in LEADERBOARD.md, of the task in sight; and the chosen one, or that of the rows in sight. */
function sectionsNow() {
  const all = DATA.sections
    .map(section => ({...section, boards: section.tables.map(key => BOARDS.find(board => board.key === key))}))
    .filter(section => section.boards.every(board => boardsOfTask().includes(board)));
  const chosen =
    all.find(section => section.boards[0].rows === state.section) ??
    all.find(section => section.boards.includes(boardNow())) ??
    all[0];
  return {all, chosen: state.lines === "all" ? chosen : null};
}

/** Lines and their order as in LEADERBOARD.md; with their numbers there, as two may look the same. */
function sectionGrid({boards, lines}, metric) {
  const entriesOf = runs => runs.map((run, column) => [boards[column], ENTRY_OF.get(run)]);
  const isShown = ([, entry]) => entry && passes(entry) && isNumber(valueOf(entry, metric));
  const found = lines.map((line, number) => ({
    name: `${number + 1}. ${nameOf(line)}`,
    entries: new Map(entriesOf(line.runs).filter(isShown)),
  }));
  return {boards, lines: found.filter(line => line.entries.size)};
}

export function drawLanguages() {
  const board = boardNow();
  if (unique(boardsOfTask().map(one => one.lang)).length < 2) return fillSection("languages", {});
  const metric = metricNow(board);
  const {all, chosen} = sectionsNow();
  const {boards, lines} = chosen ? sectionGrid(chosen, metric) : backendGrid(metric);
  const rows = languageRows(boards, lines.slice(0, MOST_LINES), metric);
  const kinds = [
    ["", "backends, each with its best configuration"],
    ["all", "every configuration, as in LEADERBOARD.md"],
  ];
  const titles = all.map(one => [one.boards[0].rows, one.title]);
  const figures = {
    heads: ["Model", "Language", titleOf(metric), "95% interval"],
    lines: rows.map(row => [row.name, languageName(row.lang), row.text, interval(row.low, row.high)]),
    texts: 2,
  };
  const chart = [
    plot("Languages, heat map", "languages", rows, {title: titleOf(metric)}),
    figuresBox("Languages, all figures", figures),
    lines.length > MOST_LINES ? note(`The first ${MOST_LINES} of ${lines.length} lines.`) : "",
  ];
  const where = chosen ? `${chosen.title}${chosen.common ? `, all with ${chosen.common}` : ""}` : "the main rows of each language";
  return fillSection("languages", {
    controls: [
      all.length ? menu("Lines", kinds, chosen ? "all" : "", value => choose({lines: value})) : "",
      chosen && all.length > 1 ? menu("Rows", titles, chosen.boards[0].rows, value => choose({section: value})) : "",
    ],
    slots: {metric: `${titleOf(metric)} (${betterOf(metric)})`, where: `${isolated(board.task)}, ${where}`},
    content: rows.length ? chart : [empty("No entry matches the filters.")],
  });
}

function languageRows(boards, lines, metric) {
  const ranges = rangesOf(boards, lines, metric);
  const shade = (board, value) => {
    const {best, worst} = ranges.get(board);
    return best === worst ? 1 : (value - worst) / (best - worst);
  };
  return lines.flatMap(({name, entries}) =>
    [...entries].map(([board, entry]) => {
      const [value, low, high] = measured(entry, metric);
      return {lang: board.lang, name, value, text: decimal(value), shade: shade(board, value), low, high};
    }),
  );
}
