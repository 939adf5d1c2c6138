// The answer in words: who is first, who can't be told apart from it, and which of these is cheapest and fastest.
function drawAnswer() {
  const boards = boardsNow();
  const answer = find("#answer");
  if (!boards.length) {
    answer.replaceChildren(
      el("p", {class: "lead"}, "There are no runs yet. Begin with ", el("code", {text: "bench run"}), "."),
    );
    return;
  }
  if (boards.length === 1) {
    answer.replaceChildren(...answerOf(boards[0]));
    return;
  }
  const shown = boards.slice(0, 12);
  const left = boards.length - shown.length;
  const items = shown.map(board => {
    const [first] = board.places;
    const tied = board.places.filter(place => place.rank === 1).length - 1;
    return el(
      "li",
      {},
      el("button", {
        type: "button",
        class: "link where",
        onclick: () => choose({task: board.taskName, lang: board.lang, rows: board.rows}),
        text: boardName(board),
      }),
      el("strong", {text: first.backend}),
      ` ${first.how}`,
      el("span", {class: "note", text: ` · ${valueWords(first, board.metric)} · ${tiedWords(tied, board.places.length - 1)}`}),
    );
  });
  answer.replaceChildren(
    el("p", {class: "lead", text: `${plural(boards.length, "set")} of rows, each with a ranking of its own:`}),
    el("ul", {class: "answers"}, items),
    left ? el("p", {class: "note", text: `… and ${left} more, in the table below.`}) : "",
  );
}

function valueWords(place, metric) {
  const [value, low, high] = measured(place, metric);
  return `${titleOf(metric)} ${decimal(value)}${isNumber(low) ? ` (95%: ${interval(low, high)})` : ""}`;
}

function tiedWords(tied, others) {
  if (!others) return "nothing else was run on these rows";
  if (!tied) return others === 1 ? "the other one is worse" : `all ${others} others are worse`;
  return `${tied} of ${others} ${others === 1 ? "other" : "others"} can’t be told apart from it`;
}

function answerOf(board) {
  const first = board.places[0];
  const level = board.places.filter(place => place.rank === 1);
  const rest = board.places.length - level.length;
  const value = measured(first, board.metric);
  const lead = el(
    "p",
    {class: "lead"},
    openButton(first, el("strong", {text: first.backend})),
    `, ${first.how}, has the best ${titleOf(board.metric)}: `,
    el("strong", {class: "figure", text: decimal(value[0])}),
    ...(isNumber(value[1])
      ? [" (95% interval ", el("span", {class: "nowrap", text: `${interval(value[1], value[2])}).`})]
      : ["."]),
  );
  return [
    lead,
    el("p", {}, levelWords(board, level, rest)),
    thrift(level),
    board.few
      ? el("p", {class: "warn", text: `Few rows: ${board.few}. Intervals are wide, and tests miss differences that matter.`})
      : "",
  ].filter(Boolean);
}

function levelWords(board, level, rest) {
  if (board.places.length === 1) return "Nothing else was run on these rows, so there is nothing to compare it with.";
  if (level.length === 1)
    return `At the 5% level it is better than ${rest === 1 ? "the other one" : `each of the other ${rest}`} on the same ${whole(board.n)} rows.`;
  const others = level.slice(1);
  const names = unique(others.map(place => place.backend));
  const said = `${others.length === 1 ? "One other" : `${whole(others.length)} others`} can’t be told apart from it at the 5% level on these ${whole(board.n)} rows: ${listed(names.slice(0, 6))}${names.length > 6 ? " …" : ""}.`;
  return rest ? `${said} ${rest === 1 ? "One is" : `${whole(rest)} are`} worse.` : said;
}

/** Among those that can't be told apart, price and speed decide. */
function thrift(level) {
  if (level.length < 2) return null;
  const most = (places, key) => places.reduce((best, place) => (key(place) > key(best) ? place : best));
  const rated = level.filter(place => isNumber(place.rate));
  const fast = onOneMachine(rated);
  const cheap = level.filter(place => isNumber(place.cost));
  const facts = [];
  const fact = (label, place, text) =>
    facts.push(
      el(
        "div",
        {},
        el("dt", {text: label}),
        el("dd", {}, openButton(place, place.backend), ` ${place.how}`, el("span", {class: "figure", text})),
      ),
    );
  if (fast.length > 1) {
    const place = most(fast, one => one.rate);
    fact(
      fast.length === rated.length ? "Fastest of these" : `Fastest of the ${fast.length} on ${place.machine}`,
      place,
      `${rate(place.rate)} rows/s`,
    );
  }
  if (cheap.length > 1) {
    const place = most(cheap, one => -one.cost);
    fact("Cheapest of these", place, `${dollars(place.cost)} per 1,000 rows`);
  }
  const known = level.filter(place => isNumber(place.labelled));
  const least = Math.min(...known.map(place => place.labelled));
  const lean = known.filter(place => place.labelled === least);
  if (lean.length < known.length) {
    const too = lean.length - 1;
    fact(
      "Fewest labels of these",
      lean[0],
      `${plural(least, "label")}${too ? `, as ${too === 1 ? "one other" : `${whole(too)} others`}` : ""}`,
    );
  }
  return facts.length ? el("dl", {class: "facts"}, facts) : null;
}

function openButton(place, content) {
  return el("button", {type: "button", class: "link", onclick: () => openRun(place.run)}, content);
}
