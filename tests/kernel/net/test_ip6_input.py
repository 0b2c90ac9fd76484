"""IPv6 at a host where it is off: dropped with Linux's reason, absorbed where the frame is for another host."""

from __future__ import annotations

import pytest

from emu.lab import Lab
from emu.wire.frame import Frame

PACKET = bytes.fromhex("6000000000003b40") + bytes(15) + b"\1" + bytes(15) + b"\2"


@pytest.mark.parametrize(("own", "drops", "absorbed"), [(True, {"IPV6DISABLED": 1}, 0), (False, {}, 1)])
def test_it_is_off(own: bool, drops: dict[str, int], absorbed: int) -> None:
    lab = Lab()
    host, other = lab.host("host"), lab.host("other")
    sender, receiver = lab.cable(host, "10.0.0.1/24", other, "10.0.0.2/24")
    host.born += 1
    mac = receiver.mac if own else b"\2\0\0\0\0\x99"
    sender.transmit(Frame.parse(mac + sender.mac + b"\x86\xdd" + PACKET, 0, []))
    lab.run(0.1)
    assert (dict(other.drops), other.absorbed) == (drops, absorbed)
