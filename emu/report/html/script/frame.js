// The Frame pane: header layers as field tables, and the bytes under them. A field marks its bytes, a byte its field.

function whoIs(field) {
  const name = field.who === "ip" ? nameOf(field.value) : field.who === "mac" ? M.macs[field.value] || "" : "";
  return name && name !== field.value ? h` <span class="who">${name}</span>` : "";
}

function framePane(s) {
  const changed = changes(s), found = layers(s.d, startOf(s));
  const since = s.prev ? t("changed_since", {n: changed.length || t("nothing"), from: s.prev.I.name.split("/").pop()}) : t("as_made");
  let n = 0;
  return h`<h2>${count("bytes", (s.x.z || s.d.length) - startOf(s))}${s.x.z ? `, ${t("kept", {n: s.d.length - startOf(s)})}` : ""} <span>${since}</span>
    <span class="r"><button id="bytes-on" aria-pressed="${S.bytes}">${t("bytes")}</button></span></h2>
    <div class="layers">${found.map(l => h`<div class="layer"><div class="h">${l.name}<span>${l.note}</span></div>
    <div class="fields three">${l.fields.map(f => fieldRow(f, changed.find(c => c.layer === l.name && c.name === f.name), n++, s))}</div></div>`)}</div>
    ${S.bytes ? bytesBox(s, found) : ""}`;
}

const BESIDE = 6;  // bytes shown beside a field
function fieldRow(f, change, n, s) {
  const own = [...s.d.slice(f.at, f.at + f.len)].map(hex2), shown = own.slice(0, BESIDE).join(" ") + (own.length > BESIDE ? " …" : "");
  return h`<div class="field${change ? " ch" : ""}" data-f="${n}"><button class="fn" aria-pressed="false" data-f="${n}" title="${t("mark_bytes")}">${f.name}</button>
    <span class="fv">${change ? h`<del>${change.was}</del> <ins>${f.value}</ins>` : f.value}${whoIs(f)}</span><span class="fb" aria-hidden="true">${shown}</span></div>`;
}

const bytesPerRow = () => $("#detail").clientWidth >= 350 ? 16 : 8;
function bytesBox(s, found) {
  const start = startOf(s), d = s.d.slice(start), was = s.prev?.d.slice(start), wide = bytesPerRow(), owner = new Map(), out = [];
  found.flatMap(l => l.fields).forEach((f, n) => { for (let i = 0; i < f.len; i++) owner.set(f.at + i - start, n); });
  for (let o = 0; o < d.length; o += wide) {
    const row = [...d.slice(o, o + wide)].map((byte, i) => {
      const at = o + i, n = owner.get(at), changed = was && was[at] !== byte;
      return `<${changed ? "mark" : "span"} data-at="${at}"${n == null ? "" : ` data-f="${n}"`}>${hex2(byte)}</${changed ? "mark" : "span"}>`;
    });
    out.push(`<span class="o">${o.toString(16).padStart(4, "0")}</span> ${row.join(" ")}`);
  }
  return h`<div class="hex" tabindex="0" role="group" aria-label="${t("bytes_label")}" aria-describedby="byte-at">${raw(out.join("\n"))}</div>
    <div id="byte-at" class="bytenote" aria-live="polite">${t("bytes_hint")}</div>`;
}

// Mark field `n` of the frame that is shown, or none.
function markField(n, speak = true) {
  const pane = $("#detail");
  $$(".on", pane).forEach(each => each.classList.remove("on"));
  $$(".fn[aria-pressed=true]", pane).forEach(each => each.setAttribute("aria-pressed", "false"));
  S.field = n;
  if (n == null) return;
  $$(`[data-f="${n}"]`, pane).forEach(each => each.classList.add("on"));
  const name = $(`.fn[data-f="${n}"]`, pane), row = $(`.field[data-f="${n}"]`, pane), note = $("#byte-at");
  name?.setAttribute("aria-pressed", "true");
  bytesInSight(n);
  if (!row || !note || !speak) return;
  const at = $$(`.hex [data-f="${n}"]`, pane).map(each => +each.dataset.at);
  const where = at.length ? (at.length > 1 ? t("bytes_from_to", {from: at[0], to: at.at(-1)}) : t("byte_n", {n: at[0]})) : "";
  note.textContent = `${name.textContent}: ${$(".fv", row).textContent.trim()}  ${where}`;
}

// The box of bytes may be lower than the frame is long.
function bytesInSight(n) {
  const box = $(".hex"), byte = box && $(`[data-f="${n}"]`, box);
  if (!byte) return;
  const top = byte.getBoundingClientRect().top - box.getBoundingClientRect().top;
  if (top < 0 || top > box.clientHeight - 20) box.scrollTop += top - box.clientHeight / 2;
}

// A byte by the keyboard: arrows walk through the bytes, and mark the field that a byte belongs to.
let byteAt = 0;
function byteKey(event) {
  const wide = bytesPerRow(), move = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide}[event.key];
  if (!move) return false;
  byteAt = clamp(byteAt + move, 0, M.steps[S.step].d.length - startOf(M.steps[S.step]) - 1);
  const byte = $(`.hex [data-at="${byteAt}"]`);
  $$(".hex .cursor").forEach(each => each.classList.remove("cursor"));
  markField(byte?.dataset.f == null ? null : +byte.dataset.f);
  byte?.classList.add("cursor");
  byte?.scrollIntoView({block: "nearest"});
  return true;
}
