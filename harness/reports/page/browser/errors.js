// Which labels a run takes for which.
function confusionOf(board, details) {
  const cells = details.confusion;
  if (details.mistakes)
    return [
      note(`${board.labels.length} labels are too many for a picture. The most frequent confusions:`),
      confusionList(confusedPairs(board, details)),
      details.mistakes_left_out
        ? note(`${plural(details.mistakes_left_out, "row")} more ${details.mistakes_left_out === 1 ? "is" : "are"} of rarer confusions.`)
        : "",
    ].filter(Boolean);
  if (!cells) return el("p", {class: "empty", text: "No confusion matrix for this run."});
  if (board.kind === "multilabel") {
    const lines = cells.map(([[tn, fp], [fn, tp]], label) => [
      el("th", {scope: "row", text: board.labels[label]}),
      ...[tp, fp, fn, tn].map(count => el("td", {class: "number", text: whole(count)})),
    ]);
    return table("Errors by label", ["Label", "rightly given", "wrongly given", "missed", "rightly not"], lines);
  }
  const rows = confusionRows(board, cells);
  const grid =
    board.labels.length <= 25
      ? plot(() => ({chart: "confusion", rows}), "Confusion matrix, chart")
      : note(`${board.labels.length} labels are too many for a picture.`);
  const wrong = rows.filter(row => row.truth !== row.answer && row.count).sort((a, b) => b.count - a.count);
  return [
    grid,
    wrong.length
      ? el("details", {}, el("summary", {text: "Most frequent confusions"}), confusionList(wrong))
      : note("No errors."),
  ];
}

const confusionList = rows =>
  el(
    "ol",
    {},
    rows.slice(0, 20).map(row =>
      el("li", {
        text: `${row.truth}, answered as ${row.answer}: ${plural(row.count, "row")} (${share(row.share)} of that label)`,
      }),
    ),
  );

/** Of many labels the payload holds the most frequent mistakes alone. */
function confusedPairs(board, {mistakes, per_class: classes}) {
  return mistakes.map(([truth, answer, count]) => ({
    truth: board.labels[truth],
    answer: board.labels[answer] ?? "no answer",
    count,
    share: count / (classes[truth]?.[4] || count),
  }));
}

function confusionRows(board, cells) {
  const empty = cells.every(row => !row[board.labels.length]);
  const answers = empty ? board.labels : [...board.labels, "no answer"];
  return cells.flatMap((row, truth) => {
    const total = sum(row);
    return answers.map((answer, place) => ({
      truth: board.labels[truth],
      answer,
      count: row[place] ?? 0,
      share: total ? (row[place] ?? 0) / total : 0,
      order_truth: truth,
      order_answer: place,
    }));
  });
}

function perClass({per_class: classes}) {
  if (!classes?.length) return el("p", {class: "empty", text: "No figures by label in this record."});
  const lines = classes.map(([name, precision, recall, f1, support]) => [
    el("th", {scope: "row", text: name}),
    ...[precision, recall, f1].map(value => el("td", {class: "number", text: decimal(value)})),
    el("td", {class: "number", text: whole(support)}),
  ]);
  return table("Figures by label", ["Label", "Precision", "Recall", "F1", "Rows"], lines);
}
