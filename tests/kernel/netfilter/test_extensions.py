"""Extensions whose answer hangs on more than a packet's bytes: programs, sockets, the date. What is known decides; what is
not known leaves the packet undecided, with its reason. (Those about bytes alone: test_stateless_kernel.py.)"""

from __future__ import annotations

from typing import Any

import pytest

from emu.clock import SECOND
from emu.kernel.netfilter.hooks import Drop
from emu.kernel.netfilter.matches import FROM_DUMPS
from emu.kernel.netfilter.save import parse_restore
from emu.lab import Lab
from emu.trail import Note
from emu.wire.addr import ip4
from emu.wire.frame import UDP, Frame
from rules import FakeNetns, packet

UNDECIDED = [
    ("filter", "FORWARD", "-m cpu --cpu 0 -j DROP", "which processor"),
    ("filter", "FORWARD", '-m bpf --bytecode "1,6 0 0 0" -j DROP', "not run"),
    ("filter", "FORWARD", "-m ipvs --ipvs -j DROP", "IPVS"),
    ("filter", "INPUT", "-m cgroup --cgroup 1 -j DROP", "control groups"),
]
OF_DUMPS = [
    (
        "filter",
        "FORWARD",
        "-j NFQUEUE --queue-num 7 --queue-bypass",
        "a program on the queue decides is not known (queue 7)",
    ),
    ("filter", "INPUT", "-m socket -j DROP", "sockets of the node"),
    ("mangle", "PREROUTING", "-p tcp -j TPROXY --on-port 80", "sockets of the node"),
    ("filter", "FORWARD", "-m time --timestart 08:00 -j DROP", "date of the node"),
    ("filter", "FORWARD", "-j TEE --gateway 10.0.0.9", "copy is not followed (to 10.0.0.9)"),
    ("filter", "FORWARD", "-m realm --realm 5 -j DROP", "realms"),
]


def asked(table: str, chain: str, rule: str, *, of_dumps: bool = False) -> tuple[Any, Frame]:
    net = FakeNetns(shown={"eth0": ip4("10.0.0.254")})
    net.tables.replace(parse_restore(f"*{table}\n-A {chain} {rule}\nCOMMIT\n"))
    if of_dumps:
        net.tables.memory[FROM_DUMPS] = True
    frame = packet(indev="eth0")
    return net.run(chain, frame), frame


@pytest.mark.parametrize(("table", "chain", "rule", "why"), UNDECIDED)
def test_what_is_not_modelled_is_undecided_with_its_reason(table: str, chain: str, rule: str, why: str) -> None:
    verdict, frame = asked(table, chain, rule)
    assert isinstance(verdict, Drop) and verdict.reason == "UNDECIDED"
    assert any(isinstance(each, Note) and why in str(each) for each in frame.trail or ())


@pytest.mark.parametrize(("table", "chain", "rule", "why"), OF_DUMPS)
def test_what_a_dump_does_not_hold_is_undecided_there_alone(table: str, chain: str, rule: str, why: str) -> None:
    verdict, frame = asked(table, chain, rule, of_dumps=True)
    assert isinstance(verdict, Drop) and verdict.reason == "UNDECIDED"
    assert any(isinstance(each, Note) and why in str(each) for each in frame.trail or ())
    decided, _ = asked(table, chain, rule)
    assert decided is None or decided.reason != "UNDECIDED"


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ("-j NFQUEUE", True),
        ("-j NFQUEUE --queue-balance 1:4", True),
        ("-j NFQUEUE --queue-num 3 --queue-bypass", False),
    ],
)
def test_no_program_listens_on_a_queue(rule: str, dropped: bool) -> None:
    """With a bypass the packet is accepted, and the rules after it are not asked."""
    verdict, _ = asked("filter", "FORWARD", f"{rule}\n-A FORWARD -j DROP")
    assert isinstance(verdict, Drop) is dropped


def test_a_proxy_without_its_socket_drops() -> None:
    verdict, _ = asked("mangle", "PREROUTING", "-p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x1/0x1")
    assert isinstance(verdict, Drop) and verdict.reason == "NETFILTER_DROP"


def test_the_virtual_clock_starts_on_a_wednesday_at_midnight() -> None:
    net = FakeNetns()
    rule = "-m time --weekdays Wed --datestart 2020-01-01 --datestop 2020-01-01T00:00:09 -j DROP"
    net.tables.replace(parse_restore(f"*filter\n-A FORWARD {rule}\nCOMMIT\n"))
    assert isinstance(net.run("FORWARD", packet()), Drop)
    net.clock.run_until(10 * SECOND)
    assert net.run("FORWARD", packet()) is None


@pytest.mark.parametrize(
    ("options", "bound", "peer", "fits"),
    [
        ("", "10.0.0.2", "", True),
        ("", "0.0.0.0", "", False),
        ("--nowildcard", "0.0.0.0", "", True),
        ("--transparent --nowildcard", "10.0.0.2", "", False),
        ("", "10.0.0.2", "10.0.0.1", True),
        ("--nowildcard", "10.0.0.2", "10.0.0.9", False),
        ("--nowildcard --restore-skmark", "10.0.0.2", "", True),
    ],
)
def test_a_socket_is_looked_up(options: str, bound: str, peer: str, fits: bool) -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    server = other.sockets.udp()
    server.bind((bound, 53))
    if peer:
        server.connect((peer, 4000))
    rules = f"*filter\n-A INPUT -m mark --mark 5 -m socket {options} -m mark --mark {0 if 'skmark' in options else 5} -j DROP\nCOMMIT\n"
    other.ipv4.tables.restore(rules)
    frame = packet("10.0.0.1", "10.0.0.2", UDP, 4000, 53, mark=5, indev="eth0")
    verdict = other.ipv4.hooks.run(1, frame)
    assert isinstance(verdict, Drop) is fits


def test_a_connection_counts_though_its_listener_does_not() -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    server = other.sockets.tcp()
    server.bind(("0.0.0.0", 80))
    server.listen(5)
    other.ipv4.tables.restore("*filter\n-A INPUT -p tcp -m socket\n-A INPUT -p tcp -m tcp --syn\nCOMMIT\n")
    client = one.sockets.tcp()
    client.connect(("10.0.0.2", 80))
    lab.run(1)
    known, syns = other.ipv4.tables.ruleset.tables["filter"]["INPUT"].rules
    counters = other.ipv4.tables.counters
    assert counters[syns][0] == 1
    assert counters[known][0] == 1  # the ACK: its connection is there, the SYN's was not
