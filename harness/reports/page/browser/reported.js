// Figures of others, and the glossary.
function drawReported() {
  if (!DATA.reported.length)
    return fillSection(
      "reported",
      el(
        "p",
        {class: "empty"},
        "Nothing: put published figures into ",
        command("reported/"),
        " beside ",
        command("runs/"),
        ".",
      ),
    );
  const heads = ["Model", "Task", "Language", "Trained or prompted", "Rows", "Metric", "Reported", "Note"];
  const line = figure => [
    el("th", {scope: "row", text: figure.model}),
    ...[figure.task, figure.lang || "all", figure.train].map(text => el("td", {text: text ?? ""})),
    el("td", {
      text: `${figure.split === "test" ? "" : `${figure.split}, `}${isNumber(figure.n) ? `n = ${whole(figure.n)}` : "n unknown"}`,
    }),
    el("td", {text: titleOf(figure.metric)}),
    el("td", {class: "number", text: figure.shown ?? decimal(figure.value)}),
    el("td", {text: figure.note ?? ""}),
  ];
  return fillSection(
    "reported",
    note("Published figures: on other rows, by other code, and never ranked with what was measured here."),
    DATA.reported.map(source =>
      el(
        "details",
        {class: "source", open: DATA.reported.length < 3},
        el(
          "summary",
          {},
          el("strong", {text: source.name}),
          el("span", {class: "note", text: ` ${plural(source.figures.length, "figure")}`}),
        ),
        el("p", {class: "note", text: `Source: ${source.source}. ${source.note ?? ""}`}),
        table(`Reported by ${source.name}`, heads, source.figures.map(line), 6),
      ),
    ),
  );
}

const TERMS = {
  rank: "Rank",
  how: "What was done",
  split: "Split",
  few: "Few rows (†)",
  p50_ms: "p50, ms",
  validation_langs: "Validated on",
  per_class: "Figures by label",
  bins: "Reliability diagram",
  evaluations: "Evaluations during training",
  answers: "Where two differ",
  spreads: "Prompts",
  matrices: "Across languages",
  curves: "Learning curves",
  reported: "Reported by others",
  pareto: "Pareto front",
};

function drawGlossary() {
  const term = key => own(TERMS, key) ?? COLUMN_OF.get(key)?.title ?? titleOf(key).replaceAll("_", " ");
  const pairs = Object.keys(DATA.explain).map(key => [term(key), DATA.explain[key]]);
  fillSection(
    "glossary",
    el(
      "dl",
      {class: "glossary"},
      pairs.map(([name, text]) => el("div", {}, el("dt", {text: name}), el("dd", {text}))),
    ),
  );
}
