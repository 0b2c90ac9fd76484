"""What each target does with a packet, and what it asks of NAT."""

from __future__ import annotations

import pytest

from emu.kernel.netfilter.conn import Conn
from emu.kernel.netfilter.hooks import HOOK_NAMES, Drop, HookState, Verdict
from emu.kernel.netfilter.nat_ports import (
    MANIP_DST,
    MANIP_SRC,
    MAP_IPS,
    PERSISTENT,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    NatRange,
)
from emu.kernel.netfilter.targets import DASH, Target, targets
from emu.trail import Note
from emu.wire.addr import ip4
from emu.wire.frame import Frame
from rules import EmptyTable, FakeNetns, packet, ruleset


def after(table: str, chain: str, target: str, frame: Frame) -> Verdict:
    net = FakeNetns()
    net.tables.replace(ruleset(table, f"-A {chain} -j {target}"))
    return net.run(chain, frame)


@pytest.mark.parametrize(
    ("words", "before", "then"),
    [
        ("--set-mark 5", 0xFF, 5),
        ("--set-mark 0x5/0xf", 0xFF, 0xF5),
        ("--set-xmark 0x4000/0x4000", 1, 0x4001),
        ("--or-mark 0x4000", 0x4001, 0x4001),
        ("--xor-mark 0x4000", 0x4001, 1),
        ("--xor-mark 0x4000", 1, 0x4001),
        ("--and-mark 0xf", 0xFF, 0xF),
    ],
)
def test_mark(words: str, before: int, then: int) -> None:
    frame = packet(mark=before)
    assert after("mangle", "PREROUTING", f"MARK {words}", frame) is None
    assert frame.mark == then


@pytest.mark.parametrize(
    ("words", "packets", "connections", "then"),
    [
        ("--set-mark 5", 1, 2, (1, 5)),
        ("--save-mark", 1, 2, (1, 1)),
        ("--restore-mark", 1, 2, (2, 2)),
        ("--save-mark --mask 0xf0", 0x37, 0x11, (0x37, 0x31)),
        ("--restore-mark --nfmask 0xf --ctmask 0xf0", 0x37, 0x41, (0x70, 0x41)),
        ("--or-mark 8", 0, 3, (0, 11)),
    ],
)
def test_connmark(words: str, packets: int, connections: int, then: tuple[int, int]) -> None:
    frame = packet(mark=packets)
    frame.ct = Conn(EmptyTable(), 1, (6, 1, 2, 3, 4), (6, 2, 1, 4, 3), 0)
    frame.ct.mark = connections
    assert after("mangle", "PREROUTING", f"CONNMARK {words}", frame) is None
    assert (frame.mark, frame.ct.mark) == then


def test_connmark_without_a_connection_does_nothing() -> None:
    frame = packet(mark=1)
    assert after("mangle", "PREROUTING", "CONNMARK --restore-mark", frame) is None
    assert frame.mark == 1


@pytest.mark.parametrize("target", ["CT --notrack", "NOTRACK"])
def test_notrack(target: str) -> None:
    frame = packet()
    assert after("raw", "PREROUTING", target, frame) is None
    assert (frame.ct, frame.ctinfo) == (None, 7)


def test_log_leaves_a_note_and_goes_on() -> None:
    frame = packet()
    assert after("filter", "FORWARD", 'LOG --log-prefix "who goes"', frame) is None
    assert (frame.trail or [])[1:] == [Note("LOG who goes")]
    frame.trail = None
    assert after("filter", "FORWARD", "LOG", frame) is None


A, B, C = ip4("10.0.0.1"), ip4("10.0.0.9"), ip4("192.0.2.1")


@pytest.mark.parametrize(
    ("chain", "rule", "manip", "wanted"),
    [
        ("PREROUTING", "-j DNAT --to-destination 10.0.0.1", MANIP_DST, NatRange(A, A, 0, 0, MAP_IPS)),
        (
            "OUTPUT",
            "-p tcp -j DNAT --to-destination 10.0.0.1:80",
            MANIP_DST,
            NatRange(A, A, 80, 80, MAP_IPS | PROTO_SPECIFIED),
        ),
        ("PREROUTING", "-p tcp -j DNAT --to-destination :8080", MANIP_DST, NatRange(0, 0, 8080, 8080, PROTO_SPECIFIED)),
        (
            "PREROUTING",
            "-p udp -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent",
            MANIP_DST,
            NatRange(A, B, 80, 90, MAP_IPS | PROTO_SPECIFIED | PROTO_RANDOM | PERSISTENT),
        ),
        (
            "POSTROUTING",
            "-j SNAT --to-source 10.0.0.1 --random-fully",
            MANIP_SRC,
            NatRange(A, A, 0, 0, MAP_IPS | PROTO_RANDOM_FULLY),
        ),
        ("INPUT", "-j SNAT --to-source 10.0.0.9", MANIP_SRC, NatRange(B, B, 0, 0, MAP_IPS)),
        (
            "PREROUTING",
            "-p tcp -j REDIRECT --to-ports 8080",
            MANIP_DST,
            NatRange(C, C, 8080, 8080, MAP_IPS | PROTO_SPECIFIED),
        ),
        ("OUTPUT", "-j REDIRECT", MANIP_DST, NatRange(ip4("127.0.0.1"), ip4("127.0.0.1"), 0, 0, MAP_IPS)),
        ("PREROUTING", "-j NETMAP --to 172.16.5.0/24", MANIP_DST, NatRange.of(ip4("172.16.5.2"))),
        ("POSTROUTING", "-j NETMAP --to 172.16.5.0/24", MANIP_SRC, NatRange.of(ip4("172.16.5.1"))),
        pytest.param(
            "POSTROUTING",
            "-p tcp -j MASQUERADE --to-ports 1024-2047 --random-fully",
            MANIP_SRC,
            NatRange(C, C, 1024, 2047, MAP_IPS | PROTO_SPECIFIED | PROTO_RANDOM_FULLY),
            marks=pytest.mark.pure("masquerade calls setup in its own module, where a test cannot replace it"),
        ),
    ],
)
def test_nat_targets_ask_for_a_range_and_end_the_chain(
    chain: str, rule: str, manip: int, wanted: NatRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def setup(frame: Frame, state: HookState, half: int, span: NatRange) -> Verdict:
        asked.append((half, span))
        return None

    for place in ("targets.nat", "targets.redirect", "targets.netmap", "nat"):
        monkeypatch.setattr(f"emu.kernel.netfilter.{place}.setup", setup)
    net = FakeNetns(shown={"eth0": C})
    net.tables.replace(ruleset("nat", f"-A {chain} {rule}", f"-A {chain} -m mark --mark 0"))
    walk = net.tables.nat_chain(HOOK_NAMES.index(chain))
    assert walk is not None
    frame = packet(proto=17 if "udp" in rule else 6, indev="eth0", outdev="eth0")
    frame.ct = Conn(EmptyTable(), 1, (6, frame.src, frame.dst, 1, 2), (6, frame.dst, frame.src, 2, 1), 0)
    assert walk(frame, net.state(chain)) is None
    assert asked == [(manip, wanted)]
    assert len(frame.trail or []) == 1


def test_without_an_address_to_show_nat_drops_and_names_the_rule() -> None:
    net = FakeNetns()
    net.tables.replace(ruleset("nat", "-A PREROUTING -j REDIRECT"))
    walk = net.tables.nat_chain(0)
    assert walk is not None
    verdict = walk(packet(indev="eth9"), net.state("PREROUTING"))
    assert isinstance(verdict, Drop)
    assert str(verdict.by) == "-A PREROUTING -j REDIRECT"


@pytest.mark.parametrize("name", sorted(targets))
def test_every_target_keeps_the_contract(name: str) -> None:
    kind = targets[name]
    assert issubclass(kind, Target)
    assert set(kind.aliases.values()) <= set(kind.options)
    assert set(kind.tables) <= {"raw", "mangle", "nat", "filter", "security"}
    assert set(kind.chains) <= set(HOOK_NAMES)


def test_no_target_has_a_dash_in_its_name() -> None:
    """A chain whose name has one is taken for no target, so that no file is looked into."""
    assert not [name for name in targets if DASH in name]
