"""Sets from `ipset save`: what is in them, timeouts, names that are not there, and bad text. The kernel's own answers
are in test_node_rules_kernel.py."""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.netfilter.dump import parse_dump
from emu.kernel.netfilter.hooks import Drop
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.wire.rewrite import set_smac
from linux import Linux
from rules import FakeNetns, packet, ruleset


def held(sets: IpSets, name: str, flags: str, now_ns: int = 0, **fields: Any) -> bool:
    return sets.test(name, packet(**fields), flags.split(","), now_ns)[0]


@pytest.mark.parametrize(
    ("text", "flags", "fields", "inside"),
    [
        ("hash:ip family inet\nadd s 10.0.0.0/30", "dst", {"dst": "10.0.0.3"}, True),
        ("hash:ip family inet\nadd s 10.0.0.1-10.0.0.3", "dst", {"dst": "10.0.0.4"}, False),
        ("hash:net family inet\nadd s 0.0.0.0/1\nadd s 10.0.0.0/8 nomatch", "src", {"src": "10.0.0.1"}, False),
        ("hash:net,net family inet\nadd s 10.0.0.0/24,10.0.1.0/24", "src,dst", {"dst": "10.0.1.9"}, True),
        ("hash:net,net family inet\nadd s 10.0.0.0/24,10.0.1.0/24", "dst,src", {"dst": "10.0.1.9"}, False),
        ("hash:ip,mark family inet\nadd s 10.0.0.2,0x00000005", "dst,dst", {"mark": 5}, True),
        ("hash:net,port,net family inet\nadd s 10.0.0.0/24,tcp:80-90,10.0.0.0/24", "src,dst,dst", {"dport": 85}, True),
        ("hash:ip,port family inet\nadd s 10.0.0.2,icmp:8/0", "dst,dst", {"proto": 1, "dport": 8 << 8}, True),
        ("hash:ip,port family inet\nadd s 10.0.0.2,udp:80", "dst,dst", {}, False),
        ("hash:net,iface family inet\nadd s 10.0.0.0/24,eth0", "src,src", {"indev": "eth0"}, True),
        ("hash:net,iface family inet wildcard\nadd s 10.0.0.0/24,eth+", "src,src", {"indev": "eth7"}, True),
        ("hash:net,iface family inet\nadd s 10.0.0.0/24,physdev:eth0", "src,src", {"indev": "eth0"}, False),
        ("bitmap:port range 0-100\nadd s 80-81", "dst", {}, True),
        ("hash:ip family inet6\nadd s fc00::1", "dst", {}, False),
        ("hash:ip,port\nadd s 10.0.0.2,icmp:echo-request", "dst,dst", {"proto": 1, "dport": 8 << 8}, True),
        ("hash:ip,port\nadd s 10.0.0.2,icmp:echo-request", "dst,dst", {"proto": 1, "dport": 0}, False),
        ("hash:ip,port\nadd s 10.0.0.2,icmp:host-prohibited", "dst,dst", {"proto": 1, "dport": 0x030A}, True),
        ("hash:ip,mark markmask 0xff\nadd s 10.0.0.2,5", "dst,dst", {"mark": 0x1205}, True),
        ("hash:ip,mark markmask 0xff\nadd s 10.0.0.2,0x1205", "dst,dst", {"mark": 5}, True),
        ("hash:ip,mark markmask 0xff\nadd s 10.0.0.2,5", "dst,dst", {"mark": 6}, False),
        ("hash:ip bitmask 255.0.0.255\nadd s 10.0.0.2", "dst", {"dst": "10.7.7.2"}, True),
        ("hash:ip bitmask 255.0.0.255\nadd s 10.0.0.2", "dst", {"dst": "10.7.7.3"}, False),
        ("hash:ip,port netmask 24\nadd s 10.0.0.2,tcp:80", "dst,dst", {"dst": "10.0.0.9"}, True),
        ("hash:net,iface\nadd s 0/0,eth0\nadd s 10.0.0.0/24,eth1", "src,src", {"indev": "eth0"}, False),
        (
            "hash:net,iface\nadd s 0/0,eth0\nadd s 10.0.0.0/24,eth1",
            "dst,src",
            {"dst": "9.9.9.9", "indev": "eth0"},
            True,
        ),
        ("hash:mac\nadd s 2:0:0:0:0:a", "src", {}, False),
        ("bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1,2:0:0:0:0:1", "src,src", {}, False),
    ],
)
def test_a_packet_is_in_a_set_or_not(text: str, flags: str, fields: dict[str, Any], inside: bool) -> None:
    assert held(parse_ipset(f"create s {text}\n"), "s", flags, 0, **fields) is inside


def test_elements_end_with_their_timeout() -> None:
    sets = parse_ipset("create s hash:ip family inet timeout 30\nadd s 10.0.0.2 timeout 5\nadd s 10.0.0.3\n")
    assert held(sets, "s", "dst", 4 * SECOND)
    assert held(sets, "s", "dst", 5 * SECOND + 3_999_999)  # its last jiffy
    assert not held(sets, "s", "dst", 5 * SECOND + 4_000_000)
    assert held(sets, "s", "dst", 29 * SECOND, dst="10.0.0.3")


def test_a_saved_text_comes_back() -> None:
    text = "create a hash:net family inet hashsize 1024 maxelem 65536\nadd a 10.0.0.0/8 nomatch\ncreate l list:set size 8\nadd l a\n"
    assert parse_ipset(text).save() == text


def test_a_rule_about_a_set_that_is_not_there_is_undecided() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("filter", "-A FORWARD -m set --match-set gone dst -j ACCEPT"))
    verdict = net.run("FORWARD", packet())
    assert isinstance(verdict, Drop) and verdict.reason == "UNDECIDED"


def test_known_matches_are_asked_before_unknown_ones() -> None:
    net = FakeNetns()
    rule = '-A FORWARD -m bpf --bytecode "1,6 0 0 0" -p tcp -m tcp --dport 443 -j DROP'
    net.tables.replace(
        parse_dump(f"*filter\n{rule.replace('-m bpf', '-p tcp -m bpf').replace(' -p tcp -m tcp', ' -m tcp')}\nCOMMIT\n")
    )
    assert net.run("FORWARD", packet(dport=80)) is None
    verdict = net.run("FORWARD", packet(dport=443))
    assert isinstance(verdict, Drop) and verdict.reason == "UNDECIDED" and verdict.by.line == 2


RESTORED: list[tuple[str, bool]] = [
    ("create s hash:ip,port\nadd s 10.0.0.1,icmp:echo-request", True),
    ("create s hash:ip,port\nadd s 10.0.0.1,icmp:echo", True),
    ("create s hash:ip,port\nadd s 10.0.0.1,icmp:8", False),
    ("create s hash:ip,port\nadd s 10.0.0.1,icmp:any", False),
    ("create s hash:ip,port\nadd s 10.0.0.1,icmp:time-exceeded", False),
    ("create s hash:ip,port\nadd s 10.0.0.1,gre:0", True),
    ("create s hash:ip,port\nadd s 10.0.0.1,gre:5", False),
    ("create s hash:ip,port\nadd s 10.0.0.1,tcp:20-ssh", True),
    ("create s hash:ip\nadd s 10.0.0.1\nadd s 10.0.0.1", False),
    ("create s hash:ip\nadd s 10.0.0.0/30\nadd s 10.0.0.3", False),
    ("create s hash:ip\nadd s 10.0.0.3-10.0.0.1", True),
    ("create s hash:ip\nadd s 10.1", True),
    ("create s hash:ip\nadd s 0.0.0.0", False),
    ("create s hash:ip,port\nadd s 0.0.0.0,80", False),
    ("create s hash:ip,port,ip\nadd s 10.0.0.1,80,0.0.0.0", True),
    ("create s hash:net\nadd s 0.0.0.0/0", False),
    ("create s hash:net\nadd s 0.0.0.0", True),
    ("create s hash:net,port\nadd s 0.0.0.0/0,80", False),
    ("create s hash:ip,port,net\nadd s 10.0.0.1,80,0.0.0.0/0", False),
    ("create s hash:net,iface\nadd s 0.0.0.0/0,eth0", True),
    ("create s hash:net,iface\nadd s 10.0.0.0/24,eth0123456789012", False),
    ("create s bitmap:ip range 10.0.0.0/24\nadd s 10.0.1.0", False),
    ("create s bitmap:ip range 10.0.0.0/16", True),
    ("create s bitmap:ip range 10.0.0.0/15", False),
    ("create s bitmap:ip range 10.0.0.0/8 netmask 24", True),
    ("create s bitmap:ip", False),
    ("create s bitmap:port range 0-100\nadd s 101", False),
    ("create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1,1:2:3:4:5:6", True),
    ("create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1\nadd s 10.0.0.1,1:2:3:4:5:6", True),
    ("create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1,1:2:3:4:5:6\nadd s 10.0.0.1,1:2:3:4:5:7", False),
    (f'create s hash:ip comment\nadd s 10.0.0.1 comment "{"x" * 255}"', True),
    (f'create s hash:ip comment\nadd s 10.0.0.1 comment "{"x" * 256}"', False),
    ('create s hash:ip comment\nadd s 10.0.0.1 comment "it\'s a b"', True),
    ("create s hash:ip\nadd s 10.0.0.1 comment x", False),
    ("create s hash:ip\nadd s 10.0.0.1 packets 5", False),
    ("create s hash:ip\nadd s 10.0.0.1 timeout 5", False),
    ("create s hash:ip timeout 2147484", False),
    ("create s hash:ip\nadd s 10.0.0.1 nomatch", False),
    ("create s hash:ip bitmask 255.0.255.0", True),
    ("create s hash:ip bitmask 0.0.0.0", False),
    ("create s hash:ip bitmask 255.0.0.0 netmask 24", False),
    ("create s hash:ip netmask 33", False),
    ("create s hash:ip maxelem 2\nadd s 10.0.0.1-10.0.0.3", False),
    ("create s hash:ip maxelem 5 maxelem 6", False),
    ("create s hash:ip nonsense 5", False),
    (f"create {'s' * 32} hash:ip", False),
    ("create s list:set\ncreate l list:set\nadd l s", False),
    ("create s hash:ip\ncreate l list:set\nadd l s\nadd l s", False),
]


@pytest.mark.parametrize(("text", "taken"), RESTORED)
def test_a_text_is_taken_where_ipset_restore_takes_it(text: str, taken: bool) -> None:
    try:
        parse_ipset(f"{text}\n")
    except InputError:
        assert not taken
    else:
        assert taken


def test_the_real_ipset_takes_the_same_texts(linux: Linux) -> None:
    netns = linux.namespace("sets")
    for number, (text, taken) in enumerate(RESTORED):
        if "list:set" in text:  # the kernel frees the members of a list a while later
            netns = linux.namespace(f"sets{number}")
        try:
            linux.run(netns, "ipset", "restore", stdin=f"{text}\n")
        except AssertionError:
            assert not taken, text
        else:
            assert taken, text
        if "list:set" not in text:
            linux.run(netns, "ipset", "destroy")


def test_an_address_without_a_mac_takes_that_of_the_first_packet() -> None:
    sets = parse_ipset("create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1\n")
    first, second = packet(), packet()
    set_smac(first, b"\2\0\0\0\0\1")
    set_smac(second, b"\2\0\0\0\0\2")
    assert sets.test("s", first, ("src", "src"), 0)[0]
    assert not sets.test("s", second, ("src", "src"), 0)[0]
    assert sets.test("s", first, ("src", "src"), 0)[0]
    assert "add s 10.0.0.1,02:00:00:00:00:01\n" in sets.save()


@pytest.mark.parametrize(
    ("text", "line", "error_text"),
    [
        ("create s hash:ip\ncreate s hash:ip", 2, "already there"),
        ("create s hash:ip,port\nadd s 10.0.0.1", 2, "not an element"),
        ("create s hash:ip\n\nadd s 10.0.0.0.1", 3, "10.0.0.0.1"),
        ("create s hash:ip\nadd s 10.0.0.0/8", 2, "too many"),
        ("drop s", 1, "create NAME TYPE"),
        ("create l list:set size 8\nadd l absent", 2, "absent"),
    ],
)
def test_bad_text_is_refused_with_its_line(text: str, line: int, error_text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_ipset(text, "sets.txt")
    assert caught.value.line == line and error_text in str(caught.value) and "sets.txt" in str(caught.value)
