"""Packets between containers of the ptp plugin: the node routes them, and containers know the gateway alone."""

from __future__ import annotations

from typing import Any

from emu.clock import SECOND, Clock
from emu.kernel import boot
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke
from emu.kube.cni.spec import Attachment, Host
from emu.wire.addr import ip4, ip4_text

IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
CONFIG: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipam": IPAM}


def wired() -> tuple[Netns, Netns, Netns]:
    clock = Clock(1)
    node, one, other = (boot.namespace(clock, name) for name in ("node", "pod0", "pod1"))
    host = Host(node)
    for number, pod in enumerate((one, other)):
        invoke.add("ptp", CONFIG, Attachment(f"c{number}", pod, "eth0", host))
    return node, one, other


def pings(net: Netns, target: str) -> bool:
    socket = net.sockets.ping()
    socket.send(target, 1)
    net.clock.run(limit_ns=net.clock.now + SECOND)
    socket.close()
    return len(socket.replies) == 1


def test_the_node_routes_and_lowers_the_ttl() -> None:
    node, one, other = wired()
    ttls: list[int] = []

    def watch(frame: Any, direction: int) -> None:
        if frame.ethertype == 0x0800 and frame.dst == ip4("10.244.1.3"):
            ttls.append(frame.ttl)

    other.device("eth0").tap = watch
    assert pings(one, "10.244.1.3")
    assert ttls == [63]
    assert [ip4_text(each.addr) for each in one.neighbours] == ["10.244.1.1"]
    assert [ip4_text(each.addr) for each in other.neighbours] == ["10.244.1.1"]
    assert {ip4_text(each.addr) for each in node.neighbours} == {"10.244.1.2", "10.244.1.3"}
    assert pings(one, "10.244.1.1")
    assert not pings(one, "10.244.1.4")


def test_a_link_whose_mac_changes_is_found_again() -> None:
    """Its own neighbours are forgotten; the others' hold the old address, and arp_notify corrects them."""
    node, one, _ = wired()
    assert pings(one, "10.244.1.1")
    one.sysctl["net.ipv4.conf.eth0.arp_notify"] = 1
    link_change.set_mac(one, one.device("eth0"), b"\2\0\0\0\0\7")
    assert not [*one.neighbours]
    one.clock.drain()
    assert [each.lladdr for each in node.neighbours if each.addr == ip4("10.244.1.2")] == [b"\2\0\0\0\0\7"]
    assert pings(one, "10.244.1.1")
