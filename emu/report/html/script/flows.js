// The table of all flows, and the dialogs.

function flowRow({f, r}, n) {
  const held = f.failures.length ? h`<b class="k-drop" title="${f.failures.join("; ")}">✕ ${t("no")}</b>` : f.checks ? h`<span class="k-ok">✓ ${t("yes")}</span>` : "";
  return h`<tr data-n="${n}" class="${n === S.flow ? "cur" : ""}"><td class="num">${n + 1}</td>
    <td><button class="link">${f.name || f.kind}</button></td><td><span class="mono">${bare(f.source)} → ${bare(f.target)}</span></td>
    <td>${f.outcome ? h`<span class="pill ${isDelivered(f) ? "ok" : "bad"}">${f.outcome}</span>` : ""}${f.detail ? h`<br><span class="k-drop">${f.detail}</span>` : ""}</td>
    <td><span class="mono">${f.at || f.place}</span></td><td><span class="mono k-nat">${f.nat}</span></td><td>${held}</td><td class="num">${f.frames}</td></tr>`;
}

const COLUMNS = ["flow", "from_to", "outcome", "where", "nat", "held", "hops"];
function showFlows() {
  const first = text => text.split(". ")[0].replace(/\.$/, "");
  const body = DOC.runs.map((run, r) => [
    h`<tr class="sect"><td colspan="8">${run.name} <span>${run.description ? `${first(run.description)}.` : ""}</span></td></tr>`,
    ALL.map((each, n) => each.r === r ? flowRow(each, n) : ""),
  ]);
  fill($("#flows .in"), h`<h1>${t("flows")}</h1><p>${count("flows", ALL.length)}. ${t("flows_hint")}</p><table><thead><tr><th>#</th>${COLUMNS.map(c => h`<th>${t(`col_${c}`)}</th>`)}</tr></thead><tbody>${body}</tbody></table>`);
  $("#flows").showModal();
  $("#flows .cur button")?.focus();
}
$("#flows").addEventListener("click", e => {
  const row = e.target.closest("[data-n]");
  if (row) { $("#flows").close(); open(+row.dataset.n); }
});

function showHelp() {
  const notes = [...new Set(DOC.runs.flatMap(run => run.notes || []))];
  const seeds = [...new Set(DOC.runs.map(run => run.seed).filter(seed => seed != null))];
  fill($("#made"), h`<p>${t("made_by", {version: DOC.emu})}${seeds.length ? ` ${t("made_seed", {seeds: seeds.join(", ")})}` : ""}</p><p>${t("modelled")}</p>${notes.length ? h`<ul>${notes.map(note => h`<li>${note}</li>`)}</ul>` : ""}`);
  $("#keys").showModal();
}
$("#help").onclick = showHelp;
$("#crumb").onclick = showFlows;
$$("dialog").forEach(d => d.onclick = e => { if (e.target === d || e.target.closest(".close")) d.close(); });

// The pages beside this one: the index, the story before and after.
const LINK_SIGNS = {prev: "‹", index: "☰", next: "›"};
function drawLinks() {
  const nav = $("#links"), list = DOC.links || [];
  nav.hidden = !list.length;
  fill(nav, Object.keys(LINK_SIGNS).map(rel => list.filter(each => each.rel === rel).map(each => {
    const title = t(`page_${rel}`, each);
    return h`<a rel="${rel}" href="${each.href}" title="${title}" aria-label="${title}">${LINK_SIGNS[rel]}</a>`;
  })));
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("emu-theme", name); } catch { /* a file may have no storage */ }
}
$("#theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
