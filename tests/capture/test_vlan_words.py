"""A frame with a VLAN's tag in words, and in a file that tshark reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu.capture.summary import line, phrase
from emu.kernel import boot
from emu.kernel.net import stacked_links
from emu.lab import Lab
from emu.wire.summary import read
from tshark import Tshark, available

ARP = bytes.fromhex("ffffffffffff020000000001 0806 0001080006040001 020000000001 0a050001 000000000000 0a050002")
TAG = bytes.fromhex("8100a005")  # priority 5, VLAN 5
UDP = bytes.fromhex(
    "020000000002020000000001 0800 45000020000040004011 0000 0a050001 0a050002 13880009000c0000 61626364"
)


def tagged(frame: bytes, tag: bytes = TAG) -> bytes:
    return frame[:12] + tag + frame[12:]


def test_a_tagged_frame_is_named_by_its_vlan_and_what_it_carries() -> None:
    assert phrase(read(tagged(ARP))) == "a frame of VLAN 5 with the ARP request who has 10.5.0.2 (from 10.5.0.1)"
    assert phrase(read(tagged(UDP))).startswith("a frame of VLAN 5 with a datagram of 4 bytes from 10.5.0.1")
    assert "VLAN 5 {ARP who-has 10.5.0.2 " in line(tagged(ARP))
    assert "VLAN 5 {10.5.0.1>10.5.0.2 ttl64 " in line(tagged(UDP))


@pytest.mark.parametrize("size", [14, 16, 18, 19])
def test_one_that_ends_in_its_tag(size: int) -> None:
    assert phrase(read(tagged(ARP)[:size])) == "a frame of type 0x8100"


def test_two_tags() -> None:
    assert phrase(read(tagged(tagged(ARP)))) == "a frame of VLAN 5 with a frame of type 0x8100"


@pytest.mark.skipif(not available(), reason="no tshark")
def test_a_ping_through_a_vlan_in_a_file(tmp_path: Path) -> None:
    lab = Lab()
    a, b = lab.host("a"), lab.host("b")
    lab.cable(a, "192.168.0.1/24", b, "192.168.0.2/24")
    for net, cidr in ((a, "10.5.0.1/24"), (b, "10.5.0.2/24")):
        stacked_links.vlan(net, "eth0.5", net.device("eth0"), 5)
        boot.address(net, "eth0.5", cidr)
        net.set_link("eth0.5", up=True)
    ping = a.sockets.ping()
    ping.send("10.5.0.2", 1)
    lab.run(1)
    assert len(ping.replies) == 1 and lab.capture is not None
    path = tmp_path / "vlan.pcapng"
    lab.capture.write(path)
    tshark = Tshark(tmp_path)
    assert tshark.problems(path) == []
    seen = tshark.read(path, "frame.interface_name", "vlan.id")
    assert {(row["frame.interface_name"][0], *row["vlan.id"]) for row in seen} == {
        ("a/eth0", "5"), ("a/eth0.5",), ("b/eth0", "5"), ("b/eth0.5",),
    }  # fmt: skip
