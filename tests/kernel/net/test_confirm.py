"""TCP's forward progress confirms the neighbours that its next segment passes, also those of a node in front of its pod.

net/ipv4/tcp_output.c marks the segment (dst_pending_confirm), ip_finish_output2 reads the mark (sock_confirm_neigh), and a veth
leaves it on (skb_scrub_packet); a cable carries bytes alone. `tests/twin/test_twin_planted.py` has the kernel's side.
"""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.lab import Lab
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET


def confirmed(*, cable: bool) -> tuple[bool, bool, bool]:
    """A pod talks through its node and, over a cable or a veth pair, through a router to a server, which acknowledges: do the
    next data confirm the neighbours of the pod, the node and the router?"""
    lab = Lab()
    pod, node, router, server = lab.host("pod"), lab.router("node"), lab.router("router"), lab.host("server")
    lab.cable(pod, "10.0.1.2/24", node, "10.0.1.1/24", default=True)
    for end in lab.cable(node, "10.0.2.1/24", router, "10.0.2.2/24", default=True):
        assert isinstance(end, Veth)
        end.cable = cable
    lab.cable(server, "10.0.3.2/24", router, "10.0.3.1/24", default=True)
    boot.route(router, "10.0.1.0/24 via 10.0.2.1 dev eth0")
    listener, client = server.sockets.tcp(), pod.sockets.tcp()
    listener.bind(("10.0.3.2", 80))
    listener.listen()
    client.connect(("10.0.3.2", 80))
    for _ in range(2):
        lab.run(2)
        sent_ns = lab.clock.jiffy_ns
        client.send(b"more")
    lab.run(1)
    hops = ((pod, "eth0", "10.0.1.1"), (node, "eth1", "10.0.2.2"), (router, "eth1", "10.0.3.2"))
    found = [net.device(name).neigh[AF_INET][ip4(addr)].confirmed_ns >= sent_ns for net, name, addr in hops]
    return found[0], found[1], found[2]


def test_veth_pairs_keep_the_mark() -> None:
    assert confirmed(cable=False) == (True, True, True)


def test_a_cable_carries_bytes_alone() -> None:
    assert confirmed(cable=True) == (True, True, False)
