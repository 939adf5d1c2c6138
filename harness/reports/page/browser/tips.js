// What a column or a part means: by pointer, by keyboard, by tap.
import {COLUMNS, DATA} from "./data.js";
import {el, find} from "./dom.js";

const MEANING = new Map([...COLUMNS, ...DATA.terms].map(term => [term.key, term]));
let owner = null;

/** A small button that says what a thing means. */
export function tipButton(key) {
  const term = MEANING.get(key);
  if (!term) return null;
  const props = {type: "button", "aria-label": `What ${term.title} means`, "aria-expanded": "false"};
  return el("button.tip", {...props, onclick: event => toggle(event.currentTarget, term.explain)}, "?");
}

function release() {
  owner?.setAttribute("aria-expanded", "false");
  owner?.removeAttribute("aria-describedby");
  owner = null;
}

function toggle(button, text) {
  const tip = find("#tip");
  const isOpen = owner === button;
  if (tip.matches(":popover-open")) tip.hidePopover();
  release();
  if (isOpen) return;
  tip.textContent = text;
  (button.closest("dialog") ?? document.body).append(tip);
  tip.showPopover();
  const place = button.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(place.left - 12, innerWidth - tip.offsetWidth - 8))}px`;
  const below = place.bottom + 8;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? Math.max(8, place.top - tip.offsetHeight - 8) : below}px`;
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-describedby", "tip");
  owner = button;
}

export function listenToTips() {
  const tip = find("#tip");
  // Later: a click on its own button closes it first, and must find that it was open.
  tip.addEventListener("beforetoggle", event => {
    if (event.newState === "closed") setTimeout(() => tip.matches(":popover-open") || release(), 0);
  });
  addEventListener("scroll", () => tip.matches(":popover-open") && tip.hidePopover(), {passive: true});
}
