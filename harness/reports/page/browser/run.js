// One run in full: figures, errors by label, confidence, training, settings, and where its record lies.
import {dropPlots, plot} from "./charts.js";
import {boardName, ENTRY_OF, measured, rankWords, RUNS, titleOf} from "./data.js";
import {button, el, empty, find, findAll, menu, note, table} from "./dom.js";
import {decimal, interval, isNumber, plural, share, sum, unique, whole} from "./format.js";
import {figuresBox, goTo} from "./sections.js";
import {choose, forget, state} from "./state.js";
import {tipButton} from "./tips.js";

const PICTURED = 25; // labels up to which a confusion matrix is a picture
const LISTED = 20; // confusions

export const openRun = run => choose({run}, true);

export function drawRun() {
  const dialog = find("#run");
  const entry = ENTRY_OF.get(state.run);
  find("#unknown").hidden = Boolean(entry) || !state.run;
  if (!entry) {
    if (state.run) find("#unknown").textContent = `There is no run ${state.run} on this page.`; // an address of other records
    if (state.run) forget("run");
    if (dialog.open) dialog.close();
    return;
  }
  const isSeedChosen = dialog.open && dialog.contains(document.activeElement?.closest("select"));
  dropPlots(dialog);
  dialog.replaceChildren(...runContent(entry, state.run));
  if (!dialog.open) dialog.showModal();
  if (!isSeedChosen) dialog.scrollTop = 0;
  find(isSeedChosen ? "#run select" : "#run-title").focus();
}

export function listenToRun() {
  const dialog = find("#run");
  dialog.addEventListener("close", () => {
    dropPlots(dialog);
    dialog.replaceChildren();
    const {run} = state;
    if (run) choose({run: ""});
    const shown = ENTRY_OF.get(run)?.run;
    findAll("#board [data-run]").find(one => one.dataset.run === shown)?.focus();
  });
  dialog.addEventListener("click", event => {
    if (event.target === dialog) dialog.close(); // the ground beside it
  });
}

function compareFrom({board}, run) {
  find("#run").close();
  choose({task: board.task, lang: board.lang, rows: board.rows, a: RUNS[run].answers ? run : "", b: "", run: ""});
  goTo("differ");
}

function runContent(entry, run) {
  const {board} = entry;
  const details = RUNS[run];
  const title = el("h2", {id: "run-title", tabindex: "-1"}, entry.backend);
  const where = el("p.note", {text: `${boardName(board)} · ${rankWords(entry)}`});
  const close = button("×", () => find("#run").close(), {class: "quiet close", "aria-label": "Close"});
  const digits = run.split(".").at(-1);
  return [
    el("header", el("div", where, title, el("p.how", {text: entry.how})), close),
    seedMenu(entry, run),
    el(
      "div.panes",
      pane("Figures", figuresOf(entry)),
      pane("Errors", errorsOf(board, details), "confusion"),
      pane("By label", perClass(details), "per_class"),
      pane("Confidence", reliabilityOf(details), "bins"),
      pane("Training", evaluationsOf(details), "evaluations"),
      pane("Settings", settingsOf(entry, details), "settings"),
    ),
    el(
      "footer.bar",
      el("a", {href: details.record, text: "Record of this run"}),
      note("In a terminal: ", el("code", {text: `bench show ${digits}`})),
      button("Compare with another run", () => compareFrom(entry, run)),
    ),
  ];
}

const pane = (title, content, key) => el("section.pane", el("h3", title, " ", key ? tipButton(key) : ""), content);

function seedMenu({runs, seeds, run: shown}, run) {
  if (runs.length < 2) return "";
  const choices = runs.map((name, at) => [name, `seed ${seeds[at]}${name === shown ? " (in the table)" : ""}`]);
  return el("div.bar", menu("Run", choices, run, name => choose({run: name})));
}

function figuresOf(entry) {
  const {board, runs, seeds, backend} = entry;
  const isSeeded = runs.length > 1;
  const metrics = unique([...board.headline, ...Object.keys(entry.values)]).filter(name => Object.hasOwn(entry.values, name));
  const lines = metrics.map(name => {
    const [value, low, high] = measured(entry, name);
    const head = el("th", {scope: "row"}, titleOf(name), " ", tipButton(name));
    const bySeed = (entry.by_seed?.[name] ?? []).map(decimal).join(" · ") || "–";
    return [head, decimal(value), interval(low, high) || "–", ...(isSeeded ? [bySeed] : [])];
  });
  const heads = ["Metric", "Value", "95% interval", ...(isSeeded ? [`Seeds ${seeds.join(" · ")}`] : [])];
  const {finding} = entry.notes;
  return [
    table("Figures", heads, lines),
    isSeeded ? note("Values are means over the seeds; the intervals are for rows and seeds together.") : "",
    entry.one_seed ? note("One seed: the figures are those of this run. Another seed of the model may differ.") : "",
    finding ? el("p.warn", el("bdi", backend), ` ${finding}.`) : "",
    entry.tested_on ? note(`Tested on ${plural(entry.tested_on, "row")}; these figures are of ${whole(board.n)} of them.`) : "",
  ];
}

// ---- Which labels it takes for which

function errorsOf(board, {confusion: cells, mistakes, mistakes_left_out: left, per_class: classes}) {
  const {labels} = board;
  const tooMany = `${labels.length} labels are too many for a picture.`;
  if (mistakes) {
    const wrong = mistakes.map(([truth, answer, count]) => confused(labels, truth, answer, count, classes[truth]?.[4] || count));
    const rest = left ? note(`${plural(left, "row")} with rarer confusions not listed.`) : "";
    return [note(`${tooMany} The most frequent confusions:`), confusionList(wrong), rest];
  }
  if (!cells) return empty("No confusion matrix for this run.");
  if (board.multilabel) {
    const lines = cells.map(([[tn, fp], [fn, tp]], label) => [labels[label], ...[tp, fp, fn, tn].map(whole)]);
    return table("Errors by label", ["Label", "true positive", "false positive", "false negative", "true negative"], lines);
  }
  const rows = cells.flatMap((row, truth) => {
    const shown = row.some((_, at) => at === labels.length && cells.some(one => one[at])) ? row : row.slice(0, labels.length);
    return shown.map((count, answer) => confused(labels, truth, answer, count, sum(row)));
  });
  const wrong = rows.filter(row => row.truth !== row.answer && row.count).sort((a, b) => b.count - a.count);
  return [
    labels.length <= PICTURED ? plot("Confusion matrix, chart", "confusion", rows) : note(tooMany),
    wrong.length ? el("details", el("summary", {text: "Most frequent confusions"}), confusionList(wrong)) : note("No errors."),
  ];
}

function confused(labels, truth, answer, count, total) {
  const names = {truth: labels[truth], answer: labels[answer] ?? "no answer"};
  return {...names, count, share: total ? count / total : 0, order_truth: truth, order_answer: answer};
}

function confusionList(rows) {
  const words = ({truth, answer, count, share: part}) =>
    `${truth}, answered as ${answer}: ${plural(count, "row")} (${share(part)} of that label)`;
  return el("ol", rows.slice(0, LISTED).map(row => el("li", {text: words(row)})));
}

function perClass({per_class: classes}) {
  if (!classes.length) return empty("No figures by label in this record.");
  const lines = classes.map(([name, precision, recall, f1, support]) => [name, ...[precision, recall, f1].map(decimal), whole(support)]);
  return table("Figures by label", ["Label", "Precision", "Recall", "F1", "Rows"], lines);
}

// ---- Confidence, training, settings

function reliabilityOf({bins}) {
  if (!bins) return empty("This record has no probabilities (free answers have none), so there is no confidence to check.");
  const rows = bins
    .map(([low, high, confidence, accuracy, count]) => ({low, high, confidence, accuracy, count}))
    .filter(row => row.count);
  const lines = rows.map(row => [interval(row.low, row.high), decimal(row.confidence), decimal(row.accuracy), whole(row.count)]);
  return [
    plot("Reliability diagram", "reliability", rows),
    note("On the dashed line, confidence equals accuracy; below it, the model is overconfident."),
    figuresBox("Reliability, all figures", {heads: ["Confidence", "Its mean", "Accuracy", "Rows"], lines}),
  ];
}

function evaluationsOf({evaluations, evaluations_of: all, best_step: best}) {
  if (!evaluations) return empty("Not trained, or not evaluated during training.");
  const known = unique(["step", "epoch", "loss", ...evaluations.flatMap(Object.keys)]);
  const keys = known.filter(key => evaluations.some(one => isNumber(one[key])));
  const isBest = one => one.step === best;
  const shown = (key, value) =>
    Number.isInteger(value) ? whole(value) : key === "epoch" && isNumber(value) ? value.toFixed(1) : decimal(value);
  const line = one => keys.map(key => el(isBest(one) ? "td.number.right" : "td.number", {text: shown(key, one[key])}));
  return [
    all ? note(`${evaluations.length} of ${plural(all, "evaluation")}, evenly spaced.`) : "",
    evaluations.some(isBest) ? note("Bold: the step that was kept.") : "",
    table("Evaluations during training", keys.map(titleOf), evaluations.map(line), 0),
  ];
}

const settingsOf = ({facts}, {settings}) =>
  el("dl.settings", [...facts, ...settings].map(([name, text]) => el("div", el("dt", {text: name}), el("dd", {text}))));
