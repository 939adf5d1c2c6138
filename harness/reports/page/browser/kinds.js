// Fine-tune or prompt: the best of either kind on the same rows, and how far that comparison goes.
/** The best row of each kind; null where there is none. Places stand in the order of their ranks. */
const bestOfKinds = board => MADE.map(kind => board.places.find(place => madeOf(place) === kind) ?? null);

function fineTuneOrPrompt(board, common) {
  if (board.places.length < 2) return [];
  const [trained, prompted] = bestOfKinds(board);
  const question = el("strong", {text: "Fine-tune or prompt? "});
  if (!trained || !prompted) return [el("p", {}, question, ...oneKind(board, trained ? "prompted" : "trained"))];
  return [
    el("p", {}, question, ...verdict(board, trained, prompted, common), ` ${board.prompted_sizes}`),
    ...breakEven(board),
    note(reach(board)),
  ];
}

/** These rows hold one kind alone; others of the same language may hold both. */
function oneKind(board, lacking) {
  const other = BOARDS.find(
    one => one.taskName === board.taskName && one.lang === board.lang && !one.outdated && bestOfKinds(one).every(Boolean),
  );
  return [
    `These rows can’t say: nothing was ${lacking} on them.`,
    ...(other
      ? [
          " ",
          el("button", {
            type: "button",
            class: "link",
            onclick: () => choose({task: other.taskName, lang: other.lang, rows: other.rows}),
            text: `The ${rowsName(other)} can`,
          }),
          ".",
        ]
      : []),
  ];
}

/** A rank below the first is that of a row which the tests tell apart from the first; the first is of one of the two kinds. */
function verdict(board, trained, prompted, common) {
  const [first, other] = board.places.indexOf(trained) < board.places.indexOf(prompted) ? [trained, prompted] : [prompted, trained];
  const [one, two] = [`The best ${madeOf(first)} model, ${isolated(first.backend)}${sizeWords(first)},`, `the best ${madeOf(other)} one`];
  const told =
    other.rank === 1
      ? `${one} and ${two} can’t be told apart at the 5% level`
      : other.rank === null
        ? `${one} is better than chance; ${two} is not shown to be`
        : `${one} is better than ${two} at the 5% level`;
  const rank =
    other.rank === 1 || other.rank === null
      ? ""
      : `; rank ${other.rank} of ${rankedOf(board).length}${other.tied ? ", shared" : ""}`;
  return [
    `${told} on these ${plural(board.n, "row")}: ${titleOf(board.metric)} ${withLabels(first, board)} against ${withLabels(other, board)}, of `,
    openButton(other, other.backend),
    ` (${other.size ? `${other.size}; ` : ""}${ownParts(other, common)}${rank}).`,
  ];
}

function withLabels(place, board) {
  const count = place.labelled;
  return figureOf(place, board.metric) + (isNumber(count) ? ` with ${count ? plural(count, "label") : "no labels"}` : "");
}

function figureOf(place, metric) {
  const [value, low, high] = measured(place, metric);
  return `${decimal(value)}${isNumber(low) ? ` (95%: ${interval(low, high)})` : ""}`;
}

/** The best of many ways flatters a kind, and other models may do otherwise. */
function reach(board) {
  const ways = MADE.map(kind => {
    const places = board.places.filter(place => madeOf(place) === kind);
    const names = unique(places.map(place => isolated(place.backend)));
    const said = names.length > 5 ? `${names.slice(0, 5).join(", ")} …` : listed(names);
    return `${places.length > 1 ? "the best of " : ""}${plural(places.length, `${kind} row`)} (${said})`;
  });
  return `That is ${ways.join(" against ")} on one set of rows: other models, prompts or numbers of labels may turn it round.`;
}

const curvesOf = (board, langs = new Set([board.lang])) =>
  DATA.curves
    .filter(curve => board.split === "test" && curve.task === board.task && langs.has(curve.lang))
    .sort((a, b) => Number(b.n === board.n) - Number(a.n === board.n));

/** How many labels it takes, where `bench study curve` found out. */
function breakEven(board) {
  const [curve] = curvesOf(board);
  const link = el("a", {href: "#at=curves", "data-at": "curves", text: "How many labels it takes"});
  return curve ? [el("p", {}, link, `: ${isolated(curve.sentence)}`)] : [];
}

/** In a list of boards: how the kind that is not first does. */
function otherKind(board) {
  const other = bestOfKinds(board).find(place => place && madeOf(place) !== madeOf(board.places[0]));
  if (!other) return "";
  const told =
    other.rank === 1
      ? "can’t be told apart from it"
      : other.rank === null
        ? "not shown to be better than chance"
        : rankWords(other);
  return el("span", {
    class: "note",
    text: ` · best ${madeOf(other)}: ${isolated(other.backend)}${sizeWords(other)} ${figureOf(other, board.metric)}, ${told}`,
  });
}
