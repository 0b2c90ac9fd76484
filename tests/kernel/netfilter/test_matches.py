"""The answer of each match for a packet; the tables follow xt_*.c."""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import SECOND, Clock
from emu.kernel.boot import address, namespace, veth
from emu.kernel.netfilter.conn import DST_NAT, SEEN_REPLY, SRC_NAT, Conn
from emu.kernel.netfilter.hooks import FORWARD, Drop
from emu.kernel.netfilter.matches import Match, matches
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore
from emu.wire.addr import ip4
from emu.wire.frame import BROADCAST, Frame
from rules import Device, EmptyTable, FakeNetns, packet, ruleset


def dropper(rule: str, chain: str = "FORWARD") -> RuleSet:
    return parse_restore(f"*filter\n-A {chain} {rule} -j DROP\nCOMMIT\n")


def fits(rule: str, frame: Frame, net: FakeNetns | None = None, chain: str = "FORWARD") -> bool:
    """Whether a rule that drops would drop the packet."""
    net = net or FakeNetns(local=frozenset((ip4("192.0.2.1"),)))
    net.tables.replace(dropper(rule, chain))
    return isinstance(net.run(chain, frame), Drop)


def again(net: FakeNetns, frame: Frame) -> bool:
    """The same question to the same rules once more."""
    return isinstance(net.run("FORWARD", frame), Drop)


def conn(status: int = 0, mark: int = 0) -> Conn:
    """10.0.0.1:40000 asked 10.96.0.1:80 and is answered by 10.0.0.2:8080."""
    client, service, pod = ip4("10.0.0.1"), ip4("10.96.0.1"), ip4("10.0.0.2")
    made = Conn(EmptyTable(), 1, (6, client, service, 40000, 80), (6, pod, client, 8080, 40000), 0)
    made.status, made.mark = status, mark
    return made


def tracked(info: int, status: int = 0, mark: int = 0, direction: int = 0) -> Frame:
    frame = packet()
    frame.ct, frame.ctinfo, frame.ctdir = conn(status, mark), info, direction
    return frame


def untracked() -> Frame:
    frame = packet()
    frame.ctinfo = 7
    return frame


PLAIN: list[tuple[str, dict[str, Any], bool]] = [
    ("-s 10.0.0.0/31", {}, True),
    ("! -s 10.0.0.0/31", {}, False),
    ("-s 10.0.0.1", {"src": "10.0.0.3"}, False),
    ("-d 10.0.0.2", {}, True),
    ("! -d 10.0.0.2", {}, False),
    ("-d 10.0.0.0/255.0.0.255", {"dst": "10.9.9.0"}, True),
    ("-d 10.0.0.0/255.0.0.255", {"dst": "10.9.9.1"}, False),
    ("-i eth0", {"indev": "eth0"}, True),
    ("-i eth0", {"indev": "eth01"}, False),
    ("-i eth+", {"indev": "eth01"}, True),
    ("! -i eth+", {"indev": "cbr0"}, True),
    ("-i eth0", {}, False),
    ("! -i eth0", {}, True),
    ("-o veth+", {"outdev": "veth1"}, True),
    ("! -o veth1", {"outdev": "veth1"}, False),
    ("-p tcp", {}, True),
    ("-p tcp", {"proto": 17}, False),
    ("! -p tcp", {"proto": 17}, True),
    ("-p 47", {"proto": 47}, True),
    ("-f", {"frag": 5}, True),
    ("-f", {"frag": 0x2000}, False),
    ("! -f", {"frag": 0x2000}, True),
    ("-p tcp -m tcp --dport 80", {}, True),
    ("-p tcp -m tcp --dport 80", {"proto": 17}, False),
    ("-p tcp -m tcp --dport 80", {"dport": 81}, False),
    ("-p tcp -m tcp ! --dport 80", {"dport": 81}, True),
    ("-p tcp -m tcp --dport 0", {"frag": 5}, False),
    ("-p tcp -m tcp ! --dport 80", {"frag": 5}, False),
    ("-p tcp -m tcp --dport 80", {"frag": 5}, True),  # nf_tables reads the bytes there as a port
    ("-p udp -m udp --sport 39999", {"proto": 17, "frag": 5}, False),
    ("-p tcp --syn", {"frag": 5}, True),
    ("-p tcp -m tcp --tcp-option 2", {"frag": 5}, False),
    ("! -p tcp -m tcp --dport 80", {"proto": 17}, True),
    ("! -p tcp -m tcp --dport 81", {"proto": 47}, False),
    ("! -p tcp -m tcp --dport 80", {}, False),
    ("-p tcp -m tcp", {"frag": 5}, False),
    ("-p tcp", {"frag": 5}, True),
    ("-p tcp -m tcp --dport 79:81 --sport 40000:", {}, True),
    ("-p tcp -m tcp --sport :39999", {}, False),
    ("-p tcp --syn", {"flags": 0x02}, True),
    ("-p tcp --syn", {"flags": 0x12}, False),
    ("-p tcp ! --syn", {"flags": 0x10}, True),
    ("-p tcp --syn", {"flags": 0xC2}, True),
    ("-p tcp --tcp-flags ALL NONE", {"flags": 0}, True),
    ("-p tcp --tcp-flags SYN,FIN SYN,FIN", {"flags": 3}, True),
    ("-p tcp --tcp-flags SYN,FIN SYN,FIN", {"flags": 2}, False),
    ("-p udp -m udp --dport 53", {"proto": 17, "dport": 53}, True),
    ("-p sctp -m sctp --dport 53", {"proto": 132, "dport": 53}, True),
    ("-p icmp --icmp-type 8", {"proto": 1, "dport": 0x0800}, True),
    ("-p icmp --icmp-type 8", {"proto": 1, "dport": 0}, False),
    ("-p icmp ! --icmp-type 8", {"proto": 1, "dport": 0}, True),
    ("-p icmp --icmp-type 3/4", {"proto": 1, "dport": 0x0304}, True),
    ("-p icmp --icmp-type 3/4", {"proto": 1, "dport": 0x0303}, False),
    ("-p icmp --icmp-type 3", {"proto": 1, "dport": 0x0303}, True),
    ("-p icmp --icmp-type any", {"proto": 1, "dport": 0x0B00}, True),
    ("-p icmp --icmp-type any", {"proto": 1, "dport": 0x0B00, "frag": 9}, False),
    ("-p tcp -m multiport --dports 22,79:81", {}, True),
    ("-p tcp -m multiport ! --dports 22,79:81", {}, False),
    ("-p tcp -m multiport --sports 80", {}, False),
    ("-p tcp -m multiport --ports 40000", {}, True),
    ("-p tcp -m multiport --dports 80", {"frag": 9}, False),
    ("-m comment --comment x", {}, True),
    ("-m mark --mark 0x4000/0x4000", {"mark": 0x4001}, True),
    ("-m mark ! --mark 0x4000/0x4000", {"mark": 0x4001}, False),
    ("-m mark --mark 5", {"mark": 7}, False),
    ("-m mark --mark 0xff/0xf", {"mark": 0xFF}, False),
    ("-m addrtype --dst-type LOCAL", {"dst": "192.0.2.1"}, True),
    ("-m addrtype --dst-type LOCAL", {}, False),
    ("-m addrtype ! --dst-type LOCAL", {}, True),
    ("-m addrtype --src-type UNICAST,LOCAL --dst-type MULTICAST", {"dst": "224.0.0.1"}, True),
    ("-m addrtype --src-type LOCAL --dst-type MULTICAST", {"dst": "224.0.0.1"}, False),
    ("-m physdev --physdev-is-bridged", {}, False),
    ("-m physdev ! --physdev-is-bridged", {}, True),
    ("-m physdev ! --physdev-in veth1", {}, True),
    ("-m physdev --physdev-in veth1", {}, False),
    ("-m nfacct --nfacct-name n", {}, True),
    ("-m pkttype --pkt-type unicast", {}, True),
    ("-m mac --mac-source 00:00:00:00:00:00", {"indev": "eth0"}, True),
    ("-m mac --mac-source 00:00:00:00:00:00", {}, False),
    ("-m mac ! --mac-source 00:00:00:00:00:01", {"indev": "eth0"}, True),
    ("-m statistic --mode random --probability 1", {}, True),
    ("-m statistic --mode random --probability 0", {}, False),
    ("-m statistic --mode random ! --probability 0", {}, True),
]


@pytest.mark.parametrize(("rule", "given", "wanted"), PLAIN)
def test_a_packet_by_itself(rule: str, given: dict[str, Any], wanted: bool) -> None:
    assert fits(rule, packet(**given)) is wanted


@pytest.mark.parametrize(
    ("rule", "frame", "wanted"),
    [
        ("-m conntrack --ctstate NEW", tracked(2), True),
        ("-m conntrack --ctstate NEW", tracked(0), False),
        ("-m conntrack --ctstate ESTABLISHED", tracked(0), True),
        ("-m conntrack --ctstate ESTABLISHED", tracked(3, direction=1), True),
        ("-m conntrack --ctstate RELATED", tracked(1), True),
        ("-m conntrack --ctstate RELATED", tracked(4, direction=1), True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", tracked(2), False),
        ("-m conntrack ! --ctstate NEW", tracked(0), True),
        ("-m conntrack --ctstate INVALID", packet(), True),
        ("-m conntrack --ctstate INVALID", untracked(), False),
        ("-m conntrack --ctstate UNTRACKED", untracked(), True),
        ("-m conntrack --ctstate UNTRACKED", packet(), False),
        ("-m conntrack --ctstate INVALID", tracked(0), False),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", tracked(2), True),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", tracked(2, DST_NAT), False),
        ("-m conntrack --ctstate SNAT", tracked(2, SRC_NAT), True),
        ("-m conntrack --ctstate SNAT", tracked(2, DST_NAT), False),
        ("-m conntrack --ctstate DNAT", packet(), False),
        ("-m conntrack --ctorigdst 10.96.0.1", tracked(0), True),
        ("-m conntrack --ctorigdst 10.0.0.2", tracked(0), False),
        ("-m conntrack ! --ctorigdst 10.0.0.2", tracked(0), True),
        ("-m conntrack --ctreplsrc 10.0.0.0/24 --ctrepldst 10.0.0.1", tracked(0), True),
        ("-m conntrack --ctorigdstport 80 --ctorigsrcport 40000", tracked(0), True),
        ("-m conntrack --ctreplsrcport 8000:9000", tracked(0), True),
        ("-m conntrack --ctproto 6", tracked(0), True),
        ("-m conntrack --ctproto udp", tracked(0), False),
        ("-m conntrack --ctdir REPLY", tracked(3, direction=1), True),
        ("-m conntrack --ctdir REPLY", tracked(0), False),
        ("-m conntrack --ctstatus SEEN_REPLY", tracked(0, SEEN_REPLY), True),
        ("-m conntrack --ctstatus NONE", tracked(0), True),
        ("-m conntrack --ctdir ORIGINAL", packet(), False),
        ("-m conntrack --ctstate INVALID --ctdir ORIGINAL", packet(), True),
        ("-m state --state NEW", tracked(2), True),
        ("-m state --state UNTRACKED", untracked(), True),
        ("-m state ! --state INVALID", packet(), False),
        ("-m connmark --mark 0x80/0x80", tracked(0, mark=0x81), True),
        ("-m connmark ! --mark 0x80/0x80", tracked(0, mark=0x81), False),
        ("-m connmark ! --mark 0x80/0x80", packet(), False),
    ],
)
def test_a_packet_of_a_connection(rule: str, frame: Frame, wanted: bool) -> None:
    assert fits(rule, frame) is wanted


def bridged(into: str | None, out: str | None) -> Frame:
    frame = packet(indev="cbr0", outdev="cbr0")
    frame.physin = None if into is None else Device(into)
    frame.physout = None if out is None else Device(out)
    return frame


@pytest.mark.parametrize(
    ("rule", "into", "out", "wanted"),
    [
        ("--physdev-is-bridged", "veth1", "veth2", True),
        ("--physdev-is-bridged", "veth1", None, False),
        ("! --physdev-is-bridged", "veth1", None, True),
        ("--physdev-is-in", "veth1", None, True),
        ("--physdev-is-out", "veth1", None, False),
        ("--physdev-in veth+", "veth1", "veth2", True),
        ("! --physdev-in veth1", "veth1", "veth2", False),
        ("--physdev-out veth2", "veth1", "veth2", True),
        ("! --physdev-out veth2", "veth1", None, False),
        ("--physdev-in veth1 --physdev-out veth3", "veth1", "veth2", False),
    ],
)
def test_bridge_ports(rule: str, into: str | None, out: str | None, wanted: bool) -> None:
    assert fits(f"-m physdev {rule}", bridged(into, out)) is wanted


def test_link_layer_addressees() -> None:
    frame = packet()
    frame.pkt_type = BROADCAST
    assert fits("-m pkttype --pkt-type broadcast", frame)
    assert not fits("-m pkttype ! --pkt-type broadcast", frame)


def test_statistic_draws_from_its_namespaces_own_source_in_the_kernels_31_bits() -> None:
    net = FakeNetns()
    net.tables.replace(dropper("-m statistic --mode random --probability 0.3333333333"))
    ours = [isinstance(net.run("FORWARD", packet()), Drop) for _ in range(3000)]
    source = Clock().random("statistic/test")
    assert ours == [source.getrandbits(31) < 715827883 for _ in range(3000)]
    assert 900 < sum(ours) < 1100


def test_every_nth_packet_counted_per_rule_and_namespace() -> None:
    rules = dropper("-m statistic --mode nth --every 3 --packet 0")
    one, two = FakeNetns(), FakeNetns()
    one.tables.replace(rules)
    two.tables.replace(rules)
    assert [isinstance(one.run("FORWARD", packet()), Drop) for _ in range(7)] == [True, False, False] * 2 + [True]
    assert isinstance(two.run("FORWARD", packet()), Drop)
    one.tables.replace(dropper("-m statistic --mode nth --every 3 --packet 2"))
    assert [isinstance(one.run("FORWARD", packet()), Drop) for _ in range(4)] == [False, False, True, False]


def test_limit_is_a_token_bucket() -> None:
    net = FakeNetns()
    assert fits("-m limit --limit 2/sec --limit-burst 3", packet(), net)
    assert [again(net, packet()) for _ in range(3)] == [True, True, False]
    net.clock.now += SECOND // 2
    assert [again(net, packet()) for _ in range(2)] == [True, False]
    net.clock.now += 100 * SECOND
    assert [again(net, packet()) for _ in range(4)] == [True, True, True, False]


def test_recent_remembers_sources_for_a_time() -> None:
    net = FakeNetns()
    rcheck, update, put, remove = (
        "-m recent --rcheck --seconds 10 --reap --name l", "-m recent --update --seconds 10 --name l",
        "-m recent --set --name l", "-m recent --remove --name l",
    )  # fmt: skip
    assert not fits(rcheck, packet(), net)
    assert fits(put, packet(), net)
    assert fits(rcheck, packet(), net)
    assert not fits(rcheck, packet(src="10.0.0.9"), net)
    assert not fits("-m recent --rcheck --name other", packet(), net)
    assert not fits("-m recent --rcheck --name l --mask 255.255.255.0", packet(src="10.0.0.9"), net)
    net.clock.now += 9 * SECOND
    assert fits(rcheck, packet(), net)  # does not refresh
    net.clock.now += 2 * SECOND
    assert not fits(rcheck, packet(), net)  # and reaps
    assert not fits("-m recent --rcheck --name l", packet(), net)
    assert fits(put, packet(), net)
    net.clock.now += 9 * SECOND
    assert fits(update, packet(), net)
    net.clock.now += 9 * SECOND
    assert fits(rcheck, packet(), net)
    assert fits(remove, packet(), net)
    assert not fits(remove, packet(), net)
    assert fits("-m recent ! --rcheck --name l", packet(), net)


def test_recent_counts_hits_and_forgets_the_longest_unseen() -> None:
    net = FakeNetns()
    hits = "-m recent --update --seconds 60 --hitcount 3 --name h"
    net.tables.replace(ruleset("filter", f"-A FORWARD {hits} -j DROP", "-A FORWARD -m recent --set --name h"))
    assert [isinstance(net.run("FORWARD", packet()), Drop) for _ in range(5)] == [False, False, False, True, True]
    for n in range(100):
        net.run("FORWARD", packet(src=f"10.1.0.{n}"))
    assert not fits("-m recent --rcheck --name h", packet(), net)
    assert fits("-m recent --rcheck --name h", packet(src="10.1.0.0"), net)


def test_recent_judges_a_forwarded_packet_by_the_ttl_it_came_with() -> None:
    net = FakeNetns()
    assert fits("-m recent --set --name t", packet(ttl=63, outdev="eth0"), net)
    assert fits("-m recent --rcheck --rttl --name t", packet(ttl=64), net)
    assert not fits("-m recent --rcheck --rttl --name t", packet(ttl=63), net)


def test_nfacct_counts_by_name() -> None:
    net = FakeNetns()
    fits("-m nfacct --nfacct-name n", packet(), net)
    again(net, packet())
    assert net.tables.memory["nfacct", "n"] == [2, 80]


@pytest.mark.parametrize("name", sorted(matches))
def test_every_match_keeps_the_contract(name: str) -> None:
    kind = matches[name]
    assert issubclass(kind, Match)
    assert kind.__module__ == f"emu.kernel.netfilter.matches.{name}"
    assert set(kind.aliases.values()) <= set(kind.options)
    assert kind.not_negated <= set(kind.options)


def test_address_types_may_be_asked_of_one_device_only() -> None:
    clock = Clock()
    net = namespace(clock, "n")
    veth(net, "eth0", namespace(clock, "other"), "far", "02:00:00:00:00:01", "02:00:00:00:00:02")
    address(net, "eth0", "192.0.2.1/24")
    for device, limit, wanted in (
        ("eth0", "--limit-iface-in", True),
        ("lo", "--limit-iface-in", False),
        ("lo", "", True),
    ):
        net.ipv4.tables.restore(f"*filter\n-A FORWARD -m addrtype --dst-type LOCAL {limit} -j DROP\nCOMMIT\n")
        frame = packet(dst="192.0.2.1")
        frame.indev = net.devices[device]
        assert isinstance(net.ipv4.hooks.run(FORWARD, frame), Drop) is wanted
