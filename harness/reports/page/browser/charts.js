// Charts: drawn when they come into sight, anew when theme or width change, all of them before the page is printed.
import {CHARTS} from "./data.js";
import {el, find} from "./dom.js";
import {unique} from "./format.js";

const plots = new Map(); // element -> {chart, rows, titles, drawn, view, room}
const whenNear = found => found.filter(one => one.isIntersecting).forEach(one => drawPlot(one.target));
const seen = new IntersectionObserver(whenNear, {rootMargin: "300px"});
let isPrinting = false;

const systemTheme = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => !isPrinting && (document.documentElement.dataset.theme ?? (systemTheme.matches ? "dark" : "light")) === "dark";

/** An empty place for a chart of the kind `chart`, with these titles on its axes. */
export function plot(label, chart, rows, titles) {
  const place = el("div.plot.scroll", {role: "group", "aria-label": label, tabindex: "0"});
  plots.set(place, {chart, rows, titles, drawn: false, view: null, room: 0});
  seen.observe(place);
  return place;
}

/** The spec of a chart with our titles in place of its @x@, @y@ and @title@, its rows, and a layout for `room` pixels. */
function specOf({chart, titles, rows}, room) {
  const spec = JSON.parse(JSON.stringify(CHARTS.specs[chart]), (_, value) =>
    typeof value === "string" && /^@[a-z]+@$/.test(value) ? (titles?.[value.slice(1, -1)] ?? null) : value,
  );
  spec.datasets = {...spec.datasets, rows};
  if (LEAST_CELL[chart]) fitGrid(spec, room, LEAST_CELL[chart]);
  fitLegends(spec, room);
  // As wide as its place and as high as its rows: Vega-Lite does not know both at once.
  if (spec.width === "container" && spec.height?.step) spec.height = spec.height.step * (rows.length + 2);
  if (spec.width === "container") spec.autosize = {type: "fit-x", contains: "padding"};
  return spec;
}

// ---- Layouts for narrow places

const LEAST_CELL = {languages: 40, transfer: 76, confusion: 36}; // pixels in which a cell's text can be read
const NAME_LINE = 18;
const ruler = document.createElement("canvas").getContext("2d");

/** Pixels that the longest of these texts takes on an axis or in a legend. */
function widest(texts) {
  ruler.font = `${CHARTS.light.axis.labelFontSize}px ${CHARTS.light.font}`;
  return Math.ceil(Math.max(0, ...unique(texts).map(text => ruler.measureText(text).width)));
}

/** Narrower cells, and where that is not enough names above their lines instead of beside them. */
function fitGrid(spec, room, least) {
  const encodings = spec.layer.map(layer => layer.encoding);
  const named = channel => spec.datasets.rows.map(row => row[encodings[0][channel].field]);
  const columns = unique(named("x")).length;
  const frame = encodings[0].y.title ? 40 : 24;
  const beside = frame + Math.min(widest(named("y")), encodings[0].y.axis.labelLimit);
  const [wide, high] = [spec.width.step, spec.height.step];
  if (!columns || beside + columns * wide <= room) return;
  const isAbove = beside + columns * least > room;
  const step = Math.max(least, Math.min(wide, Math.floor((room - (isAbove ? frame : beside)) / columns)));
  spec.width = {step};
  for (const {x} of encodings) x.axis.labelLimit = step - 4;
  if (!isAbove) return;
  const gap = NAME_LINE / (high + NAME_LINE);
  spec.height = {step: high + NAME_LINE};
  for (const {y} of encodings) {
    Object.assign(y.scale, {paddingInner: gap, paddingOuter: gap});
    Object.assign(y.axis, {labelAlign: "left", labelPadding: 0, labelLimit: room - frame, labelOffset: -(high + NAME_LINE) / 2});
  }
}

/** As many columns as there is room for beside the axis. */
function fitLegends(spec, room) {
  const symbol = 28;
  const words = field => widest(spec.datasets.rows.map(row => row[field] ?? ""));
  for (const {encoding} of spec.layer)
    for (const {field, legend} of Object.values(encoding ?? {}))
      if (legend?.columns) {
        const axis = encoding.y.type === "nominal" ? Math.min(words(encoding.y.field), longestName(room)) : 2 * symbol;
        const left = room - axis - symbol - (legend.title ? widest([legend.title]) : 0);
        legend.columns = Math.max(1, Math.min(legend.columns, Math.floor(left / (symbol + words(field)))));
        legend.labelLimit = Math.min(CHARTS.light.legend.labelLimit, Math.max(symbol, left));
      }
}

/** No more than half of a narrow place for the names on an axis. */
const longestName = room => Math.min(CHARTS.light.axis.labelLimit, room / 2);

function configFor(room) {
  const config = isDark() ? CHARTS.dark : CHARTS.light;
  return {...config, axis: {...config.axis, labelLimit: longestName(room)}};
}

const refuse = () => Promise.reject(new Error("nothing is loaded"));

async function drawPlot(place) {
  const kept = plots.get(place);
  if (!kept || kept.drawn) return;
  kept.drawn = true;
  kept.view?.finalize();
  const box = el("div.vega");
  place.replaceChildren(box);
  kept.room = place.clientWidth;
  try {
    const spec = specOf(kept, kept.room);
    spec.description = `${place.getAttribute("aria-label")}. ${spec.description ?? ""}`;
    const {view} = await window.vegaEmbed(box, spec, {
      ast: true,
      actions: false,
      renderer: "svg",
      defaultStyle: false,
      config: configFor(kept.room),
      tooltip: hover,
      logLevel: 1,
      loader: {load: refuse, sanitize: refuse},
    });
    kept.view = view;
    place.dataset.drawn = isDark() ? "dark" : "light";
  } catch (error) {
    place.replaceChildren(el("p.warn", {text: `This chart could not be drawn: ${error.message}`}));
  }
}

/** Forget the charts of a section that is about to be drawn anew. */
export function dropPlots(section) {
  for (const [place, kept] of plots) {
    if (section.contains(place)) {
      kept.view?.finalize();
      seen.unobserve(place);
      plots.delete(place);
    }
  }
}

function redrawPlots(all = false, isStale = () => true) {
  for (const [place, kept] of plots) {
    if (!isStale(place, kept)) continue;
    const wasDrawn = kept.drawn;
    kept.drawn = false;
    if (wasDrawn || all) drawPlot(place);
  }
}

/** Vega's tooltips, as text: the values are names from the data. */
function hover(handler, event, item, value) {
  const box = find("#hover");
  box.hidden = value === null || typeof value !== "object";
  if (box.hidden) return;
  const pairs = Object.entries(value).filter(([, text]) => text !== "" && text !== "null" && text !== "NaN");
  box.replaceChildren(el("dl", pairs.map(([name, text]) => [el("dt", {text: name}), el("dd", {text: String(text)})])));
  const [x, y] = [event.clientX + 14, event.clientY + 14];
  box.style.left = `${Math.max(4, Math.min(x, innerWidth - box.offsetWidth - 4))}px`;
  box.style.top = `${Math.max(4, Math.min(y, innerHeight - box.offsetHeight - 4))}px`;
}

export function listenToCharts(drawAll) {
  let soon = 0;
  addEventListener("resize", () => {
    clearTimeout(soon);
    soon = setTimeout(() => redrawPlots(false, (place, kept) => kept.room !== place.clientWidth), 150);
  });
  const hide = () => find("#hover").setAttribute("hidden", "");
  systemTheme.addEventListener("change", () => redrawPlots());
  addEventListener("scroll", hide, {passive: true});
  addEventListener("keydown", event => event.key === "Escape" && hide());
  addEventListener("beforeprint", () => {
    isPrinting = true;
    drawAll(); // sections that were not in sight yet may hold charts
    redrawPlots(true);
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    redrawPlots();
  });
}

export function listenToTheme() {
  const root = document.documentElement;
  const remember = theme => {
    try {
      if (theme) localStorage.setItem("bench-theme", theme);
      return localStorage.getItem("bench-theme");
    } catch {
      return null; // a browser may keep nothing for files: it lasts as long as the page is open
    }
  };
  const kept = remember();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  const button = find("#theme");
  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
    redrawPlots();
  });
}
