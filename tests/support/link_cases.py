"""Stacked devices in use: who receives what. Two machines, `node` and `lan`, on a cable; pods of the node.

Must not know how a case is run.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.wire.addr import BROADCAST_MAC, ip4, mac
from emu.wire.checksum import checksum
from link_pair import Case, Datagram, Send

NODE, LAN = mac("02:00:00:00:00:0a"), mac("02:00:00:00:00:0b")
P0, P1 = mac("02:00:00:00:01:00"), mac("02:00:00:00:01:01")
UNKNOWN = mac("02:00:00:00:09:09")
GROUP = mac("01:00:5e:01:02:03")
ALL_HOSTS = mac("01:00:5e:00:00:01")
UP = ("node link set eth0 up", "lan link set eth0 up")


def arp(smac: bytes, spa: str, tpa: str, dmac: bytes = BROADCAST_MAC, op: int = 1) -> bytes:
    target = bytes(6) if op == 1 else dmac
    body = bytes.fromhex("0001080006040" + "00" + str(op)) + smac + ip4(spa).to_bytes(4, "big")
    return dmac + smac + b"\x08\x06" + body + target + ip4(tpa).to_bytes(4, "big")


def echo(smac: bytes, dmac: bytes, src: str, dst: str, size: int = 8, ttl: int = 64) -> bytes:
    icmp = bytearray(b"\x08\x00\x00\x00\x00\x07\x00\x01") + bytes(size)
    icmp[2:4] = checksum(icmp).to_bytes(2, "big")
    head = bytearray(b"\x45\x00\x00\x00\x00\x00\x40\x00\x00\x01\x00\x00")
    head[8] = ttl
    head += ip4(src).to_bytes(4, "big") + ip4(dst).to_bytes(4, "big")
    head[2:4] = (20 + len(icmp)).to_bytes(2, "big")
    head[10:12] = checksum(head).to_bytes(2, "big")
    return dmac + smac + b"\x08\x00" + bytes(head) + bytes(icmp)


def tagged(frame: bytes, vid: int, *, priority: int = 0, kind: bytes = b"\x81\x00") -> bytes:
    return frame[:12] + kind + (priority << 13 | vid).to_bytes(2, "big") + frame[12:]


def child(pod: int, name: str, kind: str, *, address: bool = True, up: bool = True) -> list[str]:
    words = f" address {(P0, P1)[pod].hex(':')}" if address else ""
    made = [
        f"node link add link eth0 name {name}{words} netns pod{pod} type {kind}",
        f"pod{pod} addr add 10.0.0.{5 + pod}/24 dev {name}",
    ]
    return [*made, f"pod{pod} link set {name} up"] if up else made


def addresses(node: str = "10.0.0.1/24", lan: str = "10.0.0.9/24") -> list[str]:
    return [f"node addr add {node} dev eth0", f"lan addr add {lan} dev eth0"]


TO_P0 = [
    Send("lan", "eth0", arp(LAN, "10.0.0.9", "10.0.0.5")),
    Send("lan", "eth0", arp(LAN, "10.0.0.9", "10.0.0.1")),
    Send("lan", "eth0", arp(LAN, "10.0.0.9", "10.0.0.77")),
    Send("lan", "eth0", echo(LAN, P0, "10.0.0.9", "10.0.0.5")),
    Send("lan", "eth0", echo(LAN, P1, "10.0.0.9", "10.0.0.6")),
    Send("lan", "eth0", echo(LAN, NODE, "10.0.0.9", "10.0.0.1")),
    Send("lan", "eth0", echo(LAN, NODE, "10.0.0.9", "10.0.0.5")),
    Send("lan", "eth0", echo(LAN, UNKNOWN, "10.0.0.9", "10.0.0.5")),
    Send("lan", "eth0", echo(LAN, BROADCAST_MAC, "10.0.0.9", "10.0.0.255")),
    Send("lan", "eth0", echo(LAN, GROUP, "10.0.0.9", "225.1.2.3")),
    Send("lan", "eth0", echo(LAN, ALL_HOSTS, "10.0.0.9", "224.0.0.1")),
]
# what a switch that sends a frame back does with a child's own broadcast
REFLECTED = [
    Send("lan", "eth0", arp(P0, "10.0.0.5", "10.0.0.6")),
    Send("lan", "eth0", echo(P0, P1, "10.0.0.5", "10.0.0.6")),
]


def from_pods(name: str, *, own: bytes = P0, other: bytes = P1) -> list[Send]:
    return [
        Send("pod0", name, arp(own, "10.0.0.5", "10.0.0.6")),
        Send("pod0", name, arp(own, "10.0.0.5", "10.0.0.1")),
        Send("pod0", name, arp(own, "10.0.0.5", "10.0.0.9")),
        Send("pod0", name, echo(own, other, "10.0.0.5", "10.0.0.6")),
        Send("pod0", name, echo(own, NODE, "10.0.0.5", "10.0.0.1")),
        Send("pod0", name, echo(own, LAN, "10.0.0.5", "10.0.0.9")),
        Send("pod0", name, echo(own, UNKNOWN, "10.0.0.5", "10.0.0.9")),
        Send("pod0", name, echo(own, ALL_HOSTS, "10.0.0.5", "224.0.0.1")),
        Send("node", "eth0", echo(NODE, own, "10.0.0.1", "10.0.0.5")),
        Send("node", "eth0", arp(NODE, "10.0.0.1", "10.0.0.5")),
    ]


def macvlan(mode: str, other: str | None = None, *, more: Sequence[str] = ()) -> Case:
    two = child(0, "mv0", f"macvlan mode {mode}") + child(1, "mv1", f"macvlan mode {other or mode}")
    commands = [*UP, *addresses(), *two, *more]
    return Case(commands, [*TO_P0, *from_pods("mv0"), *REFLECTED])


def ipvlan(mode: str, *, more: Sequence[str] = ()) -> Case:
    """Frames from outside, and datagrams: a raw frame of a child has no network header for ipvlan to read."""
    two = child(0, "iv0", f"ipvlan mode {mode}", address=False) + child(1, "iv1", f"ipvlan mode {mode}", address=False)
    from_lan = [Send("lan", "eth0", each.data.replace(P0, NODE).replace(P1, NODE)) for each in TO_P0]
    back = ["lan route add 10.0.0.5/32 via 10.0.0.1", "lan route add 10.0.0.6/32 via 10.0.0.1"] if mode != "l2" else []
    talks: list[Send | Datagram] = [
        Datagram("pod0", "10.0.0.6"),
        Datagram("pod0", "10.0.0.9"),
        Datagram("pod0", "10.0.0.1"),
        Datagram("node", "10.0.0.5"),
        Datagram("lan", "10.0.0.5"),
        Datagram("lan", "10.0.0.1"),
        Datagram("pod1", "10.0.0.5", 1400),
        Datagram("pod0", "10.0.0.6", sport=5001),
        Datagram("pod0", "224.0.0.1"),
        Send("lan", "eth0", arp(NODE, "10.0.0.5", "10.0.0.6")),
        Send("lan", "eth0", arp(NODE, "10.0.0.77", "10.0.0.6")),
    ]
    return Case([*UP, *addresses(), *two, *back, *more], [*from_lan, *talks])


def vlan(vid: int, *, other: int = 6) -> Case:
    commands = [
        *UP,
        *addresses("192.168.0.1/24", "192.168.0.9/24"),
        f"node link add link eth0 name eth0.{vid} netns pod0 type vlan id {vid}",
        "pod0 addr add 10.0.0.5/24 dev eth0." + str(vid),
        f"pod0 link set eth0.{vid} up",
        f"lan link add link eth0 name v{vid} type vlan id {vid}",
        f"lan addr add 10.0.0.9/24 dev v{vid}",
        f"lan link set v{vid} up",
    ]
    here = echo(LAN, NODE, "10.0.0.9", "10.0.0.5")
    return Case(
        commands,
        [
            Send("lan", f"v{vid}", here),
            Send("lan", f"v{vid}", arp(LAN, "10.0.0.9", "10.0.0.5")),
            Send("lan", "eth0", here),
            Send("lan", "eth0", tagged(here, vid)),
            Send("lan", "eth0", tagged(here, vid, priority=5)),
            Send("lan", "eth0", tagged(here, other)),
            Send("lan", "eth0", tagged(here, 0)),
            Send("lan", "eth0", tagged(echo(LAN, NODE, "192.168.0.9", "192.168.0.1"), 0)),
            Send("lan", "eth0", tagged(echo(LAN, NODE, "192.168.0.9", "192.168.0.1"), other)),
            Send("lan", "eth0", tagged(tagged(here, vid), vid)),
            Send("lan", "eth0", tagged(here, vid, kind=b"\x88\xa8")),
            Send("lan", "eth0", tagged(echo(LAN, UNKNOWN, "10.0.0.9", "10.0.0.5"), vid)),
            Send("pod0", f"eth0.{vid}", echo(NODE, LAN, "10.0.0.5", "10.0.0.9")),
            Send("pod0", f"eth0.{vid}", arp(NODE, "10.0.0.5", "10.0.0.9")),
            Send("pod0", f"eth0.{vid}", echo(NODE, LAN, "10.0.0.5", "10.0.0.9", 1400)),
            Send("node", "eth0", echo(NODE, LAN, "192.168.0.1", "192.168.0.9")),
        ],
    )


BR = mac("02:00:00:00:00:cc")
TRUNK = [
    *UP,
    "node link add br0 address 02:00:00:00:00:cc type bridge vlan_filtering 1",
    "node link add p0 address 02:00:00:00:03:00 type veth peer name eth0 address 02:00:00:00:01:00 netns pod0",
    "node link add p1 address 02:00:00:00:03:01 type veth peer name eth0 address 02:00:00:00:01:01 netns pod1",
    *(f"node link set {name} master br0" for name in ("eth0", "p0", "p1")),
    *(f"node link set {name} up" for name in ("br0", "p0", "p1")),
    "pod0 link set eth0 up",
    "pod1 link set eth0 up",
    "pod0 addr add 10.0.0.5/24 dev eth0",
    "pod1 addr add 10.0.0.6/24 dev eth0",
    "node addr add 10.0.0.1/24 dev br0",
]


def bridged(*commands: str) -> Case:
    """pod0 and pod1 at access ports, lan behind a trunk. In every VLAN: known and unknown MACs, groups, the bridge's own."""
    frames = [
        Send("pod0", "eth0", arp(P0, "10.0.0.5", "10.0.0.6")),
        Send("pod0", "eth0", arp(P0, "10.0.0.5", "10.0.0.1")),
        Send("pod0", "eth0", echo(P0, P1, "10.0.0.5", "10.0.0.6")),
        Send("pod0", "eth0", echo(P0, BR, "10.0.0.5", "10.0.0.1")),
        Send("pod0", "eth0", echo(P0, UNKNOWN, "10.0.0.5", "10.0.0.77")),
        Send("pod0", "eth0", echo(P0, LAN, "10.0.0.5", "10.0.0.9")),
    ]
    for vid in (0, 1, 5, 6):
        frames += [
            Send("pod0", "eth0", tagged(echo(P0, P1, "10.0.0.5", "10.0.0.6"), vid, priority=3)),
            Send("lan", "eth0", tagged(arp(LAN, "10.0.0.9", "10.0.0.5"), vid)),
            Send("lan", "eth0", tagged(echo(LAN, P0, "10.0.0.9", "10.0.0.5"), vid, priority=2)),
            Send("lan", "eth0", tagged(echo(LAN, P1, "10.0.0.9", "10.0.0.6"), vid)),
            Send("lan", "eth0", tagged(echo(LAN, BR, "10.0.0.9", "10.0.0.1"), vid)),
            Send("lan", "eth0", tagged(echo(LAN, UNKNOWN, "10.0.0.9", "10.0.0.77"), vid)),
        ]
    frames += [
        Send("lan", "eth0", echo(LAN, P0, "10.0.0.9", "10.0.0.5")),
        Send("lan", "eth0", tagged(tagged(echo(LAN, P0, "10.0.0.9", "10.0.0.5"), 5), 5)),
        Send("lan", "eth0", tagged(echo(LAN, P0, "10.0.0.9", "10.0.0.5"), 5, kind=b"\x88\xa8")),
        Send("lan", "eth0", tagged(echo(P1, P0, "10.0.0.6", "10.0.0.5"), 6)),  # a MAC that another VLAN has
        Send("node", "br0", echo(BR, P0, "10.0.0.1", "10.0.0.5")),
        Send("node", "br0", arp(BR, "10.0.0.1", "10.0.0.6")),
        Send("node", "br0", tagged(arp(BR, "10.0.0.1", "10.0.0.6"), 5)),
    ]
    return Case([*TRUNK, *commands], frames)


MOVED_MAC = "02:00:00:00:02:02"
CASES: dict[str, Case] = {
    "macvlan bridge": macvlan("bridge"),
    "macvlan private": macvlan("private"),
    "macvlan vepa": macvlan("vepa"),
    "macvlan bridge and private": macvlan("bridge", "private"),
    "macvlan bridge and vepa": macvlan("bridge", "vepa"),
    "macvlan vepa and bridge": macvlan("vepa", "bridge"),
    "macvlan, the other child is down": macvlan("bridge", more=["pod1 link set mv1 down"]),
    "macvlan with another MAC": macvlan("bridge", more=[f"pod0 link set mv0 address {MOVED_MAC}"]),
    "macvlan passthru": Case(
        [*UP, *addresses(), *child(0, "mv0", "macvlan mode passthru", address=False)],
        [
            *(Send(each.space, each.device, each.data.replace(P0, NODE)) for each in TO_P0),
            *(each for each in from_pods("mv0", own=NODE)),
        ],
    ),
    "ipvlan l2": ipvlan("l2"),
    "ipvlan l3": ipvlan("l3", more=["node sysctl net.ipv4.ip_forward 1"]),
    "ipvlan l3s": ipvlan("l3s", more=["node sysctl net.ipv4.ip_forward 1"]),
    "ipvlan l2, the other child is down": ipvlan("l2", more=["pod1 link set iv1 down"]),
    "vlan 5": vlan(5),
    "vlan 4094": vlan(4094, other=1),
    "vlan below a bridge": Case(
        [
            *UP,
            "node link add br0 address 02:00:00:00:00:cc type bridge",
            "node link set br0 up",
            "node link set eth0 master br0",
            "node addr add 192.168.0.1/24 dev br0",
            "node link add link eth0 name eth0.5 netns pod0 type vlan id 5",
            "pod0 addr add 10.0.0.5/24 dev eth0.5",
            "pod0 link set eth0.5 up",
        ],
        [
            Send("lan", "eth0", tagged(echo(LAN, NODE, "10.0.0.9", "10.0.0.5"), 5)),
            Send("lan", "eth0", tagged(arp(LAN, "10.0.0.9", "10.0.0.5"), 5)),
            Send("lan", "eth0", tagged(arp(LAN, "10.0.0.9", "10.0.0.5"), 6)),
            Send("lan", "eth0", arp(LAN, "192.168.0.9", "192.168.0.1")),
        ],
    ),
    "bridge vlans, as they are at first": bridged(),
    "bridge vlans, access ports": bridged(
        "node bridge vlan del dev p0 vid 1",
        "node bridge vlan add dev p0 vid 5 pvid untagged",
        "node bridge vlan del dev p1 vid 1",
        "node bridge vlan add dev p1 vid 6 pvid untagged",
        "node bridge vlan add dev eth0 vid 5",
        "node bridge vlan add dev eth0 vid 6",
    ),
    "bridge vlans, one for both and the bridge": bridged(
        "node bridge vlan add dev p0 vid 5 pvid untagged",
        "node bridge vlan add dev p1 vid 5 pvid untagged",
        "node bridge vlan add dev eth0 vid 5",
        "node bridge vlan add dev br0 vid 5 self",
    ),
    "bridge vlans, tagged both ways": bridged(
        "node bridge vlan add dev p0 vid 5",
        "node bridge vlan add dev p1 vid 5 pvid",
        "node bridge vlan add dev p1 vid 6 untagged",
        "node bridge vlan del dev eth0 vid 1",
        "node bridge vlan add dev eth0 vid 5",
    ),
    "vrf": Case(
        [
            *UP,
            "node link add p0 address 02:00:00:00:03:00 type veth peer name eth0 address 02:00:00:00:01:00 netns pod0",
            "node link add p1 address 02:00:00:00:03:01 type veth peer name eth0 address 02:00:00:00:01:01 netns pod1",
            *(f"node link set {name} up" for name in ("p0", "p1")),
            "pod0 link set eth0 up",
            "pod1 link set eth0 up",
            "node addr add 192.168.0.1/24 dev eth0",
            "node addr add 10.5.0.1/24 dev p0",
            "node addr add 10.6.0.1/24 dev p1",
            "pod0 addr add 10.5.0.5/24 dev eth0",
            "pod1 addr add 10.6.0.6/24 dev eth0",
            "pod0 route add default via 10.5.0.1",
            "pod1 route add default via 10.6.0.1",
            "lan addr add 192.168.0.9/24 dev eth0",
            "lan route add default via 192.168.0.1",
            "node sysctl net.ipv4.ip_forward 1",
            "node link add red address 02:00:00:00:04:00 type vrf table 10",
            "node link set red up",
            "node link set p0 master red",
            "node link set p1 master red",
        ],
        [
            Datagram("pod0", "10.5.0.1"),
            Datagram("pod0", "10.6.0.6"),
            Datagram("pod0", "192.168.0.9"),
            Datagram("pod0", "192.168.0.1"),
            Datagram("lan", "10.5.0.5"),
            Datagram("lan", "192.168.0.1"),
            Datagram("lan", "10.5.0.1"),
            Datagram("node", "192.168.0.9"),
            Datagram("node", "10.5.0.5"),
            Send("pod0", "eth0", echo(P0, mac("02:00:00:00:03:00"), "10.5.0.5", "10.5.0.1")),
            Send("pod0", "eth0", echo(P0, mac("02:00:00:00:03:00"), "10.5.0.5", "10.6.0.1")),
            Send("pod0", "eth0", echo(P0, mac("02:00:00:00:03:00"), "10.5.0.5", "10.6.0.6")),
            Send("pod0", "eth0", echo(P0, mac("02:00:00:00:03:00"), "10.5.0.5", "10.6.0.6", ttl=1)),
            Send("pod0", "eth0", echo(P0, mac("02:00:00:00:03:00"), "10.5.0.5", "10.9.0.9")),
            Send("pod0", "eth0", arp(P0, "10.5.0.5", "10.6.0.1")),
            Send("pod0", "eth0", arp(P0, "10.5.0.5", "192.168.0.1")),
        ],
    ),
    "vlan above a bridge": Case(
        [
            *UP,
            "node link add br0 address 02:00:00:00:00:cc type bridge",
            "node link set br0 up",
            "node link set eth0 master br0",
            "node link add link br0 name br0.5 type vlan id 5",
            "node addr add 10.0.0.5/24 dev br0.5",
            "node link set br0.5 up",
        ],
        [
            Send("lan", "eth0", tagged(echo(LAN, mac("02:00:00:00:00:cc"), "10.0.0.9", "10.0.0.5"), 5)),
            Send("lan", "eth0", tagged(arp(LAN, "10.0.0.9", "10.0.0.5"), 5)),
            Send("lan", "eth0", tagged(arp(LAN, "10.0.0.9", "10.0.0.5"), 6)),
        ],
    ),
}
