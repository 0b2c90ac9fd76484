"""VXLAN beside this machine's kernel: the same frames into the same devices, frame by frame and with the reasons of drops."""

from __future__ import annotations

import shutil

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from emu.errors import InputError
from emu.kernel import boot
from emu.lab import Lab
from kernel_lab import kernel_judges
from linux import Linux
from vxlan_pair import BRIDGE, POD, TO_A, VA, VB, A, B, Case, Datagram, Send, Setup, emulated, kernel, same

FORGED = bytes((2, 0, 0, 0, 9, 9))
ID, LOCAL = "id 7 dstport 8472 local 10.0.0.1 dev eth0", "id 7 dstport 8472 local 10.0.0.1"
TO_C = "append 00:00:00:00:00:00 dev vx0 dst 10.0.0.3"
FORTH, BACK = {"src": "10.1.0.7", "dst": "10.1.0.8"}, {"src": "10.1.0.8", "dst": "10.1.0.7"}  # of no host here
ALL, STRANGER = "00:00:00:00:00:00", "02:00:00:00:09:09"


def mac(octets: bytes) -> str:
    return octets.hex(":")


def inner(packet: object, dst: bytes = VB, src: bytes = VA, **fields: int) -> Send:
    """A frame that a sends on its VXLAN device."""
    return Send("a", "vx0", bytes(Ether(dst=mac(dst), src=mac(src)) / packet))


def ping(size: int = 8, **fields: object) -> IP:
    return IP(src="10.1.0.1", dst="10.1.0.2", id=1, **fields) / ICMP(id=5, seq=1) / Raw(bytes(size))


def udp(sport: int = 4000, dport: int = 9, **fields: object) -> IP:
    return (
        IP(**{"src": "10.1.0.1", "dst": "10.1.0.2", "id": 1, **fields}) / UDP(sport=sport, dport=dport) / Raw(b"data")
    )


def outer(header: bytes, frame: bytes, **fields: int) -> Send:
    """A UDP packet that b sends to the port of a's device."""
    packet = IP(src="10.0.0.2", dst="10.0.0.1", id=1, tos=fields.pop("tos", 0)) / UDP(sport=50000, dport=8472, **fields)
    return Send("b", "eth0", bytes(Ether(dst=mac(A), src=mac(B)) / packet / Raw(header + frame)))


def header(vni: int, flags: int = 0x08, low: int = 0) -> bytes:
    return bytes((flags, 0, 0, 0)) + (vni << 8 | low).to_bytes(4, "big")


def back(packet: object = None, src: bytes = VB, dst: bytes = VA) -> bytes:
    """A frame from b's network for a."""
    packet = packet or IP(src="10.1.0.2", dst="10.1.0.1", id=1) / ICMP(type=0, id=5, seq=1) / Raw(b"answer")
    return bytes(Ether(dst=mac(dst), src=mac(src)) / packet)


def pmtu(mtu: int, vni: int = 7) -> Send:
    """b's router reports that an outer packet was too long."""
    quoted = (
        IP(src="10.0.0.1", dst="10.0.0.2", id=1, flags="DF")
        / UDP(sport=50001, dport=8472)
        / Raw(header(vni) + bytes(40))
    )
    error = IP(src="10.0.0.2", dst="10.0.0.1", id=1) / ICMP(type=3, code=4, nexthopmtu=mtu) / quoted
    return Send("b", "eth0", bytes(Ether(dst=mac(A), src=mac(B)) / error))


def one(label: str, *acts: Send | Datagram) -> Case:
    return Case(label, acts)


PACKETS = [
    one("ping", inner(ping())),
    one("ping of TTL 3, TOS 0xb8", inner(ping(ttl=3, tos=0xB8))),
    one("DF inside", inner(ping(flags="DF"))),
    one("ECT(0) inside", inner(ping(tos=2))),
    one("CE inside", inner(ping(tos=0xB8 | 3))),
    one("both directions of UDP have one port", inner(IP(id=1, **FORTH) / UDP(sport=4000, dport=9)), inner(IP(id=1, **BACK) / UDP(sport=9, dport=4000))),
    one("two flows of UDP", inner(udp()), inner(udp(4001)), inner(udp())),
    one("fragments have the port of their addresses", inner(udp(flags="MF")), inner(udp(frag=4)), inner(udp(5000, flags="MF"))),
    one("ping and its reverse", inner(IP(id=1, **FORTH) / ICMP()), inner(IP(id=1, **BACK) / ICMP(type=0))),
    one("ARP", inner(ARP(psrc="10.1.0.1", pdst="10.1.0.9", hwsrc=mac(VA)), b"\xff" * 6)),
    one("IPv6", inner(IPv6(src="fe80::1", dst="fe80::2", tc=0xB9, hlim=7) / UDP(sport=1, dport=2), FORGED)),
    one("another EtherType", Send("a", "vx0", VB + VA + b"\x88\xb5" + bytes(40))),
    one("a multicast", inner(udp(dst="224.0.0.9"), b"\x01\0\x5e\0\0\x09")),
    one("no payload", Send("a", "vx0", VB + VA + b"\x08\0")),
]  # fmt: skip
FROM_B = [
    one("a frame", outer(header(7), back())),
    one("without an outer checksum", outer(header(7), back(), chksum=0)),
    one("a wrong outer checksum", outer(header(7), back(), chksum=0x1234)),
    one("a wrong VNI", outer(header(8), back())),
    one("without the flag", outer(header(7, 0), back())),
    one("a reserved flag", outer(header(7, 0x0C), back())),
    one("a reserved byte", outer(header(7, 8, 1), back())),
    one("half a header", outer(header(7)[:4], b"")),
    one("a header alone", outer(header(7), b"")),
    one("half an Ethernet header", outer(header(7), back()[:13])),
    one("an Ethernet header alone", outer(header(7), back()[:14])),
    one("half an IP header", outer(header(7), back()[:24])),
    one("a loop: a's own MAC as the source", outer(header(7), back(src=VA))),
    one("a multicast source", outer(header(7), back(src=b"\x01\0\x5e\0\0\x09"))),
    one("for another MAC", outer(header(7), back(dst=FORGED))),
    one("CE outside, no ECN inside", outer(header(7), back(), tos=3)),
    one("CE outside, ECT(0) inside", outer(header(7), back(IP(src="10.1.0.2", dst="10.1.0.1", id=1, tos=2) / ICMP(type=0)), tos=3)),
    one("ECT(1) outside, no ECN inside", outer(header(7), back(), tos=1)),
    one("CE outside, ARP inside", outer(header(7), back(ARP(psrc="10.1.0.2", pdst="10.1.0.7", hwsrc=mac(VB))), tos=3)),
]  # fmt: skip
LONG = [
    one("fits", Datagram("a", "10.1.0.2", 1422)),
    one("too long, twice", Datagram("a", "10.1.0.2", 1472), Datagram("a", "10.1.0.2", 1472)),
    one("a program's frame", inner(ping(1472))),
    one("a program's frame with DF", inner(ping(1472, flags="DF"))),
]
PATH = [
    one("of another VNI", pmtu(1200, 8), Datagram("a", "10.1.0.2", 1372)),
    one("learned", pmtu(1200), Datagram("a", "10.1.0.2", 1372), Datagram("a", "10.1.0.2", 1372)),
]
POD_PING = IP(src="10.1.0.5", dst="10.1.0.2", id=1, flags="DF") / ICMP(id=5) / Raw(bytes(1472))
BRIDGED = [
    one("fits", Send("pod", "eth0", bytes(Ether(dst=mac(VB), src=mac(POD)) / ping()))),
    one("too long with DF", Send("pod", "eth0", bytes(Ether(dst=mac(VB), src=mac(POD)) / POD_PING))),
    one("too long without DF", Send("pod", "eth0", bytes(Ether(dst=mac(VB), src=mac(POD)) / ping(1472)))),
    one("the bridge's own", Datagram("a", "10.1.0.2", 1472), Datagram("a", "10.1.0.2", 1472)),
    one("from b to the pod", Send("b", "vx0", back(dst=POD))),
    one("from b to the bridge", Send("b", "vx0", back(dst=BRIDGE))),
    one("from b to all", Send("b", "vx0", back(dst=b"\xff" * 6))),
]
MARKED = "*mangle\n-A OUTPUT -d 10.1.0.2 -j MARK --set-mark 1\n-A POSTROUTING -m mark --mark 1 -o eth0 -j TOS --set-tos 0x10\nCOMMIT\n"
SETUPS = {
    "plain": (Setup(), PACKETS),
    "received": (Setup(), FROM_B),
    "received without learning": (Setup(f"{ID} nolearning"), FROM_B),
    "ttl 9": (Setup(f"{ID} ttl 9"), PACKETS[:2]),
    "ttl inherit": (Setup(f"{ID} ttl inherit"), PACKETS[:11]),
    "tos inherit": (Setup(f"{ID} tos inherit"), PACKETS[:11]),
    "tos 0x28": (Setup(f"{ID} tos 0x28"), PACKETS[:11]),
    "df set": (Setup(f"{ID} df set"), PACKETS[:11]),
    "df inherit": (Setup(f"{ID} df inherit"), PACKETS[:11]),
    "no outer checksum": (Setup(f"{ID} noudpcsum"), PACKETS[:3]),
    "one source port": (Setup(f"{ID} srcport 5000 5001"), PACKETS[5:8]),
    "remote": (Setup(f"{ID} remote 10.0.0.2", a_fdb=()), PACKETS[:1]),
    "no default entry": (Setup(a_fdb=(f"append {mac(VB)} dev vx0 dst 10.0.0.2",)), [*PACKETS[:1], PACKETS[9]]),
    "two remotes": (Setup(a_fdb=(TO_C, Setup().a_fdb[0])), [PACKETS[0], PACKETS[9]]),
    "an entry's own VNI": (Setup(a_fdb=(f"append {mac(VB)} dev vx0 dst 10.0.0.2 vni 9",)), PACKETS[:1]),
    "no route": (Setup(a_fdb=("append 00:00:00:00:00:00 dev vx0 dst 10.9.0.9",)), PACKETS[:1]),
    "the remote is the host itself": (Setup(a_fdb=(TO_A,)), [PACKETS[5], PACKETS[9]]),
    "learned, then sent to": (
        Setup(a_fdb=(TO_C,)),
        [one("first", inner(ping(), FORGED)), one("learn", outer(header(7), back(src=FORGED))), one("then", inner(ping(), FORGED))],
    ),
    "an entry set by hand": (Setup(a_fdb=(f"append {STRANGER} dev vx0 dst 10.0.0.3",)), [one("x", outer(header(7), back(src=FORGED)))]),
    "a static entry": (Setup(a_fdb=(f"append {STRANGER} dev vx0 dst 10.0.0.3 static",)), [one("x", outer(header(7), back(src=FORGED)))]),
    "an entry by hand, no learning": (
        Setup(f"{ID} nolearning", a_fdb=(f"append {STRANGER} dev vx0 dst 10.0.0.3",)), [one("x", outer(header(7), back(src=FORGED)))],
    ),
    "MTU 1500": (Setup(LOCAL, mtu=1500), LONG),
    "MTU 1500, df set": (Setup(f"{LOCAL} df set", mtu=1500), LONG),
    "MTU 1500, df inherit": (Setup(f"{LOCAL} df inherit", mtu=1500), LONG),
    "path MTU": (Setup(f"{ID} df set"), PATH),
    "bridged": (Setup(LOCAL, mtu=1500, bridge=True), BRIDGED),
    "bridged, df set": (Setup(f"{LOCAL} df set", mtu=1500, bridge=True), BRIDGED),
    "the mark stays": (Setup(rules=MARKED), [one("marked", Datagram("a", "10.1.0.2", 5))]),
}  # fmt: skip


@kernel_judges
@pytest.mark.parametrize("name", SETUPS)
def test_the_kernel_sends_the_same(name: str) -> None:
    setup, cases = SETUPS[name]
    mine, its = list(emulated(setup, cases)), list(kernel(setup, cases))
    for case, ours, theirs in zip(cases, mine, its, strict=True):
        assert same(ours, theirs) or ours == theirs, case.label
    assert any(map(len, mine))


# the words behind `bridge fdb`, one after another; each may be refused
FDB = (
    f"append {ALL} dev vx0 dst 10.0.0.2",
    f"append {ALL} dev vx0 dst 10.0.0.3",
    f"append {ALL} dev vx0 dst 10.0.0.3 port 8472",
    f"append {ALL} dev vx0 dst 10.0.0.3 port 4789",
    f"add {STRANGER} dev vx0 dst 10.0.0.2 static",
    f"add {STRANGER} dev vx0 dst 10.0.0.3",
    f"append {STRANGER} dev vx0 dst 10.0.0.3",
    f"replace {STRANGER} dev vx0 dst 10.0.0.4 port 5000 vni 9 via eth0 dynamic",
    f"replace {ALL} dev vx0 dst 10.0.0.4",
    "append 01:00:5e:00:00:01 dev vx0 dst 10.0.0.2",
    "append 01:00:5e:00:00:01 dev vx0 dst 10.0.0.3",
    f"del {ALL} dev vx0 dst 10.0.0.9",
    f"del {ALL} dev vx0 dst 10.0.0.3 port 4789",
    f"del {ALL} dev vx0 dst 10.0.0.2",
    f"del {STRANGER} dev vx0",
    f"del {STRANGER} dev vx0",
    f"replace {STRANGER} dev vx0 dst 10.0.0.5",
    f"append {STRANGER} dev vx0 dst 10.0.0.5 dynamic",
)


@kernel_judges
def test_the_forwarding_database_is_the_same(linux: Linux) -> None:
    if shutil.which("bridge") is None:
        pytest.skip("skipped: no bridge command here")
    space = linux.namespace("fdb")
    linux.run(space, *["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"])
    linux.run(space, *["ip", "link", "add", "vx0", "type", "vxlan"], *ID.replace("local 10.0.0.1 ", "").split())
    lab = Lab()
    host = lab.host("a")
    lab.cable(host, "10.0.0.1/24", lab.host("b"), "")
    device = lab.vxlan(host, "vx0", ID)
    for line in FDB:
        accepted = []
        try:
            boot.fdb(host, line)
            accepted.append("emulator")
        except InputError:
            pass
        try:
            linux.run(space, "bridge", "fdb", *line.split())
            accepted.append("kernel")
        except AssertionError:
            pass
        assert accepted in ([], ["emulator", "kernel"]), line
        shown = linux.run(space, *["bridge", "fdb", "show", "dev", "vx0"]).splitlines()
        theirs = sorted(" ".join(word for word in each.split() if word != "self") for each in shown)
        assert sorted(device.fdb_text(*each) for each in device.entries()) == theirs, line
