"""Comments: what is remembered and when, their last lines, the interfaces they speak of, and a whole story as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from emu import trail
from emu.capture.capture import Capture
from emu.capture.comment import Comments, step
from emu.capture.interface import Interface, roles
from emu.capture.stretch import INTERFACE_SHIFT, PKT_TYPE_SHIFT
from emu.capture.summary import between, phrase
from emu.capture.tap import IN, OUT
from emu.clock import SECOND, Clock
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.net.iproute import parse_route
from emu.wire.addr import ip4, mac
from emu.wire.captured import alike
from emu.wire.frame import AF_INET, OTHERHOST
from emu.wire.summary import read
from ladder_emu import EmuWorld
from ladder_setup import Setup

A, B, TO_ALL = "02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"
CLIENT, SERVICE, WEB, GATEWAY = (
    (AF_INET, ip4(text)) for text in ("10.244.1.11", "10.96.0.10", "10.244.2.13", "10.244.1.1")
)
NAMES = {
    CLIENT: ["default/client"],
    SERVICE: ["svc/web.default", "web"],
    WEB: ["default/web-0"],
    GATEWAY: ["node-1/cbr0"],
}
SYN = Ether(src=A, dst=B) / IP(src="10.244.1.11", dst="10.96.0.10") / TCP(sport=40001, dport=80, flags="S")
PING = Ether(src=A, dst=B) / IP(src="10.244.1.11", dst="10.244.2.13") / ICMP(type=8, seq=1)
WHO_HAS = Ether(src=A, dst=TO_ALL) / ARP(op=1, psrc="10.244.1.11", pdst="10.244.1.1")
TTL = f"ttl {SYN[IP].ttl + 1} -> {SYN[IP].ttl}"
DEVICES = {name: Device(Clock(), name) for name in ("eth0", "cbr0")}
DEFAULT = parse_route("default via 192.168.50.1 dev eth0", DEVICES.__getitem__)
ON_LINK = parse_route("10.244.1.0/24 dev cbr0", DEVICES.__getitem__)


def test_names_of_another_family_are_not_shown() -> None:
    """An address of another family that is the same number."""
    other = {(10, CLIENT[1]): ["six"], (10, WEB[1]): ["six"]}
    places = [Interface(0, "node-1", "eth0", None)]
    assert Comments({**other, **NAMES}, places).body(OUT, bytes(PING), []) == Comments(NAMES, places).body(
        OUT, bytes(PING), []
    )
    assert b"six" not in Comments(other, places).body(OUT, bytes(PING), [])


# -- what is remembered --------------------------------------------------------------------------


def comments() -> Comments:
    return Comments(NAMES, [Interface(0, "node-1", "eth0", None), Interface(1, "node-1", "cbr0", None)])


def test_alike_frames_share_their_words() -> None:
    words = comments()
    first = bytes(SYN)
    again = bytes(
        Ether(src=A, dst=B)
        / IP(src="10.244.1.11", dst="10.96.0.10", id=9)
        / TCP(sport=40001, dport=80, flags="S", seq=7)
    )
    assert first != again
    known = [words.body(1 << 28 | OUT, first, [DEFAULT]) for _ in range(3)]  # from the third on they are remembered
    assert len({*known}) == 1
    assert known[2] is words.body(1 << 28 | OUT, first, [DEFAULT])
    assert words.body(1 << 28 | OUT, first, [DEFAULT]) is words.body(2 << 28 | OUT, again, [DEFAULT])
    for code, data, entries in (
        (OUT, first, [ON_LINK]),
        (OUT, first, [DEFAULT, ON_LINK]),
        (IN, first, [DEFAULT]),
        (IN | OTHERHOST << PKT_TYPE_SHIFT, first, [DEFAULT]),
        (OUT | 1 << INTERFACE_SHIFT, first, [DEFAULT]),
        (OUT, bytes(PING), [DEFAULT]),
    ):
        assert words.body(1 << 28 | OUT, first, [DEFAULT]) is not words.body(code, data, entries)


def test_equal_facts_have_equal_words_and_new_ones_have_new_words() -> None:
    words = comments()
    first, equal, other = (trail.Dropped("NO_SOCKET", netns, "eth0") for netns in ("a", "a", "b"))
    assert words.body(OUT, bytes(SYN), [first]) is words.body(OUT, bytes(SYN), [equal])
    assert words.body(OUT, bytes(SYN), [other]).startswith(b"b/eth0 drops")
    assert words.body(OUT, bytes(SYN), [first]).startswith(b"a/eth0 drops")


@given(
    st.sampled_from(
        [bytes(SYN), bytes(PING), bytes(WHO_HAS), bytes(Ether() / IP(dst="10.0.0.1") / UDP() / Raw(b"abcdef"))]
    ),
    st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=6),
)
def test_frames_with_one_key_have_equal_comments(data: bytes, changes: dict[int, int]) -> None:
    """Two frames that `alike` holds equal differ in nothing that words read."""
    changed = bytes(changes.get(at, byte) for at, byte in enumerate(data))
    if alike(changed) == alike(data):
        one, other = read(data), read(changed)
        assert phrase(one) + between(one) == phrase(other) + between(other)
        assert (one.ttl, data[:6]) == (other.ttl, changed[:6])


def test_what_a_tunnel_has_inside_is_in_the_words() -> None:
    """Two packets of one tunnel, of one length and between the same ports: their inside differs in its flags."""
    words = comments()
    outer = Ether(src=A, dst=B) / IP(src="192.168.51.11", dst="192.168.51.12") / UDP(sport=50000, dport=8472)
    for flags, what in (("A", "an acknowledgement (ACK)"), ("FA", "the end of one direction (FIN)")):
        inner = Ether(src=A, dst=B) / IP(src="10.244.1.11", dst="10.244.2.13") / TCP(sport=40001, dport=80, flags=flags)
        frame = bytes(outer / Raw(b"\x08\0\0\0\0\0\1\0" + bytes(inner)))
        assert what in words.body(OUT, frame, []).decode()


def test_comments_end_with_story_and_number() -> None:
    words = comments()
    text = words.comment(3 << 28 | OUT, 12, bytes(SYN), [DEFAULT], "step (3) of the seed's story: out of eth0")
    assert text.splitlines()[1:] == [
        "route default via 192.168.50.1 dev eth0", TTL, "step (3) of the seed's story: out of eth0", "flow/hop 3/12",
    ]  # fmt: skip
    assert words.comment(OUT, 2, bytes(SYN), []).endswith("\nflow/hop 0/2 (background)")


def test_names_are_compared_whole() -> None:
    words = comments()
    assert words.knows(dict(NAMES))
    assert not words.knows({**NAMES, WEB: ["default/web-1"]})
    assert not words.knows({**NAMES, (AF_INET, 1): ["x"]})
    assert not words.knows({**{addr: each for addr, each in NAMES.items() if addr != WEB}, (AF_INET, 1): ["x"]})


# -- interfaces ----------------------------------------------------------------------------------


def test_an_interface_remembers_what_it_was() -> None:
    clock = Clock()
    bridge, port = Bridge(clock, "cbr0", mac(A)), Device(clock, "veth1", mac(B), kind="veth")
    bridge.add_port(port)
    known = Interface(0, "node-1", "veth1", port)
    assert (known.owner, known.device_name, known.bridge) == ("node-1", "veth1", "cbr0")
    assert known.description == "veth, a port of node-1's bridge cbr0"
    bridge.remove_port(port)
    known.refresh()
    assert known.bridge == "cbr0"
    assert Interface(1, "default/client", "eth0", Device(clock, "eth0")).owner == "default/client"
    assert Interface(2, "node-1", "drop", None).description == "frames that node-1 dropped, each with the reason"
    assert Interface(3, "node-1", "veth1", port, "as given").description == "as given"


def test_roles_are_short_and_differ() -> None:
    clock = Clock()
    macs = [bytes((2, 0, 0, 0, 0, n)) for n in range(4)]
    interfaces = [
        Interface(0, "default/client", "eth0", Device(clock, "eth0", macs[0])),
        Interface(1, "node-1", "veth1", Device(clock, "veth1", macs[1])),
        Interface(2, "node-1", "cbr0", Bridge(clock, "cbr0", macs[1])),
        Interface(3, "node-2", "cbr0", Bridge(clock, "cbr0", macs[2])),
        Interface(4, "node-2", "eth0", Device(clock, "eth0", macs[3])),
        Interface(5, "node-2", "lo", Device(clock, "lo")),
    ]
    assert [roles(interfaces)[each] for each in (*macs, b"\xff" * 6, bytes(6))] == [
        "client", "node-1.cbr0", "node-2.cbr0", "node-2", "bcast", "zero",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("story", "begins"),
    [
        ("story (4), before (3): the address", "(4) "),
        ("way back (2): conntrack\nThe usual description", "(back 2) "),
        ("story (2) and (3), on AWS: one hop", "(2, 3) "),
        ("The usual description\nstory (1): out\nstory (1): again", "(1) "),
        ("egress (2): out of eth0\nstory (3): the route", "(egress 2, 3) "),
        ("way back (2) does not happen: no conntrack", "(back 2) "),
        ("the answer (1)", ""),
        ("from here as between two pods, story (4) there", ""),
        ("the endpoint sees the client's own address", ""),
        ("", ""),
    ],
)
def test_a_comment_begins_with_its_step(story: str, begins: str) -> None:
    assert step(story) == begins
    text = comments().comment(1 << 28 | OUT, 12, bytes(SYN), [DEFAULT], story)
    sentence = comments().body(1 << 28 | OUT, bytes(SYN), [DEFAULT]).decode().partition("\n")[0]
    assert text.startswith(begins + sentence)


# -- a whole story -------------------------------------------------------------------------------

STORY = """\
p1:eth0 out: p1 asks who has node-1/cbr0, the next hop of a packet to svc/web.default that waits
n1:veth-p1 in: cbr0's port veth-p1 receives the ARP request who has node-1/cbr0 (from default/client)
n1:veth-p2 out: cbr0 floods the ARP request who has node-1/cbr0 (from default/client) to the only other port, because it is a broadcast
n1:cbr0 in: cbr0 passes the ARP request who has node-1/cbr0 (from default/client) up to n1 too, because it is a broadcast
n1:cbr0 out: n1 answers that node-1/cbr0 is at its own MAC
n1:veth-p1 out: cbr0 finds the destination MAC in its FDB, and sends the ARP reply that gives the MAC of node-1/cbr0 out of veth-p1
p2:eth0 in: p2 receives the ARP request who has node-1/cbr0 (from default/client)
p1:eth0 in: p1 receives the ARP reply that gives the MAC of node-1/cbr0
p1:eth0 out: p1: a TCP socket sends a segment, a connection request (SYN) from default/client to svc/web.default:80. The destination is not on link, so the frame goes to the gateway node-1/cbr0
n1:veth-p1 in-other: cbr0's port veth-p1 receives a connection request (SYN) from default/client to svc/web.default:80
n1:cbr0 in: DNAT: kube-proxy's rules rewrite the Service address svc/web.default (10.96.0.10:80) to the endpoint default/web-0 (10.244.2.13:8080)
n1:eth0 out: n1 asks who has 192.168.50.12, the next hop of a packet to default/web-0 that waits
"""


def test_the_beginning_of_a_walk_to_a_service() -> None:
    world = EmuWorld(Setup("s03_clusterip_remote"))
    capture = Capture(world.clock)
    for owner, net in world.nets.items():
        capture.attach_namespace(net, owner)
    capture.names = NAMES
    world.nets["p1"].sockets.tcp(1).connect(("10.96.0.10", 80))
    world.wait(SECOND)
    made_lines = [
        f"{frame.place.owner}:{frame.place.device_name} {frame.way}: {frame.comment().splitlines()[0]}"
        for frame in capture.frames(flow=1)
    ]
    lines = STORY.splitlines()
    assert made_lines[: len(lines)] == lines
