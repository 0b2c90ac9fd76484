// The ladder under the map: a row a packet, or a row a hop. Only the rows near the window are in the page.

const ROW = 32, HOP = 26, TOP = 8, CHUNK = 8, LATER_NS = 400_000;
let RS = [], drawn = "";

const rowHeight = () => S.mode === "packets" ? ROW : HOP;
// In question mode nothing is shown that lies ahead.
const ahead = s => S.quiz && s.k > S.step;
const fits = s => S.kinds.has(s.kind) && (!S.q || hay(s).includes(S.q));
function hay(s) {
  s.hay ||= [s.I.name, s.line, s.sentence, ...s.facts, ...s.chap, mac(s.d, 0), mac(s.d, 6), s.kind, ...s.trail.map(e => e.spec || "")]
    .join(" ").toLowerCase();
  return s.hay;
}

function rows() {
  if (S.mode === "hops") return M.steps.filter(s => fits(s) && !ahead(s)).map(s => ({p: s.packet, steps: [s], first: s, hop: true}));
  const shown = M.packets.filter(p => !ahead(p.steps[0])), folded = shown.filter(isFolded), current = M.steps[S.step].packet;
  return shown.filter(p => p === current || !isFolded(p)).map(p => ({
    p, steps: p.steps.filter(s => !ahead(s)), first: p.steps[0], hop: false, arp: folded.filter(each => each.cause === p.id).length,
  }));
}
// Without the ARP chip the requests and replies that a packet waits for are folded into its row.
const isFolded = p => p.b.arp && !S.kinds.has("arp");
const rowOf = s => S.mode === "packets" ? RS.findIndex(r => r.p === s.packet) : RS.findIndex(r => r.first === s);

// The mark of a step: the shape states what the colour states.
function marker(s, x, y, dim) {
  const colour = `var(--${s.kind})`, r = 4.8, box = `x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" fill="${colour}"`;
  const shape = {
    drop: `<path d="M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}" stroke="${colour}" stroke-width="2.5" stroke-linecap="round"/>`,
    nat: `<rect ${box} transform="rotate(45 ${x} ${y})"/>`,
    route: `<rect ${box}/>`,
    arp: `<path d="M${x - r} ${y + r - 1}A${r} ${r} 0 0 1 ${x + r} ${y + r - 1}Z" fill="${colour}"/>`,
    pass: `<circle cx="${x}" cy="${y}" r="${r - .5}" fill="var(--panel)" stroke="${colour}" stroke-width="2"/>`,
  }[s.kind];
  const title = esc(`${s.k + 1}  ${s.I.name} ${wayWord(s)}\n${s.sentence}`);
  return `<g class="dot" data-k="${s.k}"${dim ? ' opacity=".25"' : ""}><circle cx="${x}" cy="${y}" r="13" fill="transparent"/><title>${title}</title>${shape}</g>`;
}

const natEntry = s => entryOf(s, "nat") || s.trail.find(e => e.k === "carried" && e.half);
// One packet: a line over the columns that it crossed, violet where its address is the endpoint's.
function journey(row, y) {
  const out = [], steps = row.steps, first = steps.find(s => s.kind === "nat");
  const undone = !!first && first.trail.some(e => e.k === "nat" && e.kind.startsWith("un-"));
  let rewritten = false;
  for (const s of steps) {
    if (s.prev) {
      const violet = first && !s.b.arp && rewritten !== undone;
      const colour = s.kind === "drop" ? "drop" : s.b.arp ? "arp" : violet ? "nat" : "ink3";
      const waits = s.x.t !== s.prev.x.t && has(s, "waited");
      out.push(`<path d="M${xOf(s.prev)} ${y}H${xOf(s)}" stroke="var(--${colour})" stroke-width="1.7" opacity="${fits(s) ? .85 : .25}"${waits ? ' stroke-dasharray="2 4"' : ""}/>`);
    }
    rewritten ||= s.kind === "nat";
  }
  out.push(...arrows(steps, y));
  for (const s of steps) out.push(marker(s, xOf(s), y, !fits(s)));
  const drop = steps.find(s => s.kind === "drop");
  if (drop) {
    const right = xOf(drop) + 130 < geo.width;
    out.push(note(entryOf(drop, "drop")?.reason || t("dropped"), xOf(drop) + (right ? 9 : -2), y - 7, right ? "start" : "end", "drop"));
  } else if (first && natEntry(first)) out.push(note(natEntry(first).kind || t("rewritten"), xOf(first) + 9, y - 5, "start", "nat"));
  return out.join("");
}
const note = (text, x, y, anchor, colour) =>
  `<text x="${x}" y="${y}" font-size="10.5" font-weight="650" text-anchor="${anchor}" class="halo" style="fill:var(--${colour})">${esc(text)}</text>`;

function arrows(steps, y) {
  const came = new Set(steps.map(s => s.prev));
  return steps.filter(s => s.prev && !came.has(s) && s.kind !== "drop").map(s => {
    const d = Math.sign(xOf(s) - xOf(s.prev)) || 1;
    return `<path d="M${xOf(s) - d * 8} ${y}l${-d * 7} -4v8z" fill="var(--${s.b.arp ? "arp" : "ink3"})"/>`;
  });
}

function hopLine(s, y) {
  const from = s.prev ? `<path d="M${xOf(s.prev)} ${y}H${xOf(s)}" stroke="var(--${s.kind === "pass" ? "ink3" : s.kind})" stroke-width="1.6"/>` : "";
  return from + marker(s, xOf(s), y, false);
}

function laterLine(row, before, y) {
  const gap = row.first.x.t - before.first.x.t;
  if (gap <= LATER_NS) return "";
  return `<path d="M${geo.gutter - 6} ${y}H${geo.width}" stroke="var(--line2)" stroke-dasharray="1 5"/>`
    + `<text x="${geo.width - 10}" y="${y + 3.5}" font-size="10" text-anchor="end" class="halo" style="fill:var(--ink3)">${esc(t("later", {time: duration(gap)}))}</text>`;
}

function rowLabel(r, y, height) {
  const s = r.first, g = geo.gutter, hit = r.steps.some(fits), p = r.p;
  const time = g > 190 ? h`<span class="t">${duration(s.x.t - M.steps[0].x.t)}</span>` : "";
  const what = s.kind === "drop" ? entryOf(s, "drop")?.reason || t("dropped")
    : s.kind === "nat" ? natEntry(s)?.kind || "NAT" : s.b.word;
  const tone = p.b.arp ? "k-arp" : p.kind === "drop" ? "k-drop" : "";
  const words = r.hop ? h`<span class="mono">${short(bare(s.I.name), g > 250 ? 17 : 15)}</span> <span class="e">${what}</span>`
    : h`${p.child ? h`<span class="e">↳ </span>` : ""}<span class="p ${tone}">${p.b.word}</span> <span class="e">${r.arp ? h`<i>${count("folded", r.arp)}</i> ` : ""}${p.ends}</span>`;
  return flat(h`<button class="row${hit ? "" : " dim"}" data-k="${s.k}" tabindex="-1"
    style="top:${y}px;height:${height}px;width:${g - 10}px;line-height:${height}px">${time}${words}</button>`);
}

function drawLadder(force) {
  if (S.mode === "compare") return drawCompare(force);
  const el = $("#ladder"), height = rowHeight();
  if (force || S.quiz || !S.kinds.has("arp")) { RS = rows(); drawn = ""; }
  const full = Math.max(el.clientHeight, RS.length * height + TOP + 14);
  const start = clamp((Math.floor((el.scrollTop - TOP) / height / CHUNK) - 1) * CHUNK, 0, RS.length);
  const end = clamp((Math.ceil((el.scrollTop + el.clientHeight) / height / CHUNK) + 1) * CHUNK, 0, RS.length);
  if (drawn !== `${start} ${end}`) {
    drawn = `${start} ${end}`;
    drawRows(el, start, end, height, full);
  }
  markRow(el, height);
}

function drawRows(el, start, end, height, full) {
  const held = document.activeElement?.classList.contains("row");
  const out = ['<rect id="crow" x="0" fill="var(--tokenbg)"/>'], labels = [];
  for (const c of M.cols) out.push(`<path d="M${centre(c.i)} 0V${full}" stroke="var(--line)"/>`);
  for (let i = start; i < end; i++) {
    const r = RS[i], y = TOP + i * height;
    if (!r.hop && i) out.push(laterLine(r, RS[i - 1], y));
    out.push(r.hop ? hopLine(r.first, y + height / 2) : journey(r, y + height / 2));
    labels.push(rowLabel(r, y, height));
  }
  out.push('<circle id="cring" r="11" fill="none" stroke="var(--token)" stroke-width="2"/>');
  const svg = $("#ladder>svg");
  svg.setAttribute("width", geo.width);
  svg.setAttribute("height", full);
  svg.innerHTML = out.join("");
  $$(".row,.pair,.empty", el).forEach(each => each.remove());
  el.insertAdjacentHTML("beforeend", labels.join(""));
  el.tabIndex = RS.length ? -1 : 0;  // what scrolls can be reached by Tab: the rows, or itself
  if (!RS.length) el.insertAdjacentHTML("beforeend", flat(h`<p class="empty">${t("nothing_fits")}</p>`));
  if (held) markRow(el, height)?.focus({preventScroll: true});
}

// The row of the current step, and the ring around its mark. One row can be reached by Tab: the current one.
function markRow(el, height) {
  const now = M.steps[S.step], i = rowOf(now), y = TOP + i * height, bar = $("#crow"), ring = $("#cring");
  const held = document.activeElement?.classList.contains("row");
  for (const old of $$(".row.cur", el)) {
    old.classList.remove("cur");
    old.tabIndex = -1;
    old.removeAttribute("aria-current");
  }
  for (const each of [bar, ring]) each.setAttribute("visibility", i < 0 ? "hidden" : "visible");
  const at = i < 0 ? null : $(`.row[data-k="${RS[i].first.k}"]`, el), row = at || $(".row", el);
  if (row) row.tabIndex = 0;
  if (!at) return null;
  bar.setAttribute("y", y);
  bar.setAttribute("height", height);
  bar.setAttribute("width", geo.width);
  ring.setAttribute("cx", xOf(now));
  ring.setAttribute("cy", y + height / 2);
  at.classList.add("cur");
  at.setAttribute("aria-current", "step");
  if (held && document.activeElement !== at) at.focus({preventScroll: true});
  return at;
}

function intoView() {
  const el = $("#ladder"), height = rowHeight(), i = rowOf(M.steps[S.step]), y = TOP + i * height;
  if (i < 0 || S.mode === "compare") return;
  if (y < el.scrollTop + height) el.scrollTop = Math.max(0, y - height * 2);
  else if (y > el.scrollTop + el.clientHeight - height * 3) el.scrollTop = y - el.clientHeight + height * 4;
}

function setMode(mode) {
  S.mode = mode;
  $$("#mode button").forEach(b => b.setAttribute("aria-pressed", b.dataset.m === mode));
  drawn = "";
  if (!M.steps.length) return;
  drawLadder(true);
  intoView();
  drawLadder();
  setHash();
}
