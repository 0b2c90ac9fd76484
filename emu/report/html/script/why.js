// The Why pane: the step's trail as cards, in the order in which the facts arose.

const DECIDES = /^(ACCEPT|DROP|REJECT|MARK|MASQ|DNAT|SNAT|REDIRECT)/;
const named = end => { const name = nameOf(end.split(":")[0]); return name ? h` <span class="who">${name}</span>` : ""; };
const mono = text => h`<span class="mono">${text}</span>`;
const pairs = list => h`<div class="tuple">${list.map(([name, value]) => h`<span>${name}</span><div>${value}</div>`)}</div>`;
const lines = list => h`<ul class="plain">${list.map(each => h`<li>${each}</li>`)}</ul>`;
const card = (title, verdict, body = "", tone = "") =>
  h`<div class="fact"><div class="h"><b>${title}</b><span class="v ${tone}">${verdict}</span></div>${body}</div>`;

const beforeAfter = (e, more) => pairs([
  [t("before"), h`<del>${e.before}</del>${named(e.before)}`], [t("after"), h`<ins>${e.after}</ins>${named(e.after)}`], ...more,
]);

// Trail entry -> card. Rules are gathered into walks by `cards`.
const CARDS = {
  nat: e => card(t("nat_remembered"), e.kind, beforeAfter(e, [[t("why"), t("connection_remembers", {ct: e.ct ?? "?"})]]), "k-nat"),
  route: (e, s) => card(t("route"), e.via ? t("via", e) : e.type === "unicast" ? t("on_link") : e.type, routeBody(e, s), "k-route"),
  ct: (e, s) => card(t("conntrack"), e.new ? t("ct_new", {ct: e.ct ?? "?"}) : t("ct_state", {ct: e.ct ?? "?", state: e.state}), connectionBody(e, s)),
  bridge: e => card(t("bridge_named", {name: e.bridge}), e.up ? t("hands_up") : e.flooded ? t("floods_to", {n: e.flooded}) : t("out_of", {port: e.port})),
  learn: e => card(t("bridge_named", {name: e.bridge}), t("learns"), lines([t("learned", e)])),
  waited: e => card(t("neighbour"), t("addr_on_dev", e), lines([t("waited")])),
  asked: e => card(t("neighbour"), t("who_has", e), e.dst ? lines([t("packet_waits", {dst: nameOf(e.dst) || e.dst})]) : "", "k-arp"),
  answered: e => card(t("neighbour"), e.proxy ? t("addr_proxy", e) : t("addr_mine", e), "", "k-arp"),
  drop: e => card(t("dropped_title"), e.reason, pairs([[t("at"), mono(e.place)], ...(e.by ? [[t("by"), mono(e.by)]] : [])]), "k-drop"),
  forbidden: e => card(t("network_policy"), e.way === "ingress" ? t("policy_ingress", e) : t("policy_egress", e), pairs([[t("policies"), e.reason.replace(/^isolated by |, no rule allows$/g, "")],
    [t("rule"), e.rule ? mono(e.rule) : t("no_rule_allows")]]), "k-drop"),
  policy: e => card(t("chain_policy"), `${e.table} ${e.chain}: ${e.verdict}`),
  born: e => card(t("made_here"), e.what),
  delivered: e => card(t("delivered_title"), e.to, "", "k-ok"),
  tunnel: e => card(t("tunnel"), e.dev, lines([tunnelWords(e)]), "k-route"),
  carried: e => card(e.who, e.way, e.half ? pairs([[t("between"), e.between], [e.half, h`<del>${e.before}</del> <ins>${e.after}</ins>${named(e.after)}`]])
    : lines([e.between]), e.half ? "k-nat" : "k-route"),
};
const tunnelWords = e => t(e.out ? "wrapped" : "unwrapped", {vni: e.vni == null ? t("ip_in_ip") : `VNI ${e.vni}`, src: e.src, dst: e.dst || ""});

function routeBody(e, s) {
  const lost = e.beaten || beaten(s, e);
  return h`<ul class="plain"><li class="won">${e.text}</li>${lost.map(each => h`<li class="lost">${each} <span class="who">${t("less_specific")}</span></li>`)}</ul>`;
}

// The connection's line as the table has it now, and before if this step changed it.
function connectionBody(e, s) {
  const {now, last} = stateAt(s), own = text => e.ct != null && text.startsWith(`#${e.ct} `);
  const was = last.ct?.gone.find(own), is = (now.ct || []).find(own);
  if (!was && !is) return "";
  return h`<ul class="plain">${was && was !== is ? h`<li><del>${was}</del></li>` : ""}${is ? h`<li>${is}</li>` : ""}</ul>`;
}

function cards(s) {
  const out = [];
  let walk = null;
  const flush = () => { if (walk) out.push(walkCard(walk), ...walk.notes); walk = null; };
  for (const e of s.trail) {
    if (e.k === "rule") {
      if (walk && (e.table !== walk.rules[0].table || e.chain in HOOKS && e.chain !== walk.rules[0].chain)) flush();
      walk ||= {rules: [], notes: []};
      walk.rules.push(e);
    } else if (e.k === "note" && walk) {  // a rule says it, and the walk goes on
      walk.notes.push(card(t("note"), "", lines([e.text])));
    } else if (e.k === "nat" && walk?.rules[0].table === "nat") { walk.nat = e; flush(); }
    else {
      if (e.k === "drop" && walk) walk.drop = e;
      flush();
      if (e.k in CARDS) out.push(CARDS[e.k](e, s));
      else if (e.text) out.push(card(t("note"), "", lines([e.text])));
    }
  }
  flush();
  for (const kind of ["forbidden", "drop"]) {  // what ended the packet stands first
    const end = entryOf(s, kind), at = end ? out.findIndex(each => flat(each) === flat(CARDS[kind](end))) : -1;
    if (at > 0) out.unshift(...out.splice(at, 1));
  }
  return out.length ? out : h`<p class="empty">${t("passes", {from: s.prev ? s.prev.I.name : t("there")})}</p>`;
}

function walkCard({rules, nat, drop}) {
  const last = rules.at(-1), act = last.jump ? "" : targetOf(last.spec).replace(/^-[jg] /, "").split(" ")[0];
  const verdict = nat ? nat.kind : drop ? drop.reason : act || t("goes_on"), open = nat || drop || DECIDES.test(verdict);
  return h`<details class="fact" ${open ? "open" : ""}><summary class="h"><b>${t("rules")}</b>${mono(`${rules[0].table} ${rules[0].chain}`)}
    <span class="v ${nat ? "k-nat" : drop ? "k-drop" : ""}">${verdict}</span></summary>
    ${rules.map((r, i) => ruleRow(r, rules[i - 1], r === last && (drop ? "bad" : nat ? "last" : "")))}
    ${nat ? beforeAfter(nat, [[t("remembered_as"), t("connection_n", {ct: nat.ct ?? "?"})]]) : ""}</details>`;
}

function ruleRow(r, before, tone) {
  const id = `${r.table} ${r.chain} ${r.n}`;
  return h`<div class="rule ${tone}"><button class="n" data-rule="${id}" title="${t("show_rule", {n: r.n, chain: r.chain})}">${r.n}</button>
    <span class="sp">${before?.chain === r.chain ? "" : h`<span class="ch">${r.chain}</span>`}${specText(r.spec)}
    ${r.line ? h`<span class="c">${t("line_n", {n: r.line})}</span>` : ""}</span>
    <span class="n" ${r.pkts == null ? "" : h`title="${t("matched_so_far")}"`}>${r.pkts == null ? "" : `${r.pkts}×`}</span></div>`;
}

// A rule's text: its comment first, its target set off.
const COMMENT = /-m comment --comment ("(?:[^"\\]|\\.)*"|\S+) ?/;
const targetOf = spec => { const at = spec.search(/-[jg] \S+/); return at < 0 ? "" : spec.slice(at); };
function specText(spec) {
  const comment = COMMENT.exec(spec)?.[1], rest = spec.replace(COMMENT, "").replace(/-m (tcp|udp) /, ""), target = targetOf(rest);
  const options = rest.slice(0, rest.length - target.length).split(/ (?=-)/).filter(Boolean);  // none is broken at its hyphens
  return h`${comment ? h`<span class="c">${comment.replace(/"/g, "")}</span><br>` : ""}${options.map(each => h`<span class="opt">${each}</span> `)}<span class="tg">${target}</span>`;
}

// What changed, in short, under the cards.
function summary(s) {
  const frame = changes(s).filter(c => c.name !== "checksum"), tables = Object.values(stateAt(s).last);
  return h`${frame.length ? h`<h2>${t("changed_in_frame")}</h2><dl class="fields box">${frame.map(c => h`<dt>${c.layer === "Ethernet" ? `MAC ${c.name}` : c.name}</dt>
    <dd><del>${c.was}</del> <ins>${c.field.value}</ins>${whoIs(c.field)}</dd>`)}</dl>` : ""}
    ${tables.length ? h`<h2>${t("changed_in_tables", {ns: s.I.ns})}</h2><ul class="lines">${tables.map(each =>
    [each.gone.map(x => h`<li class="gone">${x}</li>`), each.fresh.map(x => h`<li class="new">${x}</li>`)])}</ul>` : ""}`;
}
