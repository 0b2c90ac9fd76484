// The scrubber: every step on the line of virtual time. Long ticks are decisions, numbered circles are chapters.

const SCRUB_HEIGHT = 76, BASE = 46, GAP_NS = 400_000, MANY = 400;
let scrubX = () => 0;

function drawScrub() {
  const el = $("#scrub"), w = el.clientWidth, x = k => 14 + M.position[k] * (w - 28);
  scrubX = x;
  el.setAttribute("viewBox", `0 0 ${w} ${SCRUB_HEIGHT}`);
  el.innerHTML = [...ticks(x), `<path d="M10 ${BASE}H${w - 10}" stroke="var(--line2)"/>`, ...gaps(x), ...chapterMarks(x, w), ...questionMarks(x),
    `<g id="knob"><path d="M0 ${BASE - 19}V${BASE + 5}" stroke="var(--token)" stroke-width="2.5"/>`
    + `<circle cy="${BASE + 8}" r="6.5" fill="var(--token)" stroke="var(--panel)" stroke-width="2"/></g>`].join("");
  el.setAttribute("aria-valuemin", 1);
  el.setAttribute("aria-valuemax", M.steps.length);
}

function ticks(x) {
  const by = new Map(), width = M.steps.length > MANY ? 1 : 2;
  for (const s of M.steps) {
    const key = ahead(s) ? "pass false" : `${s.kind} ${s.decision}`;
    by.set(key, (by.get(key) || "") + `M${x(s.k).toFixed(1)} ${BASE}v${s.decision && !ahead(s) ? -15 : -7}`);
  }
  return [...by].map(([key, d]) => {
    const [kind, decision] = key.split(" ");
    return `<path d="${d}" stroke="var(--${kind})" stroke-width="${width}"${decision === "true" ? "" : ' opacity=".55"'}/>`;
  });
}

// Where time passes between two steps, the line is dotted and the time stands under it.
function gaps(x) {
  const out = [];
  let last = -99;
  M.gap.forEach((ns, k) => {
    if (ns <= GAP_NS || x(k) - last <= 46) return;
    const from = x(k - 1) + 4, to = x(k) - 4;
    last = x(k);
    out.push(`<text x="${(from + to) / 2}" y="${BASE + 15}" font-size="10" text-anchor="middle" style="fill:var(--ink3)">+${esc(duration(ns))}</text>`
      + `<path d="M${from} ${BASE}H${to}" stroke="var(--panel)" stroke-width="2"/><path d="M${from} ${BASE}H${to}" stroke="var(--ink3)" stroke-dasharray="1.5 3"/>`);
  });
  return out;
}

function chapterMarks(x, w) {
  let last = -99;
  return M.chapters.map((c, i) => {
    const at = last = Math.min(Math.max(x(c.step), last + 19), w - 10 - (M.chapters.length - 1 - i) * 0);
    const fill = c.back ? "var(--panel)" : "var(--tokenbg)";
    return `<g class="chp" data-k="${c.step}"><title>${esc(c.text)}</title><path d="M${x(c.step)} ${BASE - 16}L${at} 18" stroke="var(--line2)"/>`
      + `<circle cx="${at}" cy="11" r="8.5" fill="${fill}" stroke="var(--token)"/><text x="${at}" y="15" font-size="11" font-weight="700" text-anchor="middle" style="fill:var(--token)">${esc(c.label)}</text></g>`;
  });
}

function markScrub(s) {
  const el = $("#scrub"), time = duration(s.x.t - M.steps[0].x.t);
  $("#knob").setAttribute("transform", `translate(${scrubX(s.k)},0)`);
  $("#at").textContent = s.k + 1;
  $("#of").textContent = M.steps.length;
  $("#time").textContent = time;
  el.setAttribute("aria-valuenow", s.k + 1);
  el.setAttribute("aria-valuetext", t("slider_text", {n: s.k + 1, of: M.steps.length, name: s.I.name, way: wayWord(s), time}));
}

function scrubTo(event) {
  const x = event.clientX - $("#scrub").getBoundingClientRect().left;
  let best = 0;
  for (const s of M.steps) if (Math.abs(scrubX(s.k) - x) < Math.abs(scrubX(best) - x)) best = s.k;
  if (best !== S.step) go(best);
}
$("#scrub").onpointerdown = e => {
  stop();
  const chapter = e.target.closest(".chp");
  if (chapter) return go(+chapter.dataset.k);
  $("#scrub").setPointerCapture(e.pointerId);
  scrubTo(e);
};
$("#scrub").onpointermove = e => { if (e.buttons) scrubTo(e); };
