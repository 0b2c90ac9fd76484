"""Faults that are planted in the emulator, each with the named invariant that has to find it in small drawn clusters.

A fault patches one function or table. `found_by` draws clusters until one shows it. Rooms: wire, bridge, neighbours, routing, conntrack,
NAT, proxy, policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from emu.kernel.link.bridge import Bridge, Port
from emu.kernel.net import arp, ip_forward
from emu.kernel.netfilter import nat, nat_ports
from emu.kernel.netfilter.conn import DIR_ORIGINAL, SEEN_REPLY, Conn
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.hooks import PRE_ROUTING
from emu.kernel.netfilter.nat_ports import MANIP_DST, MANIP_SRC, MAP_IPS, PROTO_SPECIFIED, NatRange
from emu.kernel.netfilter.ruleset import Chain
from emu.kernel.netfilter.targets.mark import Mark
from emu.kernel.netfilter.targets.masquerade import Masquerade
from emu.kernel.netfilter.targets.verdicts import Return
from emu.kube.cluster import Cluster
from emu.kube.policy.ends import End
from emu.kube.policy.kube_router import policies, rules
from emu.kube.policy.kube_router.rules import Jump
from emu.kube.policy.rules import Block, Rule
from emu.kube.proxy.iptables import compile as compiled
from emu.kube.proxy.iptables import port_rules
from emu.testing import invariants
from emu.testing.clusters import ClusterShape, clusters
from emu.wire import arp as wire_arp
from emu.wire import rewrite, templates, udp
from emu.wire.frame import ETH_P_IP, TCP, UDP, Frame

Plant = Callable[[pytest.MonkeyPatch], None]


class Fault(NamedTuple):
    """`room` is where it is planted, `what` the fault, `invariant` what has to find it."""

    room: str
    what: str
    plant: Plant
    invariant: str


def put(place: str, value: object) -> Plant:
    """Another value at a place such as `emu.kernel.net.icmp.MAX_PACKET`."""
    return lambda patch: patch.setattr(place, value)


def around(place: str, real: Callable[..., Any], change: Callable[..., Any]) -> Plant:
    """`change(real, *arguments)` in place of a function."""
    return put(place, lambda *arguments, **named: change(real, *arguments, **named))


def nothing(*arguments: object, **named: object) -> None:
    """A step that is left out."""


# -- wire -------------------------------------------------------------------------------------------


def ttl_alone(frame: Frame) -> None:
    """The TTL falls, the header's checksum stays."""
    frame.ttl -= 1
    frame.buf[22] = frame.ttl


def unmended(real: Any, frame: Frame, addr: int, port: int) -> None:
    """The transport checksum stays as it was."""
    at = {TCP: 16, UDP: 6}.get(frame.proto)
    before = bytes(frame.buf[frame.l4 + at : frame.l4 + at + 2]) if at else b""
    real(frame, addr, port)
    if at:
        frame.buf[frame.l4 + at : frame.l4 + at + 2] = before


def off_by_one(real: Any, *arguments: Any, **named: Any) -> Frame:
    frame: Frame = real(*arguments, **named)
    frame.buf[41] ^= 1
    return frame


# -- bridge -----------------------------------------------------------------------------------------


def routing_port(real: Any, port: Port, frame: Frame, ingress: Port | None) -> None:
    """A port that takes itself for a router."""
    if frame.ethertype == ETH_P_IP and ingress is not None and frame.ttl > 1:
        rewrite.decrease_ttl(frame)
    real(port, frame, ingress)


def swallowing(real: Any, bridge: Bridge, frame: Frame, ingress: Port | None) -> None:
    """What is to be flooded ends here."""
    bridge.net.absorbed += 1


def uncounted(bridge: Bridge, frame: Frame) -> Frame:
    return frame.clone()


# -- neighbours -------------------------------------------------------------------------------------


def forgetful(neighbour: Any) -> None:
    """What waits for a neighbour is forgotten when it answers."""
    neighbour.queue.clear()
    neighbour.queued_bytes = 0


def for_another(real: Any, net: Any, device: Any, kind: bytes, dmac: bytes, spa: int, *rest: Any) -> None:
    """Who is asked answers for the next address."""
    real(net, device, kind, dmac, spa + (kind == templates.ARP_REPLY), *rest)


def deaf(real: Any, net: Any, frame: Frame, device: Any, packet: wire_arp.Arp) -> None:
    if packet.op != wire_arp.REPLY:
        real(net, frame, device, packet)


def mute_after_noting(real: Any, net: Any, frame: Frame, device: Any, packet: wire_arp.Arp) -> bool:
    """A bridge's own address is not answered for."""
    if device.kind == "bridge":
        return True
    return bool(real(net, frame, device, packet))


# -- routing ----------------------------------------------------------------------------------------


def twice(real: Any, frame: Frame) -> None:
    real(frame)
    real(frame)


def to_the_first_node(real: Any, cluster: Cluster, prefix: Any, node: Any) -> None:
    """The underlay routes the pods of every node to the first one."""
    real(cluster, prefix, next(iter(cluster.nodes.values())))


def losing(real: Any, net: Any, frame: Frame, *rest: Any, **named: Any) -> None:
    """Datagrams that are to be forwarded disappear."""
    if frame.proto != UDP:
        real(net, frame, *rest, **named)


# -- conntrack --------------------------------------------------------------------------------------


def short_lived(real: Any, table: Any, name: str) -> None:
    """An entry of UDP ends at once."""
    real(table, name)
    table.udp_ns = table.udp_stream_ns = 1


def unchecked(patch: pytest.MonkeyPatch) -> None:
    """Every masqueraded connection gets one port, and a clash is not looked for."""

    def one_port(t: Any, conn: Conn, manip: int, span: NatRange, random: Any) -> Any:
        proto, src, dst, sport, dport = real(t, conn, manip, span, random)
        moved = manip == MANIP_SRC and span.flags & MAP_IPS and src != conn.orig[1]
        return proto, src, dst, 40000 if moved else sport, dport

    def confirm(table: Any, frame: Frame, state: Any) -> None:
        conn = frame.ct
        if conn is not None and not conn.status & 8 and not frame.ctdir:
            table._enter(conn)

    real = nat_ports.unique_tuple
    patch.setattr(nat, "unique_tuple", one_port)
    patch.setattr(Conntrack, "confirm", confirm)


def wandering(real: Any, frame: Frame, state: Any, self: Any = None) -> Any:
    """Packets of an established connection go to the next port of the endpoint."""
    verdict = real(frame, state) if self is None else real(self, frame, state)
    conn = frame.ct
    if verdict is None and conn is not None and conn.nat is not None and state.hook == PRE_ROUTING:
        if frame.ctdir == DIR_ORIGINAL and conn.status & SEEN_REPLY and conn.nat[MANIP_DST] is not None:
            rewrite.set_destination(frame, frame.dst, frame.dport + 1)
    return verdict


def lost_reply(real: Any, table: Any, conn: Conn) -> None:
    """The table does not find an entry by its answers: they are kept under a tuple that no packet has."""
    proto, src, dst, sport, dport = conn.reply
    conn.reply = proto, src, dst, sport, dport ^ 1
    real(table, conn)


# -- NAT --------------------------------------------------------------------------------------------


def prepared(change: Callable[[list[Any], int], None]) -> Plant:
    """NAT works out what packets get, and `change` spoils it."""

    def spoiled(real: Any, conn: Conn, manip: int) -> None:
        real(conn, manip)
        if conn.nat is not None:
            change(conn.nat, manip)

    return around("emu.kernel.netfilter.nat.prepare", nat.prepare, spoiled)


def not_undone(halves: list[Any], manip: int) -> None:
    if manip == MANIP_DST:
        halves[2 + MANIP_SRC] = None


def other_port_back(halves: list[Any], manip: int) -> None:
    if manip == MANIP_SRC and halves[2 + MANIP_DST] is not None:
        addr, port, fact = halves[2 + MANIP_DST]
        halves[2 + MANIP_DST] = addr, port ^ 1, fact


def other_port_there(halves: list[Any], manip: int) -> None:
    if manip == MANIP_DST and halves[MANIP_DST] is not None:
        addr, port, fact = halves[MANIP_DST]
        halves[MANIP_DST] = addr, port + 1, fact


def other_source_back(halves: list[Any], manip: int) -> None:
    if manip == MANIP_DST and halves[2 + MANIP_SRC] is not None:
        addr, port, fact = halves[2 + MANIP_SRC]
        halves[2 + MANIP_SRC] = addr, port + 1, fact


def moving_ports(real: Any, frame: Frame, state: Any, manip: int) -> Any:
    """A connection that no rule wants translated gets another source port."""
    if manip == MANIP_SRC and frame.proto in (TCP, UDP):
        _, _, addr, _, port = frame.ct.reply
        return nat.setup(frame, state, manip, NatRange(addr, addr, port ^ 1, port ^ 1, MAP_IPS | PROTO_SPECIFIED))
    return real(frame, state, manip)


# -- proxy ------------------------------------------------------------------------------------------


def without(chain: str, dropped: Callable[[Any], bool]) -> Plant:
    """One of kube-proxy's fixed chains without some rules."""

    def thinned(real: Any, *arguments: Any) -> Any:
        made: dict[str, dict[str, Chain]] = real(*arguments)
        for chains in made.values():
            if chain in chains:
                old = chains[chain]
                rules = [each for each in old.rules if not dropped(each)]
                chains[chain] = Chain(old.name, old.policy, tuple(rule.at(at) for at, rule in enumerate(rules, 1)))
        return made

    return around("emu.kube.proxy.iptables.compile._fixed_chains", compiled._fixed_chains, thinned)


def unmarked(writer: str) -> Plant:
    """A writer of kube-proxy's chains that leaves out the jumps to KUBE-MARK-MASQ."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        add, write = port_rules._NatChain.add, getattr(port_rules._Writer, writer)

        def adding(chain: Any, target: Any, *matches: Any) -> None:
            if target != port_rules.TO_MARK_MASQ:
                add(chain, target, *matches)

        def writing(self: Any, *arguments: Any) -> Any:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(port_rules._NatChain, "add", adding)
                return write(self, *arguments)

        patch.setattr(port_rules._Writer, writer, writing)

    return plant


def tcp_only(real: Any, writer: Any) -> None:
    if writer.protocol == "TCP":
        real(writer)


def no_elements(real: Callable[..., Any], block: Block) -> Any:
    """The set of a block's addresses has none."""
    return ()


def first_port_only(real: Callable[..., Any], rule: Rule) -> Any:
    """Of a range of ports the first is written."""
    return [(protocol, first, first or last) for protocol, first, last in real(rule)]


def always_open(real: Callable[..., Any], end: End, jumps: Sequence[Jump]) -> Any:
    """A pod's chain is that of a pod without egress policies."""
    return real(end, [each for each in jumps if each.ingress])


FAULTS: tuple[Fault, ...] = (
    Fault("wire", "the TTL is not decreased", put("emu.kernel.net.ip_forward.decrease_ttl", nothing), "ttl_falls"),
    Fault("wire", "the TTL falls without its checksum", put("emu.kernel.net.ip_forward.decrease_ttl", ttl_alone), "checksums_hold"),
    Fault("wire", "DNAT does not mend the checksum", around("emu.kernel.netfilter.nat.set_destination", rewrite.set_destination, unmended), "checksums_hold"),
    Fault("wire", "SNAT does not mend the checksum", around("emu.kernel.netfilter.nat.set_source", rewrite.set_source, unmended), "checksums_hold"),
    Fault("wire", "datagrams have a wrong checksum", around("emu.wire.udp.build", udp.build, off_by_one), "checksums_hold"),
    Fault("bridge", "a port decreases the TTL", around("emu.kernel.link.bridge.Port.forward", Port.forward, routing_port), "ttl_falls"),
    Fault("bridge", "nothing is flooded", around("emu.kernel.link.bridge.Bridge.flood", Bridge.flood, swallowing), "arp_answered"),
    Fault("bridge", "copies are not counted", put("emu.kernel.link.bridge.Bridge.copy", uncounted), "one_outcome"),
    Fault("bridge", "bridged frames pass no iptables", put("emu.kernel.net.br_netfilter.install", nothing), "reply_source"),
    Fault("neighbours", "no reply is sent", put("emu.kernel.net.arp._reply", nothing), "arp_answered"),
    Fault("neighbours", "a reply changes no entry", around("emu.kernel.net.arp._learn", arp._learn, deaf), "arp_answered"),
    Fault("neighbours", "a reply is for the next address", around("emu.kernel.net.arp.send", arp.send, for_another), "arp_answered"),
    Fault("neighbours", "a bridge does not answer for its address", around("emu.kernel.net.arp._request", arp._request, mute_after_noting), "arp_answered"),
    Fault("neighbours", "waiting packets are forgotten", put("emu.kernel.net.neighbour.Neighbour._flush_queue", forgetful), "one_outcome"),
    Fault("routing", "the TTL falls by two", around("emu.kernel.net.ip_forward.decrease_ttl", rewrite.decrease_ttl, twice), "ttl_falls"),
    Fault("routing", "all pods are routed to the first node", around("emu.kube.cluster.Cluster._cloud_route", Cluster._cloud_route, to_the_first_node), "no_loop"),
    Fault("routing", "datagrams disappear", around("emu.kernel.net.ip_forward.forward", ip_forward.forward, losing), "one_outcome"),
    Fault("conntrack", "an entry of UDP ends at once", around("emu.kernel.netfilter.conntrack.Conntrack.reload", Conntrack.reload, short_lived), "reply_source"),
    Fault("conntrack", "one tuple for several connections", unchecked, "tuples_unique"),
    Fault("conntrack", "answers do not find their entry", around("emu.kernel.netfilter.conntrack.Conntrack._enter", Conntrack._enter, lost_reply), "unnat_is_inverse"),
    Fault("conntrack", "an established connection changes its endpoint", around("emu.kernel.netfilter.nat.Nat.translate", nat.Nat.translate, lambda real, self, frame, state: wandering(real, frame, state, self)), "endpoint_kept"),
    Fault("NAT", "DNAT is not undone", prepared(not_undone), "unnat_is_inverse"),
    Fault("NAT", "SNAT is undone to another port", prepared(other_port_back), "unnat_is_inverse"),
    Fault("NAT", "DNAT is undone to another port", prepared(other_source_back), "reply_source"),
    Fault("NAT", "packets go to another port than that of the entry", prepared(other_port_there), "unnat_is_inverse"),
    Fault("NAT", "ports of pods are moved without a rule", around("emu.kernel.netfilter.nat.null_binding", nat.null_binding, moving_ports), "pods_reach_pods"),
    Fault("NAT", "ports of nodes are moved without a rule", around("emu.kernel.netfilter.nat.null_binding", nat.null_binding, moving_ports), "nodes_reach_pods"),
    Fault("proxy", "the mark is not cleared", without("KUBE-POSTROUTING", lambda rule: isinstance(rule.target, Mark)), "mark_cleared"),
    Fault("proxy", "what is marked is not masqueraded", without("KUBE-POSTROUTING", lambda rule: isinstance(rule.target, Masquerade)), "mark_cleared"),
    Fault("proxy", "what is not marked is masqueraded", without("KUBE-POSTROUTING", lambda rule: isinstance(rule.target, Return)), "own_address_is_seen"),
    Fault("proxy", "UDP has no cluster IP", around("emu.kube.proxy.iptables.port_rules._Writer._cluster_ip", port_rules._Writer._cluster_ip, tcp_only), "service_address_stays"),
    Fault("proxy", "traffic from outside is not masqueraded", unmarked("_external_chain"), "reply_source"),
    Fault("policy", "blocks are left out", around("emu.kube.policy.kube_router.policies._elements", policies._elements, no_elements), "policies_decide"),
    Fault("policy", "a range is its first port", around("emu.kube.policy.kube_router.policies._numbers", policies._numbers, first_port_only), "policies_decide"),
    Fault("policy", "egress policies are not called", around("emu.kube.policy.kube_router.rules.pod", rules.pod, always_open), "policies_decide"),
)  # fmt: skip
ROOMS = ("wire", "bridge", "neighbours", "routing", "conntrack", "NAT", "proxy", "policy")
MAX_EXAMPLES = 300
POLICED: dict[str, Any] = {"max_policies": 4, "dataplanes": ("kube-router",)}


class Shown(Exception):  # a find, and no error
    """A cluster that shows a fault."""


def found_by(invariant: str, networks: Sequence[str] = ("bridge",)) -> ClusterShape | None:
    """The first drawn cluster for which the invariant does not hold, among `MAX_EXAMPLES`, the same in each run."""
    shown: list[ClusterShape] = []

    @settings(
        max_examples=MAX_EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(clusters(networks=networks, proxies=("iptables",), **(POLICED if invariant == "policies_decide" else {})))
    def property_(shape: ClusterShape) -> None:
        cluster = shape.build()
        shape.run(cluster)
        try:
            invariants.hold(cluster, invariant)
        except AssertionError:
            shown.append(shape)
            raise Shown from None

    try:
        property_()
    except Shown:
        return shown[0]
    return None
