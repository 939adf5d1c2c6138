// What is drawn anew when something changes, and the way about the page.
const LATER = {
  quality: [drawQuality, "Cost"],
  languages: [drawLanguages, "Languages"],
  transfer: [drawTransfer, "Transfer"],
  prompts: [drawPrompts, "Prompts"],
  curves: [drawCurves, "Labels"],
  differ: [drawDiffer, "Two runs"],
};
const near = new IntersectionObserver(
  found => found.filter(one => one.isIntersecting).forEach(one => drawSection(one.target.id)),
  {rootMargin: "600px"},
);

/** Which parts hang on what was changed; a section far below stays `data-stale` until it comes near. */
function draw(changed) {
  const has = (...names) => names.some(name => changed.includes(name));
  const isOther = has("task", "lang", "rows", "engine", "made", "q");
  if (isOther) wanted = STEP;
  if (has("task", "lang", "rows", "a", "b", "kind")) differWanted = STEP;
  if (has("task", "lang", "rows")) {
    drawQuestion();
    drawAnswer();
  }
  if (isOther || has("cols", "sort")) {
    drawFilters();
    drawTable();
  }
  if (has("run")) drawRun();
  if (isOther || has("metric")) later("quality", "languages");
  if (has("machine")) later("quality");
  if (has("task", "lang", "rows")) later("transfer", "prompts", "curves", "differ");
  if (has("lines", "section")) later("languages");
  if (has("matrix")) later("transfer");
  if (has("a", "b", "kind")) later("differ");
}

function later(...ids) {
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
  const focused = document.activeElement?.closest(`#${id} label`);
  const place = focused ? [...document.querySelectorAll(`#${id} label`)].indexOf(focused) : -1;
  LATER[id][0]();
  if (place >= 0) document.querySelectorAll(`#${id} label`)[place]?.querySelector("select, input")?.focus();
}

function drawSections() {
  Object.keys(LATER).forEach(drawSection);
}

function drawFilters() {
  const engines = [["", "all"], ...ENGINES.map(name => [name, name])];
  find("#engine").replaceChildren(
    ...engines.map(([key, text]) => el("option", {value: key, text, selected: key === engineNow()})),
  );
  find("#engine").value = engineNow();
  find("#made").value = madeNow();
  find("#made").closest("label").hidden = unique(ENTRIES.map(entry => madeOf(entry.place))).length < 2 && !madeNow();
  find("#unfiltered").hidden = !isFiltered();
  if (find("#q").value !== state.q) find("#q").value = state.q;
  const shown = new Set(columnsNow().map(column => column.key));
  const boxes = COLUMNS.filter(column => !column.fixed).map(column =>
    el(
      "label",
      {},
      el("input", {type: "checkbox", value: column.key, checked: shown.has(column.key), onchange: chooseColumns}),
      el("span", {text: column.title}),
    ),
  );
  if (!find("#columns").contains(document.activeElement))
    find("#columns fieldset").replaceChildren(find("#columns legend"), ...boxes);
}

function chooseColumns() {
  const keys = [...document.querySelectorAll("#columns input:checked")].map(box => box.value);
  choose({cols: keys.join(",") || "rank"});
}

/** On paper nothing can be asked for: the ranking has all its rows. */
function listenToPrint() {
  let before = wanted;
  const show = count => {
    const isCut = entriesNow().length > Math.min(wanted, count);
    [before, wanted] = [wanted, count];
    if (isCut) drawTable();
  };
  addEventListener("beforeprint", () => show(Infinity));
  addEventListener("afterprint", () => show(before));
}

function listenToFilters() {
  find("#q").addEventListener("input", event => choose({q: event.target.value}));
  find("#engine").addEventListener("change", event => choose({engine: event.target.value}));
  find("#made").addEventListener("change", event => choose({made: event.target.value}));
  find("#reset").addEventListener("click", () => {
    choose({q: "", engine: "", made: "", cols: "", sort: ""});
    find("#q").focus();
  });
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", event => event.preventDefault());
  const columns = find("#columns");
  addEventListener("click", event => {
    if (columns.open && !columns.contains(event.target)) columns.open = false;
  });
  columns.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !columns.open) return;
    columns.open = false;
    find("summary", columns).focus();
  });
}

// ---- The way about

/** At once, without gliding: what is passed on the way would be drawn, and push the target away. */
function goTo(id) {
  const title = find(`#${id}-title`);
  if (!title) return;
  for (const above of Object.keys(LATER)) {
    drawSection(above);
    if (above === id) break;
  }
  find(`#${id}`).scrollIntoView({behavior: "instant", block: "start"});
  title.focus({preventScroll: true});
}

function drawNavigation() {
  const names = [
    ["ranking", "Ranking"],
    ...Object.entries(LATER).map(([id, [, name]]) => [id, name]),
    ["reported", "Reported"],
    ["glossary", "Glossary"],
  ];
  find("#nav").replaceChildren(
    ...names.map(([id, name]) => el("li", {}, el("a", {href: `#at=${id}`, "data-at": id, text: name}))),
  );
  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-at]");
    if (!link) return;
    event.preventDefault();
    goTo(link.dataset.at);
  });
}

function start() {
  state = stateFrom(location.hash);
  listenToTheme();
  listenToPlots();
  listenToTips();
  listenToQuestion();
  listenToFilters();
  listenToRun();
  listenToPrint();
  drawNavigation();
  drawReported();
  drawGlossary();
  for (const id of ["ask", "filters", "board-box"]) find(`#${id}`).hidden = !BOARDS.length; // with no runs they ask in vain
  draw(Object.keys(DEFAULTS));
  find("#version").textContent = `bench ${DATA.bench}, ${plural(Object.keys(RUNS).length, "run")}. ${DATA.note}`;
  find("#print").addEventListener("click", () => print());
  addEventListener("hashchange", () => {
    state = stateFrom(location.hash);
    draw(Object.keys(DEFAULTS));
  });
  addEventListener("resize", fitTable);
  const at = new URLSearchParams(location.hash.slice(1)).get("at");
  if (at) goTo(at);
}

start();
