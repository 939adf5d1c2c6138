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

/** A plain table in a box of its own; the first `words` columns hold text. */
function table(caption, heads, lines, words = 1) {
  return el(
    "div",
    {class: "scroll", role: "region", "aria-label": caption, tabindex: "0"},
    el(
      "table",
      {class: "plain"},
      el("caption", {class: "hidden", text: caption}),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((head, place) => el("th", {scope: "col", class: place < words ? "text" : "number", text: head})),
        ),
      ),
      el(
        "tbody",
        {},
        lines.map(cells => el("tr", {}, cells)),
      ),
    ),
  );
}

function tall(box) {
  box.classList.add("tall");
  return box;
}

/** What a pointer finds in a chart's tooltips, as a table that is made when somebody opens it; `columns`: [head, cell, is text]. */
function figures(caption, columns, rows) {
  const room = el("details", {class: "figures"}, el("summary", {text: `All figures: ${plural(rows.length, "row")}`}));
  const words = columns.filter(([, , isText]) => isText).length;
  const line = row =>
    columns.map(([, cell], place) =>
      place ? el("td", {class: place < words ? "" : "number", text: cell(row)}) : el("th", {scope: "row", text: cell(row)}),
    );
  room.addEventListener("toggle", () => {
    if (room.open && room.childElementCount === 1)
      room.append(tall(table(caption, columns.map(([head]) => head), rows.map(line), words)));
  });
  return room;
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
