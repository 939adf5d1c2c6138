// Charts: drawn when they come into sight, anew when theme or width change, all of them before the page is printed.
const CHARTS = read("charts");
const plots = new Map(); // element -> {make, drawn, view}
const seen = new IntersectionObserver(found => found.filter(one => one.isIntersecting).forEach(one => drawPlot(one.target)), {
  rootMargin: "300px",
});
let isPrinting = false;

const isDark = () =>
  !isPrinting &&
  (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) ===
    "dark";

/** An empty place for a chart; `make` gives {chart, titles, rows} when it is drawn. */
function plot(make, label) {
  const place = el("div", {class: "plot scroll", role: "group", "aria-label": label, tabindex: "0"});
  plots.set(place, {make, drawn: false, view: null});
  seen.observe(place);
  return place;
}

/** The spec of a chart with our titles in place of its @x@, @y@ and @title@, and its rows. */
function specOf({chart, titles, rows, patch}) {
  const spec = JSON.parse(JSON.stringify(CHARTS.specs[chart]), (_, value) =>
    typeof value === "string" && /^@[a-z]+@$/.test(value) ? plain(titles?.[value.slice(1, -1)] ?? null) : value,
  );
  spec.datasets = {
    ...spec.datasets,
    rows: rows.map(row => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)]))),
  };
  // As wide as its place and as high as its rows: Vega-Lite does not know both at once.
  if (spec.width === "container" && spec.height?.step) spec.height = spec.height.step * (rows.length + 2);
  if (spec.width === "container") spec.autosize = {type: "fit-x", contains: "padding"};
  return {...spec, ...patch};
}

async function drawPlot(place) {
  const kept = plots.get(place);
  if (!kept || kept.drawn) return;
  kept.drawn = true;
  kept.view?.finalize();
  const config = isDark() ? CHARTS.dark : CHARTS.light;
  const room = el("div", {class: "vega"});
  place.replaceChildren(room);
  try {
    const spec = specOf(kept.make());
    spec.description = `${place.getAttribute("aria-label")}. ${spec.description ?? ""}`;
    const {view} = await vegaEmbed(room, spec, {
      ast: true,
      actions: false,
      renderer: "svg",
      defaultStyle: false,
      config,
      tooltip: hover,
      logLevel: 1,
      loader: {
        load: () => Promise.reject(new Error("nothing is loaded")),
        sanitize: () => Promise.reject(new Error("no links")),
      },
    });
    kept.view = view;
    place.dataset.drawn = isDark() ? "dark" : "light";
  } catch (error) {
    place.replaceChildren(el("p", {class: "warn", text: `This chart could not be drawn: ${error.message}`}));
  }
}

/** Forget the charts of a section that is about to be drawn anew. */
function dropPlots(section) {
  for (const [place, kept] of plots) {
    if (section.contains(place)) {
      kept.view?.finalize();
      seen.unobserve(place);
      plots.delete(place);
    }
  }
}

function redrawPlots(all = false) {
  for (const [place, kept] of plots) {
    const wasDrawn = kept.drawn;
    kept.drawn = false;
    if (wasDrawn || all) drawPlot(place);
  }
}

/** Vega's tooltips, as text: the values are names from the data. */
function hover(handler, event, item, value) {
  const box = find("#hover");
  if (value === null || value === undefined || typeof value !== "object") {
    box.hidden = true;
    return;
  }
  const pairs = Object.entries(value).filter(([, text]) => text !== "" && text !== "null" && text !== "NaN");
  box.replaceChildren(
    el("dl", {}, pairs.map(([name, text]) => [el("dt", {text: name}), el("dd", {text: String(text)})]).flat()),
  );
  box.hidden = false;
  const [x, y] = [event.clientX + 14, event.clientY + 14];
  box.style.left = `${Math.max(4, Math.min(x, innerWidth - box.offsetWidth - 4))}px`;
  box.style.top = `${Math.max(4, Math.min(y, innerHeight - box.offsetHeight - 4))}px`;
}

function listenToPlots() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawPlots());
  addEventListener(
    "scroll",
    () => {
      find("#hover").hidden = true;
    },
    {passive: true},
  );
  addEventListener("keydown", event => {
    if (event.key === "Escape") find("#hover").hidden = true;
  });
  addEventListener("beforeprint", () => {
    isPrinting = true;
    drawSections(); // they may hold charts that were not in sight yet
    redrawPlots(true);
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    redrawPlots();
  });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = find("#theme");
  button.setAttribute("aria-pressed", String(theme === "dark"));
  redrawPlots();
}

function listenToTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem("bench-theme");
  } catch {
    /* a browser may keep nothing for files */
  }
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  find("#theme").setAttribute("aria-pressed", String(isDark()));
  find("#theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    setTheme(theme);
    try {
      localStorage.setItem("bench-theme", theme);
    } catch {
      /* it lasts as long as the page is open */
    }
  });
}
