// The keyboard. What has arrows of its own (tabs, the bytes, a menu, an input) keeps them.

const KEYS = {
  ArrowRight: "next", ArrowLeft: "prev", ArrowDown: "down", ArrowUp: "up", " ": "play", Home: "first", End: "last",
  n: "nextd", p: "prevd", a: "nat", k: "drop",
};
const MORE_KEYS = {
  "/": () => $("#q").focus(), f: () => showFlows(), "?": () => showHelp(), t: () => $("#theme").click(), q: () => $("#quiz").click(),
  v: () => otherMode(), x: () => { S.bytes = !(S.bytes && S.pane === "frame"); showPane("frame"); },
};
function otherMode() {
  const modes = $$("#mode button:not([hidden])").map(b => b.dataset.m);
  setMode(modes[(modes.indexOf(S.mode) + 1) % modes.length]);
}

function ownKeys(event) {
  const at = event.target;
  if (at.matches("input,select,textarea") || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return true;
  if (at.closest("#export-menu")) return true;
  if (at.matches("button,summary") && (event.key === " " || event.key === "Enter")) return true;
  return tabKey(event) || at.matches(".hex") && byteKey(event) ? (event.preventDefault(), true) : false;
}

addEventListener("keydown", event => {
  if (ownKeys(event)) return;
  const key = event.key;
  if (key in KEYS) act(KEYS[key]);
  else if (key in MORE_KEYS) MORE_KEYS[key]();
  else if (key in PANE_KEYS) showPane(PANE_KEYS[key]);
  else if (/^[1-9]$/.test(key)) {
    const chapter = M.chapters.find(c => c.label === key && !c.back) || M.chapters.find(c => c.label === key);
    if (!chapter) return;
    stop();
    go(chapter.step);
  } else return;
  event.preventDefault();
});
