// The Tables pane: what the tables of the step's namespace hold at this moment, and the rules that were walked.

const TAB_ORDER = ["neigh", "fdb", "ct", "routes", "sockets", "rules"];

function tablesPane(s) {
  const {now, last} = stateAt(s), rules = rulesAt(s);
  const shown = TAB_ORDER.filter(k => k === "rules" ? rules && Object.values(rules).some(c => c.rules.length) : now[k]?.length || last[k]);
  const title = h`<h2>${t("at_this_moment", {ns: s.I.ns})}</h2>`;
  if (!shown.length) return h`${title}<p class="empty">${t("tables_empty")}</p>`;
  const tab = shown.includes(S.tab) ? S.tab : likelyTab(s, shown, last);
  const buttons = shown.map(k => h`<button role="tab" data-tab="${k}" id="tab-${k}" aria-controls="table" aria-selected="${k === tab}" tabindex="${k === tab ? 0 : -1}">${t(`table_${k}`)}${
    k === "rules" ? "" : h` <span class="who">${now[k].length}</span>`}${last[k] ? h`<sup title="${t("changed")}">●</sup>` : ""}</button>`);
  return h`${title}<div class="tabs sub" role="tablist" aria-label="${t("tables")}">${buttons}</div>
    <div role="tabpanel" id="table" aria-labelledby="tab-${tab}">${tab === "rules" ? ruleList(s, rules) : tableLines(s, tab, now[tab], last[tab])}</div>`;
}

// The table that this step is about.
function likelyTab(s, shown, last) {
  const wanted = [...(has(s, "nat") ? ["ct"] : []), ...shown.filter(k => last[k]), ...(has(s, "route") ? ["routes"] : [])];
  return wanted.find(k => shown.includes(k)) || shown[0];
}

function tableLines(s, tab, now, change = {gone: [], fresh: []}) {
  const route = entryOf(s, "route")?.text, ct = s.trail.find(e => e.ct)?.ct;
  const used = line => tab === "routes" ? line === route : tab === "ct" && ct && line.startsWith(`#${ct} `);
  const row = line => h`<li class="${change.fresh.includes(line) ? "new" : used(line) ? "used" : ""}">${line}</li>`;
  return h`<ul class="lines">${now.map(row)}${change.gone.filter(line => !now.includes(line)).map(line => h`<li class="gone">${line}</li>`)}</ul>`;
}

function ruleList(s, rules) {
  const hit = new Set(s.trail.filter(e => e.k === "rule").map(e => `${e.table} ${e.chain} ${e.n}`));
  const chains = Object.entries(rules).filter(([, chain]) => chain.rules.length);
  const wanted = S.rule.split(" ").slice(0, 2).join(" ");
  const walked = chains.filter(([name]) => name === wanted || [...hit].some(each => each.startsWith(name + " ")));
  const listed = walked.length ? walked : chains;
  return h`${listed.map(([name, chain]) => h`<h3>${name}${chain.policy ? h` <span class="who">${t("policy_is", {policy: chain.policy})}</span>` : ""}</h3>
    <ol class="lines numbered">${chain.rules.map((rule, i) => { const id = `${name} ${i + 1}`;
      return h`<li data-id="${id}" class="${hit.has(id) ? "used" : ""} ${id === S.rule ? "linked" : ""}"><span class="no">${i + 1}</span>${specText(rule)}</li>`; })}</ol>`)}
    ${listed.length < chains.length ? h`<p class="empty">${t("not_walked", {n: chains.length - listed.length})}</p>` : ""}`;
}

function showRule(id) {
  S.rule = id;
  S.tab = "rules";
  showPane("tables");
  $(`#detail [data-id="${CSS.escape(id)}"]`)?.scrollIntoView({block: "center"});
}
