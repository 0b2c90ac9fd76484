// Two runs side by side: the steps of a flow of each, aligned; those that differ are marked. The alignment comes with the document.

const PAIR_TOP = 34;
let comparedAt = "";

// {left, right: places in ALL; pairs: [[step or -1, step or -1, same]]} for the flow that is open, or nothing.
function comparisonOf(n) {
  const own = (run, flow) => ALL.findIndex(each => DOC.runs[run] === each.run && each.f.flow === flow);
  for (const c of DOC.comparisons || []) {
    const left = own(c.left, c.leftFlow), right = own(c.right, c.rightFlow);
    if (n === left || n === right) return {left, right, pairs: c.pairs, mine: n === left ? 0 : 1};
  }
  return null;
}
const compared = () => comparisonOf(M.n);

const comparedModels = new Map();
const modelOf = n => n === M.n ? M : comparedModels.get(n) || comparedModels.set(n, model(n)).get(n);

function side(n, k, differs) {
  if (k < 0) return h`<span class="none">${t("no_step")}</span>`;
  const s = modelOf(n).steps[k], what = s.kind === "drop" ? entryOf(s, "drop")?.reason || t("dropped") : s.kind === "nat" ? natEntry(s)?.kind : s.b.word;
  return h`<button class="cell" data-k="${k}" data-n="${n}" tabindex="-1" title="${s.sentence}"><span class="no">${k + 1}</span><span class="mono">${bare(s.I.name)}</span>
    <b class="k-${s.kind}">${what}</b> <span class="e">${differs ? s.sentence : ""}</span></button>`;
}

function drawCompare(force) {
  const el = $("#ladder"), both = compared();
  if (!both) return setMode("packets");
  const {pairs, left, right, mine} = both, full = PAIR_TOP + pairs.length * HOP + 14;
  const start = clamp(Math.floor((el.scrollTop - PAIR_TOP) / HOP) - CHUNK, 0, pairs.length);
  const end = clamp(Math.ceil((el.scrollTop + el.clientHeight) / HOP) + CHUNK, 0, pairs.length);
  const here = pairs.findIndex(p => p[mine] === S.step), key = `${M.n} ${start} ${end} ${S.step}`;
  if (!force && comparedAt === key) return;
  comparedAt = key;
  const name = n => h`<span class="pill ${isDelivered(ALL[n].f) ? "ok" : "bad"}">${ALL[n].f.outcome}</span> <b>${ALL[n].run.name}</b> ${ALL[n].f.name}`;
  const rows = pairs.slice(start, end).map(([a, b, same], i) => {
    const n = start + i;
    return h`<div class="pair${same ? "" : " differs"}${n === here ? " cur" : ""}" data-pair="${n}" style="top:${PAIR_TOP + n * HOP}px;height:${HOP}px">${side(left, a, !same)}<i>${same ? "" : h`≠<span class="sr">${t("differs")}</span>`}</i>${side(right, b, !same)}</div>`;
  });
  const svg = $("#ladder>svg");
  svg.innerHTML = "";
  svg.setAttribute("height", full);
  svg.setAttribute("width", 1);
  $$(".row,.pair,.pairs,.empty", el).forEach(e => e.remove());
  el.insertAdjacentHTML("beforeend", flat(h`<div class="pairs"><span>${name(left)}</span><i>${t("n_differ", {n: pairs.filter(p => !p[2]).length})}</i><span>${name(right)}</span></div>${rows}`));
  if (here >= 0 && S.play || force) intoPair(here);
}

function intoPair(n) {
  const el = $("#ladder"), y = PAIR_TOP + n * HOP;
  if (n < 0) return;
  if (y < el.scrollTop + PAIR_TOP + HOP) el.scrollTop = Math.max(0, y - PAIR_TOP - HOP * 2);
  else if (y > el.scrollTop + el.clientHeight - HOP * 2) el.scrollTop = y - el.clientHeight + HOP * 4;
}

function pick(cell) {
  const n = +cell.dataset.n, k = +cell.dataset.k;
  if (n === M.n) go(k); else open(n, k);
}

// The next pair that differs, on either side: the side that has a step there is opened.
function otherPair(direction) {
  const {pairs, left, right, mine} = compared(), here = pairs.findIndex(p => p[mine] === S.step);
  if (here === 0 && direction > 0 && S.step === 0 && !pairs[0][2]) return intoPair(0);
  for (let i = here + direction; i >= 0 && i < pairs.length; i += direction) {
    if (pairs[i][2]) continue;
    const k = pairs[i][mine], other = mine ? left : right;
    k >= 0 ? go(k) : open(other, pairs[i][1 - mine]);
    drawCompare(true);
    return intoPair(i);
  }
}
