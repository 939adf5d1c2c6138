// Which boards and which of their entries the reader looks at; and the question, three menus in a sentence.
import {BOARDS, ENTRIES} from "./data.js";
import {find, setOptions} from "./dom.js";
import {languageName, unique} from "./format.js";
import {choose, state} from "./state.js";

const TASKS = unique(BOARDS.map(board => board.task));
export const ENGINES = unique(ENTRIES.map(entry => entry.engine)).sort();
const MADE = ["trained", "prompted"];

/** The rows to choose a model on; of outdated ones the first is the newest. */
export const mainBoard = boards => boards.find(board => board.main) ?? boards[0];

export const engineNow = () => (ENGINES.includes(state.engine) ? state.engine : ""); // an address may name one that is not here
export const madeNow = () => (MADE.includes(state.made) ? state.made : "");
export const isFiltered = () => Boolean(state.q || engineNow() || madeNow());
const taskNow = () => (state.task === "*" || TASKS.includes(state.task) ? state.task : (TASKS[0] ?? ""));
const boardsOfTask = () => BOARDS.filter(board => taskNow() === "*" || board.task === taskNow());
const languagesNow = () => unique(boardsOfTask().map(board => board.lang));

function langNow() {
  const known = languagesNow();
  return taskNow() === "*" || state.lang === "*" ? "*" : known.includes(state.lang) ? state.lang : (known[0] ?? "");
}

const boardsOfLang = () => boardsOfTask().filter(board => langNow() === "*" || board.lang === langNow());
const byLanguage = boards => Map.groupBy(boards, board => `${board.task}\n${board.lang}`);

/** The boards in sight: one, unless the reader asked for all languages, tasks or sets of rows. */
export function boardsNow() {
  const boards = boardsOfLang();
  if (state.rows === "*") return boards;
  const chosen = boards.filter(board => board.rows === state.rows);
  return chosen.length ? chosen : [...byLanguage(boards).values()].map(mainBoard);
}

/** The board of the charts that compare on the same rows: the only one in sight, or the first. */
export const boardNow = () => boardsNow()[0] ?? null;

export const metricNow = board =>
  board.places.some(place => Object.hasOwn(place.values, state.metric)) ? state.metric : board.metric;

/** Whether the filters leave an entry, on whichever board. */
export function passes(entry) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  if ((engineNow() && entry.engine !== engineNow()) || (madeNow() && entry.made !== madeNow())) return false;
  return words.every(word => entry.search.includes(word));
}

export function entriesNow() {
  const boards = new Set(boardsNow());
  return ENTRIES.filter(entry => boards.has(entry.board) && passes(entry));
}

export function drawQuestion() {
  const fill = (id, choices, value) => {
    setOptions(find(id), choices, value);
    find(id).disabled = choices.length < 2;
  };
  const several = (name, choices) => (choices.length > 1 ? [["*", name], ...choices] : choices);
  fill("#task", several("all tasks", TASKS.map(name => [name, name])), taskNow());
  const languages = languagesNow().map(code => [code, languageName(code) === code ? code : `${languageName(code)} (${code})`]);
  fill("#lang", taskNow() === "*" ? [["*", "all languages"]] : several("all languages", languages), langNow());
  const boards = boardsOfLang();
  const each = byLanguage(boards).size;
  const isTwice = ({size}) => boards.filter(board => board.size === size).length > 1;
  const choices =
    each === 1
      ? boards.map(board => [board.rows, `${board.size}${isTwice(board) ? ` (${board.rows})` : ""}`])
      : [["", "the main rows of each"]];
  const value = state.rows === "*" ? "*" : each === 1 ? (boardNow()?.rows ?? "") : "";
  fill("#rows", boards.length > each ? [...choices, ["*", "all sets of rows"]] : choices, value);
}

export function listenToQuestion() {
  for (const name of ["task", "lang", "rows"])
    find(`#${name}`).addEventListener("change", event => choose({rows: "", a: "", b: "", [name]: event.target.value}));
}
