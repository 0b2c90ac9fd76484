"""VXLAN devices without a kernel: their words, their forwarding database, their ports, and what a capture shows of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

import emu
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.vxlan import LEARNED, STATIC, Vxlan
from emu.kernel.net.flow_hash import key
from emu.kernel.net.netns import Netns
from emu.wire.frame import Frame
from tshark import Tshark

ALL = "00:00:00:00:00:00"
MAC = "02:00:00:00:09:09"


def pair(a: str = "", b: str = "") -> tuple[emu.Lab, Netns, Netns]:
    lab = emu.Lab()
    one, other = lab.host("a"), lab.host("b")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    lab.vxlan(one, "vx0", f"id 7 local 10.0.0.1 dstport 4789 {a}", "10.1.0.1/24", f"append {ALL} dst 10.0.0.2")
    lab.vxlan(other, "vx0", f"id 7 local 10.0.0.2 dstport 4789 {b}", "10.1.0.2/24", f"append {ALL} dst 10.0.0.1")
    return lab, one, other


def shown(net: Netns) -> list[str]:
    device = net.device("vx0")
    assert isinstance(device, Vxlan)
    return [device.fdb_text(entry, remote) for entry, remote in device.entries()]


@pytest.mark.parametrize(
    "text",
    [
        "id 1 dstport 8472 udpcsum learning",
        "id 4096 dstport 4789 local 10.0.0.1 remote 10.0.0.2 dev eth0 noudpcsum nolearning",
        "id 1 dstport 8472 srcport 5000 6000 ttl 9 tos 0x28 df set udpcsum learning ageing 10",
        "id 1 dstport 8472 ttl inherit tos inherit df inherit udpcsum learning nolocalbypass",
    ],
)
def test_words_make_the_same_device_again(text: str) -> None:
    lab = emu.Lab()
    host = lab.host("a")
    lab.cable(host, "10.0.0.1/24", lab.host("b"), "")
    assert boot.vxlan(host, "vx0", bytes(6), text).config.text() == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dstport 4789", "no id"),
        ("id 16777216", "no id"),
        ("id 1 group 239.1.1.1", "'group' is not modelled"),
        ("id 1 remote 239.1.1.1", "no host's address"),
        ("id 1 df maybe", "not modelled"),
        ("id 1 tos high", "no tos"),
        ("id 1 ttl 256", "no ttl"),
        ("id 1 dstport 0", "needs a port"),
        ("id 1 srcport 5000", "has no value"),
        ("id 1 l2miss", "not modelled"),
        ("id 1 dev eth9", "no device"),
    ],
)
def test_wrong_words(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        emu.Lab().vxlan(emu.Lab().host("a"), "vx0", text)


def test_a_port_and_an_id_belong_to_one_device() -> None:
    lab = emu.Lab()
    host = lab.host("a")
    lab.vxlan(host, "vx0", "id 7")
    with pytest.raises(InputError, match="vx0 has VNI 7 on port 8472"):
        lab.vxlan(host, "vx1", "id 7")
    lab.vxlan(host, "vx1", "id 8")
    socket = host.sockets.udp()
    socket.bind(("0.0.0.0", 4789))
    with pytest.raises(InputError, match="a socket has UDP port 4789"):
        lab.vxlan(host, "vx2", "id 9 dstport 4789")
    assert "vx2" not in host.devices


def test_the_port_is_closed_with_the_last_device() -> None:
    lab = emu.Lab()
    host = lab.host("a")
    lab.vxlan(host, "vx0", "id 7")
    lab.vxlan(host, "vx1", "id 8")
    host.set_link("vx0", up=False)
    assert not host.sockets.udp_table.ports.free(0, 8472)
    host.set_link("vx1", up=False)
    assert host.sockets.udp_table.ports.free(0, 8472)
    host.set_link("vx0", up=True)
    assert not host.sockets.udp_table.ports.free(0, 8472)
    host.detach(host.device("vx0"))
    assert host.sockets.udp_table.ports.free(0, 8472)


def test_mtu() -> None:
    lab = emu.Lab()
    host = lab.host("a")
    lab.cable(host, "10.0.0.1/24", lab.host("b"), "", mtu=1400)
    bound, free = lab.vxlan(host, "vx0", "id 7 dev eth0"), lab.vxlan(host, "vx1", "id 8")
    assert (bound.mtu, free.mtu) == (1350, 1500)
    assert lab.vxlan(host, "vx2", "id 9 dev eth0", mtu=1400).mtu == 1350
    with pytest.raises(InputError, match="MTU of 1351"):
        bound.set_mtu(1351)
    free.set_mtu(65535)
    assert free.mtu == 65535


def test_forwarding_database() -> None:
    lab, a, _b = pair()
    boot.fdb(a, f"append {ALL} dev vx0 dst 10.0.0.3")
    boot.fdb(a, f"append {ALL} dev vx0 dst 10.0.0.3 port 4789")  # the same remote
    boot.fdb(a, f"add {MAC} dev vx0 dst 10.0.0.2 vni 9 static")
    boot.fdb(a, f"append {MAC} dev vx0 dst 10.0.0.3 permanent")  # a unicast MAC keeps its remote
    assert shown(a) == [
        f"{ALL} dst 10.0.0.2 permanent",
        f"{ALL} dst 10.0.0.3 permanent",
        f"{MAC} dst 10.0.0.2 vni 9 permanent",
    ]
    boot.fdb(a, f"replace {MAC} dev vx0 dst 10.0.0.4 port 5000 via eth0 static")
    boot.fdb(a, f"del {ALL} dev vx0 dst 10.0.0.2")
    assert shown(a) == [f"{ALL} dst 10.0.0.3 permanent", f"{MAC} dst 10.0.0.4 port 5000 via eth0 static"]
    for text, reason in (
        (f"add {MAC} dev vx0 dst 10.0.0.2", "has an fdb entry"),
        (f"replace {ALL} dev vx0 dst 10.0.0.2", "cannot be replaced"),
        ("del 02:00:00:00:09:0a dev vx0", "no fdb entry"),
        (f"append {MAC} dev eth0 dst 10.0.0.9", "is a veth"),
        (f"append {MAC} dev vx0", "no dst"),
        (f"append {MAC} dev vx0 dst 10.0.0.2 sticky", "not modelled"),
        (f"get {MAC} dev vx0", "not modelled"),
    ):
        with pytest.raises(InputError, match=reason):
            boot.fdb(a, text)
    boot.fdb(a, f"del {MAC} dev vx0")
    assert shown(a) == [f"{ALL} dst 10.0.0.3 permanent"]
    lab.run(1)


def test_what_is_learned_ages_and_moves() -> None:
    lab, a, b = pair("ageing 10", "ageing 0")
    socket = a.sockets.udp()
    socket.sendto(b"x", ("10.1.0.2", 9))
    lab.run(1)
    mac = a.device("vx0").mac.hex(":"), b.device("vx0").mac.hex(":")
    assert f"{mac[1]} dst 10.0.0.2" in shown(a) and f"{mac[0]} dst 10.0.0.1" in shown(b)
    lab.run(25)  # the neighbours' last probes come some seconds later
    assert f"{mac[1]} dst 10.0.0.2" not in shown(a), "aged"
    assert f"{mac[0]} dst 10.0.0.1" in shown(b), "it does not age"
    device = b.device("vx0")
    assert isinstance(device, Vxlan)
    assert device.snoop(a.device("vx0").mac, 0x0A000003) == ""
    assert f"{mac[0]} dst 10.0.0.3" in shown(b), "moved"
    b.set_link("vx0", up=False)
    assert shown(b) == [f"{ALL} dst 10.0.0.1 permanent"]
    assert {LEARNED, STATIC}.isdisjoint(entry.state for entry in device.fdb.values())


def test_nothing_is_learned_without_learning() -> None:
    lab, a, _b = pair("nolearning")
    a.sockets.udp().sendto(b"x", ("10.1.0.2", 9))
    lab.run(1)
    assert shown(a) == [f"{ALL} dst 10.0.0.2 permanent"]


def test_every_packet_ends_once() -> None:
    lab, a, b = pair()
    boot.fdb(a, f"append {ALL} dev vx0 dst 10.0.0.3")  # no such host: its copy fails in ARP
    a.sockets.send_packet(IP(dst="10.1.0.2") / ICMP() / Raw(b"x"))
    lab.run(10)
    whole = a.tally().plus(b.tally())
    assert whole.entered == whole.ended + whole.waiting and a.drops["NEIGH_FAILED"]


def frame(packet: object) -> Frame:
    return Frame.parse(bytes(Ether() / packet))


def test_flows_by_direction() -> None:
    ends, back = {"src": "10.1.0.1", "dst": "10.1.0.2"}, {"src": "10.1.0.2", "dst": "10.1.0.1"}
    assert key(frame(IP(**ends) / UDP(sport=1, dport=2))) == key(frame(IP(**back) / UDP(sport=2, dport=1)))
    assert key(frame(IP(**ends) / TCP(sport=1, dport=2))) != key(frame(IP(**back) / TCP(sport=2, dport=1)))
    assert key(frame(IP(**ends) / ICMP(id=1))) == key(frame(IP(**back) / ICMP(id=2)))
    assert key(frame(IP(flags="MF", **ends) / UDP(sport=1))) == key(frame(IP(flags="MF", **ends) / UDP(sport=2)))


def test_ports_of_a_range() -> None:
    lab, a, _b = pair("srcport 5000 5002")
    for dport in range(20):
        a.sockets.udp().sendto(b"x", ("10.1.0.2", 9000 + dport))
    lab.run(1)
    sports = {
        each.packet()[UDP].sport for each in lab.frames("a/eth0") if each.direction == "out" and VXLAN in each.packet()
    }
    assert sports == {5000, 5001}


def test_comments_and_wireshark(tmp_path: Path, tshark: Tshark) -> None:
    lab, a, b = pair()
    a.sockets.send_packet(IP(dst="10.1.0.2") / ICMP() / Raw(b"hello"), flow=1)
    b.sockets.send_packet(Ether(dst=MAC) / IP(dst="10.1.0.7", src="10.1.0.2") / ICMP(), flow=2, device="vx0")
    lab.run(1)
    comments = {each.interface: each.comment() for each in lab.frames() if each.flow == 1 and each.direction == "out"}
    sent = comments["a/eth0"].splitlines()
    assert sent[0].startswith("a sends a frame of vx0 in a UDP packet to")
    assert "vxlan vx0: vni 7, 10.0.0.1 -> 10.0.0.2" in sent
    received = [each for each in lab.frames("b/vx0") if each.flow == 1 and each.direction == "in"][-1].comment()
    assert received.startswith("vx0 of b takes ping number 0 from")
    assert lab.capture is not None
    file = tmp_path / "vxlan.pcapng"
    lab.capture.write(file)
    rows = tshark.read(file, "vxlan.vni", "udp.checksum.status", "icmp.type", where="vxlan && icmp")
    assert {tuple(row[name][0] for name in ("vxlan.vni", "udp.checksum.status", "icmp.type")) for row in rows} == {
        ("7", "1", "8"),
        ("7", "1", "0"),
    }


def test_why_a_frame_has_no_remote() -> None:
    lab = emu.Lab()
    host = lab.host("a")
    device = lab.vxlan(host, "vx0", "id 7", "10.1.0.1/24")
    host.sockets.send_packet(Ether(dst=MAC) / IP(dst="10.1.0.2") / ICMP(), device="vx0")
    assert host.drops == {"NO_TX_TARGET": 1}
    comment = next(each for each in lab.frames("a/drop")).comment()
    assert f"vx0 knows no host behind the MAC {MAC}" in comment
    assert f"fdb of vx0: no entry for {MAC}" in comment and device.fdb == {}
