// Where two runs on the same rows differ: counts, answers against answers, and the rows themselves.
const DIGIT = new Map([...DATA.alphabet].map((char, place) => [char, place]));
let differWanted = STEP;

const answered = entry => entry.place.runs.filter(run => RUNS[run]?.answers);

function compareFrom(entry, run) {
  const board = entry.board;
  const chosen = answered(entry).includes(run) ? run : "";
  find("#run").close();
  choose({task: board.taskName, lang: board.lang, rows: board.rows, a: chosen, b: "", run: ""});
  goTo("differ");
}

/** Runs of a board that can be compared, as choices of a menu; seeds are told apart. */
function choicesOf(board) {
  const entries = ENTRIES.filter(entry => entry.board.key === board.key);
  return entries.flatMap(entry =>
    answered(entry).map(run => [
      run,
      `${entry.place.rank ?? UNRANKED}. ${nameOf(entry.place)}${entry.place.runs.length > 1 ? `, seed ${entry.place.seeds[entry.place.runs.indexOf(run)]}` : ""}`,
    ]),
  );
}

/** The two that are compared: those chosen, or the best and the best of another backend. */
function pairOf(board, runs) {
  const usual = board.places.map(place => place.run).filter(run => runs.includes(run));
  const a = runs.includes(state.a) ? state.a : (usual[0] ?? runs[0]);
  const unlike = usual.find(run => run !== a && ENTRY_OF.get(run).place.backend !== ENTRY_OF.get(a).place.backend);
  const b = runs.includes(state.b) && state.b !== a ? state.b : (unlike ?? runs.find(run => run !== a));
  return [a, b];
}

/** What the two menus say, though the part below may not be drawn for it yet. */
function pairShown() {
  const [a, b] = [...document.querySelectorAll("#differ .pair select")].map(select => select.value);
  return {a, b};
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

/** Two-sided exact p of McNemar's test: of n rows where one alone is right, so few or fewer for the lesser of the two. */
function exactP(only, other) {
  const n = only + other;
  let term = -n * Math.LN2;
  let total = Math.exp(term);
  for (let k = 1; k <= Math.min(only, other); k++) {
    term += Math.log((n - k + 1) / k);
    total += Math.exp(term);
  }
  return Math.min(1, 2 * total);
}

function drawDiffer() {
  const board = boardNow();
  const set = board && DATA.rowsets[board.rows];
  const choices = board ? choicesOf(board) : [];
  if (!set || choices.length < 2) {
    const why = !board
      ? "No runs yet."
      : board.kind === "multilabel"
        ? "Rows may have several labels here; this page holds no answers for such tasks: bench compare does it."
        : "Two runs on the same rows are needed, with at most 62 labels.";
    return fillSection("differ", el("p", {class: "empty", text: why}));
  }
  const [a, b] = pairOf(
    board,
    choices.map(([run]) => run),
  );
  const found = differences(set.truth, RUNS[a].answers, RUNS[b].answers, board.labels.length);
  const nameOfRun = new Map(choices);
  const pick = (label, value) => menu(label, choices, value, () => choose(pairShown()));
  return fillSection(
    "differ",
    el("div", {class: "bar pair"}, pick("A", a), pick("B", b)),
    el("p", {class: "note printed", text: `A: ${nameOfRun.get(a)}. B: ${nameOfRun.get(b)}.`}),
    note(
      `${boardName(board)}.`,
      set.sampled
        ? ` This page holds the answers to ${whole(set.sampled)} of them, drawn by chance (a hash of the id); the counts are of those.`
        : "",
    ),
    countsOf(found.counts, !set.sampled),
    el("div", {class: "two"}, answersOf(board, found.grid), listOf(board, set, found.rows)),
  );
}

function countsOf(counts, isWhole) {
  const n = sum(Object.values(counts));
  const cell = (kind, label) =>
    el(
      "div",
      {class: `count ${kind}`},
      el("dt", {text: label}),
      el(
        "dd",
        {},
        el("strong", {"data-count": kind, text: whole(counts[kind])}),
        el("span", {text: ` ${share(counts[kind] / n)}`}),
      ),
    );
  const p = exactP(counts.onlyA, counts.onlyB);
  const better = counts.onlyA > counts.onlyB ? "A" : "B";
  const shown = p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`;
  const verdict =
    p <= 0.05
      ? `${better} is better on these rows at the 5% level (McNemar’s exact test, p ${shown}, n = ${whole(n)}; these two alone, without a correction for looking at many pairs).`
      : `The two can’t be told apart at the 5% level (McNemar’s exact test, p ${shown}, n = ${whole(n)}).`;
  return [
    el(
      "dl",
      {class: "counts"},
      cell("both", "both right"),
      cell("onlyA", "only A right"),
      cell("onlyB", "only B right"),
      cell("neither", "neither right"),
    ),
    isWhole ? el("p", {text: verdict}) : "",
  ];
}

function answersOf(board, grid) {
  const names = [...board.labels, "no answer"];
  const used = names
    .map((_, place) => place)
    .filter(place =>
      place < board.labels.length
        ? board.labels.length <= 25 || sum(grid[place]) || sum(grid.map(row => row[place]))
        : sum(grid[place]) || sum(grid.map(row => row[place])),
    );
  const most = Math.max(...grid.flat(), 1);
  const line = down => [
    el("th", {scope: "row", text: names[down]}),
    ...used.map(across =>
      el("td", {
        class: `cell${down === across ? " same" : ""}`,
        style: `--shade: ${Math.round((55 * grid[down][across]) / most)}%`,
        text: grid[down][across] ? whole(grid[down][across]) : "·",
      }),
    ),
  ];
  return figure(
    "Answers of A (rows) by answers of B (columns)",
    "on the diagonal they agree",
    table("Answers of A by answers of B", ["A \\ B", ...used.map(place => names[place])], used.map(line)),
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
  const label = char => (DIGIT.has(char) ? board.labels[DIGIT.get(char)] : "no answer");
  const lines = left
    .slice(0, differWanted)
    .map(row => [
      el("th", {scope: "row", class: "id", tabindex: "-1", text: set.ids[row.row]}),
      el("td", {text: label(row.truth)}),
      el("td", {class: row.kind === "onlyA" ? "right" : null, text: label(row.a)}),
      el("td", {class: row.kind === "onlyB" ? "right" : null, text: label(row.b)}),
    ]);
  const more = left.length - lines.length;
  return figure(
    `The rows where they differ: ${whole(left.length)}`,
    "ids only: texts are in no record",
    el(
      "div",
      {},
      el(
        "div",
        {class: "bar"},
        menu("Show", KINDS, state.kind, kind => choose({kind})),
      ),
      tall(table("Rows where A and B differ", ["Id", "Truth", "A", "B"], lines, 4)),
      more > 0 ? el("p", {class: "note printed", text: `The first ${whole(lines.length)} of ${whole(left.length)}.`}) : "",
      more > 0
        ? el(
            "button",
            {
              type: "button",
              onclick: () => {
                differWanted += 4 * STEP;
                drawDiffer();
                find(`#differ .tall tbody tr:nth-child(${lines.length + 1}) th`)?.focus(); // the first of the new ones
              },
            },
            `Show ${whole(Math.min(4 * STEP, more))} more of ${whole(more)}`,
          )
        : "",
    ),
  );
}
