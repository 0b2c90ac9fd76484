// The beginning: the theme, the flow that the hash names, else the one that the page opens at, else the first that failed, else the first.

function start() {
  if (DOC.format > FORMAT) return fill($("#detail"), h`<p class="sentence">${t("too_new", {format: DOC.format})}</p>`);
  let saved = null;
  try { saved = localStorage.getItem("emu-theme"); } catch { /* a file may have no storage */ }
  theme(saved || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  drawLinks();
  $('#mode [data-m="compare"]').hidden = !(DOC.comparisons || []).length;
  $("#quiz").hidden = !DOC.runs.some(run => (run.questions || []).length);
  if (!ALL.length) return fill($("#detail"), h`<p class="sentence">${t("no_flow")}</p>`);
  if (location.hash.length < 2 && (DOC.comparisons || []).length) return startCompared();
  const {flow, step} = readHash(location.hash.length < 2 ? DOC.opens : ""), failed = ALL.findIndex(each => each.f.failures.length);
  $$("#mode button").forEach(b => b.setAttribute("aria-pressed", b.dataset.m === S.mode));
  open(flow ? clamp(flow - 1, 0, ALL.length - 1) : step ? 0 : Math.max(0, failed), step ? step - 1 : null);
  drawFound();
  if (!flow && !step && ALL.length > 1 && failed < 0) showFlows();
}

// Two runs side by side begin at the first step that differs.
function startCompared() {
  open(Math.max(0, ALL.findIndex((_, n) => comparisonOf(n))), 0);
  setMode("compare");
  otherPair(1);
}

let resizing = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => {
    if (!M?.steps.length) return;
    full();
    lastDrawn = null;
    go(S.step, true);
  });
});
start();
