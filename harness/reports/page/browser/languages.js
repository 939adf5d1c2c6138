// Languages side by side, and from one to another.
const languageBoards = () => BOARDS.filter(board => board.taskName === (boardNow()?.taskName ?? ""));

/** Of each language the main rows, and there the best configuration of each backend; by the mean distance from the best. */
function backendGrid(metric) {
  const boards = languageBoards();
  const lines = new Map();
  const mains = [...Map.groupBy(boards, one => one.lang).values()].map(mainBoard);
  for (const main of mains) {
    for (const place of main.places) {
      const value = valueOf(place, metric);
      if (!passes(ENTRY_OF.get(place.run)) || !isNumber(value)) continue;
      const line = lines.get(place.backend) ?? lines.set(place.backend, new Map()).get(place.backend);
      const kept = line.get(main.key);
      if (!kept || (isLower(metric) ? value < valueOf(kept, metric) : value > valueOf(kept, metric))) line.set(main.key, place);
    }
  }
  const found = [...lines].map(([name, places]) => ({name, places}));
  const ranges = rangesOf(mains, found, metric);
  const gap = ({places}) =>
    sum([...places].map(([key, place]) => Math.abs(valueOf(place, metric) - ranges.get(key).best))) / places.size;
  found.sort((a, b) => gap(a) - gap(b));
  return {boards: mains, lines: found};
}

/** The best and the worst value of each column. */
function rangesOf(boards, lines, metric) {
  return new Map(
    boards.map(({key}) => {
      const values = lines.filter(({places}) => places.has(key)).map(({places}) => valueOf(places.get(key), metric));
      const ends = [Math.min(...values), Math.max(...values)];
      const [best, worst] = isLower(metric) ? ends : ends.reverse();
      return [key, {best, worst}];
    }),
  );
}

/** The tables of several languages in LEADERBOARD.md, of the task in sight. */
function sectionsNow() {
  const boards = by(languageBoards(), board => board.key);
  return DATA.by_language
    .map(section => ({...section, boards: section.tables.map(key => boards.get(key))}))
    .filter(section => section.boards.every(Boolean));
}

/** The one that was chosen, or that holds the rows in sight. */
function sectionNow() {
  const all = sectionsNow();
  return (
    all.find(section => section.boards[0].rows === state.section) ??
    all.find(section => section.tables.includes(boardNow().key)) ??
    all[0]
  );
}

/** Lines and their order as in LEADERBOARD.md; with their numbers there, as two may look the same. */
function sectionGrid(section, metric) {
  const lines = section.lines.map(({backend, how, runs}, number) => {
    const kept = runs
      .map((run, column) => [section.tables[column], run && ENTRY_OF.get(run)])
      .filter(([, entry]) => entry && passes(entry) && isNumber(valueOf(entry.place, metric)));
    return {
      name: `${number + 1}. ${isolated(backend)} · ${isolated(how)}`,
      places: new Map(kept.map(([key, entry]) => [key, entry.place])),
    };
  });
  return {boards: section.boards, lines: lines.filter(line => line.places.size)};
}

const sectionName = section => section.boards.map(board => `${board.lang}: ${plural(board.n, "row")}`).join(" · ");

function drawLanguages() {
  const board = boardNow();
  if (!board || unique(languageBoards().map(one => one.lang)).length < 2) {
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
  const section = state.lines === "all" ? sectionNow() : null;
  const {boards, lines} = section ? sectionGrid(section, metric) : backendGrid(metric);
  const shown = lines.slice(0, 40);
  const rows = languageRows(boards, shown, metric);
  return fillSection(
    "languages",
    languageMenus(section),
    languageNote(board, section, metric),
    rows.length
      ? [
          plot(() => ({chart: "languages", titles: {title: titleOf(metric)}, rows}), "Languages, heat map"),
          figures("Languages, all figures", languageColumns(metric), rows),
        ]
      : el("p", {class: "empty", text: "No row is left by the filters."}),
    lines.length > shown.length ? note(`The first ${shown.length} of ${lines.length} lines.`) : "",
  );
}

function languageMenus(section) {
  const all = sectionsNow();
  const kinds = [
    ["", "backends, each with its best configuration"],
    ["all", "every configuration, as in LEADERBOARD.md"],
  ];
  return el(
    "div",
    {class: "bar"},
    all.length ? menu("Lines", kinds, section ? "all" : "", value => choose({lines: value})) : "",
    section && all.length > 1
      ? menu(
          "Rows",
          all.map(one => [one.boards[0].rows, sectionName(one)]),
          section.boards[0].rows,
          value => choose({section: value}),
        )
      : "",
  );
}

function languageNote(board, section, metric) {
  const better = `${titleOf(metric)} (${isLower(metric) ? "lower" : "higher"} is better)`;
  const colour = "the stronger the colour, the better in its column. Languages differ in their rows: compare down a column.";
  const order = "by the mean distance from the best";
  if (!section)
    return note(
      `${better} on the main rows of each language of ${isolated(board.taskName)}; ${colour} Lines stand ${order} of each column. The best of several configurations flatters a backend that had many.`,
    );
  const common = section.common ? `, all with ${section.common}` : "";
  return note(
    `${better}, ${isolated(board.taskName)}, ${sectionName(section)}${common}; ${colour} Lines and order are those of LEADERBOARD.md: ${order} ${titleOf(section.metric)} of each column.`,
  );
}

const languageColumns = metric => [
  ["Model", row => row.name, true],
  ["Language", row => languageName(row.lang), true],
  [titleOf(metric), row => row.text],
  ["95% interval", row => interval(row.low, row.high)],
];

function languageRows(boards, lines, metric) {
  const ranges = rangesOf(boards, lines, metric);
  const shade = (key, value) => {
    const {best, worst} = ranges.get(key);
    return best === worst ? 1 : (value - worst) / (best - worst);
  };
  return lines.flatMap(({name, places}) =>
    boards
      .filter(board => places.has(board.key))
      .map(board => {
        const [value, low, high] = measured(places.get(board.key), metric);
        return {lang: board.lang, name, value, text: decimal(value), shade: shade(board.key, value), low, high};
      }),
  );
}

// ---- Across languages

function drawTransfer() {
  const board = boardNow();
  const filled = matrix => matrix.cells.flat().filter(Boolean).length;
  const near = matrix => Number(matrix.n[matrix.langs.indexOf(board.lang)] === board.n);
  const all = DATA.matrices
    .map((matrix, place) => ({...matrix, place}))
    .filter(matrix => matrix.task === board?.task && matrix.split === board.split)
    .sort((a, b) => near(b) - near(a) || filled(b) - filled(a));
  if (!all.length) {
    return fillSection(
      "transfer",
      el(
        "p",
        {class: "empty"},
        "No model was trained in one language and tested in another here: ",
        command("bench study transfer"),
        " does that.",
      ),
    );
  }
  const chosen = all.find(matrix => String(matrix.place) === state.matrix) ?? all[0];
  const name = matrix =>
    [matrix.backend, titleOf(matrix.metric), matrix.settings, sizesOf(matrix)].filter(Boolean).join(" · ");
  const seeds = chosen.seeds.length > 1 ? ` Of ${chosen.seeds.length} seeds: their mean, the lowest and the highest value.` : "";
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
      `${name(chosen)}. Trained on a row’s language, tested on a column’s. Framed: tested in a training language. Bold: best of its column. ${titleOf(chosen.metric)}: ${isLower(chosen.metric) ? "lower" : "higher"} is better; the stronger the colour, the better.${seeds}`,
    ),
    plot(() => ({chart: "transfer", titles: {title: null}, rows}), "Across languages, matrix"),
    figures("Across languages, all figures", transferColumns(chosen), rows),
  );
}

/** "500 test rows each", or of each language. */
function sizesOf({langs, n, split}) {
  return unique(n).length === 1
    ? `${plural(n[0], `${split} row`)} each`
    : `${split} rows: ${langs.map((lang, place) => `${lang} ${whole(n[place])}`).join(", ")}`;
}

const transferColumns = matrix => [
  ["Trained on", row => row.train, true],
  ["Tested on", row => languageName(row.lang), true],
  [titleOf(matrix.metric), row => `${row.text}${row.best ? ", the best" : ""}`],
  [matrix.seeds.length > 1 ? "Lowest–highest" : "95% interval", row => row.below],
];

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
          best: cell.best,
        },
      ];
    }),
  );
}
