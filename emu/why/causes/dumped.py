"""Causes that a node's own dump shows: what it has otherwise than kube-proxy, the CNI or an agent would have it.

A difference is named where the flow passes its node and what it is about, and was lost as it would be. Must not know how differences are
found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from emu.kube.dumped import Difference
from emu.rule import AnyRule
from emu.trail import Policy
from emu.why.case import Because, Case
from emu.wire.addr import ip4

_PROXY = ("proxy-rules-missing", "proxy-rule-missing", "proxy-jump-missing")
_LONG = ("PKT_TOO_BIG",)


def _because(cause: str, found: Difference, remedy: str) -> Because:
    sides = f"expected {found.expected or 'nothing'}, found {found.found or 'nothing'}"
    sentence = f"node/{found.node} ({found.place}): {found.what}; {sides}"
    return Because(cause, f"node/{found.node}", sentence, remedy, (f"node/{found.node} is as its dump shows it",))


def _there(case: Case, *ids: str) -> Iterator[Difference]:
    """The differences of these kinds on nodes that the flow passes."""
    if not case.places.differences or case.word == "delivered":
        return
    nodes = _nodes(case)
    yield from (each for each in case.places.differences if each.kind in ids and each.node in nodes)


def _nodes(case: Case) -> set[str]:
    """The nodes of both ends, the one that was sent to, and those where a packet was lost."""
    found = {each.netns for each in case.flow.losses}
    found |= {pod.spec.node_name for pod in (case.client, case.receiver) if pod is not None}
    found |= {case.source.removeprefix("node/")}
    found |= {node.name for node in case.places.nodes.values() if node.ip == case.flow.target.addr}
    if case.receiving_node is not None:
        found.add(case.receiving_node.name)
    return found & {*case.places.nodes}


def _addresses(case: Case) -> set[int]:
    """The addresses that the flow's packets have: both ends, before and behind each translation."""
    found = {case.flow.target.addr, ip4(case.reached[0])}
    found |= {each.addr for each in case.flow.client.addresses if each.device.name != "lo"}
    for each in case.flow.translations:
        found |= {each.before[0], each.after[0]}
    return found - {0}


def _hosts(case: Case) -> set[int]:
    """The same with the nodes of both ends, to which a tunnel sends."""
    nodes = {pod.spec.node_name for pod in (case.client, case.receiver) if pod is not None}
    return _addresses(case) | {node.ip for node in case.places.nodes.values() if node.name in nodes}


def dns(case: Case) -> Because | None:
    """The name has no address, for the node does not translate packets to the cluster's DNS."""
    resolved = case.flow.resolved
    if resolved is None or not resolved.error:
        return None
    for each in _there(case, *_PROXY):
        if each.chain == "KUBE-SERVICES" or each.service.startswith("kube-system/kube-dns"):
            return _because("proxy-rules-missing", each, "kube-proxy that writes its rules again")
    return None


def table_full(case: Case) -> Because | None:
    """The table of connections is full."""
    if not any(str(each.by).startswith("nf_conntrack: table full") for each in case.losses("NETFILTER_DROP")):
        return None
    for each in _there(case, "conntrack-full"):
        return _because("conntrack-full", each, "a larger net.netfilter.nf_conntrack_max, or fewer connections")
    return None


def dropping_rule(case: Case) -> Because | None:
    """A rule of the dump, or the policy of one of its chains, drops it."""
    policed = next(_there(case, "ipset-member-missing"), None)
    for loss in case.losses("NETFILTER_DROP"):
        if isinstance(loss.by, Policy):
            for each in _there(case, "chain-policy"):
                if each.node == loss.netns and each.chain == loss.by.chain:
                    return _because(
                        "forward-drop" if each.chain == "FORWARD" else "rule", each, f"iptables -P {each.chain} ACCEPT"
                    )
        if isinstance(loss.by, AnyRule):
            for each in _there(case, "foreign-drop"):
                if each.node == loss.netns and each.found == str(loss.by):
                    return _because("rule", each, "another rule before it, or none")
        if policed is not None and policed.node == loss.netns:
            return _because("ipset-member-missing", policed, "the member in the set: its agent writes it again")
    if case.word == "rejected":
        for each in _there(case, "foreign-drop"):
            if each.found == case.rule.partition(": ")[2] or each.found in case.rule:
                return _because("rule", each, "another rule before it, or none")
    return None


def proxy_rules(case: Case) -> Because | None:
    """The packet is not translated: kube-proxy's rules are not there."""
    if case.service is None or case.flow.dnat:
        return None
    name = f"{case.service.namespace}/{case.service.name}"
    for each in _there(case, *_PROXY):
        if each.chain == "KUBE-FORWARD":
            continue
        if not each.service or each.service.partition(":")[0] == name:
            return _because("proxy-rules-missing", each, "kube-proxy that writes its rules again")
    return None


def stale_endpoint(case: Case) -> Because | None:
    """kube-proxy's rules send to an endpoint that is no more."""
    address, port = case.reached
    for each in _there(case, "stale-endpoint"):
        if (each.addr, each.port) == (ip4(address), port):
            return _because("stale-endpoint", each, "kube-proxy that writes its rules again, as the slices have them")
    return None


def stale_connection(case: Case) -> Because | None:
    """A connection of the table is translated to an address that is no more."""
    address, port = case.reached
    for each in _there(case, "conntrack-stale"):
        if (each.addr, each.port) == (ip4(address), port):
            return _because("conntrack-stale", each, f"conntrack -D --reply-src {address}")
    return None


def masquerade(case: Case) -> Because | None:
    """Nothing masquerades what has to be."""
    flow = case.flow
    if flow.snat or case.word not in ("timeout", "dropped", "refused"):
        return None
    name = f"{case.service.namespace}/{case.service.name}" if case.service is not None else ""
    inside = case.receiver is not None or case.receiving_node is not None
    for each in _there(case, "masquerade-missing"):
        of_proxy = each.chain.startswith("KUBE-")
        if of_proxy and flow.dnat and (not each.service or each.service.partition(":")[0] == name):
            return _because("masquerade-missing", each, "kube-proxy that writes its rules again")
        if not of_proxy and not inside:
            return _because("masquerade-missing", each, "the pod network's rule for what leaves the cluster")
    return None


def routes(case: Case) -> Because | None:
    """A route, or a rule of ip rule, is not there, or has another next hop."""
    addresses = _addresses(case)
    lost = {each.netns for each in case.flow.losses}
    fitting = [
        each
        for each in _there(case, "route-missing", "route-differs")
        if (each.prefix is not None and each.prefix.length and any(addr in each.prefix for addr in addresses))
        or (each.prefix is not None and not each.prefix.length and (each.node in lost or case.receiver is None))
        or (each.prefix is None and each.node in lost | _nodes(case))
    ]
    fitting.sort(key=lambda each: -(each.prefix.length if each.prefix is not None else 0))
    for each in _there(case, "ip-rule-missing"):
        if not each.addr or each.addr in addresses:
            return _because("ip-rule-missing", each, f"ip rule add {each.expected.partition(':')[2].strip()}")
    for each in fitting:
        cause = "route-missing" if each.kind == "route-missing" else "route-wrong"
        return _because(cause, each, f"ip route replace {each.expected}")
    return None


def neighbours(case: Case) -> Because | None:
    """A neighbour or a tunnel's entry is not there, or is another host's."""
    hosts = _hosts(case)
    for each in _there(case, "fdb-missing", "fdb-wrong", "neighbour-missing", "neighbour-wrong", "neighbour-failed"):
        if each.addr in hosts:
            cause = "fdb-missing" if each.kind.startswith("fdb") else each.kind
            return _because(cause, each, _REMEDIES[each.kind])
    return None


_REMEDIES = {
    "fdb-missing": "the pod network's agent that writes the entry again",
    "fdb-wrong": "the pod network's agent that writes the entry again",
    "neighbour-missing": "the pod network's agent that writes the entry again",
    "neighbour-wrong": "ip neigh del of the entry, so that ARP asks again",
    "neighbour-failed": "a host that answers ARP for the address on that link",
}


def interfaces(case: Case) -> Because | None:
    """An interface is down, not there, or lacks an address."""
    hosts, lost = _hosts(case), {(each.netns, each.device) for each in case.flow.losses}
    for each in _there(case, "link-down", "link-missing", "address-missing"):
        if each.kind == "address-missing":
            return _because(each.kind, each, f"{each.expected} on it")
        if (each.node, each.device) in lost or each.addr in hosts or (not each.addr and _by_it(case, each)):
            return _because("link-down", each, f"ip link set {each.device} up")
    return None


def _by_it(case: Case, found: Difference) -> bool:
    """Whether the flow leaves the node by an interface that is no pod's: the one with the node's address, a bridge or a tunnel."""
    node = case.places.nodes[found.node]
    device = node.net.devices.get(found.device)
    first = any(each.device is device and each.addr == node.ip for each in node.net.ipv4.addresses)
    if device is not None and device.kind == "bridge":
        return True
    return _crosses(case) and (device is None or first or device.kind != "veth")


def _crosses(case: Case) -> bool:
    """Whether the flow goes from one node to another, or to the outside."""
    sender, receiver = case.client, case.receiver
    return sender is None or receiver is None or sender.spec.node_name != receiver.spec.node_name


def mtu(case: Case) -> Because | None:
    """An interface takes no packets of this length."""
    long = (
        any(each.reason in _LONG or "MTU" in str(each.by) for each in case.flow.losses)
        or "frag" in case.flow.outcome.detail
    )
    for each in _there(case, "mtu"):
        if long or case.word in ("timeout", "dropped"):
            return _because("mtu", each, f"ip link set {each.device} {each.expected}")
    return None


def settings(case: Case) -> Because | None:
    """A sysctl of the node."""
    reasons = {each.reason for each in case.flow.losses}
    same_node = not _crosses(case)
    for each in _there(case, "sysctl"):
        name = each.expected.partition(" ")[0]
        if name.endswith(".ip_forward") and reasons & {"IP_INADDRERRORS", "IP_FORWARDING"}:
            return _because("forwarding-off", each, f"sysctl -w {name}=1")
        if name.endswith(".rp_filter") and "IP_RPFILTER" in reasons:
            return _because("rp-filter", each, f"sysctl -w {name}=2")
        if "bridge-nf-call" in name and same_node and case.flow.dnat:
            return _because("bridge-netfilter-off", each, f"sysctl -w {name}=1")
        if name.endswith(".route_localnet") and case.flow.target.addr >> 24 == 127:
            return _because("route-localnet-off", each, f"sysctl -w {name}=1")
    return None


LOOKS: tuple[Callable[[Case], Because | None], ...] = (
    table_full, dropping_rule, proxy_rules, stale_endpoint, stale_connection, masquerade, settings, interfaces, routes, neighbours, mtu,
)  # fmt: skip
