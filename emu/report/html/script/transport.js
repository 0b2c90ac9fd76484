// Going from step to step: open a flow, play, jump; the state of the page in the URL's hash.

const PLAY_FIRST_MS = 300, HASH_MS = 120;
const hopMs = () => +$("#speed").value;

// Show step k. Question mode may hold the reader before it.
function go(k, quiet) {
  if (!M.steps.length) return;
  const wanted = clamp(k, 0, M.steps.length - 1), held = heldBy(wanted);
  if (held) return ask(held);
  const from = lastDrawn, s = M.steps[S.step = wanted];
  S.field = null;
  leaveQuestion();
  drawStages(s);
  drawToken(s, from);
  lastDrawn = s;
  drawDetail();
  intoView();
  drawLadder();
  tokenInSight(s);
  markStory();
  if (S.quiz) drawScrub();
  markScrub(s);
  if (!S.play) $("#live").textContent = `${s.I.name} ${wayWord(s)}. ${s.sentence}`;
  if (!quiet) setHash();
}

// Open flow n at step k, or where it begins: at its drop if it died.
function open(n, k) {
  stop();
  S.flow = n;
  M = model(n);
  lastDrawn = null;
  leaveQuestion();
  drawHead();
  setHash();
  if (!M.steps.length) return openEmpty();
  const drop = M.steps.findIndex(s => s.kind === "drop");
  if (k == null) k = isDelivered(M.f) || drop < 0 || S.quiz ? 0 : drop;
  S.step = clamp(k, 0, M.steps.length - 1);
  full();
  go(S.step);
}

// After another flow or another width: all that does not depend on the step.
function full() {
  layout();
  drawMap();
  drawStory();
  drawScrub();
  drawn = "";
  drawLadder(true);
}

// A flow that sent no frame: its outcome, and why.
function openEmpty() {
  for (const id of ["#map", "#scrub", "#story", "#ladder>svg"]) $(id).innerHTML = "";
  $$("#ladder .row").forEach(e => e.remove());
  $("#at").textContent = $("#of").textContent = 0;
  $("#time").textContent = "";
  fill($("#detail"), h`<p class="sentence">${t("no_frame", {source: M.f.source})}</p>${card(M.f.outcome, M.f.detail, "", "k-drop")}`);
}

// A flow's name, or its ends where its name is only its kind.
const titleOf = f => f.name && f.name.toLowerCase() !== f.kind.toLowerCase() ? f.name : `${bare(f.source)} → ${bare(f.target)}`;
function drawHead() {
  const f = M.f, good = isDelivered(f), outcome = $("#outcome"), expect = $("#expect"), alert = $("#alert"), jump = kind => M.steps.some(s => s.kind === kind);
  document.title = `${titleOf(f)} · ${M.run.name} · emu`;
  fill($("#crumb"), h`<span class="of">${M.run.name}</span><b>${titleOf(f)}</b><span>${ALL.length > 1 ? t("flow_of", {n: M.n + 1, of: ALL.length}) : ""} ▾</span>`);
  outcome.textContent = good ? `✓ ${f.outcome}` : `✕ ${f.outcome}${f.detail ? ` (${f.detail})` : ""}`;
  outcome.className = `pill ${good ? "ok" : "bad"}`;
  outcome.hidden = !f.outcome;  // of frames whose outcome is not known
  expect.textContent = f.failures.length ? t("expected", {what: f.expected || t("otherwise")}) : f.checks ? t("as_expected") : "";
  expect.className = f.failures.length ? "k-drop" : "";
  $("#nat").textContent = $("#nat").title = f.nat;
  alert.hidden = !f.failures.length;
  fill(alert, h`<b>${count("failed", f.failures.length)}</b> ${f.failures.join("; ")}`);
  $("#stage").classList.toggle("none", !M.steps.length);
  $("[data-a=nat]").disabled = !jump("nat");
  $("[data-a=drop]").disabled = !jump("drop");
}

// -- the story, or what the flow is about, beside the map
function drawStory() {
  const el = $("#story"), list = M.chapters, f = M.f, rest = text => text.replace(/^[\w ]+ \(\w+\)[^:]*: /, "");
  if (list.length) return fill(el, h`<h2>${t("the_story")}</h2>${list.map(c => h`<button data-k="${c.step}" class="${c.back ? "back" : ""}" title="${c.text}"><i>${c.label}</i><span>${rest(c.text)}</span></button>`)}`);
  const rows = [[t("from"), f.source], [t("to"), f.target + (f.address && f.address !== f.target ? ` (${f.address})` : "")], [t("nat"), f.nat],
    [t("took"), t("took_words", {time: duration(M.steps.at(-1).x.t - M.steps[0].x.t), packets: count("packets", M.packets.length)})]];
  fill(el, h`<h2>${t("about")}</h2><p class="about">${M.run.description || t("asks", f)}</p><dl class="about">${rows.map(([name, value]) => value ? h`<dt>${name}</dt><dd>${value}</dd>` : "")}</dl>`);
}

function markStory() {
  const buttons = $$("#story button"), panel = $("#story");
  const own = M.chapters.findIndex(c => M.steps[S.step].chap.includes(c.text));
  let best = -1;
  buttons.forEach((b, i) => {
    const k = +b.dataset.k;
    b.hidden = S.quiz && k > S.step;
    if (k <= S.step && (best < 0 || k >= +buttons[best].dataset.k)) best = i;
  });
  if (own >= 0 && buttons.length) best = own;
  buttons.forEach((b, i) => i === best ? b.setAttribute("aria-current", "step") : b.removeAttribute("aria-current"));
  const b = buttons[best];
  if (!b) return;
  if (b.offsetTop < panel.scrollTop) panel.scrollTop = b.offsetTop - 30;
  else if (b.offsetTop + b.offsetHeight > panel.scrollTop + panel.clientHeight) panel.scrollTop = b.offsetTop + b.offsetHeight - panel.clientHeight + 8;
}
$("#story").onclick = e => { const b = e.target.closest("[data-k]"); if (b) { stop(); go(+b.dataset.k); } };

// -- play and jumps
let timer = 0;
const PLAY_ICON = "M8 5v14l11-7z", PAUSE_ICON = "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z";
function stop() { S.play = false; clearTimeout(timer); playIcon(); }
function playIcon() {
  const b = $("[data-a=play]");
  b.setAttribute("aria-label", t(S.play ? "pause" : "play"));
  $("path", b).setAttribute("d", S.play ? PAUSE_ICON : PLAY_ICON);
}
function play() {
  if (S.play || !M.steps.length) return stop();
  S.play = true;
  playIcon();
  if (S.step >= M.steps.length - 1) go(0);
  const tick = () => {
    if (!S.play) return;
    if (S.step >= M.steps.length - 1) return stop();
    go(S.step + 1);
    if (S.play) timer = setTimeout(tick, hopMs() * (M.steps[S.step].decision ? 1.5 : .75));
  };
  timer = setTimeout(tick, PLAY_FIRST_MS);
}

// The next step from here for which `wanted` holds; from the end it begins anew if `around`.
function jump(direction, wanted, around) {
  const n = M.steps.length;
  for (let i = 1; i <= (around ? n : direction > 0 ? n - 1 - S.step : S.step); i++) {
    const s = M.steps[(S.step + direction * i + n * 2) % n];
    if (wanted(s)) return go(s.k);
  }
}
function otherPacket(direction) {
  if (S.mode === "compare") return otherPair(direction);
  if (!M.steps.length) return;
  const p = M.packets[M.steps[S.step].packet.n + direction];
  if (p) go(p.steps[0].k);
}
const ACTIONS = {
  prev: () => go(S.step - 1), next: () => go(S.step + 1), play,
  prevd: () => jump(-1, s => s.decision && fits(s)), nextd: () => jump(1, s => s.decision && fits(s)),
  nat: () => jump(1, s => s.kind === "nat", true), drop: () => jump(1, s => s.kind === "drop", true),
  up: () => otherPacket(-1), down: () => otherPacket(1), first: () => go(0), last: () => go(M.steps.length - 1),
};
function act(name) {
  if (name !== "play") stop();
  ACTIONS[name]();
}
$(".play").onclick = e => { const b = e.target.closest("[data-a]"); if (b) act(b.dataset.a); };
$("#ladder").onclick = e => { const at = e.target.closest("[data-k]"); if (at) { stop(); at.dataset.n ? pick(at) : go(+at.dataset.k); } };
$("#ladder").onscroll = () => M.steps.length && drawLadder();
$("#mode").onclick = e => { const b = e.target.closest("[data-m]"); if (b) setMode(b.dataset.m); };

// -- the hash: flow and step always, what else the reader chose where it is not as at the start
let hashTimer = 0;
function setHash() { clearTimeout(hashTimer); hashTimer = setTimeout(putHash, HASH_MS); }
function putHash() {
  if (location.protocol === "about:") return;  // in a frame of a notebook there is no place for it
  const more = [["pane", S.pane, "why"], ["rows", S.mode, "packets"], ["find", S.q, ""]].filter(([, value, usual]) => value !== usual);
  const step = M.steps.length ? `&step=${S.step + 1}` : "";
  const hash = `#flow=${M.n + 1}${step}${more.map(([name, value]) => `&${name}=${encodeURIComponent(value)}`).join("")}`;
  if (location.hash === hash) return;
  try { history.replaceState(null, "", hash); } catch { location.replace(hash); }
}
function readHash(instead) {
  const given = new URLSearchParams(instead || location.hash.slice(1));
  if (given.get("pane") in PANES) S.pane = given.get("pane");
  if ($(`#mode [data-m="${CSS.escape(given.get("rows") || "")}"]:not([hidden])`)) S.mode = given.get("rows");
  if (given.get("find")) S.q = $("#q").value = given.get("find");
  return {flow: +given.get("flow") || 0, step: +given.get("step") || 0};
}
addEventListener("hashchange", () => {
  const {flow, step} = readHash();
  $$("#mode button").forEach(b => b.setAttribute("aria-pressed", b.dataset.m === S.mode));
  if (flow && flow - 1 !== S.flow) open(clamp(flow - 1, 0, ALL.length - 1), step ? step - 1 : null);
  else if (step) { drawn = ""; drawLadder(true); go(step - 1); }
});
