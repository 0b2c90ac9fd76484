// One flow of the document, ready to look at: its steps, packets, chapters and columns. Draws nothing.

const KINDS = ["pass", "arp", "route", "nat", "drop"];
const ALL = [];
DOC.runs.forEach((run, r) => run.flows.forEach(f => ALL.push({run, r, f})));

// What the reader chose, and M, the flow that is open.
const S = {
  flow: 0, step: 0, mode: "packets", pane: "why", tab: "", bytes: true, play: false, q: "", kinds: new Set(KINDS),
  quiz: false, rule: "", field: null,
};
let M = null;

const isDelivered = f => f.outcome === "delivered";
const isExpected = f => !f.failures.length && (f.expected ? f.expected === f.outcome : isDelivered(f));
const NO_ETHERNET = new Set(["ipip"]);  // kinds of devices whose packets begin with IP: in a capture file, and here
const startOf = s => NO_ETHERNET.has(s.I.kind) ? ETHERNET_BYTES : 0;
const has = (step, ...kinds) => step.trail.some(e => kinds.includes(e.k));
const entryOf = (step, kind) => step.trail.find(e => e.k === kind);
const wayWord = step => t(`way_${step.x.w.replace("-", "_")}`);

function model(n) {
  const {run, f} = ALL[n];
  const steps = stepsOf(run, f), packets = packetsOf(run, steps);
  const gap = steps.map((s, k) => k ? s.x.t - steps[k - 1].x.t : 0);
  const plan = run.layouts.find(each => each.flow === f.flow);
  return {
    run, f, n, steps, packets, gap, plan, chapters: chaptersOf(run, f), position: positions(gap),
    cols: columnsOf(run, plan), macs: macNames(run), questions: questionsOf(run, f, steps),
  };
}

function stepsOf(run, f) {
  const words = run.words, parsed = new Map(), bases = new Map(), found = [];
  const entry = i => parsed.get(i) || parsed.set(i, JSON.parse(words[i])).get(i);
  run.frames.forEach((x, n) => {
    if (x.f !== f.flow) return;
    const I = run.interfaces[x.i], d = frameBytes(x, bases), trail = (x.tr || []).map(entry), b = brief(d);
    const s = {
      k: found.length, n, x, d, trail, b, I, sentence: words[x.s], line: words[x.l],
      facts: (x.x || []).map(i => words[i]), chap: (x.c || []).map(i => words[i]),
    };
    s.kind = kindOf(s);
    s.decision = s.kind === "drop" || s.kind === "nat" || s.kind === "route"
      || has(s, "asked", "answered", "carried", "tunnel") || trail.some(e => e.k === "ct" && e.new);
    found.push(s);
  });
  return found;
}

function kindOf(s) {
  if (s.x.w === "drop" || has(s, "drop")) return "drop";
  if (has(s, "nat") || s.trail.some(e => e.k === "carried" && e.half)) return "nat";
  if (s.b.arp) return "arp";
  return has(s, "route") && !has(s, "born") ? "route" : "pass";
}

function packetsOf(run, steps) {
  const packets = [], by = new Map();
  for (const s of steps) {
    let p = by.get(s.x.p);
    if (!p) { p = {n: packets.length, id: s.x.p, steps: []}; by.set(s.x.p, p); packets.push(p); }
    s.packet = p;
    s.prev = before(p.steps, s);
    p.steps.push(s);
  }
  const name = a => bare(run.names[a] || a || "").replace(/\.default$/, "");
  let real = false;
  for (const p of packets) {
    p.b = p.steps[0].b;
    p.kind = ["drop", "nat", "arp", "route"].find(k => p.steps.some(s => s.kind === k)) || "pass";
    p.cause = p.steps[0].x.a || 0;
    p.child = !!p.b.arp && real;
    real ||= !p.b.arp;
    p.ends = p.b.arp ? p.b.ask : `${name(p.b.src)} → ${name(p.b.dst)}${p.b.dport ? ":" + p.b.dport : ""}`;
  }
  return packets;
}

// The sight that this one comes from: the other end of the link, else one in the same namespace. Not the frame before in
// time: floods fork, and packets interleave.
function before(list, s) {
  const back = [...list].reverse(), inward = s.x.w.startsWith("in");
  const peer = inward && back.find(o => o.I.n === s.I.peer && o.x.w === "out");
  if (peer) return peer;
  const same = back.filter(o => o.I.ns === s.I.ns);
  const port = o => o.I.master && o.x.w.startsWith("in"), bridge = o => o.I.kind === "bridge";
  const forwarded = s.I.master && s.x.w === "out" && same.find(o => port(o) || bridge(o) && o.x.w === "out");
  return forwarded || (bridge(s) && inward && same.find(port)) || same[0] || back[0] || null;
}

// The steps of the story: {step, label, back, text}; `back`: on the way back.
function chaptersOf(run, f) {
  return (run.chapters || []).filter(c => c.flow === f.flow).map(c => ({step: c.hop - 1, label: c.label, back: !!c.back, text: c.text}));
}
const CHAPTER = /^([\w ]+) \((\w+)\)/;

// Virtual time along the scrubber, 0 to 1: one unit a step, and up to 8 more for a gap.
function positions(gap) {
  const at = [];
  let sum = 0;
  gap.forEach((ns, k) => {
    if (k) sum += 1 + (ns > 50_000 ? Math.min(8, 2 * Math.log10(ns / 10_000)) : 0);
    at.push(sum);
  });
  return at.map(p => sum ? p / sum : 0);
}

function macNames(run) {
  const names = {"ff:ff:ff:ff:ff:ff": t("all_hosts")};
  for (const i of run.interfaces) if (i.mac && (!names[i.mac] || i.kind === "bridge")) names[i.mac] = bare(i.name);
  return names;
}
const nameOf = address => M.run.names[address] || "";

// Fields that differ from the sight before: [{layer, name, was, field}].
function changes(s) {
  if (!s.prev) return [];
  if (s.changes) return s.changes;
  const was = layers(s.prev.d, startOf(s.prev));
  const old = (l, f) => was.find(o => o.name === l)?.fields.find(o => o.name === f);
  s.changes = layers(s.d, startOf(s)).flatMap(l => l.fields.flatMap(f => {
    const o = old(l.name, f.name);
    return o && o.value !== f.value ? [{layer: l.name, name: f.name, was: o.value, field: f}] : [];
  }));
  return s.changes;
}
