"""Signs that something besides iptables decides on a node: ip_vs, or eBPF programs. What they decide is not modelled.

Must not know how packets walk.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.report.node import Node
from emu.report.outcomes import DELIVERED, Trace
from emu.wire.addr import ip4_text

IPVS_DEVICE = "kube-ipvs0"
IPVS_SETS = ("KUBE-CLUSTER-IP", "KUBE-LOOP-BACK", "KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-UDP", "KUBE-LOAD-BALANCER")
IPVS_CHAINS = ("KUBE-NODE-PORT", "KUBE-LOAD-BALANCER")  # kube-proxy's own names in its ipvs mode
NODE_PORTS = range(30000, 32768)  # kube-apiserver's --service-node-port-range
# The devices and chains of dataplanes whose eBPF programs see a packet before the rules do.
EBPF_DEVICES = {"cilium_host": "Cilium", "cilium_net": "Cilium", "bpfin.cali": "Calico", "bpfout.cali": "Calico"}
EBPF_CHAINS = {"CILIUM_": "Cilium"}


def doubt(node: Node, there: Trace) -> str:
    """Why the outcome of a packet is not the rules' alone, or ""."""
    ebpf = next(_ebpf(node), "")
    if ebpf:
        return ebpf
    signs = list(_ipvs(node))
    if not signs or there.word != DELIVERED:
        return ""
    addr, port = there.ended[2], there.ended[3]
    if _is_virtual(node, addr) or port in NODE_PORTS:
        return f"ip_vs decides about {ip4_text(addr)}:{port} (seen: {', '.join(signs[:3])}); its table is not modelled"
    return ""


def _ebpf(node: Node) -> Iterator[str]:
    for name in node.links:
        if name in EBPF_DEVICES:
            yield f"{EBPF_DEVICES[name]}'s eBPF programs decide before these rules (seen: the interface {name})"
    for chain in _chains(node):
        for prefix, who in EBPF_CHAINS.items():
            if chain.startswith(prefix):
                yield f"{who}'s eBPF programs decide before these rules (seen: the chain {chain})"


def _ipvs(node: Node) -> Iterator[str]:
    if IPVS_DEVICE in node.links:
        yield f"the interface {IPVS_DEVICE}"
    sets = node.ipsets()
    yield from (f"the set {name}" for name in IPVS_SETS if name in sets)
    chains = set(_chains(node))
    yield from (f"the chain {name}" for name in IPVS_CHAINS if name in chains)


def _chains(node: Node) -> Iterator[str]:
    for chains in node.ruleset.tables.values():
        yield from chains


def _is_virtual(node: Node, addr: int) -> bool:
    """Is it an address that kube-proxy gave to ip_vs's interface, or a member of its sets?"""
    if any(device == IPVS_DEVICE and held == addr for device, held, _length, _scope in node.addresses):
        return True
    if any(route.text("dev", "") == IPVS_DEVICE and addr in route.prefix("dst") for route in node.routes):
        return True
    sets = node.ipsets()
    return any(key[0] == (addr, 32) for name in IPVS_SETS if name in sets for key in sets[name].elements)
