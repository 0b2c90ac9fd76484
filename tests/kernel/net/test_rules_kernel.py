"""Routes and rules beside this machine's kernel: `ip route get` answers the same questions about the same lines."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.link.veth import pair
from emu.kernel.net.fib_rules import Flow
from emu.kernel.net.fib_semantics import ENDING, Route
from emu.kernel.net.netns import Netns
from emu.wire.addr import ip4, ip4_text
from linux import Linux

pytestmark = pytest.mark.twin

LINKS = ("eth0", "eth1", "eth2")
WORDS = {"Network is unreachable": "ENETUNREACH", "No route to host": "EHOSTUNREACH"}
WORDS |= {"Permission denied": "EACCES", "Invalid argument": "EINVAL"}


class Asked(NamedTuple):
    """One question, as the words of `ip route get`."""

    dst: str
    src: str = ""
    mark: int = 0
    iif: str = ""
    oif: str = ""
    tos: int = 0
    proto: str = ""
    sport: int = 0
    dport: int = 0
    uid: int = 0

    def command(self) -> str:
        words = ["route", "get", self.dst]
        for name, value in (("from", self.src), ("iif", self.iif), ("oif", self.oif), ("ipproto", self.proto)):
            words += [name, value] if value else []
        for name, number in (("mark", self.mark), ("tos", self.tos), ("sport", self.sport), ("dport", self.dport)):
            words += [name, f"{number:#x}" if name == "tos" else str(number)] if number else []
        return " ".join([*words, *(["uid", str(self.uid)] if not self.iif else [])])


class Sides:
    """The same host in emu and in the kernel: three links, one address each, forwarding on."""

    def __init__(self, linux: Linux) -> None:
        self.linux, self.name = linux, linux.namespace("node")
        self.net = boot.namespace(Clock(), "node", {"net.ipv4.ip_forward": 1})
        run = linux.run
        for where in ("all", "default"):
            run(
                self.name,
                "sysctl",
                "-qw",
                f"net.ipv4.conf.{where}.rp_filter=0",
                f"net.ipv6.conf.{where}.disable_ipv6=1",
            )
        run(self.name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, link in enumerate(LINKS):
            run(self.name, "ip", "link", "add", link, "type", "veth", "peer", "name", f"far{number}")
            for end in (link, f"far{number}"):
                run(self.name, "ip", "link", "set", end, "up")
            run(self.name, "ip", "addr", "add", f"10.0.{number}.1/24", "dev", link)
            near, far = pair(
                Clock(), link, bytes((2, 0, 0, 0, 0, number)), f"far{number}", bytes((2, 0, 0, 0, 1, number))
            )
            self.net.attach(near)
            self.net.attach(far)
            boot.address(self.net, near, f"10.0.{number}.1/24")

    def add(self, kind: str, text: str) -> bool:
        """`ip route add` or `ip rule add` on both sides. True: both took it."""
        kernels, ours = "", ""
        try:
            self.linux.run(self.name, "ip", kind, "add", *text.split())
        except AssertionError as error:
            kernels = str(error)
        try:
            boot.route(self.net, text) if kind == "route" else boot.rule(self.net, text)
        except InputError as error:
            ours = str(error)
        assert bool(kernels) is bool(ours), (
            f"ip {kind} add {text}: the kernel {kernels or 'takes it'}, emu {ours or 'takes it'}"
        )
        return not ours

    def listed(self, kind: str) -> list[str]:
        text = self.linux.run(self.name, "ip", "-4", kind, "show", *(["table", "all"] if kind == "route" else []))
        return [re.sub(r" \[\w+\]", "", " ".join(line.split())) for line in text.replace("\n\t", " ").splitlines()]

    def ask(self, asked: list[Asked]) -> list[str]:
        """What the kernel answers: the device and gateway, or the errno."""
        script = "; ".join(f"ip {each.command()} 2>&1 | head -1" for each in asked)
        return [_short(line) for line in self.linux.run(self.name, "sh", "-c", script).splitlines()]

    def answer(self, asked: Asked) -> str:
        proto = {"": 0, "tcp": 6, "udp": 17, "icmp": 1}[asked.proto]
        flow = Flow(asked.tos, proto, asked.sport, asked.dport, asked.uid)
        oif = self.net.device(asked.oif) if asked.oif else None
        src = ip4(asked.src) if asked.src else 0
        if asked.iif:
            found = self.net.ipv4.fib.lookup(ip4(asked.dst), src, asked.mark, asked.iif, None, flow)
        else:
            found = self.net.ipv4.lookup_output(ip4(asked.dst), src, asked.mark, oif, flow)
        return _answer(self.net, found)


def _short(line: str) -> str:
    for words, name in WORDS.items():
        if words in line:
            return name
    if line.startswith(("local", "broadcast")):
        return line.split(maxsplit=1)[0]
    via = re.search(r" via (\S+)", line)
    dev = re.search(r" dev (\S+)", line)
    assert dev, line
    return f"{dev[1]} {via[1] if via else '-'}"


def _answer(net: Netns, route: Route | None) -> str:
    if route is None:
        return "ENETUNREACH"
    if route.kind in ENDING:
        return ENDING[route.kind]
    if route.kind in ("local", "broadcast"):
        return route.kind
    return f"{net.ipv4.out_device(route).name} {ip4_text(route.gateway) if route.gateway else '-'}"


@pytest.fixture
def sides(linux: Linux) -> Sides:
    return Sides(linux)


def test_gateways_are_looked_up_where_the_kernel_does(sides: Sides) -> None:
    texts = (
        "10.9.9.1 dev eth1 scope link table 2",
        "default via 10.9.9.1 dev eth1 table 2",
        "default via 10.9.9.1 dev eth1",
        "default via 10.9.9.1 dev eth1 table 3",
        "default via 10.9.9.1 table 2 metric 7",
        "10.7.0.0/16 dev eth0 scope link",
        "default via 10.7.0.1 table 4",
        "default via 10.7.0.1 dev eth1 table 4 metric 2",
        "10.7.9.0/24 via 10.0.1.9",
        "10.70.0.0/16 via 10.7.9.1",
        "10.77.0.0/16 via 10.0.1.1",
        "10.78.0.0/16 via 10.0.1.255",
        "10.79.0.0/16 via 10.99.0.1 dev eth2 onlink",
        "10.80.0.0/16 via 10.0.0.1 dev eth2 onlink",
        "10.81.0.0/16 via 10.99.0.1 onlink",
        "10.82.0.0/16 nexthop via 10.0.0.9 nexthop via 10.0.1.9 weight 3",
        "10.83.0.0/16 nexthop via 10.0.0.9 dev eth0 nexthop via 10.44.1.9 dev eth1",
        "10.84.0.0/16 nexthop via 10.0.0.9 weight 4",
        "10.85.0.0/16 proto static src 10.0.0.1 nexthop via 10.0.0.9 nexthop dev eth2 weight 256",
        "10.6.0.0/16 dev eth0",
        "10.6.0.0/16 dev eth1",
        "10.6.0.0/16 dev eth1 tos 0x10",
        "10.6.0.0/16 dev eth1 tos 0x10 metric 5",
    )
    assert sum(sides.add("route", text) for text in texts) == 15
    ours = [
        f"{each.text()}{'' if each.table == 254 else f' table {each.table}'}"
        for number in sides.net.ipv4.fib.tables
        for each in sides.net.ipv4.fib.tables[number]
        if number != 255
    ]
    kernels = [
        re.sub(r"^(.*?)( table \d+)(.*)$", r"\1\3\2", line) for line in sides.listed("route") if "local" not in line
    ]
    assert sorted(ours) == sorted(kernels)


def test_forty_drawn_sets_of_rules_choose_the_same_routes(sides: Sides) -> None:
    draw = random.Random(7)
    for number in range(3):
        sides.add("route", f"default via 10.0.{number}.9 table {100 + number}")
        sides.add("route", f"10.5{number}.0.0/16 via 10.0.{number}.8 table {100 + number}")
    sides.add("route", "default via 10.0.0.254")
    sides.add("route", "10.50.0.0/24 dev eth2 tos 0x10")
    sides.add("route", "10.51.0.0/16 dev eth2")
    sides.add("route", "unreachable 10.52.1.0/24")
    sides.add("route", "throw 10.51.1.0/24 table 101")
    sides.add("route", "prohibit 10.51.2.0/24 table 101")
    for _ in range(40):
        made = [text for text in (_rule(draw) for _ in range(draw.randint(1, 5))) if sides.add("rule", text)]
        assert sides.listed("rule") == [each.text() for each in sides.net.ipv4.fib.rules]
        asked = [_question(draw) for _ in range(12)]
        both = zip(asked, map(sides.answer, asked), sides.ask(asked), strict=True)
        assert not [(one, ours, kernels) for one, ours, kernels in both if ours != kernels], made
        sides.linux.run(sides.name, "ip", "-4", "rule", "flush")
        for text in ("lookup main pref 32766", "lookup default pref 32767"):
            sides.linux.run(sides.name, "ip", "rule", "add", *text.split())
        for rule in sides.net.ipv4.fib.rules[1:]:
            sides.net.ipv4.fib.remove_rule(rule)
        for text in ("lookup main pref 32766", "lookup default pref 32767"):
            boot.rule(sides.net, text)


def _rule(draw: random.Random) -> str:
    chosen = draw.sample(
        (
            f"from {draw.choice(('10.0.0.1', '10.60.0.0/16', 'all'))}",
            f"to {draw.choice(('10.51.0.0/16', '10.52.0.0/15', '192.0.2.1'))}",
            f"fwmark {draw.choice(('1', '0x11/0x0f', '0/0xff', '0'))}",
            f"iif {draw.choice(('eth0', 'lo', 'gone'))}",
            f"oif {draw.choice(('eth1', 'gone'))}",
            f"tos {draw.choice(('0x10', '0x08', '0xb8'))}",
            f"uidrange {draw.choice(('0-0', '1000-2000', '5-2'))}",
            f"ipproto {draw.choice(('tcp', '17', 'icmp'))}",
            f"sport {draw.choice(('5', '5-10', '9-3'))}",
            f"dport {draw.choice(('53', '50-60', '0'))}",
        ),
        draw.choice((0, 1, 1, 2, 3)),
    )
    priority = draw.randint(10, 20)
    action = draw.choice(
        ("lookup 100", "lookup 101", "lookup 102", "lookup main", "lookup main suppress_prefixlength 0", "lookup 77")
        + (
            "lookup 101 suppress_prefixlength 16",
            "lookup 100 suppress_ifgroup default",
            "lookup main suppress_ifgroup 3",
        )
        + (f"goto {draw.randint(12, 25)}", "nop", "unreachable", "blackhole", "prohibit")
    )
    return " ".join([*(["not"] if draw.random() < 0.3 else []), *chosen, action, "priority", str(priority)])


def _question(draw: random.Random) -> Asked:
    local = draw.random() < 0.5
    dst = draw.choice(
        ("10.50.0.7", "10.51.0.7", "10.51.1.7", "10.51.2.7", "10.52.1.7", "10.52.2.7", "192.0.2.1", "10.0.1.5")
    )
    src = draw.choice(("", "10.0.0.1")) if local else draw.choice(("10.60.0.1", "10.61.0.1"))
    proto = draw.choice(("tcp", "udp"))  # the tool asks for UDP where it is given none
    return Asked(
        dst, src, draw.choice((0, 1, 0x21)), "" if local else draw.choice(("eth0", "eth1")),
        draw.choice(("", "", "eth1")) if local else "", draw.choice((0, 0x10, 0x08, 0x18)), proto,
        draw.choice((0, 5, 12)), draw.choice((0, 53, 99)),
        draw.choice((0, 1500)) if local else 0,
    )  # fmt: skip


def test_next_hops_that_are_down(sides: Sides) -> None:
    """A route with several next hops stays while one of them is up; a link without carrier is left out only if asked for."""
    run, fib = sides.linux.run, sides.net.ipv4.fib
    hops = "nexthop via 10.0.0.9 dev eth0 weight 1 nexthop via 10.0.1.9 dev eth1 weight 3 nexthop dev eth2 weight 1"
    sides.add("route", f"default {hops}")
    sides.add("route", "default via 10.0.0.9 metric 9")

    def same() -> None:
        kernels = [re.sub(" linkdown", "", line) for line in sides.listed("route") if "broadcast" not in line]
        ours = [each.text() for each in fib.main]
        assert sorted(ours) == sorted(each for each in kernels if "table local" not in each)

    same()
    for link, up in (
        ("eth1", False),
        ("eth0", False),
        ("eth1", True),
        ("eth0", True),
        ("eth2", False),
        ("eth0", False),
        ("eth1", False),
    ):
        run(sides.name, "ip", "link", "set", link, "up" if up else "down")
        sides.net.set_link(link, up=up)
        same()
    for link in LINKS:
        run(sides.name, "ip", "link", "set", link, "up")
        sides.net.set_link(link, up=True)
    sides.add("route", "10.9.0.0/16 via 10.0.1.9")
    sides.add("route", "10.0.0.0/8 via 10.0.2.9")
    asked = [Asked("10.9.0.1"), Asked("10.0.1.7"), Asked("10.0.1.1"), Asked("10.0.1.255")]
    answers = []
    for carrier, ignored in ((True, 0), (False, 0), (False, 1), (True, 1)):
        run(sides.name, "ip", "link", "set", "far1", "up" if carrier else "down")
        _carrier(sides.net.device("eth1"), carrier)
        run(sides.name, "sysctl", "-qw", f"net.ipv4.conf.all.ignore_routes_with_linkdown={ignored}")
        sides.net.sysctl["net.ipv4.conf.all.ignore_routes_with_linkdown"] = ignored
        answers.append(sides.ask(asked))
        assert [sides.answer(each) for each in asked] == answers[-1]
    assert answers[2] == ["eth2 10.0.2.9", "eth2 10.0.2.9", "local", "eth2 10.0.2.9"], "a case that matters"


def _carrier(device: Device, on: bool) -> None:
    device.net.set_carrier(device.name, on=on)


def test_a_source_address_prefers_the_next_hop_of_its_link(sides: Sides) -> None:
    sides.add("route", "default nexthop via 10.0.0.9 weight 1 nexthop via 10.0.1.9 weight 200 nexthop via 10.0.2.9")
    asked = [Asked(f"192.0.2.{n}", src) for n in range(1, 9) for src in ("10.0.0.1", "10.0.1.1", "10.0.2.1")]
    assert [sides.answer(each) for each in asked] == sides.ask(asked)
    assert {*sides.ask(asked[:3])} == {"eth0 10.0.0.9", "eth1 10.0.1.9", "eth2 10.0.2.9"}


def test_addresses_bring_and_take_the_same_routes(sides: Sides) -> None:
    run, net = sides.linux.run, sides.net

    def same() -> None:
        ours = [
            f"{each.text().split(' ', 1)[0]} {each.text().split(' ', 1)[1]}{' table local' if number == 255 else ''}"
            for number in net.ipv4.fib.tables
            for each in net.ipv4.fib.tables[number]
            if each.device is not None and each.device.name != "lo"
        ]
        kernels = [line for line in sides.listed("route") if " dev lo " not in line]
        kernels = [re.sub(r"^(.*)( table local)(.*)$", r"\1\3\2", line) for line in kernels]
        # of routes that are alike but for the device, the order counts
        assert sorted(ours) == sorted(kernels)
        for prefix in ("10.0.0.0/24", "10.0.0.0/16"):
            assert [each for each in ours if each.startswith(prefix)] == [
                each for each in kernels if each.startswith(prefix)
            ]

    for text in ("10.0.0.2/24 eth0", "10.0.0.3/24 eth1", "10.0.0.1/24 eth2", "10.0.9.1/32 eth1", "10.0.8.1/31 eth1",
                 "10.0.0.5/16 eth0", "10.0.0.7/16 eth0", "10.0.0.8/16 eth0"):  # fmt: skip
        cidr, link = text.split()
        run(sides.name, "ip", "addr", "add", cidr, "dev", link)
        boot.address(net, link, cidr)
        same()
    for up in (False, True):
        run(sides.name, "ip", "link", "set", "eth0", "up" if up else "down")
        net.set_link("eth0", up=up)
        same()
    run(sides.name, "sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=0")
    for cidr, promote in (("10.0.0.1/24", 0), ("10.0.0.5/16", 1), ("10.0.0.7/16", 0)):
        run(sides.name, "sysctl", "-qw", f"net.ipv4.conf.eth0.promote_secondaries={promote}")
        net.sysctl["net.ipv4.conf.eth0.promote_secondaries"] = promote
        run(sides.name, "ip", "addr", "del", cidr, "dev", "eth0")
        address = next(each for each in net.addresses if str(each) == cidr and each.device.name == "eth0")
        net.ipv4.remove_address(address)
        same()
