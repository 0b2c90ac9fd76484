"""Route exceptions, policy rules and the limits of redirects: what single destinations teach a namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from emu.clock import SECOND, Clock
from emu.errors import InputError, SocketError
from emu.kernel import boot
from emu.kernel.net.fib import MOST_KNOWN, Fib
from emu.kernel.net.fib_rules import Flow, IpRule
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_input import route_input
from emu.kernel.net.ip_output import route_socket
from emu.kernel.net.iproute import parse_rule
from emu.kernel.net.netns import Netns
from emu.kernel.net.peer import Peer
from emu.kernel.net.route import update_pmtu
from emu.kernel.net.route_get import route_get
from emu.wire.addr import Prefix, ip4, ip4_text
from emu.wire.frame import Frame
from rules import packet

FAR, OTHER = ip4("192.0.2.9"), ip4("192.0.2.10")
MS = SECOND // 1000


@pytest.fixture
def net() -> Netns:
    clock = Clock(1)
    net, far = boot.namespace(clock, "host"), boot.namespace(clock, "far")
    boot.veth(net, "eth0", far, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(net, "eth0", "10.0.0.1/24")
    boot.address(far, "eth0", "10.0.0.254/24")
    boot.route(net, "default via 10.0.0.254")
    return net


def test_a_path_mtu_holds_for_one_destination_and_ten_minutes(net: Netns) -> None:
    update_pmtu(net, FAR, 0, 1400)
    assert route_get(net, FAR) == [
        "192.0.2.9 via 10.0.0.254 dev eth0 src 10.0.0.1 uid 0",
        "cache expires 600sec mtu 1400",
    ]
    assert route_get(net, OTHER)[1] == "cache"
    net.clock.run_until(600 * SECOND)
    assert route_get(net, FAR)[1] == "cache expires 0sec mtu 1400"
    net.clock.run_until(601 * SECOND)
    assert route_get(net, FAR)[1] == "cache"
    assert not net.ipv4.exceptions


@pytest.mark.parametrize(
    ("mtus", "shown"),
    [
        ((1400, 1300), "cache expires 600sec mtu 1300"),
        ((1300, 1400), "cache expires 600sec mtu 1300"),  # only ever smaller
        ((552,), "cache expires 600sec mtu 552"),
        ((551,), "cache expires 600sec mtu lock 552"),  # min_pmtu
        ((1501,), "cache"),  # larger than the link
        ((0,), "cache"),  # routers older than RFC 1191 give no MTU
    ],
)
def test_what_is_believed(net: Netns, mtus: tuple[int, ...], shown: str) -> None:
    for mtu in mtus:
        update_pmtu(net, FAR, 0, mtu)
    assert route_get(net, FAR)[1] == shown


def test_a_device_takes_what_was_learned_along(net: Netns) -> None:
    update_pmtu(net, FAR, 0, 1400)
    net.set_link("eth0", up=False)
    assert not net.ipv4.exceptions
    assert route_get(net, FAR) == ["RTNETLINK answers: Network is unreachable"]


def test_redirects_come_ever_more_slowly_until_a_silence() -> None:
    peer, sent = Peer(0), []
    for now_ms in range(0, 30_000, 10):
        if peer.redirect(now_ms * MS, 9, 5, 5120):
            sent.append(now_ms)
    assert sent == [0, 50, 140, 310, 640, 1290, 2580, 5150, 10280]  # 20 ms, doubled each time, must have passed
    assert not peer.redirect(50_000 * MS - 1, 9, 5, 5120)
    assert peer.redirect(71_000 * MS, 9, 5, 5120)


def test_a_router_without_a_route_pays_twice() -> None:
    peer = Peer(0)
    sent = [peer.error(0, 250, 1250) and peer.allows(0, 250) for _ in range(4)]
    assert sent == [True, True, False, False]  # the fifth second is spent on an error that ICMP's own limit keeps back


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from 10.0.0.5 lookup 100", "32765: from 10.0.0.5 lookup 100"),
        ("to 10.0.0.0/8 table main pref 512", "512: from all to 10.0.0.0/8 lookup main"),
        ("fwmark 0x80/0x80 lookup 2 priority 1024", "1024: from all fwmark 0x80/0x80 lookup 2"),
        ("fwmark 1 lookup 2", "32765: from all fwmark 0x1 lookup 2"),
        ("from 10.0.0.5", "32765: from 10.0.0.5 lookup main"),
        ("fwmark 0 lookup 9", "32765: from all lookup 9"),
        ("fwmark 0/0xff lookup 9", "32765: from all fwmark 0/0xff lookup 9"),
        ("lookup main suppress_prefixlength 0 pref 9", "9: from all lookup main suppress_prefixlength 0"),
        ("suppress_ifgroup default pref 9", "9: from all lookup main suppress_ifgroup default"),
        (
            "uidrange 1-1 ipproto udp dport 53 oif eth0 nop",
            "32765: from all oif eth0 uidrange 1-1 ipproto udp dport 53 nop",
        ),
        ("tos 10 sport 5-6 goto 40000", "32765: from all tos 0x10 sport 5-6 goto 40000"),
        ("to 192.0.2.1 prohibit", "32765: from all to 192.0.2.1 prohibit"),
        ("not from 10.244.0.0/16 iif eth0 lookup 7", "32765: not from 10.244.0.0/16 iif eth0 lookup 7"),
    ],
)
def test_rules_are_read_and_shown_as_ip_rule_does(net: Netns, text: str, shown: str) -> None:
    assert boot.rule(net, text).text() == shown
    with pytest.raises(InputError, match="File exists"):
        parse_rule(shown.split(":")[1] + f" priority {shown.split(':', maxsplit=1)[0]}", net.ipv4.fib.rules)


def test_later_rules_go_first(net: Netns) -> None:
    assert [boot.rule(net, f"from 10.0.0.{n} lookup 9").priority for n in (1, 2, 3)] == [32765, 32764, 32763]


@pytest.mark.parametrize(
    "text", ["", "lookup", "fwmark x lookup 1", "oof eth0 lookup 1", "from x lookup 1", "goto 5 pref 6"]
)
def test_bad_rules(net: Netns, text: str) -> None:
    with pytest.raises(InputError):
        boot.rule(net, text)


@pytest.mark.parametrize(
    ("rule", "packet", "holds"),
    [
        (IpRule(1, 1, iif="lo"), (FAR, 0, 0, ""), True),  # a local packet
        (IpRule(1, 1, iif="lo"), (FAR, 0, 0, "eth0"), False),
        (IpRule(1, 1, mark=1, mask=3), (FAR, 0, 5, ""), True),
        (IpRule(1, 1, mark=1, mask=3, invert=True), (FAR, 0, 5, ""), False),
        (IpRule(1, 1, invert=True), (FAR, 0, 0, ""), False),
        (IpRule(1, 1, mark=0x11, mask=0xF), (FAR, 0, 0x21, ""), True),  # bits outside of the mask do not count
        (IpRule(1, 1, oif="eth1"), (FAR, 0, 0, "", "eth1"), True),
        (IpRule(1, 1, oif="eth1"), (FAR, 0, 0, ""), False),
        (IpRule(1, 1, tos=0x10), (FAR, 0, 0, "", "", Flow(tos=0xB0)), True),  # three bits of the byte are compared
        (IpRule(1, 1, tos=0x10), (FAR, 0, 0, "", "", Flow(tos=0xB8)), False),
        (IpRule(1, 1, proto=6), (FAR, 0, 0, "", "", Flow(proto=6)), True),
        (IpRule(1, 1, proto=6), (FAR, 0, 0, "", "", Flow(proto=17)), False),
        (IpRule(1, 1, sports=(5, 9)), (FAR, 0, 0, "", "", Flow(sport=9)), True),
        (IpRule(1, 1, dports=(5, 9)), (FAR, 0, 0, "", "", Flow(sport=9)), False),
        (IpRule(1, 1, uids=(0, 0)), (FAR, 0, 0, "eth0"), True),  # a packet of no socket is root's
        (IpRule(1, 1, uids=(1, 9), invert=True), (FAR, 0, 0, "", "", Flow(uid=9)), False),
        (IpRule(1, 1, unknown="x"), (FAR, 0, 0, ""), None),
        (IpRule(1, 1, iif="eth0", unknown="x", invert=True), (FAR, 0, 0, ""), True),  # decided without it
        (IpRule(1, 1, unknown_in="l3mdev"), (FAR, 0, 0, ""), False),
        (IpRule(1, 1, unknown_in="l3mdev"), (FAR, 0, 0, "eth0"), None),
    ],
)
def test_what_rules_hold_for(rule: IpRule, packet: tuple[int, int, int, str], holds: bool | None) -> None:
    assert rule.matches(*packet) is holds


def test_a_change_counts_at_once_for_a_destination_that_was_asked_before(net: Netns) -> None:
    fib = net.ipv4.fib
    default = fib.lookup(FAR)
    assert default is not None
    assert fib.lookup(FAR) is default
    nearer = boot.route(net, "192.0.2.0/24 via 10.0.0.253")
    assert fib.lookup(FAR) is nearer
    fib.remove(nearer)
    assert fib.lookup(FAR) is default
    boot.route(net, "192.0.2.0/24 via 10.0.0.253 table 100")
    assert fib.lookup(FAR) is default
    rule = boot.rule(net, "from 10.0.0.5 lookup 100")
    assert fib.lookup(FAR, ip4("10.0.0.5")) is fib.tables[100].lookup(FAR)
    assert fib.lookup(FAR, ip4("10.0.0.1")) is default
    assert not fib.known, "the walk looks here first, and the source counts now"
    fib.remove_rule(rule)
    assert fib.lookup(FAR, ip4("10.0.0.5")) is default


def test_a_scan_of_many_destinations_does_not_fill_the_memory(net: Netns) -> None:
    fib = net.ipv4.fib
    for dst in range(FAR, FAR + 3 * MOST_KNOWN):
        assert fib.lookup(dst) is fib.lookup(FAR)
        assert len(fib.known) <= MOST_KNOWN


def sysctl(net: Netns, text: str) -> None:
    name, _, value = text.partition("=")
    net.sysctl[name] = int(value)


SETTINGS = ("net.ipv4.conf.eth1.forwarding=0", "net.ipv4.ip_forward=0", "net.ipv4.conf.all.rp_filter=1")
CHANGES: dict[str, Callable[[Netns], object]] = {
    **{name: partial(sysctl, text=name) for name in SETTINGS},
    "the destination is blackholed": lambda net: boot.route(net, "blackhole 192.0.2.0/24"),
    "another way": lambda net: boot.route(net, "192.0.2.0/24 via 10.0.0.253"),
    "the source is an address of its own": lambda net: boot.address(net, "eth0", "10.1.0.9/32"),
    "a rule drops": lambda net: boot.rule(net, "from 10.1.0.0/24 blackhole"),
    "the device is down": lambda net: net.set_link("eth0", up=False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_came_in_before_a_change_is_routed_like_what_never_did(what: str) -> None:
    def router() -> tuple[Netns, Frame]:
        clock = Clock(1)
        net, far, near = (boot.namespace(clock, name) for name in ("router", "far", "near"))
        boot.veth(net, "eth0", far, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
        boot.veth(net, "eth1", near, "eth0", "02:00:00:00:00:03", "02:00:00:00:00:04")
        boot.address(net, "eth0", "10.0.0.1/24")
        boot.address(net, "eth1", "10.2.0.1/24")
        boot.route(net, "default via 10.0.0.254")
        net.sysctl["net.ipv4.ip_forward"] = 1
        frame = packet(src="10.1.0.9", dst="192.0.2.9")
        return net, frame

    def routed(net: Netns, frame: Frame) -> tuple[str, str]:
        reason, route = route_input(net, frame, net.device("eth1"))
        return reason, str(route)

    (net, frame), (fresh, other) = router(), router()
    before = routed(net, frame)
    assert (before, list(net.ipv4.fib.inputs)) == (routed(net, frame), [(frame.src, frame.dst, 2 + 1)])
    CHANGES[what](net)
    CHANGES[what](fresh)
    after = routed(fresh, other)
    assert (routed(net, frame), routed(net, frame)) == (after, after) and after != before


def remove(net: Netns, device: str, addr: str) -> None:
    found = [each for each in net.ipv4.addresses if each.device.name == device and str(each) == addr]
    net.ipv4.remove_address(found[0])


def move(net: Netns) -> None:
    boot.address(net, "eth1", "10.0.0.1/32")
    remove(net, "eth0", "10.0.0.1/24")


def promote(net: Netns) -> None:
    sysctl(net, "net.ipv4.conf.eth0.promote_secondaries=1")
    remove(net, "eth0", "10.0.0.1/24")


SENDERS: dict[str, Callable[[Netns], object]] = {
    "the destination is blackholed": lambda net: boot.route(net, "blackhole 192.0.2.0/24"),
    "another way": lambda net: boot.route(net, "192.0.2.0/24 via 10.0.1.254"),
    "a rule drops": lambda net: boot.rule(net, "to 192.0.2.0/24 blackhole"),
    "a rule of a source": lambda net: (
        boot.route(net, "default via 10.0.1.254 table 7"),
        boot.rule(net, "from 10.0.0.9 lookup 7"),
    ),
    "the source goes": lambda net: remove(net, "eth0", "10.0.0.1/24"),
    "the source moves to another device": move,
    "the source goes, and the next takes its place": promote,
    "loopback stays at home": lambda net: sysctl(net, "net.ipv4.conf.eth0.route_localnet=0"),
    "the device is down": lambda net: net.set_link("eth0", up=False),
    "a path's MTU is learned": lambda net: update_pmtu(net, FAR, 0, 1300),
    "a way of several": lambda net: boot.route(net, "192.0.2.0/24 nexthop via 10.0.0.254 nexthop via 10.0.1.254"),
}


@pytest.mark.parametrize("what", SENDERS)
@pytest.mark.parametrize("bound", ["0.0.0.0", "10.0.0.9", "127.0.0.1"])
def test_what_was_sent_before_a_change_is_routed_like_what_never_was(what: str, bound: str) -> None:
    def host() -> Netns:
        clock = Clock(1)
        net, far = boot.namespace(clock, "host"), boot.namespace(clock, "far")
        for number in (0, 1):
            boot.veth(
                net, f"eth{number}", far, f"eth{number}", f"02:00:00:00:00:0{number}", f"02:00:00:00:00:1{number}"
            )
            boot.address(net, f"eth{number}", f"10.0.{number}.1/24")
        boot.address(net, "eth0", "10.0.0.9/24")
        boot.route(net, "default via 10.0.0.254")
        sysctl(net, "net.ipv4.conf.eth0.route_localnet=1")
        return net

    def routed(net: Netns) -> tuple[str, str, str]:
        try:
            route, source = route_socket(net, FAR, ip4(bound))
        except SocketError as error:
            return str(error), "", ""
        return str(route), str(route.cached), ip4_text(source)

    net, fresh = host(), host()
    before = routed(net)
    assert (routed(net), list(net.ipv4.fib.outputs)) == (before, [(FAR, ip4(bound))])
    SENDERS[what](net)
    SENDERS[what](fresh)
    after = routed(fresh)
    assert (routed(net), routed(net)) == (after, after)
    assert (after != before) is (bound not in UNCONCERNED.get(what, ()))


# the sockets' addresses to which a change makes no difference
UNCONCERNED = {
    "a rule of a source": ("0.0.0.0", "127.0.0.1"),
    "loopback stays at home": ("0.0.0.0", "10.0.0.9"),
    "the source goes, and the next takes its place": ("10.0.0.9", "127.0.0.1"),
}


def test_a_scan_of_many_sources_does_not_fill_the_memory_of_routes_in() -> None:
    clock = Clock(1)
    net, far = boot.namespace(clock, "host"), boot.namespace(clock, "far")
    eth0, _ = boot.veth(net, "eth0", far, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(net, "eth0", "10.0.0.1/24")
    for last in range(2 * MOST_KNOWN):
        reason, _route = route_input(net, packet(src=f"10.1.{last >> 8}.{last & 255}", dst="10.0.0.1"), eth0)
        assert not reason
        assert 0 < len(net.ipv4.fib.inputs) <= MOST_KNOWN


@pytest.mark.pure("a function is replaced")
def test_what_look_ups_read_is_made_at_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each device and address brings prefix lengths: a namespace that no packet comes to does not sort them each time."""
    made, make = list[Fib](), Fib._made

    def counted(fib: Fib) -> object:
        made.append(fib)
        return make(fib)

    monkeypatch.setattr(Fib, "_made", counted)
    fib = Fib()
    routes = [Route(Prefix(0, length), "unicast", object()) for length in range(33)]
    for route in routes:
        fib.add(route)
    assert made == []
    assert [fib.lookup(1 << bit) for bit in range(32)] == [routes[31 - bit] for bit in range(32)] and made == [fib]
    assert fib.local_lookup(0) is fib.lookup(0) is routes[32] and made == [fib]
    fib.remove(routes[32])
    assert fib.local_lookup(0) is routes[31] and made == [fib, fib]
    fib.add_rule(IpRule(5, 7))
    assert fib.lookup(0) is routes[31] and made == [fib] * 3
