"""The rules and sets of a dump: put in force as they are, and compared with what kube-proxy and the pod network would write.

Rules are compared by what they match and do: comments, counters and the chances of a choice do not count, nor does the order of
endpoints. Must not know how kube-proxy compiles.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.kernel.netfilter.dump import unknown
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.matches import FROM_DUMPS, Match
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.statistic import Statistic
from emu.kernel.netfilter.ruleset import BUILT_IN, ChainMap, Rule, RuleSet
from emu.kernel.netfilter.targets.mark import Mark
from emu.kernel.netfilter.targets.masquerade import Masquerade
from emu.kernel.netfilter.targets.nat import Dnat, Snat
from emu.kernel.netfilter.targets.reject import Reject
from emu.kernel.netfilter.targets.verdicts import Drop
from emu.kube.dumped.balancers import is_ebpf, with_ip_vs
from emu.kube.dumped.site import Site
from emu.wire.addr import ip4_text

SEP, MARK_MASQ = "KUBE-SEP-", "KUBE-MARK-MASQ"
OF_PORTS = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", SEP)
COMPARED = (
    "KUBE-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    MARK_MASQ,
    "KUBE-FORWARD",
    "KUBE-EXTERNAL-SERVICES",
    *OF_PORTS,
)
# chains that kube-proxy, kubelet, pod networks and Docker write, so that their drops are their own matter
WRITERS = (
    "KUBE-", "cali-", "FLANNEL", "CNI-", "CNI_", "DOCKER", "AWS-", "KIND-", "IP-MASQ", "WEAVE", "CILIUM", "LIBVIRT", "GKE-", "ANTREA",
    "AZURE-", "OVN-",
)  # fmt: skip
JUMPS = {
    ("nat", "PREROUTING"): ("KUBE-SERVICES",), ("nat", "OUTPUT"): ("KUBE-SERVICES",), ("nat", "POSTROUTING"): ("KUBE-POSTROUTING",),
    ("filter", "FORWARD"): ("KUBE-FORWARD",),
}  # fmt: skip
SHOWN = 3  # rules with parts that are not modelled, of which a note is made


def rules(site: Site) -> None:
    """Compare, and put in force. The sets first: rules name them."""
    tables = site.net.ipv4.tables
    if site.dump.ipsets is not None:
        _compare_sets(site, tables.ipsets, site.dump.ipsets)
        tables.ipsets = site.dump.ipsets
    given = site.dump.ruleset
    if given is None:
        return
    if is_ebpf(site, given):
        return
    undecided = with_ip_vs(site, tables.ruleset, given)
    if undecided is None:
        _compare(site, tables.ruleset, given)
    else:
        _drops(site, tables.ruleset, given)
    tables.replace(undecided or given)
    tables.memory[FROM_DUMPS] = True
    tables.load()
    strange = unknown(given)
    file = site.dump.texts.file("iptables-save")
    for each in strange[:SHOWN]:
        site.notes.append(f"{file}:{each.rule.line}: {each.why}: a packet that comes to this rule is undecided")
    if len(strange) > SHOWN:
        site.notes.append(f"{file}: {len(strange) - SHOWN} more rules ask what is not modelled")


def _compare(site: Site, own: RuleSet, given: RuleSet) -> None:
    if any(name.startswith("KUBE-S") for name in own.tables.get("nat", {})):
        if _proxied(site, own, given):
            _jumps(site, own, given)
            for table in ("nat", "filter"):
                _chains(site, table, own.tables.get(table, {}), given.tables.get(table, {}))
            _strangers(site, own.tables.get("nat", {}), given.tables.get("nat", {}))
    _network_masquerade(site, own, given)
    _drops(site, own, given)


def _place(site: Site, rule: Rule | None = None) -> str:
    file = site.dump.texts.file("iptables-save")
    return f"{file}:{rule.line}" if rule is not None and rule.line else file


def _proxied(site: Site, own: RuleSet, given: RuleSet) -> bool:
    """Whether there are rules of kube-proxy to compare with."""
    chain, expected = given.chain("nat", "KUBE-SERVICES"), own.chain("nat", "KUBE-SERVICES")
    if chain is not None and chain.rules:
        ours, theirs = (
            {name for name in each.tables["nat"] if name.startswith("KUBE-SVC-")} if "nat" in each.tables else set()
            for each in (own, given)
        )
        if not ours or not theirs or ours & theirs:
            return True
        what = "none of the cluster's Services is in kube-proxy's rules: the dump may be another cluster's"
        site.differs(
            "proxy-rules-missing", what, _place(site), f"chains of {len(ours)} ports of Services", f"chains of {len(theirs)} other ones",
            chain="KUBE-SERVICES",
        )  # fmt: skip
        return False
    count = len(expected.rules) if expected is not None else 0
    state = "is empty" if chain is not None else "is not there"
    what = f"the chain KUBE-SERVICES of the nat table {state}: no Service is translated"
    site.differs(
        "proxy-rules-missing", what, _place(site), f"{count} rules in KUBE-SERVICES", "none" if chain is None else "an empty chain",
        chain="KUBE-SERVICES",
    )  # fmt: skip
    return False


def _jumps(site: Site, own: RuleSet, given: RuleSet) -> None:
    for (table, base), targets in JUMPS.items():
        mine, theirs = own.chain(table, base), given.chain(table, base)
        for target in targets:
            expected = next((each for each in (mine.rules if mine else ()) if each.jump == target), None)
            if expected is None or any(each.jump == target for each in (theirs.rules if theirs else ())):
                continue
            what = f"no rule of {base} in the {table} table jumps to {target}"
            site.differs("proxy-jump-missing", what, _place(site), str(expected), chain=target)


def _kept(match: Match) -> bool:
    return not isinstance(match, Comment | Statistic)


def plain(rule: Rule) -> tuple[object, ...]:
    """What a rule matches and does, for comparing."""
    act = rule.act.replace(" --random-fully", "")
    return tuple(sorted(f"{type(each).__name__} {each.spec()}" for each in rule.matches if _kept(each))), act


def _chains(site: Site, table: str, own: ChainMap, given: ChainMap) -> None:
    """Each chain of kube-proxy. Where a Service's chain is not there, those of its endpoints are not asked for."""
    gone: set[str] = set()
    compared = COMPARED if table == "nat" else ("KUBE-FORWARD",)  # those of the filter table only reject sooner
    for name, chain in own.items():
        if not name.startswith(compared) or not chain.rules or name in gone:
            continue
        theirs = given.get(name)
        if theirs is None or not theirs.rules:
            state = "is not there" if theirs is None else "is empty"
            service = service_of(own, name)
            whose = f" of {service}" if service else ""
            what = f"the chain {name}{whose} {state}"
            id = "masquerade-missing" if name in (MARK_MASQ, "KUBE-POSTROUTING") else "proxy-rules-missing"
            addr, port = endpoint_of(own, name)
            expected = str(chain.rules[-1 if name == MARK_MASQ else 0])
            site.differs(
                id, what, _place(site), expected, f"{table}: {name} {state}", chain=name, service=service, addr=addr, port=port
            )  # fmt: skip
            gone |= {each.jump for each in chain.rules if each.jump.startswith(SEP)}
            continue
        there = {plain(each) for each in theirs.rules}
        lost = [each for each in chain.rules if plain(each) not in there]
        endpoints = [each for each in lost if each.jump.startswith(SEP)]
        if endpoints:
            _endpoints_missing(site, own, endpoints)
            gone |= {each.jump for each in endpoints}
        for rule in lost:
            if rule not in endpoints and not (table == "filter" and _is_invalid_drop(rule)):
                _rule_missing(site, own, rule)


def _is_invalid_drop(rule: Rule) -> bool:
    """KUBE-FORWARD's DROP of what is INVALID: releases of kube-proxy differ in it."""
    return isinstance(rule.target, Drop)


def _endpoints_missing(site: Site, own: ChainMap, rules: list[Rule]) -> None:
    """A Service's chain does not send to these of its endpoints."""
    name = rules[0].chain
    service = service_of(own, name)
    ends = [endpoint_of(own, each.jump) for each in rules]
    shown = ", ".join(f"{ip4_text(addr)}:{port}" for addr, port in ends)
    what = f"{name} of {service} does not send to the endpoint{'s' if len(ends) > 1 else ''} {shown}"
    addr, port = ends[0]
    site.differs(
        "proxy-rule-missing", what, _place(site), str(rules[0]), chain=name, service=service, addr=addr, port=port
    )


def _rule_missing(site: Site, own: ChainMap, rule: Rule) -> None:
    name = rule.chain
    service = service_of(own, name) or service_of(own, rule.jump)
    whose = f" of {service}" if service else ""
    addr, port = endpoint_of(own, name) if name.startswith(SEP) else endpoint_of(own, rule.jump)
    if isinstance(rule.target, Dnat) and name.startswith(SEP):
        return  # _strangers states the other endpoint
    if rule.jump == MARK_MASQ or isinstance(rule.target, Masquerade | Mark):
        what = f"{name}{whose} does not mark what has to be masqueraded"
        if isinstance(rule.target, Masquerade):
            what = f"{name} does not masquerade"
        elif isinstance(rule.target, Mark):
            what = f"{name} sets no mark"
        site.differs(
            "masquerade-missing", what, _place(site), str(rule), chain=name, service=service, addr=addr, port=port
        )
        return
    what = f"{name}{whose} lacks a rule"
    site.differs("proxy-rule-missing", what, _place(site), str(rule), chain=name, service=service, addr=addr, port=port)


def service_of(chains: ChainMap, name: str) -> str:
    """`shop/web:http` of a chain of kube-proxy, by the comments of its rules."""
    chain = chains.get(name)
    for rule in chain.rules if chain is not None and name.startswith(OF_PORTS) else ():
        first = rule.comment.split(" ")[0]
        if "/" in first:
            return first
    return ""


def endpoint_of(chains: ChainMap, name: str) -> tuple[int, int]:
    """The address and port that an endpoint's chain translates to."""
    chain = chains.get(name)
    for rule in chain.rules if chain is not None and name.startswith(SEP) else ():
        if isinstance(rule.target, Dnat):
            return rule.target.range.min_addr, rule.target.range.min_port
    return 0, 0


def _strangers(site: Site, own: ChainMap, given: ChainMap) -> None:
    """Endpoints that a Service's chain sends to, and none of its slices lists."""
    for name, chain in own.items():
        theirs = given.get(name)
        if not name.startswith(("KUBE-SVC-", "KUBE-SVL-")) or theirs is None:
            continue
        mine = {endpoint_of(own, each.jump) for each in chain.rules if each.jump.startswith(SEP)}
        listed = ", ".join(f"{ip4_text(addr)}:{port}" for addr, port in sorted(mine)) or "no endpoint"
        for rule in theirs.rules:
            if not rule.jump.startswith(SEP):
                continue
            addr, port = endpoint_of(given, rule.jump)
            if addr and (addr, port) not in mine:
                deciding = next((each for each in given[rule.jump].rules if isinstance(each.target, Dnat)), rule)
                service = service_of(own, name) or service_of(given, name)
                what = f"{name} of {service} sends to {ip4_text(addr)}:{port}, which no slice lists"
                site.differs(
                    "stale-endpoint", what, _place(site, deciding), listed, str(deciding), addr=addr, port=port, chain=rule.jump,
                    service=service,
                )  # fmt: skip


def _network_masquerade(site: Site, own: RuleSet, given: RuleSet) -> None:
    """What the pod network masquerades for the outside: in its own chain where the dump has that, else in any."""
    mine, theirs = own.tables.get("nat", {}), given.tables.get("nat", {})
    if "nat" not in given.tables and not mine:
        return
    expected = [*_translating(mine)]
    if not expected:
        return
    there = [*_translating(theirs)]
    plains = {plain(each) for each in there}
    for rule in expected:
        chain = theirs.get(rule.chain)
        same_writer = chain is not None and rule.chain not in BUILT_IN["nat"]
        if (
            same_writer and plain(rule) not in plains and not any(each.chain == rule.chain for each in there)
        ) or not there:
            what = f"{rule.chain} of the pod network does not masquerade what leaves the cluster"
            site.differs("masquerade-missing", what, _place(site), str(rule), chain=rule.chain)
            if not there:
                return


def _translating(chains: ChainMap) -> Iterator[Rule]:
    """Rules of source NAT that are not kube-proxy's or of hostPorts."""
    for name, chain in chains.items():
        if not name.startswith(("KUBE-", "CNI-HOSTPORT")):
            yield from (each for each in chain.rules if isinstance(each.target, Masquerade | Snat))


def _drops(site: Site, own: RuleSet, given: RuleSet) -> None:
    """Policies of built-in chains, and rules that drop or reject and are no one's of the cluster."""
    for table in BUILT_IN:
        mine, theirs = own.tables.get(table, {}), given.tables.get(table, {})
        for name, chain in theirs.items():
            known = mine.get(name)
            if chain.policy == "DROP" and (known is None or known.policy != "DROP"):
                what = f"the policy of {name} in the {table} table is DROP"
                place = site.dump.place("iptables-save", f":{name} DROP", table)
                site.differs("chain-policy", what, place, f":{name} ACCEPT", f":{name} DROP", chain=name)
            if name.startswith(WRITERS):
                continue
            there = {plain(each) for each in known.rules} if known is not None else set()
            for rule in chain.rules:
                if isinstance(rule.target, Drop | Reject) and plain(rule) not in there:
                    act = "rejects" if isinstance(rule.target, Reject) else "drops"
                    what = f"a rule of {name} in the {table} table {act}: {rule}"
                    site.differs("foreign-drop", what, _place(site, rule), "", str(rule), chain=name)


def _compare_sets(site: Site, own: IpSets, given: IpSets) -> None:
    file = site.dump.texts.file("ipset-save")
    for name, mine in own.items():
        theirs = given.get(name)
        if theirs is None:
            continue
        there = {each.text for each in theirs.elements.values()}
        for member in (each.text for each in mine.elements.values()):
            if member not in there:
                what = f"the set {name} lacks {member}"
                site.differs("ipset-member-missing", what, file, f"add {name} {member}", chain=name)
