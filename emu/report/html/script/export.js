// Export: the ladder and the topology as SVG and PNG, the data as JSON, and print.

const EXPORT_SCALE = 2;

// An SVG that stands alone: the colours of the theme are written in.
function standing(width, height, body) {
  const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
  const fonts = `text{font-family:system-ui,sans-serif;fill:${colour("--ink")}}.m{font-family:monospace}.halo{paint-order:stroke;stroke:${colour("--panel")};stroke-width:3px}.changed{fill:${colour("--nat")}}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><style>${fonts}</style>`
    + `<rect width="100%" height="100%" fill="${colour("--panel")}"/>${body}</svg>`.replace(/var\((--[a-z0-9]+)\)/g, (_, name) => colour(name));
}
const serialized = nodes => nodes.map(node => new XMLSerializer().serializeToString(node).replace(/ xmlns="[^"]*"/g, "")).join("");

const mapSvg = () => standing(geo.width, MAP_HEIGHT, serialized([...$("#map").children]));

// The whole ladder, a row a packet, with the map as its head.
function ladderSvg() {
  const kept = S.mode, packets = M.packets.map(p => ({p, steps: p.steps, first: p.steps[0], hop: false})), height = packets.length * ROW + 16;
  S.mode = "packets";
  const head = [...$("#map").cloneNode(true).children].filter(node => !["callout", "token", "trail", "lanes"].includes(node.id));
  head.forEach(node => $$(".port", node).forEach(port => port.removeAttribute("style")));
  const wires = M.cols.map(c => `<path d="M${centre(c.i)} 0V${height}" stroke="var(--line)"/>`).join("");
  const labels = packets.map((r, i) => {
    const y = 8 + i * ROW + ROW / 2;
    return `<g data-row="${i}"><text x="${geo.gutter - 20}" y="${y + 4}" font-size="12" text-anchor="end">${esc(short(`${r.p.b.word} ${r.p.ends}`, Math.floor(geo.gutter / 7)))}</text>${journey(r, y)}</g>`;
  }).join("");
  S.mode = kept;
  return standing(geo.width, MAP_HEIGHT + height, `<g>${serialized(head)}</g><g transform="translate(0,${MAP_HEIGHT})">${wires}${labels}</g>`);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function savePng(svg, name) {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = image.width * EXPORT_SCALE;
    canvas.height = image.height * EXPORT_SCALE;
    const pen = canvas.getContext("2d");
    pen.scale(EXPORT_SCALE, EXPORT_SCALE);
    pen.drawImage(image, 0, 0);
    canvas.toBlob(blob => save(blob, name));
  };
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
}

const EXPORTS = {
  "ladder-svg": name => save(new Blob([ladderSvg()], {type: "image/svg+xml"}), `${name}.ladder.svg`),
  "ladder-png": name => savePng(ladderSvg(), `${name}.ladder.png`),
  "map-svg": name => save(new Blob([mapSvg()], {type: "image/svg+xml"}), `${name}.map.svg`),
  "map-png": name => savePng(mapSvg(), `${name}.map.png`),
  json: () => save(new Blob([$("#data").textContent], {type: "application/json"}), "emu.json"),
  print: () => print(),
};

const menu = $("#export-menu"), menuButton = $("#ex");
function openMenu(on) {
  menu.hidden = !on;
  menuButton.setAttribute("aria-expanded", on);
  if (on) $("button", menu).focus();
}
menuButton.onclick = () => openMenu(menu.hidden);
addEventListener("click", e => { if (!e.target.closest(".menu")) openMenu(false); });
menu.onclick = e => {
  const made = EXPORTS[e.target.dataset.ex];
  openMenu(false);
  menuButton.focus();
  if (made && (M.steps.length || ["json", "print"].includes(e.target.dataset.ex))) made(`${M.run.name}-${M.f.flow}`);
};
menu.onkeydown = e => {
  const items = $$("button", menu), i = items.indexOf(document.activeElement);
  const next = {ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: items.length - 1}[e.key];
  if (e.key === "Escape") { openMenu(false); menuButton.focus(); }
  if (next == null) return;
  items[(next + items.length) % items.length].focus();
  e.preventDefault();
};

addEventListener("beforeprint", () => {
  $("#ladder").style.height = `${TOP + RS.length * rowHeight() + 30}px`;
  drawLadder(true);
});
addEventListener("afterprint", () => { $("#ladder").style.height = ""; drawLadder(true); });
