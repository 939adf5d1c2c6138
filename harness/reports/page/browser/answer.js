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
    const ranked = rankedOf(board);
    const [first] = ranked;
    const tied = ranked.filter(place => place.rank === 1).length - 1;
    const where = el("button", {
      type: "button",
      class: "link where",
      onclick: () => choose({task: board.taskName, lang: board.lang, rows: board.rows}),
      text: boardName(board),
    });
    if (!first) return el("li", {}, where, el("span", {class: "note", text: ` ${NOBODY}`}));
    return el(
      "li",
      {},
      where,
      el("strong", {text: isolated(first.backend)}),
      ` ${isolated(first.how)}`,
      el("span", {class: "note", text: ` · ${valueWords(first, board.metric)} · ${tiedWords(tied, ranked.length - 1)}`}),
      otherKind(board),
    );
  });
  answer.replaceChildren(
    el("p", {class: "lead", text: `${plural(boards.length, "set")} of rows, each with a ranking of its own:`}),
    el("ul", {class: "answers"}, items),
    left ? el("p", {class: "note", text: `… and ${left} more, in the table below.`}) : "",
  );
}

const valueWords = (place, metric) => `${titleOf(metric)} ${figureOf(place, metric)}`;

function tiedWords(tied, others) {
  if (!others) return "nothing else that is better than chance was run on these rows";
  if (!tied) return others === 1 ? "the other one is worse" : `all ${others} others are worse`;
  return `${tied} of ${others} ${others === 1 ? "other" : "others"} can’t be told apart from it`;
}

function answerOf(board) {
  const ranked = rankedOf(board);
  if (!ranked.length) return nobody(board);
  const [first] = ranked;
  const level = ranked.filter(place => place.rank === 1);
  const rest = ranked.length - level.length;
  const value = measured(first, board.metric);
  const common = commonParts(board);
  const lead = el(
    "p",
    {class: "lead"},
    openButton(first, el("strong", {text: first.backend})),
    `${sizeWords(first)}, ${ownParts(first, common)}, has the best ${titleOf(board.metric)}: `,
    el("strong", {class: "figure", text: decimal(value[0])}),
    ...(isNumber(value[1])
      ? [" (95% interval ", el("span", {class: "nowrap", text: `${interval(value[1], value[2])}).`})]
      : ["."]),
  );
  return [
    lead,
    el("p", {}, levelWords(board, level, rest, common), unranked(board, ranked.length)),
    common.length ? note(`All rows here with ${isolated(common.join(", "))}.`) : "",
    ...fineTuneOrPrompt(board, common),
    ...thrift(level, common),
    fewWords(board),
    ...board.warnings.map(text => el("p", {class: "warn", text})),
  ].filter(Boolean);
}

/** Nothing that was run is worth a rank. */
const nobody = board =>
  [
    el("p", {class: "lead", text: `On these ${plural(board.n, "row")} ${NOBODY}.`}),
    note("Train longer, tune, or try another model; the column “Finding” says what each one lacks."),
    fewWords(board),
  ].filter(Boolean);

const fewWords = board =>
  board.few
    ? el("p", {class: "warn", text: `Few rows: ${board.few}. Intervals are wide, and tests miss differences that matter.`})
    : "";

const unranked = (board, ranked) => (ranked < board.places.length ? ` ${unrankedWords(board.places.length - ranked)}.` : "");

// ---- Settings that all rows of a board share are named once

/** `how` is a list: its parts stand between commas, but for those within brackets and quotes of a setting's value. */
const partsOf = how =>
  (how.match(/(?:"(?:\\.|[^"\\])*"|\{[^{}]*\}|\[[^[\]]*\]|(?!, ).)+/gs) ?? []).map(part => part.trim());

/** Parts that every row has, without the first: what was trained on, or the prompt. */
function commonParts(board) {
  if (board.places.length < 2) return [];
  const [first, ...others] = board.places.map(place => partsOf(place.how).slice(1));
  return first.filter(part => others.every(parts => parts.includes(part)));
}

const sizeWords = place => (place.size ? ` (${place.size})` : "");

const ownParts = (place, common) =>
  isolated(
    partsOf(place.how)
      .filter((part, number) => !number || !common.includes(part))
      .join(", "),
  );

/** Backends, and in how many ways each: a backend alone says nothing where it is the first one's own, or stands twice. */
function tiedNames([first, ...others], common) {
  const groups = [...Map.groupBy(others, place => place.backend)];
  if (others.length < 4 && groups.some(([name, places]) => name === first.backend || places.length > 1))
    return others.map(place => `${isolated(place.backend)} (${ownParts(place, common)})`);
  const names = groups.map(([name, {length}]) => {
    const other = name === first.backend ? "other " : "";
    return `${isolated(name)}${other || length > 1 ? ` in ${plural(length, `${other}way`)}` : ""}`;
  });
  return names.length > 6 ? [...names.slice(0, 6), plural(names.length - 6, "more backend")] : names;
}

function levelWords(board, level, rest, common) {
  if (board.places.length === 1) return "Nothing else was run on these rows, so there is nothing to compare it with.";
  if (level.length === 1 && !rest) return "Nothing else on these rows has a rank.";
  if (level.length === 1)
    return `At the 5% level it is better than ${rest === 1 ? "the other one" : `each of the other ${rest}`} on the same ${whole(board.n)} rows.`;
  const others = level.slice(1);
  const said = `${others.length === 1 ? "One other" : `${whole(others.length)} others`} can’t be told apart from it at the 5% level on these ${whole(board.n)} rows: ${listed(tiedNames(level, common))}.`;
  return rest ? `${said} ${rest === 1 ? "One is" : `${whole(rest)} are`} worse.` : said;
}

/** Among those that can't be told apart, price and speed decide. */
function thrift(level, common) {
  if (level.length < 2) return [];
  const rated = level.filter(place => isNumber(place.rate));
  const fast = onOneMachine(rated);
  const cheap = level.filter(place => isNumber(place.cost));
  const facts = [];
  const fact = (label, places, key, words) => {
    if (places.length < 2) return;
    const best = Math.min(...places.map(key));
    const [place, ...as] = places.filter(one => key(one) === best);
    if (as.length + 1 === places.length) return; // none of them stands out
    const too = as.length ? `, as ${as.length === 1 ? "one other" : `${whole(as.length)} others`}` : "";
    facts.push(
      el(
        "div",
        {},
        el("dt", {text: label}),
        el(
          "dd",
          {},
          openButton(place, place.backend),
          place === level[0] ? ", the one above" : ` ${ownParts(place, common)}`,
          el("span", {class: "figure", text: `${words(place)}${too}`}),
        ),
      ),
    );
  };
  fact(
    fast.length === rated.length ? "Fastest of these" : `Fastest of the ${fast.length} on ${isolated(fast[0].machine)}`,
    fast,
    one => -one.rate,
    one => `${rate(one.rate)} rows/s${dagger(one)}`,
  );
  fact(
    "Cheapest of these",
    cheap,
    one => one.cost,
    one => `${dollars(one.cost)}${dagger(one)} per 1,000 rows`,
  );
  fact(
    "Fewest labels of these",
    level.filter(place => isNumber(place.labelled)),
    one => one.labelled,
    one => plural(one.labelled, "label"),
  );
  const busy = fast.length > 1 || cheap.length > 1 ? busyWords(level) : "";
  return facts.length ? [el("dl", {class: "facts"}, facts), busy ? note(busy) : ""] : [];
}

function openButton(place, content) {
  return el("button", {type: "button", class: "link", onclick: () => openRun(place.run)}, content);
}
