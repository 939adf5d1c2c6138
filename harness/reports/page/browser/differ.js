// Where two runs on the same rows differ: counts, answers against answers, and the rows themselves. Their test is in the payload.
import {boardName, DATA, ENTRIES, ENTRY_OF, nameOf, rankMark, RUNS} from "./data.js";
import {button, el, empty, figure, find, findAll, menu, table, tall} from "./dom.js";
import {share, sum, whole} from "./format.js";
import {boardNow} from "./scope.js";
import {fillSection} from "./sections.js";
import {choose, state} from "./state.js";

const DIGIT = new Map([...DATA.alphabet].map((char, at) => [char, at]));
const STEP = 200;
const PICTURED = 25; // labels up to which the grid shows those that nobody answers, too
let wanted = STEP / 4;

/** Runs of a board that can be compared, as choices of a menu; seeds are told apart. */
function choicesOf(board) {
  return ENTRIES.filter(entry => entry.board === board).flatMap(entry => {
    const seed = run => (entry.runs.length > 1 ? `, seed ${entry.seeds[entry.runs.indexOf(run)]}` : "");
    const answered = entry.runs.filter(run => RUNS[run].answers);
    return answered.map(run => [run, `${rankMark(entry)}. ${nameOf(entry)}${seed(run)}`]);
  });
}

/** The two that are compared: those chosen, or the best and the best of another backend. */
function pairOf(board, runs) {
  const usual = board.places.map(place => place.run).filter(run => runs.includes(run));
  const a = runs.includes(state.a) ? state.a : (usual[0] ?? runs[0]);
  const unlike = usual.find(run => run !== a && ENTRY_OF.get(run).backend !== ENTRY_OF.get(a).backend);
  const b = runs.includes(state.b) && state.b !== a ? state.b : (unlike ?? runs.find(run => run !== a));
  return [a, b];
}

/** What the two menus say, though the part below may not be drawn for it yet. */
function choosePair() {
  const [a, b] = findAll("#differ .pair select").map(select => select.value);
  choose({a, b});
}

/** Rows by who is right, and answers by answers; the last index is "no answer". */
function differences(truth, a, b, labels) {
  const counts = {both: 0, onlyA: 0, onlyB: 0, neither: 0};
  const grid = Array.from({length: labels + 1}, () => Array(labels + 1).fill(0));
  const rows = [];
  for (let row = 0; row < truth.length; row++) {
    const [right, first, second] = [truth[row], a[row], b[row]];
    const kind = first === right ? (second === right ? "both" : "onlyA") : second === right ? "onlyB" : "neither";
    counts[kind] += 1;
    grid[DIGIT.get(first) ?? labels][DIGIT.get(second) ?? labels] += 1;
    if (first !== second) rows.push({row, kind, truth: right, a: first, b: second});
  }
  return {counts, grid, rows};
}

/** The test of two runs, whichever was tested against the other: p in thousandths, and which is better. */
function testOf({runs, p, better}, a, b) {
  const [i, j] = [runs.indexOf(a), runs.indexOf(b)];
  if (i < 0 || j < 0) return {verdict: "untested", p: ""};
  const [low, high] = [Math.min(i, j), Math.max(i, j)];
  const at = low * runs.length - (low * (low + 1)) / 2 + (high - low - 1);
  const turned = {A: "B", B: "A", "=": "="};
  const shown = p[at] ? `= ${(p[at] / 1000).toFixed(3)}` : "< 0.001";
  return {verdict: i < j ? better[at] : turned[better[at]], p: shown};
}

export function drawDiffer(more = 0) {
  wanted = more ? wanted + more : STEP / 4;
  const board = boardNow();
  const set = board && DATA.rowsets[board.key];
  const choices = set ? choicesOf(board) : [];
  if (choices.length < 2) return fillSection("differ", {});
  const [a, b] = pairOf(board, choices.map(([run]) => run));
  const found = differences(set.truth, RUNS[a].answers, RUNS[b].answers, board.labels.length);
  const names = new Map(choices);
  const {verdict, p} = testOf(set.tests, a, b);
  const sampled = `This page holds the answers to ${whole(set.sampled ?? 0)} of them, a random sample; the counts are of those.`;
  fillSection("differ", {
    controls: [menu("A", choices, a, choosePair), menu("B", choices, b, choosePair)],
    slots: {
      a: names.get(a),
      b: names.get(b),
      board: boardName(board),
      sampled: set.sampled ? ` ${sampled}` : "",
      n: whole(board.n),
      p,
    },
    content: [countsOf(found.counts), el("div.two", answersOf(board, found.grid), listOf(board, set, found.rows))],
  });
  for (const one of findAll("#differ [data-verdict]")) one.hidden = one.dataset.verdict !== verdict;
  find("#verdict").hidden = verdict === "untested";
}

function countsOf(counts) {
  const n = sum(Object.values(counts));
  const words = {both: "both right", onlyA: "only A right", onlyB: "only B right", neither: "neither right"};
  const cell = ([kind, count]) => {
    const figures = [el("strong", {"data-count": kind, text: whole(count)}), el("span", {text: ` ${share(count / n)}`})];
    return el("div.count", el("dt", {text: words[kind]}), el("dd", figures));
  };
  return el("dl.counts", Object.entries(counts).map(cell));
}

function answersOf({labels}, grid) {
  const names = [...labels, "no answer"];
  const isUsed = at => sum(grid[at]) || sum(grid.map(row => row[at]));
  const used = names.map((_, at) => at).filter(at => (at < labels.length && labels.length <= PICTURED) || isUsed(at));
  const most = Math.max(...grid.flat(), 1);
  const cell = (down, across) => {
    const count = grid[down][across];
    const style = `--shade: ${Math.round((55 * count) / most)}%`;
    return el(down === across ? "td.cell.same" : "td.cell", {style, text: count ? whole(count) : "·"});
  };
  return figure(
    "Answers of A (rows) by answers of B (columns)",
    "on the diagonal they agree",
    table(
      "Answers of A by answers of B",
      ["A \\ B", ...used.map(at => names[at])],
      used.map(down => [names[down], ...used.map(across => cell(down, across))]),
    ),
  );
}

const KINDS = [
  ["", "all that differ"],
  ["onlyA", "only A right"],
  ["onlyB", "only B right"],
  ["neither", "both wrong, in different ways"],
];

function listOf(board, set, rows) {
  const left = rows.filter(row => !state.kind || row.kind === state.kind);
  const label = char => board.labels[DIGIT.get(char)] ?? "no answer";
  const lines = left
    .slice(0, wanted)
    .map(row => [
      el("th.id", {scope: "row", tabindex: "-1", text: set.ids[row.row]}),
      el("td", {text: label(row.truth)}),
      el(row.kind === "onlyA" ? "td.right" : "td", {text: label(row.a)}),
      el(row.kind === "onlyB" ? "td.right" : "td", {text: label(row.b)}),
    ]);
  const more = left.length - lines.length;
  const showMore = () => {
    drawDiffer(STEP);
    find(`#differ .tall tbody tr:nth-child(${lines.length + 1}) th`)?.focus(); // the first of the new ones
  };
  return figure(
    `Rows where they differ: ${whole(left.length)}`,
    "ids only: records hold no texts",
    el("div.bar", menu("Show", KINDS, state.kind, kind => choose({kind}))),
    lines.length ? tall(table("Rows where A and B differ", ["Id", "Truth", "A", "B"], lines, 4)) : empty("None."),
    more > 0 ? el("p.note.printed", {text: `The first ${whole(lines.length)} of ${whole(left.length)}.`}) : "",
    more > 0 ? button(`Show ${whole(Math.min(STEP, more))} more of ${whole(more)}`, showMore) : "",
  );
}
