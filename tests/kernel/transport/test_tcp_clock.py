"""TCP's timers on the kernel's wheel: how many SYNs a client's patience sees, and what comes first at one tick."""

from __future__ import annotations

import pytest

import emu
from emu.clock import MS, SECOND
from emu.kernel import boot
from emu.wire.frame import ICMP, TCP
from emu.wire.summary import read


@pytest.mark.parametrize("start_ms", [0, 3, 11, 18, 29])
@pytest.mark.parametrize(("patience_s", "syns"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)])
def test_syns_in_whole_seconds(patience_s: int, syns: int, start_ms: int) -> None:
    """Linux sends them at 0, 1.000 to 1.036 and then each 1.024 s, at whatever phase of the wheel the first one goes."""
    lab = emu.Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    lab.iptables(server, "-A INPUT -p tcp -j DROP")
    client.clock.run_until(5 * SECOND + start_ms * MS)
    client.sockets.tcp().connect(("10.0.0.2", 80))
    lab.run(patience_s)
    assert len([frame for frame in lab.frames("server/eth0") if read(frame.data).proto == TCP]) == syns


def test_a_neighbour_fails_before_the_syn_of_the_same_tick() -> None:
    """The router gives up when the fourth SYN is due. Both timers run before anything arrives: three errors, then the SYN."""
    lab = emu.Lab()
    client, router, other = lab.host("client"), lab.router("router"), lab.host("other")
    lab.cable(client, "10.0.0.1/24", router, "10.0.0.254/24")
    lab.cable(router, "10.1.0.254/24", other, "10.1.0.1/24")
    boot.route(client, "default via 10.0.0.254")
    client.sockets.tcp().connect(("10.1.0.99", 80))
    lab.run(3.5)
    kinds = [(read(frame.data).proto, frame.direction) for frame in lab.frames("client/eth0")]
    walk = [kind for kind in kinds if kind[0] in (TCP, ICMP)]
    syn, error = (TCP, "out"), (ICMP, "in")
    assert walk == [syn] * 4 + [error] * 3
