// The inspector: where the step is, its sentence, the lines of the story, and the three panes.

const PANES = {why: s => h`<h2 class="sr">${t("what_decided")}</h2>${cards(s)}${summary(s)}${comment(s)}`, frame: framePane, tables: tablesPane};
const PANE_KEYS = {w: "why", d: "frame", s: "tables"};

function drawDetail() {
  const s = M.steps[S.step], el = $("#detail"), p = s.packet;
  const held = el.contains(document.activeElement) ? document.activeElement.dataset : null;
  const badge = {frame: changes(s).length, tables: Object.keys(stateAt(s).last).length};
  const tabs = Object.keys(PANES).map(k => h`<button role="tab" data-pane="${k}" id="pane-${k}" aria-controls="pane" aria-selected="${k === S.pane}" tabindex="${k === S.pane ? 0 : -1}">${
    t(`pane_${k}`)}${badge[k] ? h` <sup>${badge[k]}<span class="sr"> ${t("changed")}</span></sup>` : ""}</button>`);
  fill(el, h`<div class="meta"><span class="where">${s.I.name}</span><span>${wayWord(s)}</span><span>·</span>
    <span>${t("hop_of", {word: p.b.word, n: p.steps.indexOf(s) + 1, of: S.quiz ? "?" : p.steps.length})}</span><span>·</span><span>${duration(s.x.t - M.steps[0].x.t)}</span>${causeLink(p)}</div>
    <p class="sentence">${s.sentence}</p>${s.chap.map(chapterBox)}${fileNote(s)}
    <div class="tabs" role="tablist" aria-label="${t("panes")}">${tabs}</div>
    <div role="tabpanel" id="pane" aria-labelledby="pane-${S.pane}">${PANES[S.pane](s)}</div>`);
  if (held?.pane) $(`[data-pane=${S.pane}]`, el).focus({preventScroll: true});
  else if (held?.tab) $(`[data-tab][aria-selected=true]`, el)?.focus({preventScroll: true});
}

// An ARP request is for a packet that waits, an error or a reset answers one.
function causeLink(p) {
  const cause = p.cause && M.packets.find(each => each.id === p.cause);
  return cause && cause !== p && !ahead(cause.steps[0]) ? h`<button class="link" data-go="${cause.steps[0].k}">${t("for_packet", {what: `${cause.b.word} ${cause.ends}`})}</button>` : "";
}

function chapterBox(text) {
  const found = CHAPTER.exec(text);
  if (!found) return h`<div class="chap">${text}</div>`;
  return h`<div class="chap"><b>${found[0][0].toUpperCase() + found[0].slice(1)}</b>${text.slice(found[0].length)}</div>`;
}

// The frame's comment, word for word as it stands in the capture file.
const commentOf = s => [s.sentence, ...s.facts, ...s.chap, `flow/hop ${s.x.f}/${s.x.h}`].join("\n");
const comment = s => h`<details class="comment"><summary>${t("comment")}</summary><pre>${commentOf(s)}</pre></details>`;

// Where the frame is in the capture file, for Wireshark.
function fileNote(s) {
  const file = s.x.file || M.f.file;
  if (!file) return "";
  return h`<p class="file">${t("frame_in_file", {n: s.x.no || s.x.h, file})}</p>`;
}

function showPane(pane) {
  S.pane = pane;
  drawDetail();
  setHash();
}

$("#detail").addEventListener("click", e => {
  const at = selector => e.target.closest(selector);
  if (at("[data-go]")) { stop(); go(+at("[data-go]").dataset.go); }
  else if (at("[data-pane]")) showPane(at("[data-pane]").dataset.pane);
  else if (at("[data-tab]")) { S.tab = at("[data-tab]").dataset.tab; drawDetail(); }
  else if (at("[data-rule]")) showRule(at("[data-rule]").dataset.rule);
  else if (at("#bytes-on")) { S.bytes = !S.bytes; drawDetail(); $("#bytes-on").focus(); }
  else if (at("[data-f]")) { const n = +at("[data-f]").dataset.f; markField(S.field === n && at(".fn") ? null : n); }
});
$("#detail").addEventListener("mouseover", e => { const f = e.target.closest("[data-f]"); if (f) markField(+f.dataset.f); });
$("#detail").addEventListener("focusin", e => { const f = e.target.closest(".fn"); if (f) markField(+f.dataset.f); });

// Arrow keys walk through a list of tabs, as ARIA has it; true if the key was one of them.
function tabKey(event) {
  const list = event.target.closest("[role=tablist]");
  if (!list) return false;
  const tabs = $$("[role=tab]", list), i = tabs.indexOf(event.target);
  const next = {ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1}[event.key];
  if (next == null || i < 0) return false;
  const tab = tabs[(next + tabs.length) % tabs.length], {pane, tab: table} = tab.dataset;
  tab.click();
  $(pane ? `[data-pane=${pane}]` : `[data-tab=${table}]`).focus();
  return true;
}
