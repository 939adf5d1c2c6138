// What the reader chose: in the address, so that a view can be linked.
const NAMES = "task lang rows engine made q cols sort run metric lines section matrix a b kind machine".split(" ");
export const state = Object.fromEntries(NAMES.map(name => [name, ""]));
const listeners = [];

/** `listener` gets the names of what was changed. */
export const onChange = listener => listeners.push(listener);
const tell = names => listeners.forEach(listener => listener(names));

const address = () => `#${new URLSearchParams(Object.entries(state).filter(([, value]) => value))}`;

/** Change the state and draw what depends on it. What opens something (`push`) can be left by the browser's way back. */
export function choose(changes, push = false) {
  Object.assign(state, changes);
  history[push ? "pushState" : "replaceState"](null, "", address());
  tell(Object.keys(changes));
}

/** Without drawing anything: what was chosen is not here. */
export function forget(name) {
  state[name] = "";
  history.replaceState(null, "", address());
}

export function readAddress() {
  const given = new URLSearchParams(location.hash.replace(/^#/, ""));
  for (const name of NAMES) state[name] = given.get(name) ?? "";
  tell(NAMES);
}
