// The stages of a namespace's kernel (connection tracking, hooks, routing), lit where a step's trail names them.

const HOOKS = {PREROUTING: "pre", INPUT: "in", FORWARD: "fwd", OUTPUT: "out", POSTROUTING: "post"};
const STRONGEST = ["drop", "nat", "route", "rule"];

// Stage -> why it is lit: "rule", "nat", "route" or "drop".
function litStages(s) {
  const lit = {};
  let hook = "";
  for (const e of s.trail) {
    if (e.k === "rule" || e.k === "policy") {
      if (e.chain in HOOKS) hook = e.chain;
      if (hook) lit[hook] ||= "rule";
    } else if (e.k === "nat") {
      const late = e.kind === "SNAT" || e.kind === "un-DNAT";
      lit[late ? "POSTROUTING" : hook === "OUTPUT" ? "OUTPUT" : "PREROUTING"] = "nat";
    } else if (e.k === "route") lit.route = "route";
    else if (e.k === "ct") lit.ct = "rule";
    else if (e.k === "carried") lit.route = e.half ? "nat" : "route";
    else if (e.k === "tunnel") lit.route ||= "rule";
    else if (e.k === "born" || e.k === "delivered") lit.socket = "route";
    else if (e.k === "drop") lit[dropStage(e, hook)] = "drop";
  }
  return lit;
}
const dropStage = (e, hook) => /^\w+ (\S+) rule|policy/.test(e.by || "") ? hook || "FORWARD" : /ROUTE|ADDR/.test(e.reason) ? "route" : "none";

// The stages of a lane as [hook or part, label]; INPUT or OUTPUT stands in FORWARD's place where the trail names it.
const STAGE_IDS = {pre: "PREROUTING", fwd: "FORWARD", post: "POSTROUTING"};
function stagesOf(lane, lit) {
  const middle = lit.INPUT ? "INPUT" : lit.OUTPUT ? "OUTPUT" : "FORWARD";
  return lane.stages.map(name => {
    const id = name === "fwd" ? middle : STAGE_IDS[name] || name;
    return [id, HOOKS[id] || t(`stage_${name}`)];
  });
}

// What stands under the stages: [text, colour].
function caption(s) {
  const drop = entryOf(s, "drop"), nat = entryOf(s, "nat"), asked = entryOf(s, "asked"), route = entryOf(s, "route");
  const carried = entryOf(s, "carried"), tunnel = entryOf(s, "tunnel"), bridge = entryOf(s, "bridge");
  const fresh = s.trail.find(e => e.k === "ct" && e.new);
  if (drop) return [drop.reason, "drop"];
  if (nat) return [`${nat.kind} → ${nat.after}`, "nat"];
  if (carried?.half) return [`${carried.half} → ${carried.after}`, "nat"];
  if (tunnel) return [t(tunnel.out ? "tunnel_into" : "tunnel_out", {dev: tunnel.dev}), "route"];
  if (asked) return [t("who_has", {addr: asked.addr}), "arp"];
  if (route) return [route.via ? t("via_dev", route) : route.type === "unicast" ? t("on_link_dev", route) : t("type_dev", route), "route"];
  if (fresh) return [t("connection_new", {ct: fresh.ct}), "token"];
  if (!bridge) return ["", ""];
  return [bridge.up ? t("handed_up") : bridge.flooded ? t("flooded") : bridge.port ? t("fdb_to", bridge) : "", "ink2"];
}

function drawStages(s) {
  const here = s.I.ns, lit = litStages(s), out = [captionText(s)];
  M.dropAt = null;
  for (const [ns, lane] of M.lanes) {
    const on = ns === here ? lit : {};
    let stages = stagesOf(lane, on);
    if ((lane.right - lane.left) / stages.length < 25 && stages.length > 1)
      stages = [STRONGEST.map(v => stages.find(each => on[each[0]] === v)).find(Boolean) || ["kernel", t("stage_kernel")]];
    out.push(...chips(lane, stages, on));
  }
  fill($("#lanes"), out);
}

function chips(lane, stages, lit) {
  const w = (lane.right - lane.left - (stages.length - 1) * 3) / stages.length;
  return stages.map(([id, label], i) => {
    const x = lane.left + i * (w + 3), why = lit[id], colour = why === "rule" ? "token" : why;
    if (why === "drop") M.dropAt = x + w / 2;
    const shown = id === "socket" && w < 32 ? t("stage_sk") : label, box = why ? `fill="var(--${colour})"` : 'fill="var(--bg)" stroke="var(--line)"';
    const text = why ? "fill:var(--panel);font-weight:700" : "fill:var(--ink3)";
    return h`<g class="${why ? "lit" : ""}" data-stage="${id}"><title>${id === "ct" ? t("conntrack") : id}</title>
      <rect x="${x}" y="${LANE - 11}" width="${w}" height="22" rx="6" ${raw(box)}/><text x="${x + w / 2}" y="${LANE + 4}"
      font-size="${w < 30 ? 9.5 : 11}" text-anchor="middle" style="${text}">${shown}</text></g>`;
  });
}

function captionText(s) {
  const [text, colour] = caption(s), lane = M.lanes.get(s.I.ns);
  if (!text || !lane) return "";
  const w = text.length * 7, middle = (lane.left + lane.right) / 2;
  const beside = lane.pod && w > lane.right - lane.left + 20;
  const anchor = !beside ? "middle" : lane.left + lane.right > geo.gutter + geo.width ? "end" : "start";
  const x = anchor === "start" ? lane.left - 4 : anchor === "end" ? lane.right + 4
    : clamp(middle, geo.gutter + w / 2, geo.width - w / 2 - 8);
  return h`<text x="${x}" y="${LANE + (lane.pod ? 36 : 31)}" font-size="${geo.column < 60 ? 10.5 : 11.5}" font-weight="650"
    text-anchor="${anchor}" class="m halo" style="fill:var(--${colour})">${text}</text>`;
}
