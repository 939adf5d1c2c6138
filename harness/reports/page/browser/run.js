// One run in full: figures, errors by label, confidence, training, settings, and where its record lies.
function openRun(run) {
  choose({run}, true);
}

function drawRun() {
  const dialog = find("#run");
  const entry = ENTRY_OF.get(state.run);
  find("#unknown").hidden = Boolean(entry) || !state.run;
  if (!entry) {
    if (state.run) forgetRun();
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

/** An address may name a run of other records. */
function forgetRun() {
  find("#unknown").textContent = plain(`There is no run ${state.run} on this page.`);
  state.run = "";
  history.replaceState(null, "", hashOf(state));
}

function listenToRun() {
  const dialog = find("#run");
  dialog.addEventListener("close", () => {
    dropPlots(dialog);
    dialog.replaceChildren();
    const run = state.run;
    if (run) choose({run: ""});
    [...document.querySelectorAll("#board [data-run]")]
      .find(button => ENTRY_OF.get(run)?.place.run === button.dataset.run)
      ?.focus();
  });
  dialog.addEventListener("click", event => {
    if (event.target === dialog) dialog.close();
  }); // the ground beside it
}

function runContent(entry, run) {
  const {board, place} = entry;
  const details = RUNS[run] ?? {};
  return [
    el(
      "header",
      {},
      el(
        "div",
        {},
        el("p", {class: "note", text: `${boardName(board)} · ${rankWords(place)}`}),
        el("h2", {id: "run-title", tabindex: "-1"}, place.backend),
        el("p", {class: "how", text: place.how}),
      ),
      el("button", {type: "button", class: "quiet close", "aria-label": "Close", onclick: () => find("#run").close()}, "×"),
    ),
    seedMenu(place, run),
    el(
      "div",
      {class: "panes"},
      pane("Figures", figuresOf(entry)),
      pane("Errors", confusionOf(board, details), "confusion"),
      pane("By label", perClass(details), "per_class"),
      pane("Confidence", reliabilityOf(details), "bins"),
      pane("Training", evaluationsOf(details), "evaluations"),
      pane("Settings", settingsOf(entry, details), "settings"),
    ),
    el(
      "footer",
      {class: "bar"},
      details.record ? el("a", {href: details.record, text: "Record of this run"}) : "",
      el("span", {class: "note"}, "On a terminal: ", command(`bench show ${run.split(".").at(-1)}`)),
      el("button", {type: "button", onclick: () => compareFrom(entry, run)}, "Compare with another run"),
    ),
  ];
}

const pane = (title, content, key) =>
  el("section", {class: "pane"}, el("h3", {}, title, " ", key ? tipButton(key, title) : ""), content);

function seedMenu(place, run) {
  if (place.runs.length < 2) return "";
  const choices = place.runs.map((name, index) => [
    name,
    `seed ${place.seeds[index] ?? index}${name === place.run ? " (in the table)" : ""}`,
  ]);
  return el(
    "div",
    {class: "bar"},
    menu("Run", choices, run, name => choose({run: name})),
  );
}

function figuresOf({board, place}) {
  const metrics = unique([...board.headline, ...Object.keys(place.values)]);
  const lines = metrics
    .filter(name => Object.hasOwn(place.values, name))
    .map(name => {
      const [value, low, high] = measured(place, name);
      const seeds =
        place.runs.length > 1
          ? [el("td", {class: "number", text: (own(place.by_seed ?? {}, name) ?? []).map(decimal).join(" · ") || "–"})]
          : [];
      return [
        el("th", {scope: "row"}, titleOf(name), " ", tipButton(name, titleOf(name))),
        el("td", {class: "number", text: decimal(value)}),
        el("td", {class: "number", text: interval(low, high) || "–"}),
        ...seeds,
      ];
    });
  const middle =
    place.runs.length > 1
      ? note(`Value and interval are of seed ${place.seeds[place.runs.indexOf(place.run)]}, the run in the middle.`)
      : "";
  return [
    table(
      "Figures",
      ["Metric", "Value", "95% interval", ...(place.runs.length > 1 ? [`Seeds ${place.seeds.join(" · ")}`] : [])],
      lines,
    ),
    middle,
    place.finding ? el("p", {class: "warn", text: `${isolated(place.backend)} ${place.finding}.`}) : "",
    place.tested_on ? note(`It was tested on ${plural(place.tested_on, "row")}; these figures are of ${whole(board.n)} of them.`) : "",
  ];
}

// ---- Confidence, training, settings

const RELIABILITY_COLUMNS = [
  ["Confidence", row => interval(row.low, row.high), true],
  ["Its mean", row => decimal(row.confidence)],
  ["Accuracy", row => decimal(row.accuracy)],
  ["Rows", row => whole(row.count)],
];

function reliabilityOf({bins}) {
  if (!bins?.length)
    return el("p", {
      class: "empty",
      text: "No probabilities in this record (free answers have none), so confidence can’t be checked.",
    });
  const rows = bins
    .map(([low, high, confidence, accuracy, count]) => ({low, high, confidence, accuracy, count}))
    .filter(row => row.count);
  return [
    plot(() => ({chart: "reliability", rows}), "Reliability diagram"),
    note("On the dashed line a confidence is right on average; below it the model is too sure of itself."),
    figures("Reliability, all figures", RELIABILITY_COLUMNS, rows),
  ];
}

function evaluationsOf(details) {
  const {evaluations} = details;
  if (!evaluations?.length) return el("p", {class: "empty", text: "It was not evaluated during training, or not trained."});
  const keys = unique(["step", "epoch", "loss", ...evaluations.flatMap(Object.keys)]).filter(key =>
    evaluations.some(one => isNumber(one[key])),
  );
  const shown = (key, value) =>
    !isNumber(value) ? "–" : Number.isInteger(value) ? whole(value) : key === "epoch" ? value.toFixed(1) : decimal(value);
  const all = details.evaluations_of
    ? note(`${evaluations.length} of ${plural(details.evaluations_of, "evaluation")}, evenly spaced.`)
    : "";
  const best = evaluations.some(one => one.step === details.best_step) ? note("Bold: the step that was kept.") : "";
  return [
    all,
    best,
    table(
      "Evaluations during training",
      keys.map(key => titleOf(key)),
      evaluations.map(one =>
        keys.map(key =>
          el("td", {class: one.step === details.best_step ? "number right" : "number", text: shown(key, one[key])}),
        ),
      ),
      0,
    ),
  ];
}

function settingsOf({place}, details) {
  const flat = (value, name) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key))
      : [[name, value]];
  const said = value =>
    Array.isArray(value)
      ? value.map(said).join(", ")
      : value === null || value === undefined
        ? "–"
        : typeof value === "object"
          ? JSON.stringify(value)
          : String(value);
  const own = [
    ["engine", place.engine],
    ["model", place.model],
    ["size", place.size || null],
    ["prompt", place.prompt],
    ["decoding", place.decoding],
    ["solved examples in the prompt", place.exemplars],
    ["training languages", place.train_langs],
    ["validation languages", place.validation_langs],
    ["training rows", place.train_count],
    ["labels that people gave", place.labelled],
    ["machine", place.machine],
    ["load when it ended", place.load],
    ["rows/s", isNumber(place.rate) ? `${rate(place.rate)}${dagger(place)}` : null],
    ["time of one row", latencyWords(place)],
    ["cost", costWords(place)],
    ["†", place.busy && isNumber(place.rate) ? "the machine was busy: too slow, and too dear where time is what costs" : null],
    ["how it is reckoned", place.cost_basis],
    ["finished", place.finished],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "" && said(value) !== "");
  return el(
    "dl",
    {class: "settings"},
    [...own, ...flat(details.settings ?? {}, "")].map(([name, value]) =>
      el("div", {}, el("dt", {text: name}), el("dd", {text: said(value)})),
    ),
  );
}
