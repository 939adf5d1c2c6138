// What is drawn anew when something changes, and the way about the page.
import {listenToCharts, listenToTheme} from "./charts.js";
import {BOARDS, boardName} from "./data.js";
import {drawDiffer} from "./differ.js";
import {button, el, find, findAll, note} from "./dom.js";
import {plural} from "./format.js";
import {drawLanguages} from "./languages.js";
import {drawQuality} from "./quality.js";
import {drawRun, listenToRun, openRun} from "./run.js";
import {boardsNow, drawQuestion, listenToQuestion} from "./scope.js";
import {addSection, drawSections, goTo, later} from "./sections.js";
import {choose, onChange, readAddress} from "./state.js";
import {drawCurves, drawPrompts, drawTransfer} from "./studies.js";
import {drawFilters, drawTable, fitTable, listenToFilters, listenToPrint} from "./table.js";
import {listenToTips} from "./tips.js";

const MOST_ANSWERS = 12;

/** The answers are part of the page: of one board in full, of several a line each. */
function drawAnswer() {
  const boards = boardsNow();
  const part = (kind, board) => find(`#${kind}-${board.key}`).content.cloneNode(true);
  const choice = ({task, lang, rows}) => ({class: "link where", "data-task": task, "data-lang": lang, "data-rows": rows});
  const line = board => el("li", button(boardName(board), null, choice(board)), part("line", board));
  const left = boards.length - MOST_ANSWERS;
  const many = [
    el("p.lead", {text: `${plural(boards.length, "set")} of rows, each with its own ranking:`}),
    el("ul.answers", boards.slice(0, MOST_ANSWERS).map(line)),
    left > 0 ? note(`… and ${left} more, in the table below.`) : "",
  ];
  if (boards.length) find("#answer").replaceChildren(...(boards.length > 1 ? many : [part("answer", boards[0])]));
}

/** Which parts depend on what was changed. */
function draw(changed) {
  const has = (...names) => names.some(name => changed.includes(name));
  const isOtherBoard = has("task", "lang", "rows");
  const isOther = isOtherBoard || has("engine", "made", "q");
  if (isOtherBoard) drawQuestion();
  if (isOtherBoard) drawAnswer();
  if (isOther || has("cols", "sort")) drawFilters();
  if (isOther || has("cols", "sort")) drawTable(isOther);
  if (has("run")) drawRun();
  if (isOther || has("metric", "machine")) later("quality");
  if (isOther || has("metric", "lines", "section")) later("languages");
  if (isOtherBoard) later("prompts", "curves");
  if (isOtherBoard || has("matrix")) later("transfer");
  if (isOtherBoard || has("a", "b", "kind")) later("differ");
}

/** What the page's own links and buttons name: a section, a run, a board. */
function listenToLinks() {
  document.addEventListener("click", event => {
    const link = event.target.closest("[data-at], [data-open], [data-rows]");
    if (link?.dataset.at) {
      event.preventDefault();
      goTo(link.dataset.at);
    } else if (link?.dataset.open) openRun(link.dataset.open);
    else if (link) choose({task: link.dataset.task, lang: link.dataset.lang, rows: link.dataset.rows});
  });
  // A click anywhere in an entry opens it, but for one that marks text or is meant for something else.
  find("#board").addEventListener("click", event => {
    const line = event.target.closest("[data-line]");
    if (line && !event.target.closest("a, button, summary") && !String(getSelection())) openRun(line.dataset.line);
  });
}

function start() {
  addSection("quality", drawQuality);
  addSection("languages", drawLanguages);
  addSection("transfer", drawTransfer);
  addSection("prompts", drawPrompts);
  addSection("curves", drawCurves);
  addSection("differ", drawDiffer);
  onChange(draw);
  listenToTheme();
  listenToCharts(drawSections);
  listenToTips();
  listenToQuestion();
  listenToFilters();
  listenToRun();
  listenToPrint();
  listenToLinks();
  for (const part of findAll("#ask, #filters, #board-box")) part.hidden = !BOARDS.length; // without runs they ask in vain
  find("#print").addEventListener("click", () => print());
  addEventListener("hashchange", readAddress);
  addEventListener("resize", fitTable);
  readAddress();
  const at = new URLSearchParams(location.hash.slice(1)).get("at");
  if (at) goTo(at);
}

start();
