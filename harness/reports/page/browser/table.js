// The ranking: columns, order, rows as many as the reader asks for.
const STEP = 50;
let wanted = STEP;

const METRICS = unique(
  BOARDS.flatMap(board => [...board.headline, ...board.places.flatMap(place => Object.keys(place.values))]),
);

const COLUMNS = [
  {
    key: "rank",
    title: "#",
    name: "rank",
    kind: "number",
    first: "up",
    of: entry => 1e6 * BOARDS.indexOf(entry.board) + (entry.place.rank ?? 1e5),
    cell: rankCell,
    fixed: true,
  },
  {
    key: "model",
    title: "Model",
    name: "model",
    kind: "text",
    first: "up",
    of: entry => nameOf(entry.place),
    cell: modelCell,
    fixed: true,
  },
  text("task", "Task", entry => entry.board.taskName),
  text("lang", "Language", entry => entry.board.lang),
  {
    ...number(
      "rows",
      "Test rows",
      entry => entry.board.n,
      entry => whole(entry.board.n),
    ),
    first: "down",
  },
  ...METRICS.map(metric => ({
    key: metric,
    title: titleOf(metric),
    name: titleOf(metric),
    kind: "number",
    metric,
    first: isLower(metric) ? "up" : "down",
    of: entry => valueOf(entry.place, metric),
    cell: metricCell,
  })),
  {
    key: "over_seeds",
    title: "Over seeds",
    name: "over seeds",
    kind: "number",
    first: "down",
    of: entry => seedsOf(entry)?.[1] ?? null,
    cell: seedsCell,
  },
  number(
    "unparsed",
    "Unparsed",
    entry => entry.place.unparsed,
    statusCell("unparsed"),
  ),
  number(
    "failed",
    "Failed",
    entry => entry.place.failed,
    statusCell("failed"),
  ),
  {
    ...text("finding", "Finding", entry => entry.place.finding),
    cell: ({place}) => el("td", place.finding ? {title: place.finding, text: place.finding_short} : {text: "–"}),
  },
  number(
    "tested_on",
    "Tested on",
    entry => entry.place.tested_on,
    entry => (isNumber(entry.place.tested_on) ? plural(entry.place.tested_on, "row") : "–"),
  ),
  {...number("rate", "Rows/s", entry => entry.place.rate, rateCell), first: "down"},
  number("cost", "Cost, $", entry => entry.place.cost, costCell),
  number(
    "p95_ms",
    "p95, ms",
    entry => entry.place.p95_ms,
    latencyCell,
  ),
  number(
    "train_count",
    "Training rows",
    entry => entry.place.train_count,
    entry => (isNumber(entry.place.train_count) ? whole(entry.place.train_count) : "–"),
  ),
  number(
    "labelled",
    "Labels given",
    entry => entry.place.labelled,
    entry => (isNumber(entry.place.labelled) ? whole(entry.place.labelled) : "–"),
  ),
  text("train_langs", "Trained on", entry => (entry.place.train_langs ?? []).join(" + ") || null),
  text("engine", "Engine", entry => entry.place.engine),
  text("seeds", "Seeds", entry => entry.place.seeds.join(", ")),
  text("machine", "Machine", entry => entry.place.machine),
  number(
    "load",
    "Load",
    entry => entry.place.load,
    entry => (isNumber(entry.place.load) ? entry.place.load.toFixed(2) : "–"),
  ),
  text("finished", "Finished", entry => (entry.place.finished ?? "").slice(0, 10) || null),
];
const COLUMN_OF = by(COLUMNS, column => column.key);

function number(key, title, of, shown) {
  return {key, title, name: title, kind: "number", first: "up", of, cell: entry => el("td", {class: "number"}, shown(entry))};
}

function text(key, title, of) {
  return {key, title, name: title, kind: "text", first: "up", of, cell: entry => el("td", {text: of(entry) ?? "–"})};
}

/** The columns that say something about the boards in sight, before the reader chooses others. */
function usualColumns(boards) {
  const places = boards.flatMap(board => board.places);
  const some = test => places.some(test);
  const headline = unique(boards.flatMap(board => board.headline)).slice(0, 4);
  return [
    "rank",
    "model",
    ...(unique(boards.map(board => board.taskName)).length > 1 ? ["task"] : []),
    ...(unique(boards.map(board => board.lang)).length > 1 ? ["lang"] : []),
    ...(unique(boards.map(board => `${board.taskName}\n${board.lang}`)).length < boards.length ? ["rows"] : []),
    ...headline,
    ...(some(place => place.over_seeds) ? ["over_seeds"] : []),
    ...(some(place => place.unparsed) ? ["unparsed"] : []),
    ...(some(place => place.failed) ? ["failed"] : []),
    ...(some(place => place.finding) ? ["finding"] : []),
    ...(some(place => place.tested_on) ? ["tested_on"] : []),
    "rate",
    ...(some(place => isNumber(place.cost)) ? ["cost"] : []),
    ...(places.filter(place => isNumber(place.p95_ms)).length > places.length / 2 ? ["p95_ms"] : []),
  ];
}

function columnsNow() {
  const known = state.cols.split(",").filter(key => COLUMN_OF.has(key));
  const keys = new Set(known.length ? ["rank", "model", ...known] : usualColumns(boardsNow()));
  return COLUMNS.filter(column => keys.has(column.key));
}

/** The order as chosen: a column and a way; what has no value comes last either way. */
function sortNow() {
  const [key, way] = state.sort.split(" ");
  const column = COLUMN_OF.get(key) ?? COLUMN_OF.get("rank");
  return {column, way: way === "up" || way === "down" ? way : column.first};
}

function sorted(entries) {
  const {column, way} = sortNow();
  const sign = way === "up" ? 1 : -1;
  const compare = column.kind === "number" ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", {numeric: true});
  const keyed = entries.map(entry => [column.of(entry), entry]);
  const absent = value => value === null || value === undefined || value === "";
  keyed.sort(([a], [b]) => (absent(a) || absent(b) ? Number(absent(a)) - Number(absent(b)) : sign * compare(a, b)));
  return keyed.map(([, entry]) => entry);
}

// ---- Drawing

function drawTable() {
  const columns = columnsNow();
  const entries = sorted(entriesNow());
  const scales = scalesOf(columns, boardsNow());
  const boards = boardsNow();
  find("#board caption").textContent = plain(
    `${boards.length === 1 ? boardName(boards[0]) : plural(boards.length, "set of rows", "sets of rows")}: ${plural(entries.length, "row")}, ${sortWords()}`,
  );
  find("#board thead").replaceChildren(
    el(
      "tr",
      {},
      columns.map(column => headCell(column, scales.get(column.key))),
    ),
  );
  const shown = entries.slice(0, wanted);
  find("#board tbody").replaceChildren(...shown.map((entry, place) => rowOf(entry, columns, scales, isBreak(shown, place))));
  drawMore(entries.length, shown.length);
  drawCount(entries.length, boards);
  find("#ranking-note").textContent = rankingNote(boards);
  fitTable();
}

const isBreak = (entries, place) =>
  sortNow().column.key === "rank" &&
  place > 0 &&
  COLUMN_OF.get("rank").of(entries[place - 1]) !== COLUMN_OF.get("rank").of(entries[place]);

function rowOf(entry, columns, scales, isFirst) {
  return el(
    "tr",
    {
      class: [isFirst ? "next" : "", entry.place.rank === 1 ? "best" : ""].join(" ").trim() || null,
      onclick: event => openFromRow(event, entry),
    },
    columns.map(column => column.cell(entry, column, scales.get(column.key))),
  );
}

/** A click anywhere in a row opens it, but for one that marks text or is meant for something else. */
function openFromRow(event, entry) {
  if (event.target.closest("a, button, summary") || String(getSelection())) return;
  openRun(entry.place.run);
}

function headCell(column, scale) {
  const {column: sortedBy, way} = sortNow();
  const isSorted = sortedBy.key === column.key;
  const button = el(
    "button",
    {type: "button", class: "sort", "data-key": column.key, title: `Sort by ${column.name}`, onclick: () => sortBy(column.key)},
    el("span", {text: column.title}),
    el("span", {class: "arrow", "aria-hidden": "true"}, isSorted ? (way === "up" ? "↑" : "↓") : ""),
  );
  const better = column.metric && isLower(column.metric) ? el("span", {class: "lower", text: "lower is better"}) : "";
  return el(
    "th",
    {
      scope: "col",
      class: `${column.kind} ${column.key === "model" ? "model" : ""} ${column.key === "rank" ? "rank" : ""}`,
      "aria-sort": isSorted ? (way === "up" ? "ascending" : "descending") : "none",
    },
    el("div", {class: "head"}, button, tipButton(column.key, column.name)),
    better,
    scale ? el("div", {class: "measure"}, axis(scale)) : "",
  );
}

function sortBy(key) {
  const {column, way} = sortNow();
  const first = COLUMN_OF.get(key).first;
  const next = column.key !== key ? first : way === "up" ? "down" : "up";
  choose({sort: key === "rank" && next === "up" ? "" : `${key} ${next}`});
  find(`#board thead button[data-key="${CSS.escape(key)}"]`)?.focus();
}

function sortWords() {
  const {column, way} = sortNow();
  return column.key === "rank" && way === "up"
    ? "in the order of their ranks"
    : `sorted by ${column.name}, ${way === "up" ? "ascending" : "descending"}`;
}

function drawMore(all, shown) {
  const more = find("#more");
  more.replaceChildren();
  if (all <= shown) return;
  const show = count => () => {
    wanted = count;
    drawTable();
    find(`#board tbody tr:nth-child(${shown + 1}) button`)?.focus();
  };
  more.append(
    el(
      "button",
      {type: "button", id: "show-more", onclick: show(wanted + STEP)},
      `Show ${whole(Math.min(STEP, all - shown))} more`,
    ),
    el("button", {type: "button", id: "show-all", class: "quiet", onclick: show(Infinity)}, `Show all ${whole(all)}`),
  );
}

function drawCount(left, boards) {
  const all = sum(boards.map(board => board.places.length));
  find("#count").textContent =
    left === all
      ? plural(all, "row")
      : left
        ? `${whole(left)} of ${plural(all, "row")}; ranks are among all of them`
        : "No row is left: change the filters, or reset them.";
  find("#reset").hidden = !(isFiltered() || state.cols || state.sort);
}

function rankingNote(boards) {
  if (!boards.length) return "No runs yet.";
  const few = boards.filter(board => board.few).length;
  const busy = busyWords(boards.flatMap(board => board.places));
  const best = boards.length === 1 ? "; the dashed line is the best value of its column" : "";
  const basis = `Ranks: the first metric of the task, paired tests on the same rows at the 5% level. Whiskers: 95% intervals, on one scale per column${best}.${busy && ` ${busy}`}`;
  return boards.length > 1
    ? `${basis} Every set of rows has a ranking of its own${few ? `; ${plural(few, "set")} of few rows` : ""}.`
    : basis;
}

/** A table as wide as the page keeps its head in sight; a wider one scrolls in a box of its own. */
function fitTable() {
  const box = find("#board-box");
  box.classList.remove("fits");
  const fits = find("#board").offsetWidth <= box.clientWidth + 1;
  box.classList.toggle("fits", fits);
  if (fits) box.removeAttribute("tabindex");
  else box.setAttribute("tabindex", "0");
}
