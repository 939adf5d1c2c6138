// The sections below the ranking: drawn when they come near, found by links, filled with what they have in common.
import {dropPlots} from "./charts.js";
import {titleOf} from "./data.js";
import {el, find, findAll, menu, table, tall} from "./dom.js";
import {entries, unique} from "./format.js";
import {metricNow} from "./scope.js";
import {choose} from "./state.js";

const drawers = new Map(); // id -> function, in the order of the page
const near = new IntersectionObserver(
  found => found.filter(one => one.isIntersecting).forEach(one => drawSection(one.target.id)),
  {rootMargin: "600px"},
);

export const addSection = (id, draw) => drawers.set(id, draw);

/** These are to be drawn anew: one far below stays `data-stale` until it comes near. */
export function later(...ids) {
  for (const id of ids) {
    const section = find(`#${id}`);
    section.dataset.stale = "";
    near.unobserve(section); // observing anew reports whether it is near
    near.observe(section);
  }
}

function drawSection(id) {
  const section = find(`#${id}`);
  if (!("stale" in section.dataset)) return;
  delete section.dataset.stale;
  const labels = () => findAll("label", section);
  const at = labels().indexOf(document.activeElement?.closest("label"));
  drawers.get(id)();
  if (at >= 0) find("select, input", labels()[at])?.focus();
}

export const drawSections = () => [...drawers.keys()].forEach(drawSection);

/** At once, without gliding: what is passed on the way would be drawn, and push the target away. */
export function goTo(id) {
  const title = find(`#${id}-title`);
  if (!title) return;
  const ids = [...drawers.keys()];
  (ids.includes(id) ? ids.slice(0, ids.indexOf(id) + 1) : ids).forEach(drawSection);
  find(`#${id}`).scrollIntoView({behavior: "instant", block: "start"});
  title.focus({preventScroll: true});
}

/** `slots`: words for the parts of the section's own sentences. Without content the section says which command would fill it. */
export function fillSection(id, {controls = [], slots = {}, content = []}) {
  const [section, body] = [find(`#${id}`), find(`#${id} .body`)];
  dropPlots(body);
  const shown = content.flat(Infinity).filter(Boolean);
  section.classList.toggle("is-empty", !shown.length);
  find(".controls", section)?.replaceChildren(...controls.filter(Boolean));
  for (const [name, text] of Object.entries(slots))
    for (const slot of findAll(`[data-slot="${name}"]`, section)) slot.textContent = text;
  body.replaceChildren(...shown);
}

/** What a chart's tooltips show, as a table that is made when somebody opens it. */
export function figuresBox(caption, {heads, lines, texts}) {
  const box = el("details.figures", el("summary", {text: `All figures: ${entries(lines.length)}`}));
  box.addEventListener("toggle", () => {
    if (box.open && box.childElementCount === 1) box.append(tall(table(caption, heads, lines, texts)));
  });
  return box;
}

export function metricMenu(board) {
  const names = unique([...board.headline, ...board.places.flatMap(place => Object.keys(place.values))]);
  const changed = metric => choose({metric: metric === board.metric ? "" : metric});
  return menu("Quality", names.map(name => [name, titleOf(name)]), metricNow(board), changed);
}
