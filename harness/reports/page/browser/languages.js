// Languages side by side, and from one to another.
/** Of each language the main rows; of each line the best value there, by backend or by configuration. */
function languageCells(metric, byBackend) {
  const cells = new Map();
  for (const board of Map.groupBy(languageBoards(), one => one.lang).values()) {
    const main = mainBoard(board);
    for (const place of main.places) {
      const entry = ENTRY_OF.get(place.run);
      const value = valueOf(place, metric);
      if (!passes(entry) || !isNumber(value)) continue;
      const name = byBackend ? place.backend : nameOf(place);
      const line = cells.get(name) ?? cells.set(name, new Map()).get(name);
      const kept = line.get(main.lang);
      if (!kept || (isLower(metric) ? value < kept.value : value > kept.value))
        line.set(main.lang, {value, place, board: main});
    }
  }
  return cells;
}

const languageBoards = () => BOARDS.filter(board => board.taskName === (boardNow()?.taskName ?? ""));

function drawLanguages() {
  const board = boardNow();
  const boards = languageBoards();
  if (!board || unique(boards.map(one => one.lang)).length < 2) {
    return fillSection(
      "languages",
      el(
        "p",
        {class: "empty"},
        board ? `${board.taskName} was tested in one language only: ` : "No runs yet. ",
        command("bench run --lang en,ja"),
        " tests in several.",
      ),
    );
  }
  const metric = metricNow(board);
  const byBackend = state.lines !== "all";
  const cells = [...languageCells(metric, byBackend)]
    .map(([name, line]) => ({name, line}))
    .filter(({line}) => byBackend || line.size > 1);
  const langs = unique(boards.map(one => one.lang)).filter(lang => cells.some(({line}) => line.has(lang)));
  const mean = ({line}) => sum([...line.values()].map(cell => cell.value)) / line.size;
  cells.sort((a, b) => (isLower(metric) ? mean(a) - mean(b) : mean(b) - mean(a)));
  const shown = cells.slice(0, 40);
  const values = shown.flatMap(({line}) => [...line.values()].map(cell => cell.value));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const shade = value =>
    most === least ? 1 : isLower(metric) ? (most - value) / (most - least) : (value - least) / (most - least);
  const rows = shown.flatMap(({name, line}) =>
    langs
      .filter(lang => line.has(lang))
      .map(lang => {
        const {value, place} = line.get(lang);
        return {
          lang,
          name,
          value,
          text: decimal(value),
          shade: shade(value),
          low: measured(place, metric)[1],
          high: measured(place, metric)[2],
        };
      }),
  );
  const lines = menu(
    "Lines",
    [
      ["", "backends, each with its best configuration"],
      ["all", "configurations that were run in several languages"],
    ],
    byBackend ? "" : "all",
    value => choose({lines: value}),
  );
  return fillSection(
    "languages",
    el("div", {class: "bar"}, lines),
    note(
      `${titleOf(metric)} (${isLower(metric) ? "lower" : "higher"} is better) on the main rows of each language of ${board.taskName}; the stronger the colour, the better. ${byBackend ? "The best of several configurations flatters a backend that had many. " : ""}Languages differ in their rows: compare down a column.`,
    ),
    rows.length
      ? plot(() => ({chart: "languages", titles: {title: titleOf(metric)}, rows}), "Languages, heat map")
      : el("p", {class: "empty", text: "No row is left by the filters."}),
    cells.length > shown.length ? note(`The first ${shown.length} of ${cells.length} lines.`) : "",
  );
}

// ---- Across languages

function drawTransfer() {
  const task = boardNow()?.task;
  const filled = matrix => matrix.cells.flat().filter(Boolean).length;
  const all = DATA.matrices
    .map((matrix, place) => ({...matrix, place}))
    .filter(matrix => matrix.task === task)
    .sort((a, b) => filled(b) - filled(a));
  if (!all.length) {
    return fillSection(
      "transfer",
      el(
        "p",
        {class: "empty"},
        "No model was trained in one language and tested in another here: ",
        command("bench matrix"),
        " does that.",
      ),
    );
  }
  const chosen = all.find(matrix => String(matrix.place) === state.matrix) ?? all[0];
  const name = matrix => [matrix.backend, titleOf(matrix.metric), matrix.settings].filter(Boolean).join(" · ");
  const rows = transferRows(chosen);
  return fillSection(
    "transfer",
    all.length > 1
      ? el(
          "div",
          {class: "bar"},
          menu(
            "Matrix",
            all.map(matrix => [String(matrix.place), name(matrix)]),
            String(chosen.place),
            place => choose({matrix: place}),
          ),
        )
      : "",
    note(
      `${name(chosen)}. Trained on a row’s language, tested on a column’s. Framed: tested in a training language. Bold: best of its column. ${titleOf(chosen.metric)}: ${isLower(chosen.metric) ? "lower" : "higher"} is better; the stronger the colour, the better.`,
    ),
    plot(() => ({chart: "transfer", titles: {title: null}, rows}), "Across languages, matrix"),
  );
}

function transferRows(matrix) {
  const lower = isLower(matrix.metric);
  const values = matrix.cells
    .flat()
    .filter(cell => isNumber(cell?.value))
    .map(cell => cell.value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return matrix.rows.flatMap((row, down) =>
    matrix.langs.flatMap((lang, across) => {
      const cell = matrix.cells[down][across];
      if (!cell || !isNumber(cell.value)) return [];
      const column = matrix.cells.map(line => line[across]?.value).filter(isNumber);
      const top = lower ? Math.min(...column) : Math.max(...column);
      const shade = most === least ? 1 : (lower ? most - cell.value : cell.value - least) / (most - least);
      const train = row.validation && row.validation !== "own" ? `${row.train} (validated on ${row.validation})` : row.train;
      const below = isNumber(cell.low) ? interval(cell.low, cell.high) : "";
      return [
        {
          train,
          lang,
          value: cell.value,
          text: decimal(cell.value),
          below,
          shade,
          trained: Boolean(cell.trained),
          best: column.length > 1 && cell.value === top,
        },
      ];
    }),
  );
}
