"""br_netfilter by a table: which chains a bridged and a routed packet walks, what they see, and both ways of a bridged DNAT."""

from __future__ import annotations

from typing import Any

import pytest

from emu.capture.capture import Captured
from emu.kernel.netfilter.hooks import HOOK_NAMES, Drop
from emu.lab import Lab
from emu.testing import invariants
from emu.wire.frame import Frame


class Node:
    """A node with a bridge, two pods on it, and a host beyond. `walked` lists (hook, indev, outdev, physin, physout)."""

    def __init__(self, call_iptables: int = 1) -> None:
        self.lab = Lab()
        self.node = self.lab.router("node")
        self.node.sysctl["net.bridge.bridge-nf-call-iptables"] = call_iptables
        self.bridge = self.lab.bridge(self.node, "cbr0", "10.0.0.1/24")
        self.p1, self.p2, self.far = self.lab.host("p1"), self.lab.host("p2"), self.lab.host("far")
        self.lab.cable(self.p1, "10.0.0.2/24", self.bridge, "")
        self.lab.cable(self.p2, "10.0.0.3/24", self.bridge, "")
        self.lab.cable(self.far, "10.1.0.2/24", self.node, "10.1.0.1/24", default=True)
        for pod in (self.p1, self.p2):
            from emu.kernel import boot

            boot.route(pod, "default via 10.0.0.1")
        self.walked: list[tuple[str, ...]] = []
        self.verdict: dict[str, Any] = {}
        for hook in range(5):
            self.node.ipv4.hooks.register(hook, -5, self.note)

    def note(self, frame: Frame, state: Any) -> Any:
        devices = (frame.indev, frame.outdev, frame.physin, frame.physout)
        self.walked.append((HOOK_NAMES[state.hook], *("-" if each is None else each.name for each in devices)))
        return self.verdict.get(HOOK_NAMES[state.hook])

    def ping(self, to: str) -> bool:
        socket = self.p1.sockets.ping(1)
        socket.send(to)
        self.lab.run(0.1)
        invariants.one_outcome(self.lab)
        return bool(socket.replies)

    def seen(self, interface: str) -> list[Captured]:
        return [frame for frame in self.lab.frames(interface) if frame.data[12:14] == b"\x08\0"]


BRIDGED = [
    ("PREROUTING", "cbr0", "-", "eth0", "-"), ("FORWARD", "cbr0", "cbr0", "eth0", "eth1"), ("POSTROUTING", "-", "cbr0", "eth0", "eth1"),
    ("PREROUTING", "cbr0", "-", "eth1", "-"), ("FORWARD", "cbr0", "cbr0", "eth1", "eth0"), ("POSTROUTING", "-", "cbr0", "eth1", "eth0"),
]  # fmt: skip


@pytest.mark.parametrize(("call_iptables", "walked"), [(1, BRIDGED), (0, [])])
def test_a_bridged_ping(call_iptables: int, walked: list[tuple[str, ...]]) -> None:
    node = Node(call_iptables)
    assert node.ping("10.0.0.3")
    assert node.walked == walked
    assert node.seen("node/cbr0") == []


@pytest.mark.parametrize(("call_iptables", "physin"), [(1, "eth0"), (0, "-")])
def test_a_routed_ping_passes_prerouting_once(call_iptables: int, physin: str) -> None:
    node = Node(call_iptables)
    assert node.ping("10.1.0.2")
    hooks = [each[0] for each in node.walked]
    assert hooks == ["PREROUTING", "FORWARD", "POSTROUTING"] * 2
    assert node.walked[0][:2] == ("PREROUTING", "cbr0")
    assert node.walked[0][3] == physin


@pytest.mark.parametrize("hook", ["PREROUTING", "FORWARD", "POSTROUTING"])
def test_a_bridged_packet_is_dropped_where_a_rule_drops_it(hook: str) -> None:
    node = Node()
    node.verdict[hook] = Drop("NETFILTER_DROP", "rule")
    assert not node.ping("10.0.0.3")
    assert node.node.drops == {"NETFILTER_DROP": 1}
    assert len(node.node.conntrack) == 0, "what dies before confirmation leaves no entry"


def test_a_bridged_dnat_is_slow_until_the_neighbour_is_proven_and_cached() -> None:
    node = Node()
    node.lab.iptables(node.node, "-t nat -A PREROUTING -d 10.96.0.10 -j DNAT --to-destination 10.0.0.3")
    assert node.ping("10.96.0.10")
    slow = node.seen("node/cbr0")
    assert [frame.direction for frame in slow] == ["out"], "by the bridge's own neighbour"
    (first,) = [frame for frame in node.seen("p2/eth0") if frame.direction == "in"]
    p1, p2 = node.p1.devices["eth0"].mac, node.p2.devices["eth0"].mac
    assert (first.data[:6], first.data[6:12]) == (p2, p1), "the client's MAC is restored"
    assert first.data[22] == 64, "bridged, so no TTL"
    node.ping("10.96.0.10")
    assert len(node.seen("node/cbr0")) == 1, "fast: only the destination MAC is changed"
    invariants.hold(node.lab)


def test_without_a_forwarding_hairpin_a_packet_to_oneself_ends_at_the_port() -> None:
    node = Node()
    node.lab.iptables(node.node, "-t nat -A PREROUTING -d 10.96.0.10 -j DNAT --to-destination 10.0.0.2")
    assert not node.ping("10.96.0.10")
    assert node.node.drops == {"NO_TX_TARGET": 1}
    assert len(node.node.conntrack) == 0


@pytest.mark.parametrize("at", [24, 14])
def test_bad_headers_die_at_the_port(at: int) -> None:
    node = Node()
    assert node.ping("10.0.0.3")
    (sent,) = [frame.data for frame in node.seen("p1/eth0") if frame.direction == "out"]
    broken = bytearray(sent)
    broken[at] ^= 0x20
    node.p1.sockets.send_packet(bytes(broken))
    assert node.node.drops == {"IP_INHDR": 1}


@pytest.mark.parametrize(
    ("dst", "promisc", "state", "entries"),
    [("10.0.0.255", False, "NEW", 1), ("10.0.0.1", False, "NEW", 0), ("10.0.0.255", True, "INVALID", 0)],
)
def test_what_is_handed_up_belongs_to(dst: str, promisc: bool, state: str, entries: int) -> None:
    """Seen on Linux 6.18: INPUT drops it, so that only an entry that was confirmed at the bridge stays."""
    node = Node()
    node.bridge.remove_port(node.bridge.ports[0].device)  # without a second port no copy confirms the entry
    node.bridge.set_promisc(promisc)
    rules = [f"-A INPUT -m conntrack --ctstate {each}" for each in ("INVALID", "NEW")]
    node.lab.iptables(node.node, *rules, "-A INPUT -j DROP")
    socket = node.p1.sockets.udp()
    socket.broadcast = True
    socket.bind(("10.0.0.2", 1000))
    socket.sendto(b"x", (dst, 99))
    node.lab.run(0.1)
    tables = node.node.ipv4.tables
    chain = tables.ruleset.chain("filter", "INPUT")
    assert chain is not None
    counted = [tables.counters.get(rule, [0, 0])[0] for rule in chain.rules]
    assert counted == [int(state == "INVALID"), int(state == "NEW"), 1]
    assert len(node.node.conntrack) == entries
