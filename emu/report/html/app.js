"use strict";
// ---------- small functions -----------------------------------------------------------------------
const $ = (s, e = document) => e.querySelector(s), $$ = (s, e = document) => [...e.querySelectorAll(s)];
const ESC = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"};
const esc = s => String(s).replace(/[&<>"']/g, c => ESC[c]);
class Safe { constructor(s) { this.s = s; } toString() { return this.s; } }
const flat = v => v == null || v === false ? "" : Array.isArray(v) ? v.map(flat).join("") : v instanceof Safe ? v.s : esc(v);
const h = (parts, ...vals) => new Safe(parts.reduce((a, p, i) => a + flat(vals[i - 1]) + p));
const clamp = (v, a, b) => Math.max(a, Math.min(b, v));
const REDUCED = matchMedia("(prefers-reduced-motion: reduce)");
const DOC = JSON.parse($("#data").textContent);

// ---------- bytes to layers ---------------------------------------------------------------------
const hex2 = n => n.toString(16).padStart(2, "0");
const bytesOf = b => Uint8Array.from(atob(b), c => c.charCodeAt(0));
function frameBytes(x, bases) {  // a packet's first sight is whole, the later ones are patches of the sight before
  let d = x.b ? bytesOf(x.b) : bases.get(x.p);
  if (x.d) { d = d.slice(); for (const [at, hex] of x.d) for (let i = 0; i < hex.length; i += 2) d[at + i / 2] = parseInt(hex.slice(i, i + 2), 16); }
  bases.set(x.p, d); return d;
}
const mac = (d, o) => [...d.slice(o, o + 6)].map(hex2).join(":"), ip = (d, o) => [...d.slice(o, o + 4)].join(".");
const u16 = (d, o) => d[o] << 8 | d[o + 1], u32 = (d, o) => (d[o] * 2 ** 24 + (d[o + 1] << 16) + (d[o + 2] << 8) + d[o + 3]);
const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
const ICMP = {"8": "echo request", "0": "echo reply", "3.0": "network unreachable", "3.1": "host unreachable", "3.3": "port unreachable", "3.4": "fragmentation needed", "11.0": "time to live exceeded"};
function layers(d) {
  const L = [], F = (layer, name, at, len, value, who) => layer.fields.push({name, at, len, value, who});
  const eth = {name: "Ethernet", note: "", fields: []}; L.push(eth);
  F(eth, "to", 0, 6, mac(d, 0), "mac"); F(eth, "from", 6, 6, mac(d, 6), "mac");
  const type = u16(d, 12); F(eth, "type", 12, 2, "0x" + type.toString(16).padStart(4, "0") + (type === 0x800 ? " IPv4" : type === 0x806 ? " ARP" : ""));
  if (type === 0x806) {
    const a = {name: "ARP", note: u16(d, 20) === 1 ? "request" : "reply", fields: []}; L.push(a);
    F(a, "operation", 20, 2, u16(d, 20) === 1 ? "1 who-has" : "2 is-at"); F(a, "sender MAC", 22, 6, mac(d, 22), "mac"); F(a, "sender IP", 28, 4, ip(d, 28), "ip");
    F(a, "target MAC", 32, 6, mac(d, 32), "mac"); F(a, "target IP", 38, 4, ip(d, 38), "ip");
  } else if (type === 0x800) ipv4(d, 14, L, F, "IPv4");
  return L;
}
function ipv4(d, o, L, F, name) {
  if (d.length < o + 20) return;
  const n = (d[o] & 15) * 4, proto = d[o + 9], i = {name, note: `${n} bytes`, fields: []}; L.push(i);
  F(i, "source", o + 12, 4, ip(d, o + 12), "ip"); F(i, "destination", o + 16, 4, ip(d, o + 16), "ip"); F(i, "TTL", o + 8, 1, d[o + 8]);
  const fr = u16(d, o + 6); F(i, "id, flags", o + 4, 4, `${u16(d, o + 4)}${fr & 0x4000 ? ", DF" : ""}${fr & 0x2000 ? ", MF" : ""}${fr & 0x1fff ? `, offset ${(fr & 0x1fff) * 8}` : ""}`);
  F(i, "protocol", o + 9, 1, `${proto} ${{1: "ICMP", 6: "TCP", 17: "UDP"}[proto] || ""}`); F(i, "length", o + 2, 2, u16(d, o + 2)); F(i, "checksum", o + 10, 2, "0x" + u16(d, o + 10).toString(16).padStart(4, "0"));
  if (d[o + 1]) F(i, "DSCP/ECN", o + 1, 1, "0x" + hex2(d[o + 1]));
  const p = o + n, end = Math.min(d.length, o + u16(d, o + 2)); if (fr & 0x1fff) return;
  if (proto === 6 && d.length >= p + 20) {
    const t = {name: "TCP", note: FLAGS.filter((_, b) => d[p + 13] >> b & 1).join(", "), fields: []}; L.push(t);
    F(t, "source port", p, 2, u16(d, p)); F(t, "dest. port", p + 2, 2, u16(d, p + 2)); F(t, "seq, ack", p + 4, 8, `${u32(d, p + 4)}, ${u32(d, p + 8)}`);
    F(t, "flags", p + 13, 1, t.note || "none"); F(t, "window", p + 14, 2, u16(d, p + 14)); F(t, "checksum", p + 16, 2, "0x" + u16(d, p + 16).toString(16).padStart(4, "0"));
    const tl = (d[p + 12] >> 4) * 4; if (tl > 20) F(t, "options", p + 20, tl - 20, tcpOptions(d.slice(p + 20, p + tl)));
    payload(d, p + tl, end, L, F);
  } else if (proto === 17) {
    const t = {name: "UDP", note: "", fields: []}; L.push(t);
    F(t, "source port", p, 2, u16(d, p)); F(t, "dest. port", p + 2, 2, u16(d, p + 2)); F(t, "length", p + 4, 2, u16(d, p + 4)); F(t, "checksum", p + 6, 2, "0x" + u16(d, p + 6).toString(16).padStart(4, "0"));
    payload(d, p + 8, end, L, F);
  } else if (proto === 1) {
    const word = ICMP[`${d[p]}.${d[p + 1]}`] || ICMP[d[p]] || "", t = {name: "ICMP", note: word, fields: []}; L.push(t);
    F(t, "type, code", p, 2, `${d[p]}, ${d[p + 1]} ${word}`); F(t, "checksum", p + 2, 2, "0x" + u16(d, p + 2).toString(16).padStart(4, "0"));
    if (d[p] === 8 || d[p] === 0) { F(t, "id, seq", p + 4, 4, `${u16(d, p + 4)}, ${u16(d, p + 6)}`); payload(d, p + 8, end, L, F); }
    else ipv4(d, p + 8, L, F, "quoted IPv4");
  } else payload(d, p, end, L, F);
}
function payload(d, a, b, L, F) {
  if (b <= a) return;
  const text = [...d.slice(a, b)].map(c => c >= 32 && c < 127 ? String.fromCharCode(c) : c === 13 ? "\\r" : c === 10 ? "\\n" : "·").join("");
  const l = {name: "Data", note: `${b - a} bytes`, fields: []}; L.push(l); F(l, "text", a, b - a, text.length > 200 ? text.slice(0, 200) + "…" : text);
}
function tcpOptions(o) {
  const out = [];
  for (let i = 0; i < o.length;) {
    const k = o[i]; if (k === 0) break; if (k === 1) { i++; continue; }
    const n = o[i + 1] || 2; out.push(k === 2 ? `MSS ${u16(o, i + 2)}` : k === 3 ? `wscale ${o[i + 2]}` : k === 4 ? "SACK ok" : k === 8 ? `TS ${u32(o, i + 2)}/${u32(o, i + 6)}` : k === 5 ? "SACK" : `option ${k}`); i += n;
  }
  return out.join(", ");
}
function brief(d) {  // what the packet is, in two words, and its ends
  const type = u16(d, 12);
  if (type === 0x806) return u16(d, 20) === 1 ? {w: "ARP", a: `who has ${ip(d, 38)}?`, arp: 1} : {w: "ARP", a: `${ip(d, 28)} is here`, arp: 1};
  if (type !== 0x800) return {w: "frame", a: "0x" + type.toString(16)};
  const p = 14 + (d[14] & 15) * 4, proto = d[23], src = ip(d, 26), dst = ip(d, 30);
  if (proto === 6) {
    const f = d[p + 13], n = u16(d, 16) - (p - 14) - (d[p + 12] >> 4) * 4;
    const w = f & 4 ? "RST" : f & 2 ? (f & 16 ? "SYN ACK" : "SYN") : f & 1 ? "FIN" : n ? `${n} bytes` : "ACK";
    return {w, src, dst, sp: u16(d, p), dp: u16(d, p + 2), ttl: d[22]};
  }
  if (proto === 17) return {w: "UDP", src, dst, sp: u16(d, p), dp: u16(d, p + 2), ttl: d[22]};
  if (proto === 1) return {w: ICMP[`${d[p]}.${d[p + 1]}`] || ICMP[d[p]] || "ICMP", src, dst, ttl: d[22]};
  return {w: `IP ${proto}`, src, dst, ttl: d[22]};
}

// ---------- the model: one flow, ready to look at ------------------------------------------------
const KINDS = [["pass", "passes"], ["arp", "ARP"], ["route", "routed"], ["nat", "NAT"], ["drop", "dropped"]];
const ALL = []; DOC.runs.forEach((run, r) => run.flows.forEach(f => ALL.push({run, r, f})));
let S = {flow: 0, step: 0, mode: "packets", hex: false, tab: "", pane: "why", play: false, q: "", kinds: new Set(KINDS.map(k => k[0]))}, M = null;
function model(n) {
  const {run, f} = ALL[n], W = run.words, ifs = run.interfaces, parsed = new Map();
  const entry = i => parsed.get(i) || parsed.set(i, JSON.parse(W[i])).get(i);
  const bases = new Map(), steps = run.frames.filter(x => x.f === f.flow).map((x, k) => {
    const d = frameBytes(x, bases), tr = (x.tr || []).map(entry), b = brief(d), I = ifs[x.i];
    const nat = tr.find(e => e.k === "nat"), drop = x.w === "drop" || tr.some(e => e.k === "drop");
    const routed = tr.some(e => e.k === "route") && !tr.some(e => e.k === "born");
    const kind = drop ? "drop" : nat ? "nat" : b.arp ? "arp" : routed ? "route" : "pass";
    const decision = drop || !!nat || routed || tr.some(e => e.k === "asked" || e.k === "answered" || e.k === "ct" && e.new);
    return {k, x, d, tr, b, I, kind, decision, say: W[x.s], line: W[x.l], facts: (x.x || []).map(i => W[i]), chap: (x.c || []).map(i => W[i])};
  });
  const packets = [], by = new Map();
  for (const s of steps) {
    let p = by.get(s.x.p); if (!p) { p = {n: packets.length, id: s.x.p, steps: []}; by.set(s.x.p, p); packets.push(p); }
    s.packet = p; s.prev = before(p.steps, s); p.steps.push(s);
  }
  for (const p of packets) {
    p.b = p.steps[0].b; p.kind = ["drop", "nat", "arp", "route"].find(k => p.steps.some(s => s.kind === k)) || "pass";
    const asked = p.steps[0].tr.find(e => e.k === "asked" && e.dst); p.child = !!p.b.arp && packets.slice(0, packets.indexOf(p)).some(o => !o.b.arp);
    const nm = a => (run.names[a] || a).replace(/^default\//, "").replace(/\.default$/, "");
    p.ends = p.b.arp ? "" : `${nm(p.b.src)} → ${nm(p.b.dst)}${p.b.dp ? ":" + p.b.dp : ""}`;
  }
  const chapters = [], seen = new Set();
  for (const s of steps) for (const c of s.chap) {
    const m = /^([\w ]+) \((\d+)\)/.exec(c); if (!m || seen.has(c)) continue;
    seen.add(c); chapters.push({step: s.k, label: m[2], back: /way back/.test(m[1]), text: c});
  }
  if (!chapters.length) for (const s of steps) for (const c of s.chap) if (!seen.has(c)) { seen.add(c); chapters.push({step: s.k, label: String(chapters.length + 1), text: c}); }
  const gap = steps.map((s, k) => k ? s.x.t - steps[k - 1].x.t : 0), pos = []; let acc = 0;
  gap.forEach((g, k) => { acc += k ? 1 + (g > 50_000 ? Math.min(8, 2 * Math.log10(g / 10_000)) : 0) : 0; pos.push(acc); });
  return {run, f, n, steps, packets, chapters, gap, pos: pos.map(p => acc ? p / acc : 0), cols: columns(run, f, steps), macs: macNames(run)};
}
function before(list, s) {  // the hop that this one comes from: the other end of the link, else the same namespace
  const back = [...list].reverse(), peer = back.find(t => t.I.n === s.I.peer && t.x.w === "out"); if (peer && s.x.w.startsWith("in")) return peer;
  const same = back.filter(t => t.I.ns === s.I.ns), port = t => t.I.master && t.x.w.startsWith("in"), br = t => t.I.kind === "bridge";
  return (s.I.master && s.x.w === "out" && same.find(t => port(t) || br(t) && t.x.w === "out")) || (s.I.kind === "bridge" && s.x.w.startsWith("in") && same.find(port)) || same[0] || back[0] || null;
}
const macNames = run => { const m = {"ff:ff:ff:ff:ff:ff": "everybody"}; for (const i of run.interfaces) if (i.mac && (!m[i.mac] || i.kind === "bridge")) m[i.mac] = i.name.replace(/^default\//, ""); return m; };
function columns(run, f, steps) {  // interfaces in the order of the way: client, its node, the network, the others
  const used = new Set(steps.filter(s => s.I.kind !== "drop").map(s => s.I.n)), ifs = run.interfaces, role = Object.fromEntries(run.namespaces.map(n => [n.name, n]));
  for (const s of steps) if (s.I.kind === "drop" && !ifs.some(i => i.ns === s.I.ns && used.has(i.n))) { const i = ifs.find(i => i.ns === s.I.ns && i.kind !== "drop" && i.kind !== "loopback"); if (i) used.add(i.n); }
  const src = role[f.source], home = src?.role === "pod" ? src.node : f.source;
  const order = []; for (const s of steps) { const n = role[s.I.ns]?.role === "pod" ? role[s.I.ns].node : s.I.ns; if (!order.includes(n)) order.push(n); }
  const rank = n => n === home ? 0 : role[n]?.role === "underlay" ? 1 : role[n]?.role === "outside" ? 3 : 2;
  order.sort((a, b) => rank(a) - rank(b));
  const cols = [];
  const own = ns => ifs.filter(i => i.ns === ns && used.has(i.n));
  for (const n of order) {
    const left = rank(n) === 0, o = own(n), pods = run.namespaces.filter(x => x.role === "pod" && x.node === n && own(x.name).length).map(x => x.name);
    if (role[n]?.role !== "node") { const at = i => { const k = cols.findIndex(c => c.n === i.peer); return k < 0 ? 1e6 + i.n : k; }; cols.push(...o.sort((a, b) => at(a) - at(b))); continue; }
    const podCols = (p, right) => { const a = own(p).filter(i => i.kind === "loopback"), e = own(p).filter(i => i.kind !== "loopback"); const v = e.map(i => ifs[i.peer]).filter(Boolean); v.forEach(i => used.add(i.n)); const out = [...a, ...e, ...v]; return right ? out.reverse() : out; };
    const veths = new Set(pods.flatMap(p => podCols(p)).map(i => i.n)), rest = own(n).filter(i => !veths.has(i.n));
    const br = rest.filter(i => i.kind === "bridge"), lo = rest.filter(i => i.kind === "loopback"), nic = rest.filter(i => i.kind !== "bridge" && i.kind !== "loopback");
    const by = pods.filter(p => p !== f.source && p !== f.at && steps.every(s => s.I.ns !== p || s.b.arp && s.x.w.startsWith("in")));
    let fold = [];
    if (by.length > 1) { const list = by.flatMap(p => podCols(p)); pods.splice(0, pods.length, ...pods.filter(p => !by.includes(p))); fold = [{n: `fold ${n}`, fold: list, ns: n, kind: "fold", dev: `${by.length} pods`, name: `${by.length} more pods of ${n}: ${by.join(", ")}`, mac: "", addrs: [], master: list.find(i => i.master)?.master || ""}]; list.forEach(i => used.delete(i.n)); }
    const first = left ? pods.filter(p => p === f.source) : [], others = pods.filter(p => !first.includes(p));
    if (left) cols.push(...first.flatMap(p => podCols(p)), ...(first.length ? [] : lo), ...(first.length ? br : nic.length ? [] : []), ...others.flatMap(p => podCols(p, true)), ...fold, ...(first.length ? [] : br), ...(first.length ? lo : []), ...nic);
    else cols.push(...nic, ...lo, ...br, ...others.flatMap(p => podCols(p, true)), ...fold);
  }
  for (const s of steps) if (s.I.kind !== "drop" && !cols.includes(s.I) && !cols.some(c => c.fold?.includes(s.I))) cols.push(s.I);
  return [...new Set(cols)];
}

// ---------- state of a place at a step: initial state plus deltas -------------------------------
const stateMemo = new Map();
function stateAt(ns, k) { const key = `${M.n} ${ns} ${k}`; if (!stateMemo.has(key)) { if (stateMemo.size > 64) stateMemo.clear(); stateMemo.set(key, stateOf(ns, k)); } return stateMemo.get(key); }
function stateOf(ns, k) {
  const {run, steps} = M, now = {}; let last = {}, base = run.state[ns] || {neigh: [], fdb: [], ct: [], routes: []};
  for (const kind of ["neigh", "fdb", "ct", "routes"]) now[kind] = [...(base[kind] || [])];
  const upto = steps[k].x; let before = null;
  for (const x of run.frames) {
    const d = x.st?.[ns];
    if (d) { last = {}; for (const kind in d) { const [minus, plus] = d[kind]; now[kind] = now[kind].filter(l => !minus.includes(l)).concat(plus.filter(l => !now[kind].includes(l))); last[kind] = {minus, plus}; } before = x; }
    if (x === upto) break;
  }
  return {now, last: before === upto || before && steps[k - 1] && !recentlyShown(ns, before, k) ? last : {}};
}
function recentlyShown(ns, x, k) { for (let j = k - 1; j >= 0; j--) { if (M.steps[j].I.ns === ns) return M.steps[j].x.t > x.t || M.run.frames.indexOf(M.steps[j].x) >= M.run.frames.indexOf(x); } return false; }

// ---------- geometry ---------------------------------------------------------------------------
let G = 216; const WIRE = 142, BARY = 190, LANE = 226, MAPH = 280, ROW = 32, HOP = 26;
let geo = null;
function layout() {
  const stage = $("#stage"), w = $("#ladder").clientWidth, n = M.cols.length; G = clamp(w - n * 71 - 14, w < 800 ? 168 : 216, 300); const cw = clamp((w - G - 14) / n, 49, 140), width = Math.max(w, G + n * cw + 14);
  const x = new Map(M.cols.map((c, i) => [c.n, G + (i + .5) * cw]));
  for (const c of M.cols) for (const i of c.fold || []) x.set(i.n, x.get(c.n));
  geo = {w: width, cw, x};
  stage.style.setProperty("--g", G - 12 + "px");
}
const mapX = s => s.I.kind === "drop" && s.k === S.step && M.dropAt ? M.dropAt : s.I.kind === "drop" && M.cols.filter(c => c.ns === s.I.ns).length === 1 ? geo.x.get(M.cols.find(c => c.ns === s.I.ns).n) : xOf(s);
const xOf = s => s.I.kind === "drop" ? dropX(s) : geo.x.get(s.I.n);
function dropX(s) {
  const same = s.prev && s.prev.I.ns === s.I.ns && s.prev.I.kind !== "drop" ? geo.x.get(s.prev.I.n) : null;
  const cols = M.cols.filter(c => c.ns === s.I.ns).map(c => geo.x.get(c.n));
  if (!cols.length) return G + geo.cw / 2;
  const mid = (Math.min(...cols) + Math.max(...cols)) / 2;
  return same == null ? mid : clamp(same + geo.cw * .34 * (mid >= same ? 1 : -1), Math.min(...cols) - geo.cw * .34, Math.max(...cols) + geo.cw * .34);
}
const short = (s, n) => s.length > n ? s.slice(0, n - 1) + "…" : s;
const STAGES = [["PREROUTING", "PRE"], ["INPUT", "IN"], ["FORWARD", "FWD"], ["OUTPUT", "OUT"], ["POSTROUTING", "POST"]];

// ---------- the map ----------------------------------------------------------------------------
function drawMap() {
  const {run, cols} = M, cw = geo.cw, roles = Object.fromEntries(run.namespaces.map(n => [n.name, n])), out = [];
  const span = list => { const xs = list.map(c => geo.x.get(c.n)); return [Math.min(...xs), Math.max(...xs)]; };
  const groups = []; for (const c of cols) { const r = roles[c.ns], o = r?.role === "pod" && r.node ? r.node : c.ns; let g = groups.find(g => g.o === o); if (!g) groups.push(g = {o, list: []}); g.list.push(c); }
  const lanes = {};
  for (const g of groups) {
    const [a, b] = span(g.list), role = roles[g.o]?.role, x = a - cw / 2 + 5, w = b - a + cw - 10;
    const addr = run.interfaces.find(i => i.ns === g.o && i.addrs.length && i.kind !== "bridge" && i.kind !== "loopback")?.addrs[0]?.split("/")[0] || "";
    const cap = Math.floor((w - 16) / 7.3);
    out.push(h`<rect x="${x}" y="54" width="${w}" height="${MAPH - 64}" rx="12" fill="var(--${role === "node" ? "node" : "under"})" stroke="var(--line2)" ${role === "node" ? "" : new Safe('stroke-dasharray="3 4"')}/>
      <text x="${x + (w < 90 ? w / 2 : 12)}" y="75" font-size="${w < 90 ? 11.500 : 13}" font-weight="650" text-anchor="${w < 90 ? "middle" : "start"}">${short(role === "underlay" ? (w < 118 ? "network" : "the network") : g.o, w < 90 ? Math.floor(w / 6.2) : cap)}</text>${role === "node" && w > 170 ? h`<text x="${x + w - 12}" y="75" font-size="11" class="m" text-anchor="end" style="fill:var(--ink3)">${addr}</text>` : ""}`);
    for (const ns of new Set(g.list.map(c => c.ns))) {
      const mine = g.list.filter(c => c.ns === ns), pod = roles[ns]?.role === "pod", [pa, pb] = span(mine);
      if (pod) {
        const m = cw < 60 ? 7 : 10, px = pa - cw / 2 + m, pw = pb - pa + cw - 2 * m, pip = mine.flatMap(c => c.addrs).find(t => !t.startsWith("127."))?.split("/")[0] || "";
        out.push(h`<rect x="${px}" y="90" width="${pw}" height="154" rx="9" fill="var(--pod)" stroke="var(--line2)"/><text x="${px + pw / 2}" y="107" font-size="${cw < 60 ? 11 : 12}" font-weight="650" text-anchor="middle">${short(ns.split("/").pop(), Math.floor((pw + 4) / (cw < 60 ? 6.6 : 7.2)))}</text>${pw < 50 ? "" : h`<text x="${px + pw / 2}" y="121" font-size="${pw < 66 ? 9 : 10.500}" class="m" text-anchor="middle" style="fill:var(--ink3)">${pip}</text>`}`);
      }
      const runs = []; for (const c of mine) { const i = cols.indexOf(c), r = runs.at(-1); if (r && cols.indexOf(r.at(-1)) === i - 1) r.push(c); else runs.push([c]); }
      const real = r => r.filter(c => c.kind !== "fold"), laneCols = pod ? mine : real(runs.find(r => r.some(c => c.kind === "bridge")) || runs.sort((a, b) => b.length - a.length)[0]);
      const L = pod ? pa - cw / 2 + 14 : (role === "node" ? Math.min(...(laneCols.length ? span(laneCols) : [pa, pb])) : pa) - cw / 2 + 12, R = pod ? pb + cw / 2 - 14 : (role === "node" ? Math.max(...span(laneCols.length ? laneCols : mine)) : pb) + cw / 2 - 12;
      lanes[ns] = {l: L, r: R, pod};
    }
  }
  // cables, veth pairs, bridges
  const done = new Set(), labels = [];
  for (const c of cols) {
    const p = cols.find(o => o.n === c.peer);
    if (p && !done.has(p.n)) { done.add(c.n); out.push(h`<path d="M${geo.x.get(c.n)} ${WIRE}H${geo.x.get(p.n)}" stroke="var(--line2)" stroke-width="2.500" fill="none"/>`); }
  }
  for (const ns of new Set(cols.map(c => c.ns))) for (const br of new Set(cols.filter(c => c.ns === ns && c.master).map(c => c.master))) {
    const ports = cols.filter(c => c.ns === ns && (c.master === br || c.dev === br)); const [a, b] = span(ports);
    for (const p of ports) out.push(h`<path d="M${geo.x.get(p.n)} ${WIRE + 8}V${BARY}" stroke="var(--line2)" stroke-width="2.500"/>`);
    out.push(h`<rect x="${a - 22}" y="${BARY - 8}" width="${b - a + 44}" height="16" rx="8" fill="var(--bg)" stroke="var(--line2)"/>`); labels.push(h`<text x="${(a + b) / 2}" y="${BARY + 4}" font-size="10.500" text-anchor="middle" class="halo" style="fill:var(--ink2)">bridge ${br}</text>`);
  }
  for (const g of groups) if (roles[g.o]?.role !== "outside") { const r = g.list.filter(c => c.ns === g.o && !c.master && c.kind !== "loopback"); if (r.length > 1) { const [a, b] = span(r); out.push(h`<path d="${r.map(c => `M${geo.x.get(c.n)} ${c.kind === "bridge" ? BARY + 8 : WIRE + 30}V${LANE - 12}`).join("")}M${a} ${LANE - 16}H${b}" stroke="var(--line2)" stroke-width="2" stroke-dasharray="2 4" fill="none"/>`); } }
  out.push(new Safe('<g id="lanes"></g><path id="trail" fill="none" stroke="var(--token)" stroke-width="3" stroke-linecap="round" stroke-linejoin="round" opacity=".55"/>'));
  for (const c of cols) {
    const x = geo.x.get(c.n);
    out.push(h`<g data-if="${c.n}"><title>${c.name} ${c.kind} ${c.mac} ${c.addrs.join(" ")}</title><rect class="port" x="${x - 6}" y="${WIRE - 6}" width="12" height="12" rx="3" fill="var(--panel)" stroke="var(--ink3)" stroke-width="1.500" ${c.fold ? new Safe('stroke-dasharray="2 2"') : ""}/><text x="${x}" y="${WIRE + 22}" font-size="11" class="m" text-anchor="middle" style="fill:var(--ink2)">${short(c.dev, Math.floor(cw / 7))}</text></g>`);
  }
  out.push(...labels, new Safe('<g id="callout"></g><g id="token"></g>'));
  const svg = $("#map"); svg.setAttribute("width", geo.w); svg.setAttribute("height", MAPH); svg.innerHTML = out.map(flat).join("");
  M.lanes = lanes;
}
function drawLanes(s) {  // stages that this step's trail names are lit
  const ns = s.I.ns, out = []; M.dropAt = null;
  const lit = {};
  for (const e of s.tr) {
    if (e.k === "rule" || e.k === "policy") { const base = STAGES.find(t => t[0] === e.chain); if (base) lit.at = base[0]; if (lit.at) lit[lit.at] = lit[lit.at] || "rule"; }
    if (e.k === "nat") lit[e.kind === "SNAT" || e.kind === "un-DNAT" ? "POSTROUTING" : lit.at === "OUTPUT" ? "OUTPUT" : "PREROUTING"] = "nat";
    if (e.k === "route") lit.route = "route";
    if (e.k === "ct") lit.ct = "rule";
    if (e.k === "drop") { const m = /^\w+ (\S+) rule/.exec(e.by); lit[m || /policy/.test(e.by) ? lit.at || "FORWARD" : /ROUTE|ADDR/.test(e.reason) ? "route" : "none"] = "drop"; }
    if (e.k === "born" || e.k === "delivered") lit.socket = "route";
  }
  const natE = s.tr.find(e => e.k === "nat"), dropE = s.tr.find(e => e.k === "drop"), routeE = s.tr.find(e => e.k === "route"), askE = s.tr.find(e => e.k === "asked"), ctE = s.tr.find(e => e.k === "ct" && e.new), brE = s.tr.find(e => e.k === "bridge");
  const cap = dropE ? [dropE.reason, "drop"] : natE ? [`${natE.kind} → ${natE.after}`, "nat"] : askE ? [`who has ${askE.addr}?`, "arp"] : routeE ? [routeE.via ? `via ${routeE.via} dev ${routeE.dev}` : routeE.type === "unicast" ? `on link, dev ${routeE.dev}` : `${routeE.type}, dev ${routeE.dev}`, "route"] : ctE ? [`connection #${ctE.ct} is new`, "token"] : brE ? [brE.up ? "handed up" : brE.flooded ? "flooded" : brE.port ? `fdb → ${brE.port}` : "", "ink2"] : ["", ""];
  if (cap[0] && M.lanes[ns]) { const l = M.lanes[ns], w = cap[0].length * 7, side = l.pod && w > l.r - l.l + 20 ? (l.l + l.r > G + geo.w ? "end" : "start") : "middle", cx = side === "start" ? l.l - 4 : side === "end" ? l.r + 4 : clamp((l.l + l.r) / 2, G + w / 2, geo.w - w / 2 - 8); out.push(h`<text x="${cx}" y="${LANE + (l.pod ? 36 : 31)}" font-size="${geo.cw < 60 ? 10.500 : 11.500}" font-weight="650" text-anchor="${side}" class="m halo" style="fill:var(--${cap[1]})">${cap[0]}</text>`); }
  for (const [name, lane] of Object.entries(M.lanes)) {
    const role = M.run.namespaces.find(n => n.name === name)?.role, here = name === ns;
    const set = lane.pod || role === "outside" ? [["socket", "socket"]] : role === "node" ? [["ct", "ct"], ["PREROUTING", "pre"], ["route", "route"], [lit.INPUT && here ? "INPUT" : lit.OUTPUT && here ? "OUTPUT" : "FORWARD", lit.INPUT && here ? "in" : lit.OUTPUT && here ? "out" : "fwd"], ["POSTROUTING", "post"]] : [["route", "route"]];
    if ((lane.r - lane.l) / set.length < 25 && set.length > 1) { const best = here && ["drop", "nat", "route", "rule"].map(v => set.find(t => lit[t[0]] === v)).find(Boolean); set.splice(0, set.length, best || ["kernel", "kernel"]); }
    const w = (lane.r - lane.l - (set.length - 1) * 3) / set.length;
    set.forEach(([id, label], i) => {
      const on = here && lit[id]; if (on === "drop") M.dropAt = lane.l + (i + .5) * (w + 3); const x = lane.l + i * (w + 3), c = on === "nat" ? "nat" : on === "drop" ? "drop" : on === "route" ? "route" : "token";
      out.push(h`<g><title>${id === "ct" ? "connection tracking" : id}</title><rect x="${x}" y="${LANE - 11}" width="${w}" height="22" rx="6" ${on ? new Safe(`fill="var(--${c})"`) : new Safe('fill="var(--bg)" stroke="var(--line)"')}/><text x="${x + w / 2}" y="${LANE + 4}" font-size="${w < 30 ? 9.500 : 11}" text-anchor="middle" ${on ? new Safe('style="fill:var(--panel);font-weight:700"') : new Safe('style="fill:var(--ink3)"')}>${label}</text></g>`);
    });
  }
  $("#lanes").innerHTML = out.map(flat).join("");
}
const yOf = s => s.I.kind === "drop" ? LANE - 24 : WIRE;
const dips = s => s.tr.some(e => ["rule", "route", "nat", "ct", "policy"].includes(e.k));
function leg(a, b) {  // the way from one hop of a packet to the next, as points
  if (!a) return [[mapX(b), yOf(b)]];
  const xa = mapX(a), xb = mapX(b), yb = yOf(b), ya = yOf(a);
  if (a.I.ns !== b.I.ns) return [[xa, ya], [xb, yb]];
  const bridged = [a.I, b.I].some(i => i.master || i.kind === "bridge"), dip = dips(b) || b.I.kind === "drop";
  const pts = [[xa, ya]];
  if (bridged && dip) pts.push(...(a.I.master ? [[xa, BARY]] : []), ...(a.I.master || a.I.kind === "bridge" ? [] : []), [xa, LANE - 16].map((v, i) => i ? LANE - 16 : v), [xb, LANE - 16], [xb, yb]);
  else if (bridged) pts.push([xa, BARY], [xb, BARY], [xb, yb]);
  else if (xa !== xb) pts.push([xa, LANE - 16], [xb, LANE - 16], [xb, yb]);
  else pts.push([xb, yb]);
  return pts;
}
const pathOf = pts => "M" + pts.map(p => p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L");
let anim = 0, lastDrawn = null;
function drawToken(s, from) {
  const tok = $("#token"), kind = s.kind === "pass" ? "token" : s.kind, svg = $("#map");
  const all = []; for (let p = s; p; p = p.prev) all.unshift(...leg(p.prev, p));
  $("#trail").setAttribute("d", pathOf(all)); const tc = s.kind === "drop" ? "drop" : "token"; $("#trail").style.stroke = `var(--${tc})`;
  $$("#map [data-if] .port").forEach(r => { const n = +r.parentNode.dataset.if, on = s.packet.steps.some(t => t.k <= s.k && t.I.n === n); r.style.fill = on ? `var(--${tc})` : "var(--panel)"; r.style.stroke = on ? `var(--${tc})` : "var(--ink3)"; });
  tok.innerHTML = s.kind === "drop"
    ? `<circle r="12" fill="var(--dropbg)" stroke="var(--drop)" stroke-width="2"/><path d="M-5-5L5 5M5-5L-5 5" stroke="var(--drop)" stroke-width="2.500" stroke-linecap="round"/>`
    : `<circle r="16" fill="var(--${kind})" opacity=".2"/><circle r="9" fill="var(--${kind})" stroke="var(--panel)" stroke-width="2.500"/>`;
  cancelAnimationFrame(anim);
  const end = [mapX(s), yOf(s)], place = (x, y) => { tok.setAttribute("transform", `translate(${x},${y})`); };
  drawCallout(s, end[0]);
  if (!from || from.packet !== s.packet || REDUCED.matches || Math.abs(from.k - s.k) > 12) return place(...end);
  const pts = from === s.prev ? leg(from, s) : s === from.prev ? leg(s, from).reverse() : [[mapX(from), yOf(from)], end];
  const lens = pts.slice(1).map((p, i) => Math.hypot(p[0] - pts[i][0], p[1] - pts[i][1])), total = lens.reduce((a, b) => a + b, 0) || 1;
  const t0 = performance.now(), ms = S.play ? clamp(+$("#speed").value * .55, 80, 700) : 260;
  const tick = t => {
    let u = clamp((t - t0) / ms, 0, 1), e = u < .5 ? 2 * u * u : 1 - (2 - 2 * u) ** 2 / 2, left = e * total, i = 0;
    while (i < lens.length - 1 && left > lens[i]) left -= lens[i++];
    const r = lens[i] ? left / lens[i] : 1; place(pts[i][0] + (pts[i + 1][0] - pts[i][0]) * r, pts[i][1] + (pts[i + 1][1] - pts[i][1]) * r);
    if (u < 1) anim = requestAnimationFrame(tick);
  };
  place(...pts[0]); anim = requestAnimationFrame(tick);
}
function drawCallout(s, x) {  // what the packet carries right now, changed parts marked
  const b = s.b, p = s.prev?.b, mark = (v, old) => p && v !== old ? h`<tspan style="fill:var(--nat)" font-weight="700">${v}</tspan>` : h`${v}`;
  const port = v => v ? ":" + v : "";
  const one = b.arp ? h`<tspan font-weight="700">ARP</tspan> ${b.a}` : h`<tspan font-weight="700">${b.w}</tspan>  TTL ${mark(b.ttl, p?.ttl)}`;
  const two = b.arp ? h`${mark(short(M.macs[mac(s.d, 6)] || mac(s.d, 6), 22), p && short(M.macs[mac(s.prev.d, 6)] || mac(s.prev.d, 6), 22))} → ${short(M.macs[mac(s.d, 0)] || mac(s.d, 0), 22)}` : h`${mark(b.src + port(b.sp), p && p.src + port(p.sp))} → ${mark(b.dst + port(b.dp), p && p.dst + port(p.dp))}`;
  const w = b.arp ? 300 : 300, cx = clamp(x, G + w / 2 - 4, geo.w - w / 2 - 8);
  $("#callout").innerHTML = flat(h`<rect x="${cx - w / 2}" y="3" width="${w}" height="42" rx="9" fill="var(--panel)" stroke="var(--line2)"/><path d="M${clamp(x, cx - w / 2 + 14, cx + w / 2 - 14) - 7} 44.500h14l-7 7z" fill="var(--panel)" stroke="var(--line2)"/><path d="M${clamp(x, cx - w / 2 + 14, cx + w / 2 - 14) - 6} 44h12" stroke="var(--panel)" stroke-width="2.500"/><text x="${cx}" y="20" text-anchor="middle" font-size="12.500" xml:space="preserve">${one}</text><text x="${cx}" y="37" text-anchor="middle" font-size="11.500" class="m">${two}</text>`);
}

// ---------- the ladder: a row a packet, or a row a hop -------------------------------------------
const fits = s => S.kinds.has(s.kind) && (!S.q || hay(s).includes(S.q));
const hay = s => s.hay || (s.hay = [s.I.name, s.line, s.say, ...s.facts, ...s.chap, mac(s.d, 0), mac(s.d, 6), s.kind].join(" ").toLowerCase());
function rows() { return S.mode === "packets" ? M.packets.map(p => ({p, steps: p.steps, first: p.steps[0]})) : M.steps.filter(fits).map(s => ({p: s.packet, steps: [s], first: s, hop: 1})); }
const trim = s => s.includes(".") ? s.replace(/\.?0+$/, "") : s, us = t => t < 999_950 ? `${trim((t / 1e3).toFixed(1))} µs` : t < 999_950_000 ? `${trim((t / 1e6).toFixed(2))} ms` : `${trim((t / 1e9).toFixed(3))} s`;
function marker(s, x, y, dim) {
  const k = s.kind, f = `var(--${k})`, o = dim ? ' opacity=".25"' : "", r = 4.8;
  const shape = k === "drop" ? `<path d="M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}" stroke="${f}" stroke-width="2.500" stroke-linecap="round"/>`
    : k === "nat" ? `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" transform="rotate(45 ${x} ${y})" fill="${f}"/>`
    : k === "route" ? `<rect x="${x - r}" y="${y - r}" width="${2 * r}" height="${2 * r}" fill="${f}"/>`
    : k === "arp" ? `<path d="M${x - r} ${y + r - 1}A${r} ${r} 0 0 1 ${x + r} ${y + r - 1}Z" fill="${f}"/>` : `<circle cx="${x}" cy="${y}" r="${r - .5}" fill="var(--panel)" stroke="${f}" stroke-width="2"/>`;
  return `<g class="dot" data-k="${s.k}"${o}><circle cx="${x}" cy="${y}" r="13" fill="transparent"/><title>${esc(`${s.k + 1}  ${s.I.name} ${s.x.w}\n${s.say}`)}</title>${shape}</g>`;
}
function journey(r, y) {  // one packet: a line over the columns it crossed
  const out = [], st = r.steps, nt0 = st.find(s => s.kind === "nat"), undo = !!nt0 && nt0.tr.some(e => e.k === "nat" && e.kind.startsWith("un-"));
  for (let i = 0; i < st.length; i++) {
    if (!st[i].prev) continue;
    const a = xOf(st[i].prev), b = xOf(st[i]), tinted = nt0 && !st[i].b.arp && st.slice(0, i).some(s => s.kind === "nat") !== undo;
    const col = st[i].kind === "drop" ? "drop" : st[i].b.arp ? "arp" : tinted ? "nat" : "ink3", wait = st[i].x.t !== st[i].prev.x.t && st[i].tr.some(e => e.k === "waited");
    out.push(`<path d="M${a} ${y}H${b}" stroke="var(--${col})" stroke-width="1.700" opacity="${fits(st[i]) ? .85 : .25}"${wait ? ' stroke-dasharray="2 4"' : ""}/>`);
  }
  for (const l of st) { if (!l.prev || st.some(t => t.prev === l)) continue; const q = l.prev, d = Math.sign(xOf(l) - xOf(q)) || 1, x = xOf(l) - d * 8; if (l.kind !== "drop") out.push(`<path d="M${x} ${y}l${-d * 7} -4v8z" fill="var(--${l.b.arp ? "arp" : "ink3"})"/>`); }
  for (const s of st) out.push(marker(s, xOf(s), y, !fits(s)));
  const dr = st.find(s => s.kind === "drop"); if (dr) { const e = dr.tr.find(e => e.k === "drop"), right = xOf(dr) + 130 < geo.w; out.push(`<text x="${xOf(dr) + (right ? 9 : -2)}" y="${y - 7}" font-size="10.500" font-weight="650" text-anchor="${right ? "start" : "end"}" class="halo" style="fill:var(--drop)">${esc(e ? e.reason : "dropped")}</text>`); }
  const nt = st.find(s => s.kind === "nat"); if (nt && !dr) { const e = nt.tr.find(e => e.k === "nat"); if (e) out.push(`<text x="${xOf(nt) + 9}" y="${y - 5}" font-size="10" font-weight="650" class="halo" style="fill:var(--nat)">${esc(e.kind)}</text>`); }
  return out.join("");
}
let RS = [], drawn = "";
function drawLadder(force) {  // rows near the window only; moving the cursor redraws nothing else
  const el = $("#ladder"), rh = S.mode === "packets" ? ROW : HOP, top = 8; if (force) { RS = rows(); drawn = ""; }
  const H = Math.max(el.clientHeight, RS.length * rh + top + 14), chunk = 8;
  const a = clamp((Math.floor((el.scrollTop - top) / rh / chunk) - 1) * chunk, 0, RS.length), b = clamp((Math.ceil((el.scrollTop + el.clientHeight) / rh / chunk) + 1) * chunk, 0, RS.length);
  if (drawn !== `${a} ${b}`) {
    drawn = `${a} ${b}`; const svg = $("#ladder>svg"), html = []; svg.setAttribute("width", geo.w); svg.setAttribute("height", H);
    const out = ['<rect id="crow" x="0" fill="var(--tokenbg)"/>', ...M.cols.map(c => `<path d="M${geo.x.get(c.n)} 0V${H}" stroke="var(--line)"/>`)];
    for (let i = a; i < b; i++) {
      const r = RS[i], y = top + i * rh, s = r.first, hit = r.steps.some(fits);
      if (!r.hop && i) { const g = s.x.t - RS[i - 1].first.x.t; if (g > 400_000) out.push(`<path d="M${G - 6} ${y}H${geo.w}" stroke="var(--line2)" stroke-dasharray="1 5"/><text x="${geo.w - 10}" y="${y + 3.5}" font-size="10" text-anchor="end" class="halo" style="fill:var(--ink3)">${us(g)} later</text>`); }
      out.push(r.hop ? (s.prev ? `<path d="M${xOf(s.prev)} ${y + rh / 2}H${xOf(s)}" stroke="var(--${s.kind === "pass" ? "ink3" : s.kind})" stroke-width="1.600"/>` : "") + marker(s, xOf(s), y + rh / 2, false) : journey(r, y + rh / 2));
      html.push(`<button class="row${hit ? "" : " dim"}" data-k="${s.k}" tabindex="-1" style="top:${y}px;height:${rh}px;width:${G - 10}px;line-height:${rh}px">${G > 190 ? `<span class="t">${us(s.x.t - M.steps[0].x.t)}</span>` : ""}${r.hop ? `<span class="mono">${esc(short(s.I.name.replace(/^default\//, ""), G > 250 ? 17 : 15))}</span> <span class="e">${esc(s.kind === "drop" ? s.tr.find(e => e.k === "drop")?.reason || "dropped" : s.kind === "nat" ? s.tr.find(e => e.k === "nat")?.kind || "NAT" : s.b.arp ? "ARP" : s.b.w)}</span>` : `${r.p.child ? '<span class="e">↳ </span>' : ""}<span class="p k-${r.p.b.arp ? "arp" : r.p.kind === "drop" ? "drop" : ""}">${esc(r.p.b.w)}</span> <span class="e">${esc(r.p.b.arp ? r.p.b.a : r.p.ends)}</span>`}</button>`);
    }
    out.push('<circle id="cring" r="11" fill="none" stroke="var(--token)" stroke-width="2"/>');
    svg.innerHTML = out.join(""); $$(".row", el).forEach(e => e.remove()); el.insertAdjacentHTML("beforeend", html.join(""));
  }
  const cur = M.steps[S.step], i = rowOf(cur), y = top + i * rh, crow = $("#crow"), ring = $("#cring");
  $$(".row.cur", el).forEach(e => { e.classList.remove("cur"); e.tabIndex = -1; e.removeAttribute("aria-current"); });
  crow.setAttribute("visibility", i < 0 ? "hidden" : ""); ring.setAttribute("visibility", i < 0 ? "hidden" : "");
  if (i >= 0) { crow.setAttribute("y", y); crow.setAttribute("height", rh); crow.setAttribute("width", geo.w); ring.setAttribute("cx", xOf(cur)); ring.setAttribute("cy", y + rh / 2); const e = $(`.row[data-k="${RS[i].first.k}"]`, el); if (e) { e.classList.add("cur"); e.tabIndex = 0; e.setAttribute("aria-current", "step"); } }
}
const rowOf = s => S.mode === "packets" ? RS.findIndex(r => r.p === s.packet) : RS.findIndex(r => r.first === s);
function intoView() {
  const el = $("#ladder"), rh = S.mode === "packets" ? ROW : HOP, i = rowOf(M.steps[S.step]);
  if (i < 0) return; const y = 8 + i * rh; if (y < el.scrollTop + rh) el.scrollTop = Math.max(0, y - rh * 2); else if (y > el.scrollTop + el.clientHeight - rh * 3) el.scrollTop = y - el.clientHeight + rh * 4;
}

// ---------- the inspector ----------------------------------------------------------------------
const nameOf = a => M.run.names[a] || "", who = (f) => { const n = f.who === "ip" ? nameOf(f.value) : f.who === "mac" ? M.macs[f.value] || "" : ""; return n && n !== f.value ? h` <span class="who">${n}</span>` : ""; };
function specHtml(spec) {
  const comment = /-m comment --comment ("[^"]*"|\S+) ?/.exec(spec), rest = spec.replace(/-m comment --comment ("[^"]*"|\S+) ?/, "").replace(/-m tcp |-m udp /, ""), [m, t] = rest.split(/(?=-[jg] )/).length > 1 ? [rest.slice(0, rest.search(/-[jg] /)), rest.slice(rest.search(/-[jg] /))] : [rest, ""];
  return h`${comment ? h`<span class="c">${comment[1].replace(/"/g, "")}</span><br>` : ""}${m}<span class="tg">${t}</span>`;
}
function decided(s) {
  const out = []; let walk = [];
  const flush = () => {
    if (!walk.length) return; const base = walk[0].chain, last = walk.at(-1), natE = walk.nat, drop = walk.drop;
    const verdict = natE ? natE.kind : drop ? drop.reason : last.jump ? "goes on" : last.spec.replace(/.*-[jg] /, "").split(" ")[0];
    out.push(h`<details class="fact" ${natE || drop || verdict === "ACCEPT" || verdict === "DROP" || /MARK|REJECT|MASQ/.test(verdict) ? "open" : ""}><summary class="h"><b>Rules</b><span class="mono">${walk[0].table} ${base}</span><span class="v ${natE ? "k-nat" : drop ? "k-drop" : ""}">${verdict}</span></summary>
      ${walk.map((r, i) => h`<div class="rule ${r === last && (natE || !last.jump) ? (drop ? "bad" : natE ? "last" : "") : ""}"><span class="n">${r.n}</span><span class="sp">${i && walk[i - 1].chain === r.chain ? "" : h`<span class="ch">${r.chain}</span>`}${specHtml(r.spec)}</span><span class="n" title="packets that matched it so far">${r.pkts ?? ""}×</span></div>`)}
      ${natE ? h`<div class="tuple"><span>before</span><span class="mono" style="font-family:var(--mono)"><del>${natE.before}</del> ${nm(natE.before)}</span><span>after</span><span style="font-family:var(--mono)"><ins>${natE.after}</ins> ${nm(natE.after)}</span><span>remembered as</span><span style="font-family:var(--mono)">connection #${natE.ct}</span></div>` : ""}</details>`); walk = [];
  };
  const nm = t => nameOf(t.split(":")[0]) ? h`<span class="who" style="color:var(--ink3);font-family:var(--sans)">${nameOf(t.split(":")[0])}</span>` : "";
  const card = (title, v, body, cls = "") => out.push(h`<div class="fact"><div class="h"><b>${title}</b><span class="v ${cls}">${v}</span></div>${body || ""}</div>`);
  const line = t => h`<div class="tuple" style="grid-template-columns:1fr"><span style="font-family:var(--mono);color:var(--ink)">${t}</span></div>`;
  for (const e of s.tr) {
    if (e.k === "rule") { if (walk.length && (e.table !== walk[0].table || STAGES.some(t => t[0] === e.chain) && e.chain !== walk[0].chain)) flush(); walk.push(e); continue; }
    if (e.k === "nat" && walk.length && walk[0].table === "nat") { walk.nat = e; flush(); continue; }
    if (e.k === "drop" && walk.length) walk.drop = e; flush();
    if (e.k === "nat") card("NAT from memory", e.kind, h`<div class="tuple"><span>before</span><span style="font-family:var(--mono)"><del>${e.before}</del> ${nm(e.before)}</span><span>after</span><span style="font-family:var(--mono)"><ins>${e.after}</ins> ${nm(e.after)}</span><span>why</span><span style="color:var(--ink2)">connection #${e.ct} remembers; no rule is asked</span></div>`, "k-nat");
    else if (e.k === "route") card("Route", e.via ? `via ${e.via}` : e.type === "unicast" ? "on link" : e.type, line(e.text), "k-route");
    else if (e.k === "ct") card("Connection tracking", e.new ? `new, #${e.ct}` : `#${e.ct ?? "?"} is ${e.state}`);
    else if (e.k === "bridge") card(`Bridge ${e.bridge}`, e.up ? "hands it up" : e.flooded ? `floods to ${e.flooded}` : `out of ${e.port}`);
    else if (e.k === "learn") card(`Bridge ${e.bridge}`, "learns", line(`${e.mac} is behind ${e.port}`));
    else if (e.k === "waited") card("Neighbour", `${e.addr} on ${e.dev}`, line("it waited here for ARP"));
    else if (e.k === "asked") card("Neighbour", `who has ${e.addr}?`, e.dst ? line(`a packet to ${nameOf(e.dst) || e.dst} waits`) : "", "k-arp");
    else if (e.k === "answered") card("Neighbour", `${e.addr} is ${e.proxy ? "behind " + e.dev + " (proxy)" : "mine"}`, "", "k-arp");
    else if (e.k === "drop") card("Dropped", e.reason, h`<div class="tuple"><span>at</span><span style="font-family:var(--mono)">${e.place}</span>${e.by ? h`<span>by</span><span style="font-family:var(--mono);color:var(--ink)">${e.by}</span>` : ""}</div>`, "k-drop");
    else if (e.k === "policy") card("Policy", `${e.table} ${e.chain}: ${e.verdict}`);
    else if (e.k === "born") card("Made here", e.what);
    else if (e.k === "delivered") card("Delivered", e.to);
    else if (e.text) card("Note", "", line(e.text));
  }
  flush();
  const d = out.findIndex(o => String(o).includes("<b>Dropped")); if (d > 0) out.unshift(...out.splice(d, 1));
  return out.length ? out : h`<p class="empty">Nothing: the frame passes from ${s.prev ? s.prev.I.name : "there"} to here.</p>`;
}
function changes(s) {  // fields that differ from the hop before: [layer, name, old, new, field]
  if (!s.prev) return []; const was = layers(s.prev.d);
  return layers(s.d).flatMap(l => l.fields.flatMap(f => { const o = was.find(x => x.name === l.name)?.fields.find(x => x.name === f.name); return o && String(o.value) !== String(f.value) ? [[l.name, f.name, o.value, f.value, f]] : []; }));
}
function headers(s) {
  const ch = changes(s), of = (l, f) => ch.find(c => c[0] === l.name && c[1] === f.name);
  return h`<h2>${s.x.z || s.d.length} bytes${s.x.z ? `, ${s.d.length} kept` : ""} <span style="font-weight:400">${s.prev ? `${ch.length || "nothing"} changed since ${s.prev.I.name.split("/").pop()}` : "as it was made"}</span><span class="r seg"><button data-hex="0" aria-pressed="${!S.hex}">Fields</button><button data-hex="1" aria-pressed="${S.hex}">Hex</button></span></h2>${S.hex ? hexView(s) : layers(s.d).map(l => h`<div class="layer"><div class="h">${l.name}<span>${l.note}</span></div><dl class="fields" style="margin:0">${l.fields.map(f => { const c = of(l, f); return h`<dt class="${c ? "ch" : ""}">${f.name}</dt><dd class="${c ? "ch" : ""}">${c ? h`<del>${c[2]}</del> <ins>${f.value}</ins>` : f.value}${who(f)}</dd>`; })}</dl></div>`)}`;
}
function summary(s) {
  const ch = changes(s).filter(c => c[1] !== "checksum"), {last} = stateAt(s.I.ns, s.k), t = Object.entries(last);
  return h`${ch.length ? h`<h2>Changed in the frame</h2><dl class="fields box">${ch.map(c => h`<dt>${c[0] === "Ethernet" ? "MAC " + c[1] : c[1]}</dt><dd><del>${c[2]}</del> <ins>${c[3]}</ins>${who(c[4])}</dd>`)}</dl>` : ""}${t.length ? h`<h2>Changed in ${s.I.ns}’s tables</h2><ul class="lines">${t.map(([k, v]) => [v.minus.map(x => h`<li class="gone">${x}</li>`), v.plus.map(x => h`<li class="new">${x}</li>`)])}</ul>` : ""}`;
}
function hexView(s) {
  const d = s.d, p = s.prev?.d, out = [];
  for (let o = 0; o < d.length; o += 8) {
    const row = [...d.slice(o, o + 8)];
    out.push(`<span class="o">${o.toString(16).padStart(4, "0")}</span>  ` + row.map((b, i) => { const c = p && p[o + i] !== b; return (c ? "<mark>" : "") + hex2(b) + (c ? "</mark>" : "") + (i === 3 ? " " : ""); }).join(" ") + " ".repeat((8 - row.length) * 3 + (row.length < 4 ? 1 : 0)) + "  " + row.map(b => b >= 32 && b < 127 ? esc(String.fromCharCode(b)) : "·").join(""));
  }
  return h`<div class="hex" tabindex="0" aria-label="Hex">${new Safe(out.join("\n"))}</div>`;
}
const TABS = [["neigh", "Neighbours"], ["fdb", "FDB"], ["ct", "Conntrack"], ["routes", "Routes"], ["rules", "Rules"]];
function place(s) {
  const ns = s.I.ns, {now, last} = stateAt(ns, s.k), rules = (M.run.rules[ns] || []).filter(r => r.from <= M.run.frames.indexOf(s.x)).at(-1)?.chains;
  const tabs = TABS.filter(([k]) => k === "rules" ? rules : now[k]?.length || last[k]);
  if (!tabs.length) return h`<h2>${ns} at this moment</h2><p class="empty">Its tables are empty.</p>`;
  const want = S.tab && tabs.some(t => t[0] === S.tab) ? S.tab : (tabs.find(t => last[t[0]]) || (s.tr.some(e => e.k === "nat") && tabs.find(t => t[0] === "ct")) || (s.tr.some(e => e.k === "route") && tabs.find(t => t[0] === "routes")) || tabs[0])[0];
  let body;
  if (want === "rules") {
    const hit = new Set(s.tr.filter(e => e.k === "rule").map(e => `${e.table} ${e.chain} ${e.n}`)), chains = Object.entries(rules).filter(([c, v]) => v.rules.length), walked = chains.filter(([c]) => [...hit].some(k => k.startsWith(c + " ")));
    body = (walked.length ? walked : chains).map(([c, v]) => h`<div style="margin:8px 0 2px;font-weight:600">${c}${v.policy ? h` <span class="who" style="color:var(--ink3);font-weight:400">policy ${v.policy}</span>` : ""}</div><ol class="lines">${v.rules.map((r, i) => h`<li class="${hit.has(`${c} ${i + 1}`) ? "used" : ""}">${specHtml(r)}</li>`)}</ol>`);
    if (walked.length) body.push(h`<p class="empty">${chains.length - walked.length} chains not walked here</p>`);
  } else {
    const route = s.tr.find(e => e.k === "route")?.text, ct = s.tr.find(e => e.ct)?.ct, l = last[want] || {minus: [], plus: []};
    body = h`<ul class="lines">${now[want].map(t => h`<li class="${l.plus.includes(t) ? "new" : want === "routes" && t === route || want === "ct" && ct && t.startsWith(`#${ct} `) ? "used" : ""}">${t}</li>`)}${l.minus.filter(t => !now[want].includes(t)).map(t => h`<li class="gone">${t}</li>`)}</ul>`;
  }
  return h`<h2>${ns} at this moment</h2><div class="tabs sub" role="tablist">${tabs.map(([k, t]) => h`<button role="tab" data-tab="${k}" aria-selected="${k === want}">${t}${k !== "rules" ? h` <span style="color:var(--ink3)">${now[k].length}</span>` : ""}${last[k] ? h`<sup title="changed">●</sup>` : ""}</button>`)}</div><div role="tabpanel">${body}</div>`;
}
const PANES = [["why", "Why"], ["frame", "Frame"], ["tables", "Tables"]];
function drawDetail() {
  const s = M.steps[S.step], m = /^([A-Za-z-]+:|[^ ]+ (?:drops|routes|receives|sends|asks|answers|floods)) /.exec(s.say), el = $("#detail");
  const keep = el.scrollTop, p = s.packet;
  el.innerHTML = flat(h`<div class="meta"><span class="where">${s.I.name}</span><span>${{in: "in", out: "out", "in-other": "in, for another’s MAC", drop: "dropped"}[s.x.w]}</span><span>·</span><span>${p.b.w}, hop ${p.steps.indexOf(s) + 1} of ${p.steps.length}</span><span>·</span><span>${us(s.x.t - M.steps[0].x.t)}</span></div>
  <p class="say">${s.say}</p>${s.chap.map(c => { const m = /^([\w ]+) (\(\d+\))/.exec(c); return h`<div class="chap">${m ? h`<b>${m[1][0].toUpperCase() + m[1].slice(1)} ${m[2]}</b>${c.slice(m[0].length)}` : c}</div>`; })}
  <div class="tabs" role="tablist">${PANES.map(([k, t]) => { const n = k === "frame" ? changes(s).length : k === "tables" ? Object.keys(stateAt(s.I.ns, s.k).last).length : 0; return h`<button role="tab" data-pane="${k}" aria-selected="${k === S.pane}">${t}${n ? h` <sup>${n}</sup>` : ""}</button>`; })}</div><div role="tabpanel">${S.pane === "why" ? h`<h2 class="sr">What decided</h2>${decided(s)}${summary(s)}` : S.pane === "frame" ? headers(s) : place(s)}</div>`);
  el.scrollTop = S.play ? 0 : keep;
}

function drawStory() {
  const el = $("#story"), list = M.chapters;
  el.innerHTML = list.length ? flat([h`<h2>The story</h2>`, list.map(c => h`<button data-k="${c.step}" class="${c.back ? "back" : ""}" title="${c.text}"><i>${c.label}</i><span>${c.text.replace(/^[\w ]+ \(\d+\)[^:]*: /, "")}</span></button>`)]) : flat(h`<h2>About</h2><p class="about">${M.run.description || `${M.f.source} asks ${M.f.target}.`}</p><dl class="about"><dt>from</dt><dd>${M.f.source}</dd><dt>to</dt><dd>${M.f.target}${M.f.address && M.f.address !== M.f.target ? ` (${M.f.address})` : ""}</dd>${M.f.nat ? h`<dt>NAT</dt><dd>${M.f.nat}</dd>` : ""}<dt>took</dt><dd>${us(M.steps.at(-1).x.t - M.steps[0].x.t)}, ${M.packets.length} packets</dd></dl>`);
}
function markStory() { const b = $$("#story button"); let best = null; const list = b.map(x => +x.dataset.k); const own = M.chapters.findIndex(c => M.steps[S.step].chap.includes(c.text)); list.forEach((k, i) => { if (k <= S.step && (best === null || k >= list[best])) best = i; }); if (own >= 0 && b.length === M.chapters.length) best = own; b.forEach((x, i) => i === best ? x.setAttribute("aria-current", "step") : x.removeAttribute("aria-current")); const c = b[best]; if (c) { const p = $("#story"); if (c.offsetTop < p.scrollTop) p.scrollTop = c.offsetTop - 30; else if (c.offsetTop + c.offsetHeight > p.scrollTop + p.clientHeight) p.scrollTop = c.offsetTop + c.offsetHeight - p.clientHeight + 8; } }
$("#story").onclick = e => { const b = e.target.closest("[data-k]"); if (b) { stop(); go(+b.dataset.k); } };

// ---------- the scrubber -----------------------------------------------------------------------
function drawScrub() {
  const el = $("#scrub"), w = el.clientWidth, H = 76, x = k => 14 + M.pos[k] * (w - 28), base = 46, by = {};
  for (const s of M.steps) (by[s.kind + (s.decision ? "!" : "")] ||= []).push(`M${x(s.k).toFixed(1)} ${base}v${s.decision ? -15 : -7}`);
  const out = Object.entries(by).map(([k, d]) => `<path d="${d.join("")}" stroke="var(--${k.replace("!", "")})" stroke-width="${M.steps.length > 400 ? 1 : 2}" ${k.endsWith("!") ? "" : 'opacity=".55"'}/>`);
  out.push(`<path d="M10 ${base}H${w - 10}" stroke="var(--line2)"/>`);
  let lx = -99; M.gap.forEach((g, k) => { if (g > 400_000 && x(k) - lx > 46) { const m = (x(k) + x(k - 1)) / 2; lx = x(k); out.push(`<text x="${m}" y="${base + 15}" font-size="10" text-anchor="middle" style="fill:var(--ink3)">+${us(g)}</text><path d="M${x(k - 1) + 4} ${base}H${x(k) - 4}" stroke="var(--panel)" stroke-width="2"/><path d="M${x(k - 1) + 4} ${base}H${x(k) - 4}" stroke="var(--ink3)" stroke-dasharray="1.500 3"/>`); } });
  let cx = -99; for (const c of M.chapters) { cx = Math.max(x(c.step), cx + 19); c.x = cx; out.push(`<g class="chp" data-k="${c.step}" style="cursor:pointer"><title>${esc(c.text)}</title><path d="M${x(c.step)} ${base - 16}L${cx} 18" stroke="var(--line2)"/><circle cx="${cx}" cy="11" r="8.500" fill="${c.back ? "var(--panel)" : "var(--tokenbg)"}" stroke="var(--token)"/><text x="${cx}" y="15" font-size="11" font-weight="700" text-anchor="middle" style="fill:var(--token)">${c.label}</text></g>`); }
  out.push(`<g id="knob"><path d="M0 ${base - 19}V${base + 5}" stroke="var(--token)" stroke-width="2.500"/><circle cy="${base + 8}" r="6.500" fill="var(--token)" stroke="var(--panel)" stroke-width="2"/></g>`);
  el.setAttribute("viewBox", `0 0 ${w} ${H}`); el.innerHTML = out.join(""); M.sx = x;
  el.setAttribute("aria-valuemin", 1); el.setAttribute("aria-valuemax", M.steps.length);
}

// ---------- control ----------------------------------------------------------------------------
let hashT = 0;
function setHash() { clearTimeout(hashT); hashT = setTimeout(putHash, 120); }
function putHash() { const t = `#flow=${M.n + 1}&step=${S.step + 1}`; if (location.hash !== t) try { history.replaceState(null, "", t); } catch { location.replace(t); } }
function readHash() { const q = new URLSearchParams(location.hash.slice(1)); return {flow: +q.get("flow") || 0, step: +q.get("step") || 0}; }
function go(k, quiet) {
  if (!M.steps.length) return;
  const from = lastDrawn; S.step = clamp(k, 0, M.steps.length - 1); const s = M.steps[S.step];
  drawLanes(s); drawToken(s, from); lastDrawn = s; drawDetail(); intoView(); drawLadder();
  markStory(); $("#knob").setAttribute("transform", `translate(${M.sx(S.step)},0)`); $("#at").textContent = S.step + 1; $("#of").textContent = M.steps.length; $("#time").textContent = us(s.x.t - M.steps[0].x.t);
  const sc = $("#scrub"); sc.setAttribute("aria-valuenow", S.step + 1); sc.setAttribute("aria-valuetext", `hop ${S.step + 1} of ${M.steps.length}, ${s.I.name} ${s.x.w}, ${us(s.x.t - M.steps[0].x.t)}`);
  if (!S.play) $("#live").textContent = `${s.I.name} ${s.x.w}. ${s.say}`; if (!quiet) setHash();
}
function open(n, k) {
  stop(); S.flow = n; M = model(n); lastDrawn = null; const f = M.f, good = !f.failures.length && (f.expected ? f.expected === f.outcome : f.outcome === "delivered");
  if (k == null) k = M.steps.findIndex(s => s.kind === "drop"), k = f.outcome === "delivered" || k < 0 ? 0 : k;
  S.step = clamp(k, 0, M.steps.length - 1);
  document.title = `${f.name || f.kind} · ${M.run.name} · emu`;
  $("#crumb").innerHTML = flat(h`<span>${M.run.name}</span><b>${f.name || `${f.source} → ${f.target}`}</b><span>${ALL.length > 1 ? `${n + 1} of ${ALL.length} ▾` : "▾"}</span>`);
  const o = $("#outcome"); o.textContent = (f.outcome === "delivered" ? "✓ delivered" : `✕ ${f.outcome}${f.detail ? ` (${f.detail})` : ""}`); o.className = "pill " + (f.outcome === "delivered" ? "ok" : "bad"); $("#expect").textContent = f.failures.length ? `expected ${f.expected || "otherwise"}` : f.checks ? "as expected" : ""; $("#expect").className = f.failures.length ? "k-drop" : ""; const al = $("#alert"); al.hidden = !f.failures.length; al.innerHTML = flat(h`<b>${f.failures.length} expectation${f.failures.length === 1 ? "" : "s"} failed</b> ${f.failures.join("; ")}`);
  $("#nat").textContent = f.nat; $("#nat").title = f.nat; $("#map").setAttribute("aria-label", `Topology: ${M.cols.map(c => c.name).join(", ")}`);
  $("#stage").classList.toggle("none", !M.steps.length);
  if (!M.steps.length) { $("#map").innerHTML = ""; $("#ladder>svg").innerHTML = ""; $$("#ladder .row").forEach(e => e.remove()); $("#scrub").innerHTML = ""; $("#story").innerHTML = ""; $("#at").textContent = $("#of").textContent = 0; $("#time").textContent = ""; $("#detail").innerHTML = flat(h`<p class="say">No frame was sent: ${f.source} could not even begin.</p><div class="fact"><div class="h"><b>${f.outcome}</b><span class="v k-drop">${f.detail}</span></div></div>`); clearTimeout(hashT); hashT = setTimeout(() => { try { history.replaceState(null, "", `#flow=${M.n + 1}`); } catch {} }, 120); return; }
  full(); go(k);
}
function full() { layout(); drawMap(); drawStory(); drawScrub(); drawLadder(true); }  // new flow or new size
let timer = 0;
function stop() { S.play = false; clearTimeout(timer); icon(); }
function icon() { const b = $("[data-a=play]"); b.setAttribute("aria-label", S.play ? "Pause" : "Play"); $("path", b).setAttribute("d", S.play ? "M7 5h3.500v14H7zM13.500 5H17v14h-3.500z" : "M8 5v14l11-7z"); }
function play() { if (S.play) return stop(); S.play = true; icon(); if (S.step >= M.steps.length - 1) go(0); const tick = () => { if (!S.play) return; if (S.step >= M.steps.length - 1) return stop(); go(S.step + 1); timer = setTimeout(tick, +$("#speed").value * (M.steps[S.step].decision ? 1.5 : .75)); }; timer = setTimeout(tick, 300); }
const nextD = d => { for (let k = S.step + d; k >= 0 && k < M.steps.length; k += d) if (M.steps[k].decision && fits(M.steps[k])) return go(k); };
const nextP = d => { if (!M.steps.length) return; const i = M.packets.indexOf(M.steps[S.step].packet) + d; if (M.packets[i]) go(M.packets[i].steps[0].k); };
const ACT = {prev: () => go(S.step - 1), next: () => go(S.step + 1), prevd: () => nextD(-1), nextd: () => nextD(1), play};
$(".play").onclick = e => { const a = e.target.closest("[data-a]")?.dataset.a; if (a) { if (a !== "play") stop(); ACT[a](); } };
$("#ladder").onclick = e => { const t = e.target.closest("[data-k]"); if (t) { stop(); go(+t.dataset.k); } };
$("#ladder").onscroll = () => M.steps.length && drawLadder();
$("#mode").onclick = e => { const m = e.target.dataset.m; if (m) setMode(m); };
function setMode(m) { S.mode = m; $$("#mode button").forEach(b => b.setAttribute("aria-pressed", b.dataset.m === m)); drawLadder(true); intoView(); drawLadder(); }
$("#chips").innerHTML = flat(KINDS.map(([k, t]) => h`<button class="chip k-${k}" data-k="${k}" aria-pressed="true"><i></i>${t}</button> `));
$("#chips").onclick = e => { const b = e.target.closest("[data-k]"); if (!b) return; const k = b.dataset.k; S.kinds.has(k) ? S.kinds.delete(k) : S.kinds.add(k); b.setAttribute("aria-pressed", S.kinds.has(k)); drawLadder(true); };
$("#q").oninput = e => { S.q = e.target.value.trim().toLowerCase(); const n = S.q ? M.steps.filter(fits).length : 0; $("#found").textContent = S.q ? `${n} hop${n === 1 ? "" : "s"}` : ""; drawLadder(true); };
$("#q").onkeydown = e => { if (e.key === "Enter") { const d = e.shiftKey ? -1 : 1, n = M.steps.length; for (let i = 1; i <= n; i++) { const k = (S.step + d * i + n * 2) % n; if (fits(M.steps[k])) { go(k); break; } } } if (e.key === "Escape") { e.target.value = ""; e.target.oninput(e); e.target.blur(); } };
$("#detail").onclick = e => { const t = e.target.closest("[data-tab]"), x = e.target.closest("[data-hex]"), p = e.target.closest("[data-pane]"); if (p) { S.pane = p.dataset.pane; drawDetail(); $(`[data-pane=${S.pane}]`).focus(); } if (t) { S.tab = t.dataset.tab; drawDetail(); } if (x) { S.hex = x.dataset.hex === "1"; drawDetail(); } };
const scrubTo = e => { const r = $("#scrub").getBoundingClientRect(), px = e.clientX - r.left; let best = 0; M.steps.forEach(s => { if (Math.abs(M.sx(s.k) - px) < Math.abs(M.sx(best) - px)) best = s.k; }); if (best !== S.step) go(best); };
$("#scrub").onpointerdown = e => { stop(); const c = e.target.closest(".chp"); if (c) return go(+c.dataset.k); $("#scrub").setPointerCapture(e.pointerId); scrubTo(e); };
$("#scrub").onpointermove = e => { if (e.buttons) scrubTo(e); };
function theme(t) { document.documentElement.dataset.theme = t; try { localStorage.setItem("emu-theme", t); } catch {} }
$("#theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
$("#help").onclick = () => $("#keys").showModal(); $("#crumb").onclick = () => showFlows();
$$("dialog").forEach(d => d.onclick = e => { if (e.target === d) d.close(); });
function showFlows() {
  $("#flows .in").innerHTML = flat(h`<h1>Flows</h1><p>${ALL.length} flows of ${DOC.runs.length} scenario${DOC.runs.length === 1 ? "" : "s"}. A row opens the flow; one that did not arrive opens where it died.</p><table><thead><tr><th>#</th><th>Flow</th><th>From → to</th><th>Outcome</th><th>Where</th><th>NAT</th><th>Held</th><th>Hops</th></tr></thead><tbody>${DOC.runs.map((run, r) => [h`<tr class="sect"><td colspan="8">${run.name} <span>${run.description.split(". ")[0].replace(/\.$/, "")}.</span></td></tr>`, ALL.map((a, n) => a.r !== r ? "" : h`<tr data-n="${n}" tabindex="0" class="${n === S.flow ? "cur" : ""}"><td class="num" style="padding-left:8px">${n + 1}</td><td>${a.f.name || a.f.kind}</td><td><span class="mono">${a.f.source.replace(/^default\//, "")} → ${a.f.target.replace(/^default\//, "")}</span></td><td><span class="pill ${a.f.outcome === "delivered" ? "ok" : "bad"}">${a.f.outcome}</span>${a.f.detail ? h`<br><span class="k-drop">${a.f.detail}</span>` : ""}</td><td><span class="mono">${a.f.at || a.f.place}</span></td><td><span class="mono k-nat">${a.f.nat}</span></td><td>${a.f.failures.length ? h`<b class="k-drop" title="${a.f.failures.join("; ")}">✕ no</b>` : a.f.checks ? h`<span style="color:var(--ok)">✓</span>` : ""}</td><td class="num">${a.f.frames}</td></tr>`)])}</tbody></table>`);
  $("#flows").showModal();
}
$("#flows").addEventListener("click", e => { const r = e.target.closest("[data-n]"); if (r) { $("#flows").close(); open(+r.dataset.n); } });
$("#flows").addEventListener("keydown", e => { if (e.key === "Enter") { const r = e.target.closest("[data-n]"); if (r) { $("#flows").close(); open(+r.dataset.n); } } });
addEventListener("keydown", e => {
  if (e.target.matches("input,select") || e.ctrlKey || e.metaKey || e.altKey || $("dialog[open]")) return;
  const k = e.key, did = () => e.preventDefault();
  if (e.target.matches("button") && (k === " " || k === "Enter")) return;
  if (k === "ArrowRight") { stop(); ACT.next(); did(); } else if (k === "ArrowLeft") { stop(); ACT.prev(); did(); } else if (k === "ArrowDown") { stop(); nextP(1); did(); } else if (k === "ArrowUp") { stop(); nextP(-1); did(); }
  else if (k === " ") { play(); did(); } else if (k === "n") nextD(1); else if (k === "p") nextD(-1); else if (k === "Home") { go(0); did(); } else if (k === "End") { go(M.steps.length - 1); did(); }
  else if (k === "/") { $("#q").focus(); did(); } else if (k === "f") showFlows(); else if (k === "?") $("#keys").showModal(); else if (k === "t") $("#theme").click(); else if (k === "v") setMode(S.mode === "packets" ? "hops" : "packets"); else if (k === "x") { S.pane = "frame"; S.hex = !S.hex; drawDetail(); } else if ("wds".includes(k)) { S.pane = {w: "why", d: "frame", s: "tables"}[k]; drawDetail(); }
  else if (/^[1-9]$/.test(k)) { const c = M.chapters.find(c => c.label === k && !c.back) || M.chapters.find(c => c.label === k); if (c) { stop(); go(c.step); } }
});
addEventListener("hashchange", () => { const q = readHash(); if (q.flow && q.flow - 1 !== S.flow) open(clamp(q.flow - 1, 0, ALL.length - 1), q.step ? q.step - 1 : null); else if (q.step && q.step - 1 !== S.step) go(q.step - 1); });
let rz = 0; addEventListener("resize", () => { cancelAnimationFrame(rz); rz = requestAnimationFrame(() => { if (M.steps.length) full(); lastDrawn = null; go(S.step, true); }); });
// export: the whole ladder with the map's head, colours written in
function ladderSvg() {
  const cs = getComputedStyle(document.documentElement), rs = M.packets.map(p => ({p, steps: p.steps, first: p.steps[0]})), H = rs.length * ROW + 16, keepMode = S.mode; S.mode = "packets";
  const body = M.cols.map(c => `<path d="M${geo.x.get(c.n)} 0V${H}" stroke="var(--line)"/>`).join("") + rs.map((r, i) => `<text x="${G - 20}" y="${8 + i * ROW + ROW / 2 + 4}" font-size="12" text-anchor="end">${esc(short(`${r.p.b.w} ${r.p.b.arp ? r.p.b.a : r.p.ends}`, 34))}</text>` + journey(r, 8 + i * ROW + ROW / 2)).join("");
  S.mode = keepMode; drawLanes({I: {ns: ""}, tr: []}); $$("#map .port").forEach(e => e.removeAttribute("style")); const head = $("#map").innerHTML.replace(/<g id="(callout|token)".*$/s, "");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${geo.w}" height="${MAPH + H}" viewBox="0 0 ${geo.w} ${MAPH + H}"><style>text{font-family:system-ui,sans-serif;fill:${cs.getPropertyValue("--ink")}}.m{font-family:monospace}</style><rect width="100%" height="100%" fill="${cs.getPropertyValue("--panel")}"/><g>${head}</g><g transform="translate(0,${MAPH})">${body}</g></svg>`.replace(/var\((--[a-z0-9]+)\)/g, (_, v) => cs.getPropertyValue(v).trim());
}
const restore = () => go(S.step, true);
function save(blob, name) { const a = document.createElement("a"); a.href = URL.createObjectURL(blob); a.download = name; a.click(); setTimeout(() => URL.revokeObjectURL(a.href), 1000); }
$("#ex").onclick = () => { const m = $(".menu>div"); m.hidden = !m.hidden; $("#ex").setAttribute("aria-expanded", !m.hidden); };
addEventListener("click", e => { if (!e.target.closest(".menu")) $(".menu>div").hidden = true; });
$(".menu>div").onclick = e => {
  const k = e.target.dataset.ex, name = `${M.run.name}-${M.f.flow}`; $(".menu>div").hidden = true;
  if (k === "json") save(new Blob([$("#data").textContent], {type: "application/json"}), "emu.json"); if (k === "print") print();
  if (k === "svg") { save(new Blob([ladderSvg()], {type: "image/svg+xml"}), name + ".svg"); restore(); }
  if (k === "png") { const svg = ladderSvg(), img = new Image(); img.onload = () => { const c = document.createElement("canvas"); c.width = img.width * 2; c.height = img.height * 2; const g = c.getContext("2d"); g.scale(2, 2); g.drawImage(img, 0, 0); restore(); c.toBlob(b => save(b, name + ".png")); }; img.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg); }
};
addEventListener("beforeprint", () => { const el = $("#ladder"); el.style.height = RS.length * ROW + 30 + "px"; drawLadder(true); });
let saved = null; try { saved = localStorage.getItem("emu-theme"); } catch {}
theme(saved || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
{ const q = readHash(); const bad = ALL.findIndex(a => a.f.failures.length); open(q.flow ? clamp(q.flow - 1, 0, ALL.length - 1) : q.step ? 0 : Math.max(0, bad), q.step ? q.step - 1 : null); if (!q.flow && !q.step && ALL.length > 1 && bad < 0 && DOC.overview) showFlows(); }
