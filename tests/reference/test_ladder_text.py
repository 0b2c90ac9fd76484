"""The support code by itself: every line of every ladder is read, and written again from bytes."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from emu.twin.normalise import checksum
from ladder_frames import Composer
from ladder_lines import FOLDER, NAMES, Sighting, load, parse, per_tap, split_background
from ladder_normalise import Ladder
from ladder_setup import Port, Setup

CLIENT_PORTS = range(40001, 40100)
FRAMES = {
    "s01_same_node": 94,
    "s02_cross_router": 308,
    "s03_clusterip_remote": 165,
    "s04_clusterip_same_node": 166,
    "s05_clusterip_same_node_nf0": 91,
    "s11_no_endpoints": 62,
    "s12_closed_ports": 240,
}


def test_all_seven_are_here() -> None:
    assert set(NAMES) == set(FRAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_a_ladder_is_understood(name: str) -> None:
    steps = load(name)
    assert sum(len(step.frames) for step in steps) == FRAMES[name]
    text = (FOLDER / f"{name}.txt").read_text()
    kept = sum(len(s.frames) + len(s.calls) + sum(1 + len(t) for t in s.tables.values()) + 1 for s in steps)
    left = [line for line in text.splitlines() if line and not line.startswith("# ")]
    assert kept == len(left)


@pytest.mark.parametrize("name", NAMES)
def test_lines_to_frames_and_back(name: str) -> None:
    """Scapy builds each line's frame; the normaliser, which is plain struct code, must write the very same line."""
    setup = Setup(name)
    compose, normalise = Composer(setup.macs()), Ladder(setup.roles(), CLIENT_PORTS)
    for step in load(name):
        for seen in step.frames:
            assert normalise.render(compose.frame(seen.line)) == seen.line, (step.title, seen)


@pytest.mark.parametrize("name", NAMES)
def test_taps_are_devices_and_directions_agree_with_macs(name: str) -> None:
    """`in-other` is a frame for another host's MAC, `in` one for this host, a broadcast or multicast, or on lo."""
    setup = Setup(name)
    known = {f"{port.namespace}:{port.device}" for port, _ in setup.devices()}
    for step in load(name):
        for seen in step.frames:
            assert seen.tap in known
            target = seen.line[1:].split("]")[0].split(">")[1]
            if seen.direction != "out":
                ours = target in ("bcast", "zero", seen.tap.replace(":", "."))
                assert (seen.direction == "in") == ours, seen


@pytest.mark.parametrize("name", NAMES)
def test_every_cable_has_two_ends(name: str) -> None:
    setup = Setup(name)
    for port, device in setup.devices():
        if device["kind"] == "veth":
            assert setup.cable(setup.cable(port)) == port


def test_cables_by_name() -> None:
    setup = Setup("s11_no_endpoints")
    assert setup.cable(Port("n1", "veth-p2")) == Port("p2", "eth0")
    assert setup.cable(Port("n1", "eth0")) == Port("sw", "n1")
    assert setup.cable(Port("gw", "eth0")) == Port("sw", "gw")
    assert setup.cable(Port("ext", "eth0")) == Port("gw", "ext")
    assert setup.routes("n1") == ["default via 192.168.50.1 dev eth0", "10.244.2.0/24 via 192.168.50.12 dev eth0"]


def test_a_line_of_no_known_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse("## a step\n  what is this\n")


def test_probes_and_their_answers_are_background() -> None:
    who = "out      [a>{}] ARP who-has 1.1.1.1 tell 2.2.2.2 (a)"
    answer = "in       [b>a] ARP 1.1.1.1 is-at b -> 2.2.2.2 (a)"
    asked, probed = who.format("bcast"), who.format("b")
    assert split_background([asked, answer]) == ([asked, answer], [])
    assert split_background([asked, answer, probed, answer]) == ([asked, answer], [probed, answer])


def test_background_of_the_ladders_is_where_a_step_waited_for_five_seconds() -> None:
    for name in NAMES:
        for step in load(name):
            background = [line for lines in per_tap(step.frames).values() for line in split_background(lines)[1]]
            assert bool(background) == step.title.startswith("one udp datagram of 1000 bytes")


class TestNormaliser:
    roles = {b"\2\0\0\0\0\1": "a", b"\2\0\0\0\0\2": "b"}

    def render(self, layer: object, **kwargs: object) -> str:
        frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="1.0.0.1", dst="1.0.0.2", id=7) / layer
        return Ladder(self.roles).render(bytes(frame))

    def test_wrong_checksums_and_lengths_are_marked(self) -> None:
        assert "bad-checksum" in self.render(UDP(sport=1, dport=2, chksum=1))
        assert "bad-checksum" in self.render(TCP(sport=1, dport=2, chksum=1))
        assert "bad-checksum" in self.render(ICMP(chksum=1))
        assert "udp-length=99" in self.render(UDP(sport=1, dport=2, len=99))
        frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="1.0.0.1", dst="1.0.0.2", chksum=1)
        assert "bad-ip-checksum" in Ladder(self.roles).render(bytes(frame))
        good = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="1.0.0.1", dst="1.0.0.2") / UDP()
        assert "length(30B, header has 28)" in Ladder(self.roles).render(bytes(good) + b"\0\0")

    def test_symbols_by_first_appearance(self) -> None:
        normalise = Ladder(self.roles, known_ports=[40001])
        text = [
            normalise.render(bytes(Ether(src=f"02:00:00:00:00:0{mac}") / IP() / UDP(sport=sport, dport=40001)))
            for mac, sport in ((8, 50000), (9, 50001), (8, 50000))
        ]
        assert [line[1:5] for line in text] == ["mac1", "mac2", "mac1"]
        assert ["UDP port1>40001" in line for line in text] == [True, False, True]

    def test_sequence_numbers_wrap_and_survive_a_changed_port(self) -> None:
        normalise = Ladder(self.roles)
        for sport, flags, seq, ip_id, want in (
            (1, "S", 0xFFFFF000, 0xFFFF, "id=r+0 TCP 1>80 [S] seq=0"),
            (2, "A", 0x1005, 0, "id=r+1 TCP 2>80 [A] seq=8197"),
            (2, "A", 0x1005, 1, "id=r+2 TCP 2>80 [A] seq=8197"),
            (1, "R", 0, 0, "id=0 TCP 1>80 [R] seq=0!"),
            (1, "A", 0x40000000, 9, "id=x TCP 1>80 [A] seq=seq1"),
        ):
            packet = IP(src="1.0.0.1", dst="1.0.0.2", id=ip_id) / TCP(sport=sport, dport=80, flags=flags, seq=seq)
            assert want in normalise.render(bytes(Ether(src="02:00:00:00:00:01") / packet))

    def test_fragments_and_other_errors(self) -> None:
        assert "ICMP frag-needed mtu=1450 quote(28B){1.0.0.1>1.0.0.2 ttl64 id=q UDP 53>53 len=0}" in self.render(
            ICMP(type=3, code=4, nexthopmtu=1450) / IP(src="1.0.0.1", dst="1.0.0.2") / UDP()
        )
        assert "ICMP ttl-exceeded quote(28B)" in self.render(ICMP(type=11) / IP(src="1.0.0.1") / UDP())
        frame = Ether(src="02:00:00:00:00:01") / IP(src="1.0.0.1", dst="1.0.0.2", frag=185, flags="MF") / (b"x" * 8)
        assert "id=frag1 fragment offset=1480+ proto=0 len=8" in Ladder(self.roles).render(bytes(frame))

    def test_checksum_is_rfc_1071(self) -> None:
        assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # the RFC's own example
        assert checksum(b"\xff") == 0x00FF


def test_per_tap_keeps_order() -> None:
    seen = [Sighting(0.1, "a:x", "out", "[1]"), Sighting(0.2, "b:y", "in", "[2]"), Sighting(0.3, "a:x", "in", "[3]")]
    assert per_tap(seen) == {"a:x": ["out      [1]", "in       [3]"], "b:y": ["in       [2]"]}
