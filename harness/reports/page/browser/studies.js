// What prompts and labels make of a model.
function drawPrompts() {
  const boards = boardsNow().filter(board => board.spreads.length);
  if (!boards.length) {
    return fillSection(
      "prompts",
      el(
        "p",
        {class: "empty"},
        "No language model was run with two prompts on these rows: ",
        command("bench run --prompt strict,fewshot"),
        " does that.",
      ),
    );
  }
  return fillSection(
    "prompts",
    boards.slice(0, 6).flatMap(board => {
      const metric = board.spreads[0].metric;
      const rows = board.spreads.flatMap(spread =>
        spread.prompts.map(({name, value, low, high, seeds, unread}) => ({
          name: `${isolated(spread.backend)} · ${isolated(spread.how)}`,
          prompt: name,
          value,
          low,
          high,
          seeds,
          unread,
        })),
      );
      const seeded = rows.some(row => row.seeds > 1);
      const place = plot(
        () => ({chart: "prompts", titles: {title: titleOf(metric)}, rows}),
        `Prompts, ${boardName(board)}, chart`,
      );
      return [
        figure(
          boardName(board),
          `one line per model and decoding, one mark per prompt, with ${seeded ? "its 95% interval; dashed, of several seeds: their mean, lowest and highest value" : "95% intervals"}`,
          place,
        ),
        figures(`Prompts one by one, ${boardName(board)}`, promptColumns(metric), rows),
        spreadTable(board),
      ];
    }),
    note(
      "By chance: the range that the sampling of rows (and of exemplars, with several seeds) alone would give if all prompts were equally good. * where the range is larger than that at the 5% level.",
    ),
  );
}

/** Of several seeds no interval of the rows, but the lowest and the highest value. */
const promptColumns = metric => [
  ["Model", row => row.name, true],
  ["Prompt", row => row.prompt, true],
  [titleOf(metric), row => decimal(row.value)],
  ["95% interval", row => (row.seeds > 1 ? `${interval(row.low, row.high)} over ${row.seeds} seeds` : interval(row.low, row.high))],
  ["Not read", row => share(row.unread)],
];

function spreadTable(board) {
  const hasMiddle = spread => spread.prompts.length > 2; // the middle of two would be the worse one
  const withMiddle = board.spreads.some(hasMiddle);
  const heads = ["Model", "Prompts", "Lowest", ...(withMiddle ? ["Middle"] : []), "Highest", "Range", "By chance"];
  const line = spread => [
    el(
      "th",
      {scope: "row", class: "model"},
      el("strong", {text: spread.backend}),
      el("span", {class: "how", text: spread.how}),
    ),
    el("td", {
      class: "several",
      text: spread.prompts
        .map(prompt => `${prompt.name}${prompt.unread ? ` (${share(prompt.unread)} not read)` : ""}`)
        .join(", "),
    }),
    ...[spread.low, ...(withMiddle ? [hasMiddle(spread) ? spread.median : null] : []), spread.high].map(value => el("td", {class: "number", text: decimal(value)})),
    el("td", {class: "number", text: `${decimal(spread.range)}${spread.beyond ? "*" : ""}`}),
    el("td", {class: "number", text: decimal(spread.expected)}),
  ];
  return table(`Prompts on ${boardName(board)}`, heads, board.spreads.map(line), 2);
}

// ---- Learning curves

function drawCurves() {
  const board = boardNow();
  const langs = new Set(boardsNow().map(one => one.lang));
  const curves = board ? curvesOf(board, langs) : [];
  if (!curves.length) {
    const where = unique(DATA.curves.map(curve => `${curve.task} in ${languageName(curve.lang)}`));
    return fillSection(
      "curves",
      el(
        "p",
        {class: "empty"},
        "No learning curve here yet: ",
        command("bench study curve"),
        ` trains on more and more labels until that beats a prompt.${where.length ? ` There are curves for ${listed(where)}, on test rows.` : ""}`,
      ),
    );
  }
  return fillSection(
    "curves",
    curves.map(curve => {
      const title = `${titleOf(curve.metric)} (${isLower(curve.metric) ? "lower" : "higher"} is better)`;
      const rows = curveRows(curve);
      const place = plot(
        () => ({chart: "curve", titles: {title}, rows}),
        `Learning curves, ${curve.task}, ${languageName(curve.lang)}, chart`,
      );
      return [
        figure(
          `${isolated(curve.task)}, ${isolated(languageName(curve.lang))}, ${plural(curve.n, "test row")}`,
          "bands: 95% interval of rows and seeds; small dots: single seeds; circles: where a curve reaches a prompt",
          place,
        ),
        figures(`Learning curves, ${curve.task}, ${languageName(curve.lang)}`, curveColumns(curve.metric), rows),
        el("p", {text: curve.sentence}),
      ];
    }),
  );
}

const POINTS = {trained: "mean of the seeds", seed: "one seed", prompted: "prompted", crossing: "reaches the prompt"};

const curveColumns = metric => [
  ["Model", row => row.name, true],
  ["What", row => POINTS[row.kind], true],
  ["Labels", row => whole(row.labels)],
  [titleOf(metric), row => decimal(row.value)],
  ["95% interval", row => interval(row.low, row.high)],
];

function curveRows(curve) {
  const trained = curve.curves.flatMap(({name, points}) =>
    points.flatMap(point => [
      {name, kind: "trained", labels: point.labels, value: point.value, low: point.low, high: point.high},
      ...(point.by_seed ?? []).map(value => ({name, kind: "seed", labels: point.labels, value})),
    ]),
  );
  const lines = by(curve.lines, line => line.name);
  const prompted = curve.lines.map(({name, labels, value, low, high}) => ({name, kind: "prompted", labels, value, low, high}));
  const crossings = curve.crossings
    .filter(found => isNumber(found.labels) && found.labels > 0 && lines.has(found.line))
    .map(found => ({name: found.curve, kind: "crossing", labels: found.labels, value: lines.get(found.line).value}));
  return [...trained, ...prompted, ...crossings];
}
