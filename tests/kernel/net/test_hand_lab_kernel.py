"""Hosts with several cards, beside this machine's kernel: the same lines make both, and the same frames must be seen."""

from __future__ import annotations

import pytest

from hand_lab import both
from linux import Linux

pytestmark = pytest.mark.twin

# a host with two cards on one segment, and another one
SEGMENT = """
host h
host o
host sw
cable h e0 sw p0
cable h e1 sw p1
cable o e0 sw p2
bridge sw br0 p0 p1 p2
address h e0 10.0.0.1/24
address h e1 10.0.0.2/24
address o e0 10.0.0.9/24
"""
# a router between two hosts
ROUTER = """
host a
host r
host b
cable a e0 r e0
cable r e1 b e0
address a e0 10.1.0.2/24
address r e0 10.1.0.1/24
address r e1 10.2.0.1/24
address b e0 10.2.0.2/24
conf r ip_forward 1
route a default via 10.1.0.1
"""
BACK = "route b default via 10.2.0.1\n"
# two hosts with two cards each, and a router on either way
TWO_WAYS = """
host a
host r
host q
host b
cable a e0 r e0
cable r e1 b e0
cable a e1 q e0
cable q e1 b e1
address a e0 10.1.0.2/24
address r e0 10.1.0.1/24
address r e1 10.2.0.1/24
address b e0 10.2.0.2/24
address a e1 10.3.0.2/24
address q e0 10.3.0.1/24
address q e1 10.4.0.1/24
address b e1 10.4.0.2/24
conf r ip_forward 1
conf q ip_forward 1
route a 10.2.0.0/24 via 10.1.0.1
route a 10.4.0.0/24 via 10.3.0.1
route b 10.1.0.0/24 via 10.2.0.1
route b 10.3.0.0/24 via 10.2.0.1
"""


def arp(op: int, sha: str, spa: str, tpa: str, dmac: str = "ffffffffffff", tha: str = "000000000000") -> str:
    """An ARP packet out of o's card, as a line."""
    one, other = (bytes(map(int, addr.split("."))).hex() for addr in (spa, tpa))
    return f"frame o e0 {dmac}{sha}0806000108000604{op:04x}{sha}{one}{tha}{other}\n"


O_MAC = "020000000005"
ANNOUNCED = arp(1, O_MAC, "10.0.0.9", "10.0.0.9")
LABS: dict[str, tuple[str, str]] = {
    "arp flux": (SEGMENT, "ping o 10.0.0.1\nping o 10.0.0.2\nping h 10.0.0.9 source=10.0.0.2\n"),
    "arp_ignore 1": (SEGMENT + "conf h conf.all.arp_ignore 1\n", "ping o 10.0.0.2\nping o 10.0.0.1\n"),
    "arp_filter": (SEGMENT + "conf h conf.all.arp_filter 1\n", "ping o 10.0.0.2\nping o 10.0.0.1\n"),
    "arp_filter and a rule": (
        SEGMENT + "conf h conf.all.arp_filter 1\nrule h from 10.0.0.2 lookup 100\nroute h 10.0.0.0/24 dev e1 table 100\n",
        "ping o 10.0.0.2\nping o 10.0.0.1\n",
    ),
    "an address of lo": (
        SEGMENT + "address h lo 10.7.7.7/32\nroute o 10.7.7.7/32 dev e0\n",
        "ping o 10.7.7.7\nping h 10.0.0.9 source=10.7.7.7\nwait 1.1\n",
    ),
    "arp_accept 1": (
        SEGMENT + "conf h conf.all.arp_accept 1\n",
        ANNOUNCED + "ping h 10.0.0.9\n" + arp(2, "0200000000aa", "10.0.0.9", "10.0.0.9") + "ping h 10.0.0.9\n",
    ),
    "arp_accept 2": (
        SEGMENT + "conf h conf.all.arp_accept 2\n",
        arp(2, O_MAC, "10.0.0.9", "10.0.0.1", "020000000001", "020000000001")
        + "ping h 10.0.0.9\n"
        + arp(1, O_MAC, "99.0.0.9", "99.0.0.9"),
    ),
    "drop_gratuitous_arp": (
        SEGMENT + "conf h conf.all.drop_gratuitous_arp 1\n",
        "ping h 10.0.0.9\nwait 1.2\n" + arp(1, "0200000000aa", "10.0.0.9", "10.0.0.9") + "ping h 10.0.0.9\n",
    ),
    "senders that cannot be": (
        SEGMENT,
        "".join(arp(1, O_MAC, spa, "10.0.0.1") for spa in ("0.0.0.0", "10.0.0.1", "99.9.9.9", "127.0.0.1"))
        + arp(2, O_MAC, "10.0.0.9", "10.0.0.1", "020000000001"),
    ),
    "arp_announce 1": (
        TWO_WAYS + "conf a conf.all.arp_announce 1\naddress a e0 10.1.0.3/24\n",
        "ping a 10.1.0.1 source=10.3.0.2\nping a 10.1.0.9 source=10.1.0.3\nwait 1.1\n",
    ),
    "arp_announce 2": (
        TWO_WAYS + "conf a conf.all.arp_announce 2\naddress a e0 10.1.0.3/24\n",
        "ping a 10.1.0.1 source=10.1.0.3\nping a 10.1.0.9 source=10.3.0.2\n",
    ),
    "two ways": (TWO_WAYS, "ping a 10.4.0.2\nping a 10.2.0.2 source=10.3.0.2\ntcp a 10.4.0.2 9 source=10.1.0.2\n"),
    "two ways, rp_filter 1": (
        TWO_WAYS + "conf b conf.all.rp_filter 1\n",
        "ping a 10.4.0.2\nping a 10.2.0.2 source=10.3.0.2\n",
    ),
    "two ways, rp_filter 2": (
        TWO_WAYS + "conf b conf.all.rp_filter 2\n",
        "ping a 10.4.0.2\nping a 10.2.0.2 source=10.3.0.2\n",
    ),
    "two ways by rules": (
        TWO_WAYS
        + "rule a from 10.3.0.2 lookup 100\nroute a default via 10.3.0.1 table 100\n"
        + "rule b from 10.4.0.2 lookup 100\nroute b default via 10.4.0.1 table 100\n",
        "ping a 10.2.0.2 source=10.3.0.2\nudp a 10.4.0.2 7 source=10.3.0.2\n",
    ),
    "TTLs and MTUs": (
        ROUTER + BACK + "mtu r e1 1000\nmtu b e0 900\n",
        "ping a 10.2.0.2 ttl=1\nping a 10.2.0.1 ttl=1\nping a 10.2.0.2 size=1200\nping a 10.2.0.2 size=1200\nudp a 10.2.0.2 9 size=1300\n",
    ),
    "proxy ARP across a router": (
        ROUTER
        + "conf r conf.all.proxy_arp 1\nconf r neigh.e0.proxy_delay 0\nconf r neigh.e1.proxy_delay 0\n"
        + "route a 10.2.0.0/24 dev e0\nroute b 10.1.0.0/24 dev e0\n",
        "ping a 10.2.0.2\nping a 10.2.0.77\nwait 1.1\n",
    ),
    "broadcasts": (ROUTER + BACK, "udp a 10.1.0.0 9\nping a 10.2.0.255\nudp a 10.2.0.255 9\n"),
    "directed broadcasts": (
        ROUTER + BACK + "conf r conf.all.bc_forwarding 1\nconf r conf.e0.bc_forwarding 1\nconf r ip_forward 0\n",
        "ping a 10.2.0.255\nudp a 10.2.0.255 9\n",
    ),
    "routes that refuse": (
        ROUTER + BACK + "route r unreachable 10.5.1.0/24\nroute r prohibit 10.5.2.0/24\nroute r blackhole 10.5.3.0/24\n",
        "ping a 10.5.1.1\nping a 10.5.2.1\nping a 10.5.3.1\nping a 10.5.4.1\nping r 10.5.1.1\nping r 10.5.2.1\nping r 10.5.3.1\nping r 10.5.4.1\n",
    ),
    "an unnumbered cable": (
        ("host a\nhost b\ncable a e0 b e0\naddress a lo 10.9.0.1/32\naddress b lo 10.9.0.2/32\n"
        "route a 10.9.0.2/32 dev e0\nroute b 10.9.0.1/32 dev e0\n"),
        "ping a 10.9.0.2\nudp b 10.9.0.1 9\n",
    ),
    "31 bits": (
        "host a\nhost b\ncable a e0 b e0\naddress a e0 10.9.0.0/31\naddress b e0 10.9.0.1/31\n",
        "ping a 10.9.0.1\nping b 10.9.0.0\n",
    ),
    "a router with NAT": (
        ROUTER
        + BACK
        + "iptables r -t nat -A POSTROUTING -o e1 -j MASQUERADE\n"
        + "iptables r -t nat -A PREROUTING -d 10.1.0.1 -p udp --dport 53 -j DNAT --to-destination 10.2.0.2:9\n",
        "ping a 10.2.0.2\nudp a 10.1.0.1 53\ntcp a 10.2.0.2 7\nping a 10.2.0.2 ttl=1\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LABS)
def test_both_saw_the_same_frames(name: str, linux: Linux) -> None:
    kernel, emulated = both(linux, *LABS[name])
    assert emulated == kernel
