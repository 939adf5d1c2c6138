// Transfer between languages, prompts and learning curves: charts that come with their words and figures.
import {plot} from "./charts.js";
import {boardName, DATA} from "./data.js";
import {el, figure, menu, table} from "./dom.js";
import {isolated, languageName, plural, unique} from "./format.js";
import {boardNow, boardsNow} from "./scope.js";
import {figuresBox, fillSection} from "./sections.js";
import {choose, state} from "./state.js";

const MOST_BOARDS = 6;

function drawBlock(title, {chart, axis = null, words, rows, figures, table: below, sentence}) {
  return [
    figure(title, words, plot(`${title}, chart`, chart, rows, {title: axis})),
    figuresBox(`${title}, all figures`, figures),
    below ? table(`${title}, table`, below.heads, below.lines, below.texts) : "",
    sentence ? el("p", {text: sentence}) : "",
  ];
}

export function drawPrompts() {
  const boards = boardsNow().filter(board => board.prompts);
  fillSection("prompts", {content: boards.slice(0, MOST_BOARDS).map(board => drawBlock(boardName(board), board.prompts))});
}

export function drawCurves() {
  const boards = boardsNow();
  const place = ({task, lang}) => `${isolated(task)}, ${isolated(languageName(lang))}`;
  const curves = DATA.curves.filter(curve => boards.some(board => board.task === curve.task && board.lang === curve.lang));
  curves.sort((a, b) => Number(b.n === boards[0].n) - Number(a.n === boards[0].n));
  const others = unique(DATA.curves.map(place)).join("; ");
  fillSection("curves", {
    slots: {there: others && `There are curves of ${others}.`},
    content: curves.map(curve => drawBlock(`${place(curve)}, ${plural(curve.n, "test row")}`, curve.block)),
  });
}

/** First the matrix with as many rows as are in sight, and of these the one with most cells. */
export function drawTransfer() {
  const board = boardNow();
  const isNear = matrix => Number(matrix.n[board.lang] === board.n);
  const all = DATA.matrices
    .map((matrix, at) => ({...matrix, at: String(at)}))
    .filter(matrix => matrix.task === board?.task)
    .sort((a, b) => isNear(b) - isNear(a) || b.block.rows.length - a.block.rows.length);
  const chosen = all.find(matrix => matrix.at === state.matrix) ?? all[0];
  const names = all.map(matrix => [matrix.at, matrix.name]);
  fillSection("transfer", {
    controls: [all.length > 1 ? menu("Matrix", names, chosen.at, at => choose({matrix: at})) : ""],
    content: chosen ? drawBlock(chosen.name, chosen.block) : [],
  });
}
