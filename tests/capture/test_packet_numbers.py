"""The number of a packet: all sights of one journey have it, and no other packet has; a cause is the number of a packet."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw

import emu
from emu.capture.capture import Capture
from emu.capture.captured import Captured
from emu.scenario import gallery
from emu.scenario.run import run
from emu.trail import Answered, Asked, Born, Note

BIRTHS = (Born, Asked, Answered)
STORIES = gallery.stories()


def journeys(capture: Capture) -> dict[int, list[Captured]]:
    found: dict[int, list[Captured]] = defaultdict(list)
    for each in capture.frames(background=True):
        found[each.packet_number].append(each)
    return found


def born(captured: Captured) -> bool:
    return any(isinstance(each, BIRTHS) for each in captured.trail)


@pytest.mark.parametrize("path", STORIES.values(), ids=STORIES)
def test_a_number_is_one_journey(path: Path) -> None:
    """Against the trails and the cables: a packet is born where its number is first seen and nowhere else, and what comes in
    by a cable has the number of what went in there."""
    capture = run(path).cluster.capture
    assert capture is not None
    found = journeys(capture)
    assert 0 not in found
    for number, seen in found.items():
        first = seen[0].place
        assert all(each.place is first for each in seen if born(each)), f"packet {number} is born twice"
        if first.kind != "drop" and not any(isinstance(each, Note) for each in seen[0].trail):
            assert born(seen[0]), f"packet {number} comes from nowhere: {seen[0]}"
        assert len({each.cause for each in seen}) == 1
        assert seen[0].cause < number
        assert len({each.flow for each in seen}) == 1
    sent: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for each in capture.frames(background=True):
        device = each.place.device
        peer = getattr(device, "peer", None)
        if each.direction == "out":
            sent[id(device), each.data].append(each.packet_number)
        elif each.direction == "in" and peer is not None and sent.get((id(peer), each.data)):
            assert each.packet_number in sent[id(peer), each.data]


def pair(mtu: int = 1500) -> tuple[emu.Lab, emu.kernel.net.netns.Netns, emu.kernel.net.netns.Netns]:
    lab = emu.Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24", mtu=mtu)
    return lab, client, server


def test_an_arp_question_is_for_the_packet_that_waits() -> None:
    lab, client, _ = pair()
    client.sockets.send_packet(IP(dst="10.0.0.2") / UDP(dport=9))
    lab.run(1)
    question, answer, packet, error = (each for each in lab.frames("client/eth0"))
    assert [question.cause, answer.cause, packet.cause, error.cause] == [
        packet.packet_number, question.packet_number, 0, packet.packet_number
    ]  # fmt: skip
    assert len({question.packet_number, answer.packet_number, packet.packet_number, error.packet_number}) == 4


def test_a_reset_is_for_the_segment_that_it_answers() -> None:
    lab, client, _ = pair()
    client.sockets.tcp().connect(("10.0.0.2", 81))
    lab.run(1)
    syn, reset = (next(each for each in lab.frames() if flags in each.line()) for flags in ("[S]", "[RA]"))
    assert (reset.cause, syn.cause) == (syn.packet_number, 0)


def test_fragments_and_the_whole_are_one_packet() -> None:
    lab, client, server = pair(mtu=600)
    client.sockets.send_packet(IP(dst="10.0.0.2", flags=0) / ICMP() / Raw(b"x" * 500))
    lab.run(1)
    socket = client.sockets.udp()
    socket.dont_fragment = False
    socket.connect(("10.0.0.2", 9))
    socket.send(b"y" * 1500)
    lab.run(1)
    pieces = [each for each in lab.frames("server/eth0") if "frag" in each.line() and each.direction == "in"]
    assert len(pieces) == 3
    assert len({each.packet_number for each in pieces}) == 1
    assert server.drops.total() == 1


def test_what_a_tunnel_carries_keeps_its_number() -> None:
    lab, client, server = pair()
    for net, mine, other in ((client, "1", "2"), (server, "2", "1")):
        lab.vxlan(
            net, "vx", f"id 7 local 10.0.0.{mine}", f"10.9.0.{mine}/24", f"append 00:00:00:00:00:00 dst 10.0.0.{other}"
        )
    client.sockets.send_packet(IP(dst="10.9.0.2") / UDP(dport=9))
    lab.run(1)
    assert lab.capture is not None
    for seen in journeys(lab.capture).values():
        if "UDP 53>9" in seen[0].line() or "ICMP" in seen[0].line():
            assert [each.interface for each in seen] == [
                "client/vx",
                "client/eth0",
                "server/eth0",
                "server/vx",
                "server/drop",
            ]
            break
    else:
        pytest.fail("no packet in the tunnel")


def test_a_fork_numbers_on_its_own() -> None:
    lab, client, _ = pair()
    client.sockets.send_packet(IP(dst="10.0.0.2") / UDP(dport=9))
    lab.run(1)
    other = lab.fork()
    for each in (lab, other):
        each.namespaces["client"].sockets.send_packet(IP(dst="10.0.0.2") / UDP(dport=9))
        each.run(1)
    assert [each.packet_number for each in lab.frames()] == [each.packet_number for each in other.frames()]
