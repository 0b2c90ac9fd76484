"""Nodes where something else than kube-proxy's iptables rules sends to the endpoints: ip_vs, or eBPF programs.

Neither is modelled. Must not know how rules are compared.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.kernel.netfilter.dump import parse_dump
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ruleset import Rule, RuleSet
from emu.kube.dumped.site import Site

IPVS_DEVICE, IPVS_SETS = "kube-ipvs0", ("KUBE-CLUSTER-IP", "KUBE-LOOP-BACK", "KUBE-NODE-PORT-TCP")
EBPF_DEVICES = ("cilium_", "lxc")


def with_ip_vs(site: Site, own: RuleSet, given: RuleSet) -> RuleSet | None:
    """The dump's rules, with one in front for each Service of kube-proxy's that leaves its packets undecided; None where ip_vs does not
    decide."""
    sets = site.dump.ipsets if site.dump.ipsets is not None else IpSets()
    if (
        IPVS_DEVICE not in (site.dump.links or ())
        and not any(name in sets for name in IPVS_SETS)
        and not _names_a_set(given)
    ):
        return None
    site.notes.append(
        f"{site.dump.texts.source}: kube-proxy's mode is ipvs here: ip_vs decides about Services and is not modelled; what is sent to one is undecided"
    )
    lines = ["*nat"]
    for rule in _services(own):
        matched = rule.spec.partition(" -j ")[0]
        lines += [f"-A {chain} {matched} -j IPVS" for chain in ("PREROUTING", "OUTPUT")]
    return given.merge(parse_dump("\n".join([*lines, "COMMIT", ""])), insert=True)


def _names_a_set(given: RuleSet) -> bool:
    chain = given.chain("nat", "KUBE-SERVICES")
    return chain is not None and any(name in rule.spec for rule in chain.rules for name in IPVS_SETS)


def _services(own: RuleSet) -> Iterator[Rule]:
    """The rules that send a Service's packets to its own chain, and those of node ports."""
    for name in ("KUBE-SERVICES", "KUBE-NODEPORTS"):
        chain = own.chain("nat", name)
        for rule in chain.rules if chain is not None else ():
            if rule.jump.startswith(("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-")):
                yield rule


def is_ebpf(site: Site, given: RuleSet) -> bool:
    """Whether eBPF programs take kube-proxy's place: then emu's rules stand for them, and the dump's are left aside."""
    chain = given.chain("nat", "KUBE-SERVICES")
    if (chain is not None and chain.rules) or not any(name.startswith(EBPF_DEVICES) for name in site.dump.links or ()):
        return False
    site.notes.append(
        f"{site.dump.texts.source}: eBPF programs take kube-proxy's place here and are not modelled: emu's rules stand for them, and iptables-save is left aside"
    )
    return True
