// What stands in a cell of the ranking.
function rankCell({place}) {
  return el(
    "td",
    {class: "rank number"},
    place.rank === null ? el("span", {title: place.finding, text: UNRANKED}) : String(place.rank),
    place.tied ? el("span", {class: "tie", title: "shares this rank"}, "=") : "",
  );
}

function modelCell({place}) {
  return el(
    "th",
    {scope: "row", class: "model"},
    el("button", {type: "button", class: "link", "data-run": place.run, onclick: () => openRun(place.run)}, place.backend),
    el("span", {class: "how", text: place.how}),
  );
}

function metricCell(entry, column, scale) {
  const [value, low, high] = measured(entry.place, column.metric);
  if (!isNumber(value)) return el("td", {class: "number none", text: "–"});
  return el(
    "td",
    {class: "metric"},
    el(
      "div",
      {class: "measure"},
      el(
        "span",
        {class: "number"},
        el("span", {class: "value", text: decimal(value)}),
        el("span", {class: "range", text: interval(low, high)}),
      ),
      bar(scale, value, low, high),
    ),
  );
}

const seedsOf = entry => entry.place.over_seeds?.[entry.board.metric] ?? null;

function seedsCell(entry, column, scale) {
  const found = seedsOf(entry);
  if (!found) return el("td", {class: "number none", text: "–"});
  const [low, middle, high] = found;
  return el(
    "td",
    {class: "metric"},
    el(
      "div",
      {class: "measure"},
      el("span", {class: "number"}, el("span", {class: "spread", text: interval(low, high)})),
      scale ? bar(scale, middle, low, high, "seeds", own(entry.place.by_seed ?? {}, entry.board.metric)) : "",
    ),
  );
}

/** A dagger where others were at work on the machine: the rate is then too low, and what the time costs too high. */
const busyMark = (place, words) =>
  place.busy ? el("span", {class: "busy", title: `the machine was busy: ${words}`, text: dagger(place)}) : "";

const rateCell = ({place}) => [rate(place.rate), isNumber(place.rate) ? busyMark(place, "the rate is too low") : ""];

/** A prompted model may answer what can't be read; for the others there is nothing to count. */
const statusCell = key => entry => entry.place.prompt || entry.place[key] ? share(entry.place[key]) : "–";

/** What was timed, and where: that may have been another machine. */
function latencyCell({place}) {
  return isNumber(place.p95_ms) ? el("span", {title: place.p95_basis, text: rate(place.p95_ms)}) : "–";
}

function costCell({place}) {
  return isNumber(place.cost)
    ? [dollars(place.cost).slice(1), busyMark(place, "the cost is too high, if it is that of the time")]
    : el("span", {class: "none", title: place.cost_basis ?? "not known"}, "–");
}

// ---- The same in words, for the details of a run

function latencyWords({p50_ms: half, p95_ms: most, p95_basis: basis}) {
  if (!isNumber(half)) return null;
  return `half within ${rate(half)} ms${isNumber(most) ? `, 95% within ${rate(most)} ms` : ""} (${basis})`;
}

function costWords(place) {
  const {cost, cost_parts: parts} = place;
  if (!isNumber(cost)) return null;
  const [inference, training] = parts ?? [];
  return `${dollars(cost)}${dagger(place)} per 1,000 rows${training ? `: inference ${dollars(inference)}, training ${dollars(training)}` : ""}`;
}
