// Find, and the chips that are legend and filter in one.

fill($("#chips"), KINDS.map(k => h`<button class="chip k-${k}" data-k="${k}" aria-pressed="true"><i></i>${t(`kind_${k}`)}</button> `));
$("#chips").onclick = e => {
  const chip = e.target.closest("[data-k]");
  if (!chip) return;
  const on = !S.kinds.delete(chip.dataset.k);
  if (on) S.kinds.add(chip.dataset.k);
  chip.setAttribute("aria-pressed", on);
  if (M.steps.length) drawLadder(true);
  drawFound();
};

function drawFound() {
  $("#found").textContent = S.q ? count("hits", M.steps.filter(fits).length) : "";
}
$("#q").oninput = e => {
  S.q = e.target.value.trim().toLowerCase();
  drawFound();
  if (M.steps.length) drawLadder(true);
  setHash();
};
$("#q").onkeydown = e => {
  if (e.key === "Enter") jump(e.shiftKey ? -1 : 1, fits, true);
  if (e.key === "Escape") { e.target.value = ""; e.target.oninput(e); e.target.blur(); }
};
