"""IPIP devices by the kernel's source (net/ipv4/ipip.c, ip_tunnel.c, tunnel4.c): this machine's kernel is built without them.

a 10.0.1.1 -- r -- b 10.0.2.2, and a tunnel between a (10.1.0.1) and b (10.1.0.2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP

import emu
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.ipip import Ipip
from emu.kernel.net.netns import Netns
from tshark import Tshark

ONE, OTHER = "local 10.0.1.1 remote 10.0.2.2", "local 10.0.2.2 remote 10.0.1.1"
DF, ECT, CE = 0x4000, 2, 3


class Path3:
    """The three hosts. `words` are more of a's device's; without `b` host b has no tunnel; `mtu` is that of r's second link."""

    def __init__(self, words: str = "", *, b: str = OTHER, mtu: int = 1500) -> None:
        self.lab = emu.Lab()
        self.a, self.r, self.b = self.lab.host("a"), self.lab.router("r"), self.lab.host("b")
        self.lab.cable(self.a, "10.0.1.1/24", self.r, "10.0.1.254/24", default=True)
        self.lab.cable(self.b, "10.0.2.2/24", self.r, "10.0.2.254/24", default=True, mtu=mtu)
        self.lab.ipip(self.a, "t0", f"{ONE} {words}", "10.1.0.1/24")
        if b:
            self.lab.ipip(self.b, "t0", b, "10.1.0.2/24")

    def send(self, packet: Any, where: str = "r/eth0") -> list[Any]:
        """Send it from a; the IPIP packets of its flow at an interface, first the outer packets that come in."""
        before = len(self.lab.frames())
        self.a.sockets.send_packet(packet)
        self.lab.run(0.1)
        found = [
            each.packet() for each in self.lab.frames()[before:] if each.interface == where and each.direction == "in"
        ]
        return [each[IP] for each in found if each.haslayer(IP)]


def echo(size: int = 8, **fields: Any) -> Any:
    return IP(dst="10.1.0.2", **fields) / ICMP(id=7) / bytes(size)


# -- the outer packet -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "inner", "outer"),
    [
        ("nopmtudisc", {}, {"ttl": 64, "tos": 0, "DF": False}),  # the TTL of the packet within
        ("nopmtudisc", {"ttl": 9, "flags": "DF"}, {"ttl": 9, "tos": 0, "DF": True}),
        ("nopmtudisc ignore-df", {"flags": "DF"}, {"ttl": 64, "tos": 0, "DF": False}),
        ("", {}, {"ttl": 64, "tos": 0, "DF": True}),  # iproute2's default
        ("ttl 33", {"ttl": 9}, {"ttl": 33, "tos": 0, "DF": True}),
        ("tos 0x28", {"tos": 0x40}, {"ttl": 64, "tos": 0x28, "DF": True}),
        ("tos inherit", {"tos": 0x40}, {"ttl": 64, "tos": 0x40, "DF": True}),
        ("tos 0x28", {"tos": ECT}, {"ttl": 64, "tos": 0x28 | ECT, "DF": True}),
        ("tos inherit", {"tos": 0x40 | CE}, {"ttl": 64, "tos": 0x40 | ECT, "DF": True}),  # RFC 6040: CE becomes ECT(0)
    ],
)
def test_the_outer_header(words: str, inner: dict[str, Any], outer: dict[str, Any]) -> None:
    (packet,) = Path3(words).send(echo(**inner))
    assert (packet.src, packet.dst, packet.proto) == ("10.0.1.1", "10.0.2.2", 4)
    assert {"ttl": packet.ttl, "tos": packet.tos, "DF": bool(packet.flags.DF)} == outer
    assert packet.payload.src == "10.1.0.1" and packet.payload.ttl == inner.get("ttl", 64)
    assert packet.id  # from the host's counter, also with DF


def test_the_packet_within_comes_out_as_it_went_in() -> None:
    path = Path3("nopmtudisc")
    path.send(echo(ttl=9))
    (inner,) = [each.packet()[IP] for each in path.lab.frames("b/t0") if each.direction == "in"]
    assert (inner.src, inner.dst, inner.ttl) == ("10.1.0.1", "10.1.0.2", 9)


@pytest.mark.parametrize(("tos", "arrives"), [(ECT, ECT | 1), (0, None)])
def test_congestion_on_the_way(tos: int, arrives: int | None) -> None:
    """A router sets CE in the outer header: the inner packet gets it, or is dropped if its flow does not know ECN."""
    path = Path3()
    path.lab.iptables(path.r, "-t mangle -A POSTROUTING -p 4 -j TOS --set-tos 0x03/0x03")
    path.send(echo(tos=tos))
    got = [each.packet()[IP].tos for each in path.lab.frames("b/t0") if each.direction == "in"]
    assert got == ([] if arrives is None else [arrives]) and bool(path.b.drops) is (arrives is None)


def test_the_outer_packet_crosses_output_and_input_and_keeps_the_mark() -> None:
    path = Path3()
    path.lab.iptables(path.a, "-A OUTPUT -o t0 -j MARK --set-mark 7", "-A OUTPUT -p 4 -m mark --mark 7 -j ACCEPT")
    path.lab.iptables(path.b, "-A INPUT -p 4", "-A INPUT -i t0")
    path.send(echo())
    hits = [(str(rule), count[0]) for net in (path.a, path.b) for rule, count in net.ipv4.tables.counters.items()]
    assert [count for rule, count in hits if "-p ipencap" in rule] == [1, 1]
    assert [count for rule, count in hits if "-i t0" in rule] == [1]


# -- which device, which remote ---------------------------------------------------------------------------------------


def test_without_a_remote_the_next_hop_is_the_other_end() -> None:
    """As calico's routes use tunl0: `via NODE dev tunl0 onlink`; without a gateway, the destination itself."""
    path = Path3(b="")
    path.lab.ipip(path.a, "tunl0", "", "10.1.9.1/32")
    path.lab.ipip(path.b, "tunl0", "", "10.1.9.2/32")
    boot.route(path.a, "10.1.9.2 via 10.0.2.2 dev tunl0 onlink")
    (packet,) = path.send(IP(dst="10.1.9.2") / ICMP())
    assert (packet.dst, packet.payload.src, packet.payload.dst) == ("10.0.2.2", "10.1.9.1", "10.1.9.2")
    boot.route(path.a, "10.0.2.0/25 dev tunl0")  # to b's own address: a route through the tunnel itself
    assert path.send(IP(dst="10.0.2.2") / ICMP()) == [] and path.a.drops


def device(net: Netns, name: str, text: str) -> Ipip:
    return boot.ipip(net, name, text)


def test_who_takes_a_packet() -> None:
    """ip_tunnel_lookup: both ends, the remote one, the local one, neither, at last tunl0; a device that is down does not."""
    lab = emu.Lab()
    net = lab.host("a")
    lab.cable(net, "10.0.0.1/24", lab.host("b"), "10.0.0.2/24")
    for name, text in {
        "tunl0": "", "any": "", "near": "local 10.0.0.1", "far": "remote 10.0.0.2", "both": "local 10.0.0.1 remote 10.0.0.2",
        "bound": "local 10.0.0.1 remote 10.0.0.2 dev eth0",
    }.items():  # fmt: skip
        device(net, name, text)
    one, two, link = 0x0A000001, 0x0A000002, net.device("eth0")

    def taken(local: int = one, remote: int = two, from_link: Any = link) -> str:
        found = net.ipip.find(from_link, local, remote)
        return "" if found is None else found.name

    assert [taken(), taken(from_link=None), taken(local=9), taken(remote=9), taken(9, 9)] == [
        "bound",
        "both",
        "far",
        "near",
        "any",
    ]
    order = []
    while taken():
        order.append(taken())
        net.set_link(order[-1], up=False)
    assert order == ["bound", "both", "far", "near", "any", "tunl0"]


def test_no_device_takes_it() -> None:
    """With IPIP in the kernel it is port unreachable (tunnel4.c); without, there is no such protocol."""
    path = Path3(b="")
    path.send(echo())
    code = [
        each.packet()[ICMP].code
        for each in path.lab.frames("b/eth0")
        if each.direction == "out" and each.packet().haslayer(ICMP)
    ]
    assert code == [2]
    path.lab.ipip(path.b, "other", "local 10.0.2.2 remote 10.0.9.9")
    path.send(echo())
    code = [
        each.packet()[ICMP].code
        for each in path.lab.frames("b/eth0")
        if each.direction == "out" and each.packet().haslayer(ICMP)
    ]
    assert code == [2, 3]


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_mtus() -> None:
    lab = emu.Lab()
    net = lab.host("a")
    lab.cable(net, "10.0.0.1/24", lab.host("b"), "", mtu=1400)
    assert (device(net, "tunl0", "").mtu, device(net, "t1", "dev eth0").mtu, boot.ipip(net, "t2", "local 10.0.0.1", 1300).mtu) == (
        1480, 1380, 1300,
    )  # fmt: skip
    with pytest.raises(InputError, match="MTU of 67"):
        net.device("t2").set_mtu(67)


def errors(path: Path3) -> list[tuple[int, int, int]]:
    """Type, code and MTU of the ICMP errors that a gets about its own packets."""
    found = [
        each.packet() for each in path.lab.frames("a/lo") if each.direction == "in" and each.packet().haslayer(ICMP)
    ]
    return [(each[ICMP].type, each[ICMP].code, each[ICMP].nexthopmtu) for each in found if each[ICMP].type == 3]


def test_a_packet_that_may_be_cut_is_cut_before_the_tunnel() -> None:
    path = Path3("nopmtudisc")
    path.a.sockets.ping(ident=7).send("10.1.0.2", data=bytes(1473))
    path.lab.run(0.1)
    seen = [each.packet() for each in path.lab.frames(interface="r/eth0") if each.direction == "in"]
    outer = [each[IP] for each in seen if each.haslayer(IP) and each[IP].proto == 4]
    assert [(each.len, bool(each.payload.flags.MF), bool(each.flags.MF)) for each in outer] == [
        (1496, True, False),
        (65, False, False),
    ]


def test_a_smaller_path_mtu_is_learned_and_reported() -> None:
    """r's error about the outer packet makes a's route narrower; the next packet with DF is refused with 20 bytes less."""
    path = Path3(mtu=1300)
    assert path.send(echo(1400, flags="DF"))  # it fits t0, and is lost at r
    path.send(echo(1400, flags="DF"))
    assert errors(path)[-1] == (3, 4, 1280)
    assert path.send(echo(1252, flags="DF"))  # 1280 bytes


# -- errors about outer packets ---------------------------------------------------------------------------------------


def test_an_unreachable_end_is_reported_once_for_each_error() -> None:
    """The packet that follows an error is sent, and its sender gets host unreachable (IPTUNNEL_ERR_TIMEO: within 30 s)."""
    path = Path3()
    path.lab.iptables(path.r, "-A FORWARD -p 4 -j REJECT --reject-with icmp-admin-prohibited")
    path.send(echo())
    assert errors(path) == [] and path.a.device("t0").failures == 1  # type: ignore[attr-defined]
    assert path.send(echo()) and errors(path) == [(3, 1, 0)]
    path.lab.run(31)
    path.send(echo())
    assert len(errors(path)) == 1


def test_a_ttl_that_ends_on_the_way_counts_only_with_a_ttl_of_its_own() -> None:
    inherited, own = Path3("nopmtudisc"), Path3("ttl 1")
    for path in (inherited, own):
        path.send(echo(ttl=1))
    assert [path.a.device("t0").failures for path in (inherited, own)] == [0, 1]  # type: ignore[attr-defined]


# -- words and captures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "local any remote any ttl inherit nopmtudisc",
        "local 10.0.0.1 remote 10.0.0.2 dev eth0 ttl 9 tos 0x28",
        "local 10.0.0.1 remote any ttl inherit tos inherit nopmtudisc ignore-df",
    ],
)
def test_words_make_the_same_device_again(text: str) -> None:
    lab = emu.Lab()
    net = lab.host("a")
    lab.cable(net, "10.0.0.1/24", lab.host("b"), "")
    assert device(net, "t0", text).config.text() == text


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("t0", "remote 239.1.1.1", "no host's address"),
        ("t0", "ttl 256", "no ttl"),
        ("t0", "tos 0x1000", "no tos"),
        ("t0", "remote", "cannot read 'remote'"),
        ("t0", "mode any", "cannot read 'mode'"),
        ("t0", "dev eth9", "no device"),
        ("t0", "local 10.0.0.1", "the same local, remote and dev"),
        ("tunl0", "local 10.0.0.1", "takes no words"),
    ],
)
def test_wrong_words(name: str, text: str, reason: str) -> None:
    net = emu.Lab().host("a")
    device(net, "t1", "local 10.0.0.1")
    with pytest.raises(InputError, match=reason):
        device(net, name, text)
    assert name not in net.devices


def test_a_capture_shows_both_packets(tmp_path: Path, tshark: Tshark) -> None:
    """tunl0 and its like have no link layer: their frames are raw IP in a file."""
    path = Path3()
    path.send(IP(dst="10.1.0.2") / UDP(sport=1000, dport=9) / b"x")
    assert path.lab.capture is not None
    file = tmp_path / "ipip.pcapng"
    path.lab.capture.write(file)
    rows = tshark.read(file, "frame.interface_name", "frame.protocols", "ip.dst", "frame.comment")
    protocols = {row["frame.interface_name"][0]: row["frame.protocols"][0] for row in rows}
    assert protocols["a/t0"].startswith("raw:ip:") and protocols["b/t0"].startswith("raw:ip:")
    outer = next(row for row in rows if row["frame.interface_name"] == ["a/eth0"] and len(row["ip.dst"]) == 2)
    assert outer["ip.dst"] == ["10.0.2.2", "10.1.0.2"] and "IP in IP" in outer["frame.comment"][0]
