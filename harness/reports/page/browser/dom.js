// Elements. Every text from the data becomes a text node.
export const find = (selector, from = document) => from.querySelector(selector);
export const findAll = (selector, from = document) => [...from.querySelectorAll(selector)];

/** An element; "td.number" has a class. Attributes may come first: functions are listeners (`onclick`), `text` is its text. */
export function el(tag, ...rest) {
  const [name, ...classes] = tag.split(".");
  return fill(document.createElement(name), classes.join(" "), rest);
}

export function svg(tag, ...rest) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), "", rest);
}

function fill(node, classes, rest) {
  const props = rest[0]?.constructor === Object ? rest.shift() : {};
  if (classes) node.setAttribute("class", classes);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...rest.flat(Infinity).filter(child => child !== null && child !== undefined && child !== ""));
  return node;
}

export const note = (...words) => el("p.note", words);
export const empty = text => el("p.empty", {text});
export const button = (text, onclick, props = {}) => el("button", {type: "button", onclick, ...props}, text);

export function menu(label, choices, value, changed) {
  const select = el("select", {"aria-label": label, onchange: event => changed(event.target.value)});
  setOptions(select, choices, value);
  return el("label", el("span", {text: label}), select);
}

export function setOptions(select, choices, value) {
  select.replaceChildren(...choices.map(([key, text]) => el("option", {value: key, text, selected: key === value})));
  select.value = value;
}

export function figure(title, words, ...content) {
  return el("figure", el("figcaption", el("strong", {text: title}), words ? el("span", {text: words}) : ""), content);
}

/** A plain table in a box of its own; the first `texts` columns hold text. A cell is a node, or what it shows. */
export function table(caption, heads, lines, texts = 1) {
  const head = (text, at) => el("th", {scope: "col", class: at < texts ? "text" : "number", text});
  const cell = (content, at) => {
    if (content instanceof Node) return content;
    if (at === 0 && texts) return el("th", {scope: "row", text: content});
    return el(at < texts ? "td" : "td.number", {text: content});
  };
  return el(
    "div.scroll",
    {role: "region", "aria-label": caption, tabindex: "0"},
    el(
      "table.plain",
      el("caption.hidden", {text: caption}),
      el("thead", el("tr", heads.map(head))),
      el("tbody", lines.map(cells => el("tr", cells.map(cell)))),
    ),
  );
}

export function tall(box) {
  box.classList.add("tall");
  return box;
}
