// Which boards (sets of test rows) and which rows of them the reader looks at.
const RUNS = DATA.runs;
const BOARDS = DATA.tables.map(table => ({
  ...table,
  taskName: table.split === "test" ? table.task : `${table.task} (${table.split})`,
}));
const MADE = ["trained", "prompted"];
const madeOf = place => (place.prompt ? "prompted" : "trained");
const ENTRIES = BOARDS.flatMap(board =>
  board.places.map(place => ({
    board,
    place,
    key: `${board.key}/${place.run}`,
    search: [
      place.backend,
      place.engine,
      place.how,
      place.prompt,
      place.decoding,
      place.machine,
      madeOf(place),
      ...place.runs.map(run => run.split(".").at(-1)),
    ]
      .filter(Boolean)
      .join(" ")
      .toLowerCase(),
  })),
);
const ENTRY_OF = new Map(ENTRIES.flatMap(entry => entry.place.runs.map(run => [run, entry])));
const TASKS = unique(BOARDS.map(board => board.taskName));
const ENGINES = unique(ENTRIES.map(entry => entry.place.engine)).sort();

/** Of several sets of rows of a language, those to choose a model on; of outdated ones the first is the newest. */
const mainBoard = boards => boards.find(board => board.main) ?? boards[0];

/** In the place of a rank, of what is not shown to be better than chance. */
const UNRANKED = "‡";
const NOBODY = "no model is shown to be better than always answering one label";
const rankedOf = board => board.places.filter(place => place.rank !== null);
const rankWords = place => (place.rank === null ? "no rank" : `rank ${place.rank}${place.tied ? ", shared" : ""}`);
/** What follows the number of those without a rank. */
const unrankedWords = count =>
  `${whole(count)} more ${count === 1 ? "is" : "are"} not shown to be better than always answering one label`;

const engineNow = () => (ENGINES.includes(state.engine) ? state.engine : ""); // an address may name one that is not here
const madeNow = () => (MADE.includes(state.made) ? state.made : "");
const isFiltered = () => Boolean(state.q || engineNow() || madeNow());
const taskNow = () => (state.task === "*" || TASKS.includes(state.task) ? state.task : (TASKS[0] ?? ""));
const boardsOfTask = () => BOARDS.filter(board => taskNow() === "*" || board.taskName === taskNow());
const languagesNow = () => unique(boardsOfTask().map(board => board.lang));

function langNow() {
  const known = languagesNow();
  return taskNow() === "*" || state.lang === "*" ? "*" : known.includes(state.lang) ? state.lang : (known[0] ?? "");
}

const boardsOfLang = () => boardsOfTask().filter(board => langNow() === "*" || board.lang === langNow());

/** The boards in sight: one, unless the reader asked for all languages, tasks or sets of rows. */
function boardsNow() {
  const boards = boardsOfLang();
  if (state.rows === "*") return boards;
  const chosen = boards.filter(board => board.rows === state.rows);
  if (chosen.length) return chosen;
  const groups = Map.groupBy(boards, board => `${board.taskName}\n${board.lang}`);
  return [...groups.values()].map(mainBoard);
}

/** Whether a row is left by the filters, wherever it stands. */
function passes(entry) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const {place} = entry;
  if ((engineNow() && place.engine !== engineNow()) || (madeNow() && madeOf(place) !== madeNow())) return false;
  return words.every(word => entry.search.includes(word));
}

function entriesNow() {
  const keys = new Set(boardsNow().map(board => board.key));
  return ENTRIES.filter(entry => keys.has(entry.board.key) && passes(entry));
}

/** No two places of a board have the same name: harness/records/names.py sees to that. */
const nameOf = place => `${isolated(place.backend)} · ${isolated(place.how)}`;
/** `500 rows`, and where the language has other rows too, the day of the last run on these. */
const rowsName = board =>
  plural(board.n, "row") + (board.when ? ` (${board.outdated ? "outdated; " : ""}last run ${board.when})` : "");
const boardName = board => `${isolated(board.taskName)}, ${isolated(languageName(board.lang))}, ${rowsName(board)}`;

const busyOf = places => places.filter(place => place.busy && isNumber(place.rate));
/** To follow a rate or a price of a run whose machine had more to do than that run. */
const dagger = place => (place.busy ? "†" : "");
/** How many were timed on a busy machine, and what that does to their figures. */
function busyWords(places) {
  const [busy, rated] = [busyOf(places), places.filter(place => isNumber(place.rate))];
  return busy.length
    ? `† ${whole(busy.length)} of ${plural(rated.length, "row")} timed on a busy machine: undisturbed they would be faster, and cheaper where time is what costs.`
    : "";
}

/** Those of the machine that most ran on: rates of unlike machines can't be compared. */
function onOneMachine(places) {
  const machines = Map.groupBy(places, place => place.machine);
  return [...machines.values()].reduce((most, some) => (some.length > most.length ? some : most), []);
}

const measured = (place, metric) => own(place.values, metric) ?? [];
const valueOf = (place, metric) => measured(place, metric)[0] ?? null;

// ---- The question: three menus in a sentence

function drawQuestion() {
  const options = (select, choices, value) => {
    select.replaceChildren(...choices.map(([key, text]) => el("option", {value: key, text, selected: key === value})));
    select.value = value;
    select.disabled = choices.length < 2;
  };
  const several = (name, choices) => (choices.length > 1 ? [["*", name], ...choices] : choices);
  options(
    find("#task"),
    several(
      "all tasks",
      TASKS.map(name => [name, name]),
    ),
    taskNow(),
  );
  const languages = languagesNow().map(code => [code, languageWords(code)]);
  options(find("#lang"), taskNow() === "*" ? [["*", "all languages"]] : several("all languages", languages), langNow());
  const boards = boardsOfLang();
  const chosen = boardsNow();
  const each = Map.groupBy(boards, board => `${board.taskName}\n${board.lang}`);
  const choices =
    each.size === 1
      ? boards.map(board => [board.rows, `${rowsName(board)}${sizeTwice(boards, board) ? ` (${board.rows})` : ""}`])
      : [["", "the main rows of each"]];
  options(
    find("#rows"),
    boards.length > each.size ? [...choices, ["*", "all sets of rows"]] : choices,
    state.rows === "*" ? "*" : each.size === 1 && chosen[0] ? chosen[0].rows : "",
  );
}

const sizeTwice = (boards, board) => boards.filter(other => other.n === board.n).length > 1;

function languageWords(code) {
  const name = languageName(code);
  return name === code ? code : `${name} (${code})`;
}

function listenToQuestion() {
  find("#task").addEventListener("change", event => choose({task: event.target.value, rows: "", a: "", b: ""}));
  find("#lang").addEventListener("change", event => choose({lang: event.target.value, rows: "", a: "", b: ""}));
  find("#rows").addEventListener("change", event => choose({rows: event.target.value, a: "", b: ""}));
}
