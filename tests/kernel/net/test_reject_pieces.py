"""REJECT of a datagram in pieces: nothing puts it together where nothing tracks connections, as a 6.18 kernel was seen to do."""

from __future__ import annotations

import pytest

import emu


@pytest.mark.parametrize(("size", "answers"), [(100, 1), (3000, 0)])
def test_a_first_piece_has_no_right_checksum(size: int, answers: int) -> None:
    lab = emu.Lab()
    host, router, other = lab.host("host"), lab.host("router", net__ipv4__ip_forward=1), lab.host("other")
    lab.cable(host, "10.1.0.2/24", router, "10.1.0.1/24", default=True)
    lab.cable(other, "10.2.0.2/24", router, "10.2.0.1/24", default=True)
    router.ipv4.tables.restore("*filter\n-A FORWARD -p udp -j REJECT\nCOMMIT\n", noflush=True)
    host.sockets.udp().sendto(b"x" * size, ("10.2.0.2", 9))
    lab.run(0.1)
    assert (
        sum(frame.direction == "in" and frame.packet().haslayer("ICMP") for frame in lab.frames("host/eth0")) == answers
    )
