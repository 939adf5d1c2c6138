// Quality against cost and speed, and the front of those that nothing beats in both.
/** Marks the rows that no other row beats: at least as good in both, and better in one. */
function withFront(rows, lessIsBetter, lowerIsBetter) {
  const good = row => [lowerIsBetter ? -row.value : row.value, lessIsBetter ? -row.x : row.x];
  const beats = (a, b) => a[0] >= b[0] && a[1] >= b[1] && (a[0] > b[0] || a[1] > b[1]);
  const points = rows.map(good);
  return rows.map((row, place) => ({...row, front: !points.some(other => beats(other, points[place]))}));
}

function qualityRows(entries, metric, key, lessIsBetter) {
  const names = namesOf(entries);
  const rows = entries
    .filter(({place}) => isNumber(place[key]) && place[key] > 0 && isNumber(valueOf(place, metric)))
    .map(({key: id, place}) => {
      const [value, low, high] = measured(place, metric);
      return {name: place.backend, how: place.how, engine: place.engine, value, low, high, x: place[key], key: names.get(id)};
    });
  return withFront(rows, lessIsBetter, isLower(metric));
}

function drawQuality() {
  const board = boardNow();
  if (!board) return fillSection("quality", note("No runs yet."));
  const entries = entriesNow().filter(entry => entry.board.key === board.key);
  const metric = metricNow(board);
  const better = isLower(metric) ? "lower" : "higher";
  const kinds = [
    ["cost", "US dollars per 1,000 rows", "Against cost", true],
    ["rate", "rows per second", "Against throughput", false],
  ];
  const machines = unique(entries.filter(entry => isNumber(entry.place.rate)).map(entry => entry.place.machine)).sort();
  const panels = kinds.map(([key, words, title, less]) => qualityPanel({entries, metric, key, words, title, less}));
  return fillSection(
    "quality",
    el(
      "div",
      {class: "bar"},
      metricMenu(board),
      machines.length > 1
        ? menu(
            "Machine (throughput)",
            machines.map(name => [name, name]),
            machineNow(entries),
            machine => choose({machine}),
          )
        : "",
    ),
    note(
      `${boardName(board)}. The line joins what nothing else in sight beats in both (the Pareto front); filters change it. ${titleOf(metric)}: ${better} is better. Both axes below are logarithmic.`,
    ),
    el("div", {class: "two"}, panels),
  );
}

/** Rates of unlike machines can't be compared: the one chosen, or the one that most rows ran on. */
function machineNow(entries) {
  const rated = entries.map(entry => entry.place).filter(place => isNumber(place.rate));
  return rated.some(place => place.machine === state.machine) ? state.machine : onOneMachine(rated)[0]?.machine;
}

function qualityPanel({entries, metric, key, words, title, less}) {
  const machine = machineNow(entries);
  const rows = qualityRows(
    key === "rate" ? entries.filter(entry => entry.place.machine === machine) : entries,
    metric,
    key,
    less,
  );
  const left = entries.length - rows.length;
  if (!rows.length)
    return el(
      "figure",
      {},
      el("figcaption", {}, el("strong", {text: title})),
      el("p", {class: "empty"}, emptyQuality(entries, key)),
    );
  const chart = `quality${isLower(metric) ? "_lower" : ""}${less ? "_less" : ""}`;
  const place = plot(() => ({chart, titles: {x: words, y: titleOf(metric)}, rows}), `${title}, chart`);
  const front = rows.filter(row => row.front).sort((a, b) => (less ? a.x - b.x : b.x - a.x));
  return el(
    "figure",
    {},
    el(
      "figcaption",
      {},
      el("strong", {text: title}),
      el("span", {
        text: `${less ? "" : `on ${machine}: `}${isLower(metric) ? "down" : "up"} and to the ${less ? "left" : "right"} is better`,
      }),
    ),
    place,
    el("details", {}, el("summary", {text: `On the front: ${plural(front.length, "row")}`}), frontList(front, key, metric)),
    left
      ? note(
          `${plural(left, "row")} of ${entries.length} ${left === 1 ? "is" : "are"} not drawn. `,
          key === "cost"
            ? emptyQuality(
                entries.filter(entry => !isNumber(entry.place.cost)),
                key,
              )
            : `They have no rate, or were run on another machine than ${machine}.`,
        )
      : "",
  );
}

function frontList(front, key, metric) {
  const shown = value => (key === "cost" ? `${dollars(value)} per 1,000 rows` : `${rate(value)} rows/s`);
  return el(
    "ul",
    {},
    front.map(row => el("li", {text: `${row.name} · ${row.how}: ${titleOf(metric)} ${decimal(row.value)}, ${shown(row.x)}`})),
  );
}

function emptyQuality(entries, key) {
  if (!entries.length) return "No row is left by the filters.";
  if (key === "rate") return "No rate was measured for these rows.";
  const reasons = unique(entries.map(entry => entry.place.cost_basis).filter(Boolean));
  return reasons.length ? `No cost: ${reasons.slice(0, 3).join("; ")}.` : "No cost is known for these rows.";
}
