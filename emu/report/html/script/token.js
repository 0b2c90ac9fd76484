// The packet in the map: the token, the way it came, and the note over it.

const HOP_MS = 260, FAR = 12;
let moving = 0, lastDrawn = null;

const mapX = s => {
  if (s.I.kind !== "drop") return xOf(s);
  if (s.k === S.step && M.dropAt) return M.dropAt;
  const own = M.cols.filter(c => c.ns === s.I.ns);
  return own.length === 1 ? centre(own[0].i) : xOf(s);
};
const mapY = s => s.I.kind === "drop" ? LANE - 24 : WIRE;

// The way from one sight of a packet to the next, as points: along the cable, the bridge's bar, or down past the stages.
function leg(a, b) {
  const end = [mapX(b), mapY(b)];
  if (!a) return [end];
  const start = [mapX(a), mapY(a)];
  if (a.I.ns !== b.I.ns) return [start, end];
  const bridged = [a.I, b.I].some(i => i.master || i.kind === "bridge");
  const dips = has(b, "rule", "route", "nat", "ct", "policy") || b.I.kind === "drop";
  const depth = !bridged || dips ? LANE - 16 : BAR;
  return bridged || start[0] !== end[0] ? [start, [start[0], depth], [end[0], depth], end] : [start, end];
}
const pathOf = points => "M" + points.map(p => p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L");

function drawToken(s, from) {
  const way = [], dead = s.kind === "drop", colour = `var(--${dead ? "drop" : "token"})`;
  for (let p = s; p; p = p.prev) way.unshift(...leg(p.prev, p));
  const trail = $("#trail");
  trail.setAttribute("d", pathOf(way));
  trail.style.stroke = colour;
  const passed = new Set(s.packet.steps.filter(o => o.k <= s.k).map(o => geo.x.get(o.I.n)));
  for (const port of $$("#map [data-if]")) {
    const on = passed.has(centre(+port.dataset.if)), box = $(".port", port);
    box.style.fill = on ? colour : "var(--panel)";
    box.style.stroke = on ? colour : "var(--ink3)";
  }
  $("#token").innerHTML = dead
    ? '<circle r="12" fill="var(--dropbg)" stroke="var(--drop)" stroke-width="2"/><path d="M-5-5L5 5M5-5L-5 5" stroke="var(--drop)" stroke-width="2.5" stroke-linecap="round"/>'
    : `<circle r="16" fill="var(--${tokenColour(s)})" opacity=".2"/><circle r="9" fill="var(--${tokenColour(s)})" stroke="var(--panel)" stroke-width="2.5"/>`;
  drawCallout(s, mapX(s));
  moveToken(s, from);
}
const tokenColour = s => s.kind === "pass" ? "token" : s.kind;

// Where the map is wider than its window, the token is kept in sight.
function tokenInSight(s) {
  for (const el of [$("#top"), $("#stage"), $("#ladder")])
    if (el.scrollWidth > el.clientWidth + 1) el.scrollLeft = Math.max(0, xOf(s) - el.clientWidth * .6);
}

function moveToken(s, from) {
  const token = $("#token"), end = [mapX(s), mapY(s)];
  const place = (x, y) => token.setAttribute("transform", `translate(${x},${y})`);
  cancelAnimationFrame(moving);
  if (!from || from.packet !== s.packet || REDUCED.matches || Math.abs(from.k - s.k) > FAR) return place(...end);
  const points = from === s.prev ? leg(from, s) : s === from.prev ? leg(s, from).reverse() : [[mapX(from), mapY(from)], end];
  const lengths = points.slice(1).map((p, i) => Math.hypot(p[0] - points[i][0], p[1] - points[i][1]));
  const total = lengths.reduce((a, b) => a + b, 0) || 1, started = performance.now();
  const ms = S.play ? clamp(hopMs() * .55, 80, 700) : HOP_MS;
  const tick = now => {
    const u = clamp((now - started) / ms, 0, 1), eased = u < .5 ? 2 * u * u : 1 - (2 - 2 * u) ** 2 / 2;
    let left = eased * total, i = 0;
    while (i < lengths.length - 1 && left > lengths[i]) left -= lengths[i++];
    const r = lengths[i] ? left / lengths[i] : 1, [a, b] = [points[i], points[i + 1]];
    place(a[0] + (b[0] - a[0]) * r, a[1] + (b[1] - a[1]) * r);
    if (u < 1) moving = requestAnimationFrame(tick);
  };
  place(...points[0]);
  moving = requestAnimationFrame(tick);
}

// What the packet carries right now; what differs from the sight before is marked.
function drawCallout(s, x) {
  const now = s.b, was = s.prev?.b, w = Math.min(300, geo.width - geo.gutter), port = n => n ? ":" + n : "";
  const mark = (value, old) => was && value !== old ? h`<tspan class="changed" font-weight="700">${value}</tspan>` : h`${value}`;
  const who = (d, at) => short(M.macs[mac(d, at)] || mac(d, at), 22);
  const one = now.arp ? h`<tspan font-weight="700">ARP</tspan> ${now.ask}`
    : h`<tspan font-weight="700">${now.word}</tspan>${now.ttl == null ? "" : h`  TTL ${mark(now.ttl, was?.ttl)}`}`;
  const two = now.arp ? h`${mark(who(s.d, 6), s.prev && who(s.prev.d, 6))} → ${who(s.d, 0)}`
    : h`${mark(now.src + port(now.sport), was && was.src + port(was.sport))} → ${mark(now.dst + port(now.dport), was && was.dst + port(was.dport))}`;
  const middle = clamp(x, geo.gutter + w / 2 - 4, geo.width - w / 2 - 8), tip = clamp(x, middle - w / 2 + 14, middle + w / 2 - 14);
  fill($("#callout"), h`<rect x="${middle - w / 2}" y="3" width="${w}" height="42" rx="9" fill="var(--panel)" stroke="var(--line2)"/>
    <path d="M${tip - 7} 44.5h14l-7 7z" fill="var(--panel)" stroke="var(--line2)"/>
    <path d="M${tip - 6} 44h12" stroke="var(--panel)" stroke-width="2.5"/>
    <text x="${middle}" y="20" text-anchor="middle" font-size="12.5" xml:space="preserve">${one}</text>
    <text x="${middle}" y="37" text-anchor="middle" font-size="11.5" class="m">${two}</text>`);
}
