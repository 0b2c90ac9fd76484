// The map: nodes, pods, ports, cables, bridges. Its ports stand over the ladder's columns. The stages of each kernel are drawn by
// stages.js, the token by token.js.

function drawMap() {
  const plan = M.plan, names = [];
  M.lanes = new Map(plan.lanes.map(lane => [lane.ns, laneSpan(lane)]));
  const parts = [
    plan.boxes.filter(b => b.role !== "pod" || !b.inside).map(machineBox), plan.boxes.filter(b => b.role === "pod").map(podBox),
    plan.cables.map(([a, b]) => line(`M${centre(a)} ${WIRE}H${centre(b)}`)),
    plan.bridges.map(b => bridgeBar(b, names)), plan.lanes.map(kernelWay),
    raw('<g id="lanes"></g><path id="trail" fill="none" stroke="var(--token)" stroke-width="3" stroke-linecap="round" stroke-linejoin="round" opacity=".55"/>'),
    ports(), names, raw('<g id="callout"></g><g id="token"></g>'),
  ];
  const svg = $("#map");
  svg.setAttribute("width", geo.width);
  svg.setAttribute("height", MAP_HEIGHT);
  svg.setAttribute("aria-label", t("topology_of", {names: M.cols.map(c => c.name).join(", ")}));
  fill(svg, parts);
}

const line = (d, more = "") => raw(`<path d="${d}" stroke="var(--line2)" stroke-width="2.5" fill="none"${more}/>`);
const boxed = box => ({left: centre(box.first) - geo.column / 2, right: centre(box.last) + geo.column / 2});

function laneSpan(lane) {
  const {left, right} = boxed(lane), pod = M.plan.boxes.some(b => b.ns === lane.ns && b.role === "pod"), inset = pod ? 14 : 12;
  return {...lane, pod, left: left + inset, right: right - inset};
}

function machineBox(box) {
  if (box.role === "pod") return "";
  const {left, right} = boxed(box), x = left + 5, w = right - left - 10, narrow = w < 90, solid = box.role === "node" || box.role === "router";
  const title = box.role === "underlay" && box.ns === "underlay" ? t(w < 118 ? "network_short" : "network") : box.ns;
  return h`<rect x="${x}" y="54" width="${w}" height="${MAP_HEIGHT - 64}" rx="12" fill="var(--${solid ? "node" : "under"})"
    stroke="var(--line2)" ${solid ? "" : raw('stroke-dasharray="3 4"')}/>
    <text x="${x + (narrow ? w / 2 : 12)}" y="75" font-size="${narrow ? 11.5 : 13}" font-weight="650"
    text-anchor="${narrow ? "middle" : "start"}">${short(title, Math.floor(narrow ? w / 6.2 : (w - 16) / 7.3))}<title>${box.ns}</title></text>
    ${solid && w > 170 ? h`<text x="${x + w - 12}" y="75" font-size="11" class="m" text-anchor="end" style="fill:var(--ink3)">${box.addr || ""}</text>` : ""}`;
}

function podBox(box) {
  const {left, right} = boxed(box), tight = geo.column < 60, margin = tight ? 7 : 10, x = left + margin, w = right - left - 2 * margin;
  const letters = Math.floor((w + 4) / (tight ? 6.6 : 7.2)), middle = x + w / 2;
  return h`<rect x="${x}" y="90" width="${w}" height="154" rx="9" fill="var(--pod)" stroke="var(--line2)"/>
    <text x="${middle}" y="107" font-size="${tight ? 11 : 12}" font-weight="650" text-anchor="middle">${short(box.ns.split("/").pop(), letters)}<title>${box.ns} ${box.addr || ""}</title></text>
    ${addressLines(box.addr || "", w).map((part, i) => h`<text x="${middle}" y="${119 + i * 11}" font-size="${w < 66 ? 9.5 : 10.5}" class="m" text-anchor="middle" style="fill:var(--ink3)">${part}</text>`)}`;
}
// An address in one line, or in two where the box is narrow.
function addressLines(address, width) {
  if (address.length * 6.4 <= width) return [address];
  const half = address.split(".", 2).join(".").length + 1;
  return half * 5.8 <= width ? [address.slice(0, half), address.slice(half)] : [];
}

function bridgeBar(bridge, names) {
  const a = centre(bridge.ports[0]), b = centre(bridge.ports.at(-1));
  names.push(h`<text x="${(a + b) / 2}" y="${BAR + 4}" font-size="10.5" text-anchor="middle" class="halo" style="fill:var(--ink2)">${t("bridge_named", {name: bridge.dev})}</text>`);
  return [
    bridge.ports.map(i => line(`M${centre(i)} ${WIRE + 8}V${BAR}`)),
    h`<rect x="${a - 22}" y="${BAR - 8}" width="${b - a + 44}" height="16" rx="8" fill="var(--bg)" stroke="var(--line2)"/>`,
  ];
}

// The dotted way through a namespace's kernel, from port to port.
function kernelWay(lane) {
  if (lane.ports.length < 2) return "";
  const down = lane.ports.map(i => `M${centre(i)} ${M.cols[i].kind === "bridge" ? BAR + 8 : WIRE + 30}V${LANE - 12}`).join("");
  return raw(`<path d="${down}M${centre(lane.ports[0])} ${LANE - 16}H${centre(lane.ports.at(-1))}" stroke="var(--line2)" stroke-width="2" stroke-dasharray="2 4" fill="none"/>`);
}

function ports() {
  const letters = Math.floor(geo.column / 7);
  return M.cols.map(c => {
    const x = centre(c.i);
    return h`<g data-if="${c.i}"><title>${[c.name, c.kind, c.mac, ...c.addrs].filter(Boolean).join(" ")}</title>
      <rect class="port" x="${x - 6}" y="${WIRE - 6}" width="12" height="12" rx="3" fill="var(--panel)" stroke="var(--ink3)"
      stroke-width="1.5" ${c.fold ? raw('stroke-dasharray="2 2"') : ""}/><text x="${x}" y="${WIRE + 22}" font-size="11" class="m"
      text-anchor="middle" style="fill:var(--ink2)">${short(c.dev, letters)}</text></g>`;
  });
}
