// The ranking: columns and filters, order, and as many entries as the reader asks for.
import {axis, bar, scalesOf} from "./bars.js";
import {boardName, COLUMN_OF, COLUMNS, dagger, ENTRIES, rankMark, valueOf} from "./data.js";
import {button, el, find, findAll, setOptions} from "./dom.js";
import {decimal, entries as countOf, interval, isNumber, plural, rate, share, sum, unique, whole} from "./format.js";
import {boardsNow, engineNow, ENGINES, entriesNow, isFiltered, madeNow} from "./scope.js";
import {choose, state} from "./state.js";
import {tipButton} from "./tips.js";

const STEP = 50;
let wanted = STEP;

const isText = ({kind}) => kind === "text" || kind === "model";

/** Whether a column says something about the boards in sight, before the reader chooses others. */
function isUsual({key, kind, usual}, boards, entries) {
  if (kind === "metric") return unique(boards.flatMap(board => board.headline)).slice(0, 4).includes(key);
  const values = entries.map(entry => entry[key]);
  if (usual === "most") return values.filter(isNumber).length > values.length / 2;
  // Several sets of rows of one task and language are what a column of their numbers tells apart.
  if (key === "n") return unique(boards.map(board => `${board.task}\n${board.lang}`)).length < boards.length;
  if (usual === "several") return unique(values).length > 1;
  return usual === "always" || (usual === "some" && values.some(kind === "dollars" ? isNumber : Boolean));
}

function columnsNow() {
  const known = state.cols.split(",").filter(key => COLUMN_OF.has(key));
  if (known.length) return COLUMNS.filter(column => ["rank", "model", ...known].includes(column.key));
  const boards = boardsNow();
  const entries = ENTRIES.filter(entry => boards.includes(entry.board));
  return COLUMNS.filter(column => isUsual(column, boards, entries));
}

const firstWay = ({better, key}) => (better === "higher" || key === "n" ? "down" : "up");

function sortNow() {
  const [key, way] = state.sort.split(" ");
  const column = COLUMN_OF.get(key) ?? COLUMN_OF.get("rank");
  return {column, way: way === "up" || way === "down" ? way : firstWay(column)};
}

function sortValue(entry, {key, kind}) {
  if (kind === "metric") return valueOf(entry, key);
  if (kind === "rank") return entry.order;
  return kind === "seeds" ? entry.over_seeds?.[1] : entry[key];
}

/** In the order that was chosen; what has no value comes last either way. */
function sorted(entries) {
  const {column, way} = sortNow();
  const sign = way === "up" ? 1 : -1;
  const compare = (a, b) => (isNumber(a) ? a - b : String(a).localeCompare(String(b), "en", {numeric: true}));
  const isAbsent = value => value === null || value === undefined || value === "";
  return entries
    .map(entry => [sortValue(entry, column), entry])
    .sort(([a], [b]) => (isAbsent(a) || isAbsent(b) ? Number(isAbsent(a)) - Number(isAbsent(b)) : sign * compare(a, b)))
    .map(([, entry]) => entry);
}

// ---- Cells

const SHOWN = {
  count: whole,
  share,
  rate,
  text: value => (Array.isArray(value) ? value.join(", ") : value),
};

function cellOf(entry, column, scale) {
  const {key, kind} = column;
  if (kind === "rank") return rankCell(entry);
  if (kind === "model") return modelCell(entry);
  if (kind === "metric") return barCell(entry.values[key], scale, entry.one_seed);
  if (kind === "seeds") return seedsCell(entry, scale);
  const value = entry[key];
  const style = isText(column) ? "td" : "td.number";
  if (value === undefined || value === "") return el(`${style}.none`, {title: entry.notes[key], text: "–"});
  const busy = column.timed && entry.busy ? el("span.busy", {title: "timed on a busy machine", text: dagger(entry)}) : "";
  return el(style, {title: entry.notes[key]}, entry.texts[key] ?? SHOWN[kind](value), busy);
}

function rankCell(entry) {
  const tied = entry.tied ? el("span.tie", {title: "shares this rank"}, "=") : "";
  return el("td.rank.number", {title: entry.notes.finding}, String(rankMark(entry)), tied);
}

function modelCell({run, backend, how}) {
  return el("th.model", {scope: "row"}, button(backend, null, {class: "link", "data-run": run, "data-open": run}), el("span.how", {text: how}));
}

const ONE_SEED = "one seed: the value of this run, not of the model";

function barCell([value, low, high] = [], scale, isSingle) {
  if (!isNumber(value)) return el("td.number.none", {text: "–"});
  const single = isSingle ? el("span.tie", {title: ONE_SEED}, "◇") : "";
  const figures = [el("span.value", {text: decimal(value)}), single, el("span.range", {text: interval(low, high)})];
  return el("td.metric", el("div.measure", el("span.number", figures), bar(scale, value, low, high)));
}

function seedsCell({over_seeds: over, by_seed: bySeed, board}, scale) {
  if (!over) return el("td.number.none", {text: "–"});
  const [low, middle, high] = over;
  const dots = scale ? bar(scale, middle, low, high, "seeds", bySeed[board.metric]) : "";
  return el("td.metric", el("div.measure", el("span.number", el("span.spread", {text: interval(low, high)})), dots));
}

// ---- Drawing

export function drawTable(isOther) {
  if (isOther) wanted = STEP;
  const [boards, columns, entries] = [boardsNow(), columnsNow(), sorted(entriesNow())];
  if (!boards.length) return;
  const scales = scalesOf(columns, boards);
  const {column: sortedBy, way} = sortNow();
  const where = boards.length === 1 ? boardName(boards[0]) : plural(boards.length, "set of rows", "sets of rows");
  const order = `sorted by ${sortedBy.title}, ${way === "up" ? "ascending" : "descending"}`;
  find("#board caption").textContent = `${where}: ${countOf(entries.length)}, ${order}`;
  find("#board thead").replaceChildren(el("tr", columns.map(column => headCell(column, scales.get(column.key)))));
  const shown = entries.slice(0, wanted);
  const isBreak = at => sortedBy.key === "rank" && at > 0 && shown[at - 1].order !== shown[at].order;
  const line = (entry, at) =>
    el(
      "tr",
      {class: [isBreak(at) ? "next" : "", entry.rank === 1 ? "best" : ""].join(" ").trim() || null, "data-line": entry.run},
      columns.map(column => cellOf(entry, column, scales.get(column.key))),
    );
  find("#board tbody").replaceChildren(...shown.map(line));
  drawMore(entries.length, shown.length);
  drawCount(entries.length, boards);
  find("#ranking-busy").hidden = !boards.some(board => board.places.some(place => place.busy && isNumber(place.rate)));
  find("#ranking-best").hidden = boards.length !== 1;
  find("#ranking-several").hidden = boards.length < 2;
  fitTable();
}

function headCell(column, scale) {
  const {column: sortedBy, way} = sortNow();
  const isSorted = sortedBy.key === column.key;
  const arrow = el("span.arrow", {"aria-hidden": "true"}, isSorted ? (way === "up" ? "↑" : "↓") : "");
  const props = {class: "sort", "data-key": column.key, title: `Sort by ${column.title}`};
  return el(
    `th.${isText(column) ? "text" : "number"}.${column.key === "model" || column.key === "rank" ? column.key : "other"}`,
    {scope: "col", "aria-sort": isSorted ? (way === "up" ? "ascending" : "descending") : "none"},
    el("div.head", button([el("span", {text: column.title}), arrow], () => sortBy(column.key), props), tipButton(column.key)),
    column.kind === "metric" && column.better === "lower" ? el("span.lower", {text: "lower is better"}) : "",
    scale ? el("div.measure", axis(scale)) : "",
  );
}

function sortBy(key) {
  const {column, way} = sortNow();
  const next = column.key !== key ? firstWay(COLUMN_OF.get(key)) : way === "up" ? "down" : "up";
  choose({sort: key === "rank" && next === "up" ? "" : `${key} ${next}`});
  find(`#board thead button[data-key="${CSS.escape(key)}"]`)?.focus();
}

function drawMore(all, shown) {
  const show = count => () => {
    wanted = count;
    drawTable();
    find(`#board tbody tr:nth-child(${shown + 1}) button`)?.focus();
  };
  const more = button(`Show ${whole(Math.min(STEP, all - shown))} more`, show(wanted + STEP), {id: "show-more"});
  const rest = button(`Show all ${whole(all)}`, show(Infinity), {id: "show-all", class: "quiet"});
  find("#more").replaceChildren(...(all > shown ? [more, rest] : []));
}

function drawCount(left, boards) {
  const all = sum(boards.map(board => board.places.length));
  const some = left ? `${whole(left)} of ${countOf(all)}; ranks are among all of them` : "No entry matches the filters.";
  find("#count").textContent = left === all ? countOf(all) : some;
  find("#reset").hidden = !(isFiltered() || state.cols || state.sort);
}

/** A table as wide as the page keeps its head in sight; a wider one scrolls in a box of its own. */
export function fitTable() {
  const box = find("#board-box");
  box.classList.remove("fits");
  const fits = find("#board").offsetWidth <= box.clientWidth + 1;
  box.classList.toggle("fits", fits);
  if (fits) box.removeAttribute("tabindex");
  else box.setAttribute("tabindex", "0");
}

/** On paper nothing can be asked for: the ranking has all its entries. */
export function listenToPrint() {
  let before = wanted;
  const show = count => {
    const isCut = entriesNow().length > Math.min(wanted, count);
    [before, wanted] = [wanted, count];
    if (isCut) drawTable();
  };
  addEventListener("beforeprint", () => show(Infinity));
  addEventListener("afterprint", () => show(before));
}

// ---- Filters

export function drawFilters() {
  setOptions(find("#engine"), [["", "all"], ...ENGINES.map(name => [name, name])], engineNow());
  find("#made").value = madeNow();
  find("#made").closest("label").hidden = unique(ENTRIES.map(entry => entry.made)).length < 2 && !madeNow();
  find("#unfiltered").hidden = !isFiltered();
  if (find("#q").value !== state.q) find("#q").value = state.q;
  if (find("#columns").contains(document.activeElement)) return;
  const shown = columnsNow();
  const box = column => el("input", {type: "checkbox", value: column.key, checked: shown.includes(column), onchange: chooseColumns});
  const boxes = COLUMNS.filter(({key}) => key !== "rank" && key !== "model").map(column =>
    el("label", box(column), el("span", {text: column.title})),
  );
  find("#columns fieldset").replaceChildren(find("#columns legend"), ...boxes);
}

function chooseColumns() {
  choose({cols: findAll("#columns input:checked").map(box => box.value).join(",") || "rank"});
}

export function listenToFilters() {
  for (const name of ["q", "engine", "made"])
    find(`#${name}`).addEventListener("input", event => choose({[name]: event.target.value}));
  find("#reset").addEventListener("click", () => {
    choose({q: "", engine: "", made: "", cols: "", sort: ""});
    find("#q").focus();
  });
  for (const form of findAll("form")) form.addEventListener("submit", event => event.preventDefault());
  const columns = find("#columns");
  addEventListener("click", event => {
    if (columns.open && !columns.contains(event.target)) columns.open = false;
  });
  columns.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !columns.open) return;
    columns.open = false;
    find("summary", columns).focus();
  });
}
