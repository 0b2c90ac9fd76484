"""What kube-proxy promises of every node: a Service's address goes no further, and the masquerade mark does not outlive its purpose.

Must not know how rules are compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emu.capture.captured import Captured
from emu.invariants import Answer, Evidence, Violation, invariant
from emu.invariants.evidence import STACKED, Pass
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.targets.mark import Mark
from emu.kube.api.core import Service
from emu.rule import AnyRule
from emu.trail import Tracked
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import TCP, UDP

MARKING = "KUBE-MARK-MASQ"  # the chain that sets the mark which asks for masquerade
PROTOCOLS: Mapping[str, int] = {"TCP": TCP, "UDP": UDP}
TUNNELS = frozenset(("vxlan", "ipip"))


@invariant(
    "no Service address leaves a node",
    "Packets to the cluster IP and a port of a Service that exists now, which a node routed out of an interface or tunnel to the "
    "network between the nodes, and which opened a connection there. Passed over: a port that no Service has, and what conntrack holds for INVALID.",
)
def service_address_stays(evidence: Evidence) -> Iterator[Answer]:
    cluster = evidence.cluster
    if cluster is None:
        return
    fronts = {
        (ip4(address), PROTOCOLS[port.protocol], port.port): f"{service.namespace}/{service.name}"
        for service in cluster.store.list(Service)
        for address in _cluster_ips(service)
        for port in service.spec.ports
        if port.protocol in PROTOCOLS
    }
    if not fronts:
        return
    pods = {id(pod.net) for pod in cluster.pods.values() if not pod.host_network}
    for packet, way in evidence.passes:
        captured, frame = way.left
        if way.owner not in cluster.nodes or not _leaves(captured, pods):
            continue
        tracked = way.facts(Tracked)
        if not any(each.new for each in tracked) or not way.facts(Route) or any(each.conn is None for each in tracked):
            continue
        name = fronts.get((frame.dst, frame.proto, frame.dport))
        if name is None:
            yield None
        else:
            where = f"{ip4_text(frame.dst)}:{frame.dport}, of Service {name}, leaves {captured.interface}"
            yield Violation(f"a packet to {where}", packet.frames)


def _cluster_ips(service: Service) -> Iterator[str]:
    address = service.spec.cluster_ip
    if address and address[0].isdigit() and ":" not in address:
        yield address


def _leaves(captured: Captured, pods: set[int]) -> bool:
    """Is what the interface sends outside of the node then, and not in a pod?"""
    device = captured.place.device
    if device is None:
        return False
    peer = getattr(device, "peer", None)
    if captured.place.kind in TUNNELS:
        return True
    return peer is not None and peer.net is not None and peer.net is not device.net and id(peer.net) not in pods


@invariant(
    "the masquerade mark is cleared: a packet that kube-proxy marks leaves without the mark, masqueraded",
    "Packets that a rule of KUBE-MARK-MASQ marked and that left the node. The mark is reckoned from the rules that the packet matched.",
)
def mark_cleared(evidence: Evidence) -> Iterator[Answer]:
    if evidence.cluster is None:
        return
    for packet, way in evidence.passes:
        if way.owner not in evidence.cluster.nodes or way.left[0].place.kind in STACKED:
            continue  # what a bridge sends has POSTROUTING before it yet
        asked, mark = _marked(way)
        if not asked:
            continue
        captured, frame = way.left
        opened = [each.conn for each in way.facts(Tracked) if each.new]
        if mark & asked:
            yield Violation(f"a packet leaves {captured.interface} with the mark {mark & asked:#x}", packet.frames)
        elif opened and not any(conn.masq_ifindex for conn in opened):
            source = ip4_text(frame.src)
            yield Violation(f"a packet was marked, but leaves {captured.interface} from {source}", packet.frames)
        else:
            yield None


def _marked(way: Pass) -> tuple[int, int]:
    """The bits that ask for masquerade, and the packet's mark in the end."""
    asked = mark = 0
    for rule in way.facts(AnyRule):
        target = getattr(rule, "target", None)
        if isinstance(target, Mark):
            mark = mark & ~target.mask ^ target.value
            if rule.chain == MARKING:
                asked |= target.value
    return asked, mark
