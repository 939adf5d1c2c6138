// What the sections below the ranking share.
const body = id => find(`#${id} .body`);
const note = (...said) => el("p", {class: "note"}, said);
const command = text => el("code", {text});

function fillSection(id, ...content) {
  const room = body(id);
  dropPlots(room);
  room.replaceChildren(...content.flat(Infinity).filter(Boolean));
}

function figure(title, words, place) {
  return el("figure", {}, el("figcaption", {}, el("strong", {text: title}), words ? el("span", {text: words}) : ""), place);
}

function menu(label, choices, value, changed) {
  const select = el(
    "select",
    {"aria-label": label, onchange: event => changed(event.target.value)},
    choices.map(([key, text]) => el("option", {value: key, text, selected: key === value})),
  );
  select.value = value;
  return el("label", {}, el("span", {text: label}), select);
}

/** One board for the charts that compare on the same rows: the only one in sight, or the first. */
const boardNow = () => boardsNow()[0] ?? null;

function metricNow(board) {
  return board.places.some(place => Object.hasOwn(place.values, state.metric)) ? state.metric : board.metric;
}

function metricMenu(board) {
  const names = unique([...board.headline, ...Object.keys(board.places[0].values)]);
  return menu(
    "Quality",
    names.map(name => [name, titleOf(name)]),
    metricNow(board),
    metric => choose({metric: metric === board.metric ? "" : metric}),
  );
}
