// Columns to px: the plan of a flow's map (which column, which box around it) comes with the document, the width is the window's.

const WIRE = 142, BAR = 190, LANE = 226, MAP_HEIGHT = 280;
let geo = null;  // {gutter, width, column, x: Map(interface number -> px)}

// The columns with what is known of their interface. A folded column has many interfaces.
function columnsOf(run, plan) {
  return plan.columns.map((c, i) => {
    const port = run.interfaces[c.n];
    return {...c, i, fold: c.fold || null, name: c.title || port?.name || c.dev, mac: port?.mac || "", addrs: port?.addrs || []};
  });
}

const NARROW = 600, SMALL = 800, LEAST_COLUMN = 42, MOST_COLUMN = 180;
function layout() {
  const ladder = $("#ladder"), scrollbar = ladder.offsetWidth - ladder.clientWidth, n = M.cols.length;
  const width = ($("#stage").clientWidth || $("main").clientWidth) - scrollbar;
  const least = width < NARROW ? 112 : width < SMALL ? 168 : 216;
  const gutter = clamp(width - n * 71 - 14, least, 300), column = clamp((width - gutter - 14) / n, LEAST_COLUMN, MOST_COLUMN);
  geo = {gutter, column, x: new Map(), width: Math.max(width, gutter + n * column + 14)};
  for (const c of M.cols) for (const port of c.fold || [c.n]) geo.x.set(port, centre(c.i));
  $("#stage").style.setProperty("--g", gutter - 12 + "px");
}
const centre = i => geo.gutter + (i + .5) * geo.column;

// Where a step stands, px. A drop is no interface: it stands beside the sight before it, inside of its namespace.
const xOf = s => s.I.kind === "drop" ? dropX(s) : geo.x.get(s.I.n) ?? geo.gutter + geo.column / 2;
function dropX(s) {
  const own = M.cols.filter(c => c.ns === s.I.ns).map(c => centre(c.i));
  if (!own.length) return geo.gutter + geo.column / 2;
  const low = own[0], high = own.at(-1), aside = geo.column * .34;
  const here = s.prev && s.prev.I.ns === s.I.ns && s.prev.I.kind !== "drop" ? geo.x.get(s.prev.I.n) : null;
  if (here == null) return (low + high) / 2;
  return clamp(here + aside * ((low + high) / 2 >= here ? 1 : -1), low - aside, high + aside);
}
