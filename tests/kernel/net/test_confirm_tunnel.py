"""The mark that confirms neighbours (dst_pending_confirm) stays on a buffer that a tunnel carries; a server's first segment has it, too.

vxlan_core.c sends the buffer that it got with headers in front; tcp_init_metrics marks a connection that is established.
`tests/twin/test_twin_table_flannel.py` and the story `vxlan-pod-mtu` have the kernel's side.
"""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET


def established(lab: Lab, client: Netns, server: Netns, addr: str) -> int:
    """A client connects and sends a byte, which the server acknowledges. Gives when the connection was asked for."""
    listener, socket = server.sockets.tcp(), client.sockets.tcp()
    listener.bind((addr, 80))
    listener.listen()
    asked_ns = lab.clock.jiffy_ns
    lab.run(0.004)  # entries are confirmed by whole ticks
    socket.connect((addr, 80))
    lab.run(1)
    socket.send(b"x")
    lab.run(1)
    return asked_ns


def test_a_servers_first_segment_confirms_its_neighbour() -> None:
    lab = Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    asked_ns = established(lab, client, server, "10.0.0.2")
    entry = server.device("eth0").neigh[AF_INET][ip4("10.0.0.1")]
    assert entry.confirmed_ns > asked_ns


def test_a_tunnel_keeps_the_mark() -> None:
    """Both nodes' outer neighbours are confirmed, and that of the client behind the other end of the tunnel."""
    lab = Lab()
    pod, one, other, server = lab.host("pod"), lab.router("one"), lab.router("other"), lab.host("server")
    lab.cable(pod, "10.1.1.2/24", one, "10.1.1.1/24", default=True)
    ends = lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    lab.cable(server, "10.1.2.2/24", other, "10.1.2.1/24", default=True)
    for end in ends:
        assert not getattr(end, "cable", False), "a veth pair, as in one kernel"
    for net, far, subnet in ((one, "10.0.0.2", "10.1.2"), (other, "10.0.0.1", "10.1.1")):
        lower = next(each.device.name for each in net.ipv4.addresses if str(each).startswith("10.0.0."))
        lab.vxlan(net, "vx0", f"id 1 dev {lower}", f"10.2.0.{far[-1]}/24", f"append 00:00:00:00:00:00 dst {far}")
        boot.route(net, f"{subnet}.0/24 via 10.2.0.{3 - int(far[-1])} dev vx0")
    asked_ns = established(lab, pod, server, "10.1.2.2")
    outer = {
        net.name: entry
        for net in (one, other)
        for entry in net.neighbours
        if entry.addr in (ip4("10.0.0.1"), ip4("10.0.0.2"))
    }
    assert all(entry.confirmed_ns > asked_ns for entry in outer.values()) and len(outer) == 2
    (behind,) = [entry for entry in one.neighbours if entry.addr == ip4("10.1.1.2")]
    assert behind.confirmed_ns > asked_ns
