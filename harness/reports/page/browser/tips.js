// What a column means: by pointer, by keyboard, by tap; and all of it again in the glossary at the end.
const meaning = key => own(DATA.explain, key) ?? null;

/** A small button that says what a thing means. */
function tipButton(key, title) {
  const text = meaning(key);
  if (!text) return null;
  return el(
    "button",
    {
      type: "button",
      class: "tip",
      "aria-label": `What ${title} means`,
      "aria-expanded": "false",
      onclick: event => toggleTip(event.currentTarget, text),
    },
    "?",
  );
}

let tipOwner = null;

function toggleTip(button, text) {
  const tip = find("#tip");
  if (tipOwner === button) {
    tip.hidePopover();
    return;
  }
  if (tipOwner) tip.hidePopover();
  tip.textContent = plain(text);
  (button.closest("dialog") ?? document.body).append(tip);
  tip.showPopover();
  const place = button.getBoundingClientRect();
  const width = tip.offsetWidth;
  tip.style.left = `${Math.max(8, Math.min(place.left - 12, innerWidth - width - 8))}px`;
  const below = place.bottom + 8;
  tip.style.top = `${below + tip.offsetHeight > innerHeight ? Math.max(8, place.top - tip.offsetHeight - 8) : below}px`;
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-describedby", "tip");
  tipOwner = button;
}

function listenToTips() {
  const tip = find("#tip");
  tip.addEventListener("toggle", event => {
    if (event.newState === "open" || !tipOwner) return;
    release();
  });
  tip.addEventListener("beforetoggle", event => {
    if (event.newState === "closed") setTimeout(release, 0);
  });
  const release = () => {
    if (!tipOwner || tip.matches(":popover-open")) return;
    tipOwner.setAttribute("aria-expanded", "false");
    tipOwner.removeAttribute("aria-describedby");
    tipOwner = null;
  };
  addEventListener("scroll", () => tip.matches(":popover-open") && tip.hidePopover(), {passive: true});
}
