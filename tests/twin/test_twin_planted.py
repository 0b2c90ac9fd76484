"""Forty and more faults, each planted in another room of the emulator: the twin or a named check finds every one.

Each is a patch of one function, table or constant. Which judge finds it, and by what sign, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from emu.clock import MS
from emu.kernel import sysctl
from emu.kernel.link.bridge import Bridge, Port
from emu.kernel.link.veth import Veth
from emu.kernel.net import arp, drop, fragment, ip_output
from emu.kernel.net.family import Family
from emu.kernel.net.neighbour import REACHABLE
from emu.kernel.net.reject import CODES
from emu.kernel.netfilter import conntrack_tcp, nat_ports, table
from emu.kernel.netfilter.conntrack_tcp_window import ES, FW
from emu.kernel.netfilter.matches.recent import Recent
from emu.kernel.netfilter.matches.statistic import Statistic
from emu.kernel.netfilter.nat_ports import MANIP_DST
from emu.kernel.netfilter.ruleset import Chain
from emu.kernel.netfilter.targets.verdicts import Drop
from emu.kernel.sysctl import BY_NAME, Sysctls
from emu.kernel.sysctl_table import Value
from emu.kernel.transport import (
    tcp_config,
    tcp_data,
    tcp_established,
    tcp_output,
    tcp_push_one,
    tcp_sock,
    tcp_timer,
)
from emu.kernel.transport.tcp_options import Segment
from emu.kube import plan
from emu.kube.cni import links
from emu.kube.flow import outcome
from emu.kube.flow.outcome import Outcome
from emu.kube.networks import host_gw
from emu.kube.proxy.iptables import port_rules
from emu.wire import icmp as wire_icmp
from emu.wire import quote, rewrite, udp
from emu.wire.addr import Prefix
from emu.wire.frame import IP_DF, TCP, Frame
from emu.wire.tcp import PSH
from planted import SCENARIOS, Fault, Plant, announced, defaults, delays, found, nodes, outcomes, proxy, twin, wiring
from twins import needs_twin

pytestmark = needs_twin


def put(place: str, value: object) -> Plant:
    """Another value at a place such as `emu.kernel.net.icmp.MAX_PACKET`."""
    return lambda patch: patch.setattr(place, value)


def item(table_: Any, key: object, value: object) -> Plant:
    return lambda patch: patch.setitem(table_, key, value)


def default(name: str, value: Value) -> Plant:
    """Another default of a sysctl."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(BY_NAME, name, BY_NAME[name]._replace(default=value))
        if "*" not in name:
            patch.setitem(sysctl._DEFAULTS, name, value)

    return plant


def around(place: str, real: Callable[..., Any], change: Callable[..., Any]) -> Plant:
    """`change(real, *arguments)` in place of a function."""
    return put(place, lambda *arguments, **named: change(real, *arguments, **named))


def unmarked(real: Callable[..., None], end: Veth, frame: Frame) -> None:
    frame.confirms = False
    real(end, frame)


def nothing(*arguments: object, **named: object) -> None:
    """A step that is left out."""


# -- faults that need more than a line -----------------------------------------------------------


def error_with_df(real: Any, *arguments: Any, **named: Any) -> Any:
    return real(*arguments, **{**named, "frag": IP_DF if arguments[3] in wire_icmp.ERRORS else named["frag"]})


def reversed_pieces(real: Any, *arguments: Any) -> Any:
    return real(*arguments)[::-1]


def other_tos(real: Any, *arguments: Any) -> Any:
    """Every piece but the first with another TOS, and a right header checksum."""
    made = real(*arguments)
    for piece in made[1:]:
        rewrite.set_tos(piece, piece.tos | 0x10)
    return made


def forgetting(real: Any, port: Port, frame: Any) -> None:
    """A port that never learns."""
    real(port, frame)
    port.bridge.flush()


def oldest_first(real: Any, bridge: Bridge, device: Any, **named: Any) -> Any:
    made = real(bridge, device, **named)
    bridge.ports.append(bridge.ports.pop(0))
    return made


def knowing(real: Any, net: Any, entry: Any, waiting: Any) -> None:
    """ARP left out where the neighbour's cable ends at its owner."""
    peer = getattr(entry.device, "peer", None)
    if peer is None or peer.net is None or not peer.net.ipv4.is_local(entry.addr):
        real(net, entry, waiting)
    else:
        entry.update(peer.mac, REACHABLE)


def next_port(real: Any, t: Any, conn: Any, manip: int, span: Any, random: Any) -> Any:
    proto, src, dst, sport, dport = real(t, conn, manip, span, random)
    return proto, src, dst, sport, dport + (manip == MANIP_DST and dport == 8080)


def with_ethernet(real: Any, *arguments: Any) -> Any:
    """Counters that count the Ethernet header, too."""
    counters = arguments[3]
    walk = real(*arguments)

    def counting(frame: Any, state: Any) -> Any:
        before = {rule: each[0] for rule, each in counters.items()}
        verdict = walk(frame, state)
        for rule, each in counters.items():
            each[1] += 14 * (each[0] - before.get(rule, 0))
        return verdict

    return counting


def stale_quote(real: Any, frame: Any, addr: int, sent: Any, manip: int) -> None:
    """The quoted datagram keeps the checksum that it had after NAT."""
    at = frame.l4 + 8
    before = bytes(frame.buf[at + 26 : at + 28])
    real(frame, addr, sent, manip)
    rewrite.set_payload(frame, at + 26, before + bytes(frame.buf[at + 28 :]))


def no_checksum(real: Any, *arguments: Any, **named: Any) -> Any:
    frame = real(*arguments, **named)
    frame.buf[40:42] = b"\0\0"
    return frame


def narrow(real: Any, *arguments: Any, **named: Any) -> Any:
    segment = real(*arguments, **named)
    return replace(segment, window=segment.window - 1) if segment.window > 1000 else segment


def without_push(real: Any, *arguments: Any, **named: Any) -> Any:
    segment = real(*arguments, **named)
    return replace(segment, flags=segment.flags & ~PSH)


def plain_without_push(real: Any, *arguments: Any) -> Any:
    plain = real(*arguments)
    return None if plain is None else (*plain[:2], plain[2] & ~PSH, *plain[3:])


def other_endpoint(real: Any, match: Any, frame: Any, state: Any) -> bool:
    return not real(match, frame, state)


def as_refused(real: Any, *arguments: Any) -> Any:
    made = real(*arguments)
    return None if made is None else Outcome("refused", "RST", made.place)


def kept(place: str, dropped: Callable[[Any], bool]) -> Plant:
    """A writer of kube-proxy's chains that leaves rules out."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = port_rules._NatChain.done
        writer = getattr(port_rules._Writer, place)

        def writing(self: Any, *arguments: Any) -> Any:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(port_rules._NatChain, "done", thinned)
                return writer(self, *arguments)

        def thinned(chain: Any) -> Chain:
            made = real(chain)
            rules = [each for each in made.rules if not dropped(each)]
            return Chain(made.name, made.policy, tuple(each.at(number) for number, each in enumerate(rules, 1)))

        patch.setattr(port_rules._Writer, place, writing)

    return plant


def marks(rule: Any) -> bool:
    return bool(rule.target == port_rules.TO_MARK_MASQ)


def open_fin(patch: pytest.MonkeyPatch) -> None:
    """The reply's FIN leaves a connection in ESTABLISHED."""
    reply = [list(row) for row in conntrack_tcp.TABLE[1]]
    reply[2] = [ES if state == FW else state for state in reply[2]]
    patch.setattr(conntrack_tcp, "TABLE", (conntrack_tcp.TABLE[0], tuple(map(tuple, reply))))


def wrong_source(real: Any, net: Any, route: Any, dst: int) -> int:
    """The address of another device: eth0's."""
    return int(net.ipv4.addresses[1].addr) if net.name.startswith("node") else int(real(net, route, dst))


def other_reason(real: Any, net: Any, frame: Any, reason: str, *rest: Any) -> None:
    real(net, frame, "IP_OUTNOROUTES" if reason == "IP_INNOROUTES" else reason, *rest)


def unmended(real: Any, frame: Any, addr: int, port: int) -> None:
    before = bytes(frame.buf[frame.l4 + 16 : frame.l4 + 18])
    real(frame, addr, port)
    if frame.proto == TCP:
        rewrite.set_payload(frame, frame.l4 + 16, before + bytes(frame.buf[frame.l4 + 18 :]))


def unpushed(patch: pytest.MonkeyPatch) -> None:
    around("emu.kernel.transport.tcp_output.Segment", Segment, without_push)(patch)
    around("emu.kernel.transport.tcp.push_one", tcp_push_one.push_one, plain_without_push)(patch)


def late_ack(patch: pytest.MonkeyPatch) -> None:
    for module in (tcp_output, tcp_data, tcp_timer, tcp_sock, tcp_established):
        patch.setattr(module, "ATO_MIN_NS", 60 * MS, raising=False)
        patch.setattr(module, "DELACK_MIN_NS", 60 * MS, raising=False)


def early_syn(real: Any, *arguments: Any) -> Any:
    return replace(real(*arguments), timeout_init_ns=950 * MS)


def unfiltered(real: Any, family: Any, device: Any) -> None:
    real(family, device)
    family.rp_filter[device.ifindex] = 0


def from_the_first(real: Any, subnet: Prefix, taken: list[Prefix], size: int) -> Any:
    return (Prefix(subnet.net + (number << 8), 24) for number in range(256))


def one_less(real: Any, agent: Any, view: Any, facts: Any) -> Any:
    made = real(agent, view, facts)
    return made._replace(peers=made.peers[:-1])


def unremembered(*arguments: Any) -> Recent:
    """`--rcheck` of what was never set."""
    made = Recent(*arguments)
    return replace(made, name=f"{made.name}-{made.what}")


def isolated(real: Any, *arguments: Any, **named: Any) -> Any:
    return real(*arguments, **{**named, "isolated": True})


def unannounced(real: Any, values: Sysctls, name: str, value: Any) -> None:
    if not name.endswith(".arp_notify"):
        real(values, name, value)


FAULTS: tuple[Fault, ...] = (
    # the walk
    Fault("net/ip_forward", "TTL is not decreased", put("emu.kernel.net.ip_forward.decrease_ttl", nothing), twin("across"), "emu out      [node-1>port1] 10.244.1.2>10.244.2.2 ttl64"),
    Fault("net/arp: solicit", "no ARP for a neighbour at the cable's end", around("emu.kernel.net.arp.solicit", arp.solicit, knowing), twin("across"), "ARP who-has 10.244.1.1"),
    Fault("net/arp: learning", "who answers makes no entry for who asked", put("emu.kernel.net.arp._neighbour_solicits", nothing), twin("across"), "neighbours at"),
    Fault("net/arp: announcement", "a link that comes up announces nothing", put("emu.kernel.net.arp.came_up", nothing), announced, "no announcement"),
    Fault("net/icmp: size", "errors quote one byte too few", put("emu.kernel.net.icmp.MAX_PACKET", 575), twin("ttl"), "quote(547B)"),
    Fault("net/icmp: DF", "errors carry DF", around("emu.wire.icmp.build", wire_icmp.build, error_with_df), twin("ttl"), "id=x DF tos=0xc0"),
    Fault("net/icmp: TOS", "errors are not marked as control", put("emu.kernel.net.icmp.PREC_INTERNETCONTROL", 0), twin("ttl"), "tos=0xc0"),
    Fault("net/icmp: rate", "the limit lets no error pass", put("emu.kernel.net.icmp._allowed", lambda *arguments: False), twin("datagrams"), "port-unreachable"),
    Fault("net/fragment: order", "the last fragment goes first", around("emu.kernel.net.fragment.pieces", fragment.pieces, reversed_pieces), twin("fragments"), "offset="),
    Fault("net/fragment: TOS", "later fragments have another TOS", around("emu.kernel.net.fragment.pieces", fragment.pieces, other_tos), twin("fragments"), "tos=0x10"),
    Fault("net/route: redirects", "no redirects", put("emu.kernel.net.ip_forward.learned.redirects", lambda *arguments: False), twin("circle"), "redirect"),
    Fault("net/route: path MTU", "a host takes no frag-needed", put("emu.kernel.net.route.update_pmtu", nothing), twin("narrow"), "frames at"),
    Fault("net/ident", "every IP identification is 0", put("emu.kernel.net.ident.IpIdents.next", lambda *arguments: 0), twin("across"), "id=0"),
    Fault("net/reject", "REJECT sends another code", item(CODES, "icmp-port-unreachable", 1), twin("refused"), "host-unreachable"),
    Fault("net/ip_input: reasons", "another reason for a packet without a route", around("emu.kernel.net.ip_input.drop", drop.drop, other_reason), twin("outside"), "drops at underlay"),
    Fault("net/ip_input: reasons, later", "the same, after a change of a link", around("emu.kernel.net.ip_input.drop", drop.drop, other_reason), twin("changed"), "drops at underlay"),
    Fault("net/neighbour: proof", "traffic does not confirm a neighbour", put("emu.kernel.net.neighbour.Neighbour.confirm", nothing), twin("kept open"), "probes at"),
    Fault("net/ip_input: source checks", "rp_filter is read as 0", around("emu.kernel.net.family.Family.cache_device", Family.cache_device, unfiltered), twin("spoofed"), "IP_RPFILTER"),
    Fault("net/ip_output", "a node's packets bear another of its addresses", around("emu.kernel.net.ip_output.source_address", ip_output.source_address, wrong_source), twin("ttl"), "frames at"),
    Fault("net/br_netfilter", "bridged frames pass no iptables", put("emu.kernel.net.br_netfilter.install", nothing), twin("same node"), "frames at"),
    # links
    Fault("link/bridge: flood", "the oldest port is first", around("emu.kernel.link.bridge.Bridge.add_port", Bridge.add_port, oldest_first), twin("same node"), "order at node-1"),
    Fault("link/bridge: learning", "no MAC is learned", around("emu.kernel.link.bridge.Port.handle_frame_finish", Port.handle_frame_finish, forgetting), twin("same node"), "fdb at node-1"),
    Fault("link/veth", "frames of the full MTU are too long", put("emu.kernel.link.veth.ETH_HEADER_AND_VLAN", 10), twin("fragments"), "frames at"),
    Fault("link/veth: marks", "the mark of an acknowledged sender does not cross to the node", around("emu.kernel.link.veth.Veth.xmit", Veth.xmit, unmarked), twin("kept open"), "probes at"),
    # netfilter
    Fault("netfilter/nat_ports", "NAT chooses the next port", around("emu.kernel.netfilter.nat.unique_tuple", nat_ports.unique_tuple, next_port), twin("service"), ">8081 [S]"),
    Fault("netfilter/nat: quotes", "a quoted checksum is not mended", around("emu.wire.quote.rewrite", quote.rewrite, stale_quote), twin("outside"), "bad-checksum"),
    Fault("netfilter/conntrack_tcp", "a server's FIN changes no state", open_fin, twin("service"), "conntrack at"),
    Fault("netfilter/table", "counters count the Ethernet header", around("emu.kernel.netfilter.table.walker", table.walker, with_ethernet), twin("service"), "counters at"),
    Fault("netfilter/statistic", "the choice is inverted", around("emu.kernel.netfilter.matches.statistic.Statistic.matches", Statistic.matches, other_endpoint), twin("two endpoints"), "frames at"),
    Fault("netfilter/conntrack: times", "UDP's timeout is 31 s", default("net.netfilter.nf_conntrack_udp_timeout", 31), twin("datagrams"), "nf_conntrack_udp_timeout = 30"),
    # transport and wire
    Fault("transport/tcp_output: window", "windows are one byte too small", around("emu.kernel.transport.tcp_output.Segment", Segment, narrow), twin("service"), "win=64239"),
    Fault("transport/tcp_output: PSH", "no segment is pushed", unpushed, twin("service"), "[PA]"),
    Fault("transport/tcp_sock: delayed ACK", "an ACK waits for 60 ms", late_ack, delays, "an ACK after"),
    Fault("transport/tcp_sock: RTO", "a SYN goes again after 0.95 s", around("emu.kernel.transport.tcp_ipv4.config_of", tcp_config.config_of, early_syn), delays, "a SYN again after"),
    Fault("transport/tcp_ipv4: MSS", "4 bytes are left for nothing", put("emu.wire.tcp.HEADERS", 44), twin("service"), "mss=1456"),
    Fault("transport/tcp_ipv4: reset", "a closed port is silent", put("emu.kernel.transport.tcp_ipv4.reset_for", nothing), twin("refused"), "[RA]"),
    Fault("wire/udp", "datagrams have no checksum", around("emu.wire.udp.build", udp.build, no_checksum), twin("datagrams"), "no-checksum"),
    Fault("wire/rewrite", "DNAT does not mend the TCP checksum", around("emu.kernel.netfilter.nat.set_destination", rewrite.set_destination, unmended), twin("service"), "bad-checksum"),
    # defaults
    Fault("sysctl: tcp_rmem", "the largest receive buffer is 6 MiB", default("net.ipv4.tcp_rmem", (4096, 131072, 6291456)), defaults, "net.ipv4.tcp_rmem"),
    Fault("sysctl: TIME_WAIT", "conntrack keeps TIME_WAIT for 121 s", default("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 121), defaults, "time_wait"),
    Fault("sysctl: DELAY", "a neighbour is in DELAY for 6 s", default("net.ipv4.neigh.*.delay_first_probe_time", 6), defaults, "delay_first_probe_time"),
    # Kubernetes
    Fault("kube/flow/outcome", "what ICMP rejects was refused", around("emu.kube.flow.tcp.rejected", outcome.rejected, as_refused), outcomes, "rejected"),
    Fault("kube/plan", "pod CIDRs are used from the first on", around("emu.kube.plan._free_cidrs", plan._free_cidrs, from_the_first), nodes, "plan"),
    Fault("kube/networks/host_gw", "a node has no route to its last peer", around("emu.kube.networks.host_gw.HostGw.compile", host_gw.HostGw.compile, one_less), nodes, "no route to 10.244.3.0/24"),
    Fault("kube/proxy: NodePort", "traffic from outside is not masqueraded", kept("_external_chain", marks), proxy("masquerade_matrix_base"), "masqueraded: False"),
    Fault("kube/proxy: hairpin", "an endpoint's own traffic is not masqueraded", kept("_endpoint_chain", marks), proxy("hairpin_two_endpoints"), "masqueraded: False"),
    Fault("kube/proxy: refusal", "a Service without endpoints is dropped", put("emu.kube.proxy.iptables.port_rules.Reject", lambda kind: Drop()), proxy("no_endpoints_reject"), "case no_endpoints_reject"),
    Fault("kube/proxy: affinity", "a client's endpoint is not remembered", put("emu.kube.proxy.iptables.port_rules.Recent", unremembered), proxy("session_affinity_client_ip"), "not sticky"),
    Fault("kube/cni: port", "a port is isolated", around("emu.kube.cni.links.enslave", links.enslave, isolated), wiring, "isolated"),
    Fault("kube/cni: gateway", "the bridge bears no address", put("emu.kube.cni.links.ensure_address", nothing), wiring, "wiring: addresses at node-1"),
    Fault("kube/cni: route", "a pod has no default route", put("emu.kube.cni.links._add_route", nothing), wiring, "wiring: routes at default/client"),
    Fault("kube/cni: arp_notify", "a pod is not to announce its address", around("emu.kernel.sysctl.Sysctls.__setitem__", Sysctls.__setitem__, unannounced), wiring, "eth0.arp_notify = 1"),
)  # fmt: skip


def test_there_are_forty_rooms() -> None:
    assert len({fault.room for fault in FAULTS}) == len(FAULTS) >= 40


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_a_fault_both_sides_are_equal(name: str) -> None:
    assert found(name) == []


@pytest.mark.parametrize("check", [announced, defaults, delays, nodes, outcomes, wiring])
def test_without_a_fault_a_check_finds_nothing(check: Callable[[], list[str]]) -> None:
    assert check() == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.room)
def test_it_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    texts = fault.judge()
    assert any(fault.sign in text for text in texts), f"{fault.what}: {texts[:8]}"
