// The payload: boards (rankings, each on one set of test rows), their entries, and the columns that show them.
import {find} from "./dom.js";
import {isNumber, isolated, languageName} from "./format.js";

const read = id => JSON.parse(find(`#${id}`).textContent);
export const DATA = read("data");
export const CHARTS = read("charts");
export const RUNS = DATA.runs;
export const BOARDS = DATA.tables;
export const COLUMNS = DATA.columns;
export const COLUMN_OF = new Map(COLUMNS.map(column => [column.key, column]));

export const nameOf = ({backend, how}) => `${isolated(backend)} · ${isolated(how)}`;
export const boardName = board => `${isolated(board.task)}, ${isolated(languageName(board.lang))}, ${board.size}`;
export const titleOf = metric => COLUMN_OF.get(metric)?.title ?? metric;
export const isLower = metric => COLUMN_OF.get(metric)?.better === "lower";
export const betterOf = metric => `${isLower(metric) ? "lower" : "higher"} is better`;

/** An entry has the fields of its place and, for the columns, those of its board. `order`: that of all ranks. */
export const ENTRIES = BOARDS.flatMap((board, number) =>
  board.places.map((place, at) => ({
    ...place,
    board,
    at,
    model: nameOf(place),
    task: board.task,
    lang: board.lang,
    n: board.n,
    order: 1e6 * number + (place.rank ?? 1e5),
    search: [place.backend, place.engine, place.how, place.machine, place.made, ...place.runs.map(run => run.split(".").at(-1))]
      .join(" ")
      .toLowerCase(),
  })),
);
export const ENTRY_OF = new Map(ENTRIES.flatMap(entry => entry.runs.map(run => [run, entry])));

export const measured = (entry, metric) => entry.values[metric] ?? [];
export const valueOf = (entry, metric) => measured(entry, metric)[0] ?? null;
export const rankWords = ({rank, tied}) => (isNumber(rank) ? `rank ${rank}${tied ? ", tied" : ""}` : "no rank");
export const rankMark = ({rank}) => rank ?? "‡";

/** After a figure that depends on time, where something else kept the machine busy. */
export const dagger = entry => (entry.busy ? "†" : "");
