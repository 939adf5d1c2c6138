// Quality against cost and speed, and the front of those that nothing beats in both.
/** Marks the rows that no other row beats: at least as good in both, and better in one. */
function withFront(rows, lessIsBetter, lowerIsBetter) {
  const good = row => [lowerIsBetter ? -row.value : row.value, lessIsBetter ? -row.x : row.x];
  const beats = (a, b) => a[0] >= b[0] && a[1] >= b[1] && (a[0] > b[0] || a[1] > b[1]);
  const points = rows.map(good);
  return rows.map((row, place) => ({...row, front: !points.some(other => beats(other, points[place]))}));
}

/** All that have both; what is at 0 has no place on a logarithmic axis, but it counts for the front. */
function qualityRows(entries, metric, key, lessIsBetter) {
  const rows = entries
    .filter(({place}) => isNumber(place[key]) && isNumber(valueOf(place, metric)))
    .map(({place}) => {
      const [value, low, high] = measured(place, metric);
      return {
        name: place.backend,
        how: place.how,
        engine: place.engine,
        value,
        low,
        high,
        x: place[key],
        key: nameOf(place),
        busy: place.busy,
        place,
      };
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
      `${boardName(board)}. The line joins what nothing else in sight beats in both (the Pareto front); filters change it. ${titleOf(metric)}: ${better} is better. The axes of cost and throughput are logarithmic.`,
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
  const drawn = rows.filter(row => row.x > 0);
  const reasons = notDrawn(entries, rows, metric, key, machine);
  if (!rows.length)
    return el(
      "figure",
      {},
      el("figcaption", {}, el("strong", {text: title})),
      el("p", {class: "empty", text: entries.length ? `Nothing to draw: ${reasons.join(" ")}` : "No row is left by the filters."}),
    );
  const chart = `quality${isLower(metric) ? "_lower" : ""}${less ? "_less" : ""}`;
  const place = drawn.length
    ? plot(() => ({chart, titles: {x: words, y: titleOf(metric)}, rows: drawn.map(pointOf)}), `${title}, chart`)
    : "";
  const busy = busyWords(rows.map(row => row.place));
  const front = rows.filter(row => row.front).sort((a, b) => (less ? a.x - b.x : b.x - a.x));
  return el(
    "figure",
    {},
    el(
      "figcaption",
      {},
      el("strong", {text: title}),
      el("span", {
        text: `${less ? "" : `on ${isolated(machine)}: `}${isLower(metric) ? "down" : "up"} and to the ${less ? "left" : "right"} is better`,
      }),
    ),
    place,
    el("details", {}, el("summary", {text: `On the front: ${plural(front.length, "row")}`}), frontList(front, key, metric)),
    figures(`${title}, all figures`, qualityColumns(metric, words, key), rows),
    busy ? note(busy) : "",
    reasons.length ? note(`Of ${plural(entries.length, "row")} not drawn: ${reasons.join(" ")}`) : "",
  );
}

/** What a chart is given: the tooltip, too, says of a point that it was timed on a busy machine. */
const pointOf = ({place, busy, ...point}) => ({...point, timed: busy ? "† on a busy machine" : ""});

const qualityColumns = (metric, words, key) => [
  ["Model", row => row.name, true],
  ["How", row => row.how, true],
  [titleOf(metric), row => decimal(row.value)],
  ["95% interval", row => interval(row.low, row.high)],
  [words, row => `${key === "cost" ? dollars(row.x) : rate(row.x)}${dagger(row)}`],
  ["Front", row => (row.front ? "yes" : "")],
];

/** Why rows are not drawn, each kind with its number. */
function notDrawn(entries, rows, metric, key, machine) {
  const places = entries.map(entry => entry.place);
  const some = (found, said) => (found.length ? [`${plural(found.length, "row")} ${said(found.length === 1)}.`] : []);
  const missing = places.filter(place => !isNumber(place[key]));
  const bases = unique(missing.map(place => place.cost_basis).filter(Boolean)).slice(0, 3).join("; ");
  return [
    ...some(missing, one =>
      key === "rate" ? `without a measured rate` : `without a known cost${bases ? ` (${bases})` : ""}`,
    ),
    ...(key === "rate"
      ? some(
          places.filter(place => isNumber(place.rate) && place.machine !== machine),
          () => `of another machine than ${machine}`,
        )
      : []),
    ...some(
      places.filter(place => isNumber(place[key]) && !isNumber(valueOf(place, metric))),
      () => `without a value of ${titleOf(metric)}`,
    ),
    ...some(
      rows.filter(row => row.x === 0),
      one =>
        key === "rate"
          ? "at a rate of 0, which has no place on a logarithmic axis"
          : `that ${one ? "costs" : "cost"} nothing, and so ${one ? "has" : "have"} no place on a logarithmic axis`,
    ),
  ];
}

function frontList(front, key, metric) {
  const shown = row =>
    key === "cost" ? `${dollars(row.x)}${dagger(row)} per 1,000 rows` : `${rate(row.x)} rows/s${dagger(row)}`;
  return el(
    "ul",
    {},
    front.map(row => el("li", {text: `${nameOf(row.place)}: ${titleOf(metric)} ${decimal(row.value)}, ${shown(row)}`})),
  );
}
