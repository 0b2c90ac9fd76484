// What the tables of a namespace hold at a step: the lines at the start of the run, and the deltas of each frame up to it.
// Draws nothing.

const TABLES = ["neigh", "fdb", "ct", "routes", "sockets"];
const remembered = new Map();

// {now: {table: lines}, last: {table: {gone, fresh}}}; `last` is what changed since the step before in this namespace.
function stateAt(s) {
  const key = `${M.n} ${s.k} ${s.I.ns}`;
  let found = remembered.get(key);
  if (!found) {
    if (remembered.size > 64) remembered.clear();
    remembered.set(key, found = stateOf(s.I.ns, s.n, sightBefore(s)));
  }
  return found;
}

// The place in the run's frames of the flow's sight before in this namespace, or of the flow's first frame.
function sightBefore(s) {
  for (let k = s.k - 1; k >= 0; k--) if (M.steps[k].I.ns === s.I.ns) return M.steps[k].n;
  return M.steps[0].n - 1;
}

function deltasOf(run, ns) {
  run.deltas ||= new Map();
  if (!run.deltas.has(ns))
    run.deltas.set(ns, run.frames.flatMap((x, n) => x.st?.[ns] ? [[n, x.st[ns]]] : []));
  return run.deltas.get(ns);
}

function stateOf(ns, upto, since) {
  const start = M.run.state[ns] || {}, now = {}, last = {};
  for (const table of TABLES) now[table] = [...(start[table] || [])];
  for (const [n, delta] of deltasOf(M.run, ns)) {
    if (n > upto) break;
    for (const table in delta) {
      const [gone, fresh] = delta[table], lines = now[table] ||= [];
      for (const line of gone) { const i = lines.indexOf(line); if (i >= 0) lines.splice(i, 1); }
      lines.push(...fresh);
      if (n > since) noteChange(last[table] ||= {gone: [], fresh: []}, gone, fresh);
    }
  }
  for (const table in last) if (!last[table].gone.length && !last[table].fresh.length) delete last[table];
  return {now, last};
}

// A line that came and went in between is no change.
function noteChange(change, gone, fresh) {
  for (const line of gone) {
    const i = change.fresh.indexOf(line);
    if (i >= 0) change.fresh.splice(i, 1); else change.gone.push(line);
  }
  change.fresh.push(...fresh);
}

// The chains in force at a step: {"nat KUBE-SERVICES": {policy, rules}}, or nothing.
function rulesAt(s) {
  const kept = M.run.rules[s.I.ns];
  if (!kept) return null;
  if (!Array.isArray(kept)) return kept;
  let chains = null;
  for (const each of kept) if (each.from <= s.n || !chains) chains = each.chains;
  return chains;
}

// Routes that lead to the destination as well, and are less specific than the chosen one.
function beaten(s, route) {
  const lines = stateAt(s).now.routes || [], chosen = lines.indexOf(route.text), address = s.b.dst;
  if (chosen < 0 || !address) return [];
  return lines.filter((line, i) => i !== chosen && covers(line, address));
}
const addressNumber = text => text.split(".").reduce((n, part) => n * 256 + +part, 0);
function covers(line, address) {
  const first = line.replace(/^(unicast|local|broadcast|blackhole|unreachable|prohibit|throw) /, "").split(" ")[0];
  if (first === "default") return true;
  if (!/^\d+(\.\d+){3}(\/\d+)?$/.test(first)) return false;
  const [network, size = "32"] = first.split("/"), part = 2 ** (32 - size);
  return Math.floor(addressNumber(network) / part) === Math.floor(addressNumber(address) / part);
}
