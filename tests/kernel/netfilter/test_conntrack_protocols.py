"""Connection tracking of GRE, UDP-Lite, DCCP and odd UDP and ICMP: which packets it takes, its entries, and their NAT."""

from __future__ import annotations

import random

import pytest

from kernel_lab import kernel_judges
from odd_packets import CLIENT, OUTSIDE, SERVER, gre, icmp, ip, udp, udplite
from router_pair import FILTER, MASQUERADE, EmuRouter, alike, kernel_router, verdict

PPP, IP_IN_GRE = 0x880B, 0x0800
THERE, BACK = (1500, 2000), (2000, 1500)
ENDS = f"src={CLIENT} dst={SERVER}", f"src={SERVER} dst={CLIENT}"


def entry(name: str, proto: int, seconds: int, one: str = "", other: str = "", marks: str = "[UNREPLIED]") -> str:
    words = [f"ipv4     2 {name:<8} {proto} {seconds}", ENDS[0], one, marks * (marks == "[UNREPLIED]"), ENDS[1], other]
    words += [marks * (marks != "[UNREPLIED]"), "mark=0 use=1"]
    return " ".join(word for word in words if word)


@pytest.mark.parametrize(
    ("proto", "body", "line"),
    [
        (47, gre(0, IP_IN_GRE, data=b"x"), entry("gre", 47, 29, "srckey=0x0 dstkey=0x0", "srckey=0x0 dstkey=0x0")),
        (47, gre(1, PPP, 77, b"x"), entry("gre", 47, 29, "srckey=0x0 dstkey=0x4d", "srckey=0x4d dstkey=0x0")),
        (47, gre(1, IP_IN_GRE, 77, b"x"), ""),
        (47, bytes.fromhex("a22100350011280568656c6c"), ""),
        (136, udplite(CLIENT, SERVER, THERE, b"data"), entry("udplite", 136, 29, "sport=1500 dport=2000", "sport=2000 dport=1500")),
        # the kernel puts UDP's number into the pseudo header, and takes what RFC 3828 asks for as wrong
        (136, udplite(CLIENT, SERVER, THERE, b"data", proto=136), ""),
        (136, udplite(CLIENT, SERVER, THERE, b"data", proto=0), ""),
        (136, udplite(CLIENT, SERVER, THERE, b"data", covered=8), entry("udplite", 136, 29, "sport=1500 dport=2000", "sport=2000 dport=1500")),
        (136, udplite(CLIENT, SERVER, THERE, b"data", covered=13), ""),
        (33, bytes(16), entry("dccp", 33, 599, "sport=0 dport=0", "sport=0 dport=0")),
        (17, udp(CLIENT, SERVER, THERE, b"data", length=9, check="whole"), entry("udp", 17, 29, "sport=1500 dport=2000", "sport=2000 dport=1500")),
        (17, udp(CLIENT, SERVER, THERE, b"data", length=9, check="part"), ""),
        (17, udp(CLIENT, SERVER, THERE, b"data", length=9, check="none"), entry("udp", 17, 29, "sport=1500 dport=2000", "sport=2000 dport=1500")),
        (17, udp(CLIENT, SERVER, THERE, b"data", length=0, check="none"), ""),
        (1, icmp(9, 0, bytes(4)), ""),
        (1, icmp(30, 0, bytes(4)), ""),
        (1, icmp(13, 0, b"\0\5\0\1", bytes(12)), entry("icmp", 1, 29, "type=13 code=0 id=5", "type=14 code=0 id=5")),
    ],
)  # fmt: skip
def test_first_packets(proto: int, body: bytes, line: str) -> None:
    router = EmuRouter()
    assert verdict(router, "c", ip(CLIENT, SERVER, proto, body)) == ("NEW" if line else "INVALID")
    router.wait(0.004)  # a tick
    assert router.conns() == ([line] if line else [])


@pytest.mark.parametrize(
    ("proto", "there", "back", "seconds"),
    [
        (47, gre(0, IP_IN_GRE, data=b"x"), gre(0, IP_IN_GRE, data=b"x"), (29, 179)),
        (136, udplite(CLIENT, SERVER, THERE, b"x"), udplite(SERVER, CLIENT, BACK, b"x"), (29, 119)),
        (33, bytes(16), bytes(16), (599, 599)),
    ],
)
def test_what_is_seen_both_ways_lives_longer(proto: int, there: bytes, back: bytes, seconds: tuple[int, int]) -> None:
    router = EmuRouter()
    found = []
    for side, body in (("c", there), ("s", back), ("c", there)):
        router.send(side, ip(*((CLIENT, SERVER) if side == "c" else (SERVER, CLIENT)), proto, body))
        router.wait(0.004)  # a tick
        (line,) = router.conns()
        found.append((int(line.split()[4]), "[ASSURED]" in line))
    assured = proto != 33
    assert found == [(seconds[0], False), (seconds[0], False), (seconds[1], assured)]


@pytest.mark.parametrize(
    ("body", "leaves"),
    [
        (udplite(CLIENT, SERVER, THERE, b"data"), udplite(OUTSIDE, SERVER, THERE, b"data")),
        (udplite(CLIENT, SERVER, THERE, b"data", covered=9), udplite(OUTSIDE, SERVER, THERE, b"data", covered=9)),
        (udplite(CLIENT, SERVER, THERE, b"data", proto=136), None),  # INVALID is not masqueraded
    ],
)
def test_nat_of_udplite(body: bytes, leaves: bytes | None) -> None:
    router = EmuRouter(MASQUERADE + FILTER)
    router.send("c", ip(CLIENT, SERVER, 136, body))
    wanted = ip(OUTSIDE, SERVER, 136, leaves, 63) if leaves else ip(CLIENT, SERVER, 136, body, 63)
    assert router.got("s") == [wanted.hex()]


@pytest.mark.parametrize(("body", "left"), [(gre(0, IP_IN_GRE), 1), (bytes((0, 0, 8, 0)), 0)])
def test_nat_of_gre_needs_eight_bytes(body: bytes, left: int) -> None:
    router = EmuRouter(MASQUERADE + FILTER)
    assert verdict(router, "c", ip(CLIENT, SERVER, 47, body)) == "NEW"
    assert len(router.got("s")) == left


def drawn(draw: random.Random, side: str, ends: tuple[str, str]) -> tuple[int, bytes]:
    """A protocol and what follows the IP header, right or wrong."""
    data, ports = draw.randbytes(draw.choice([0, 1, 5, 12, 30])), THERE if side == "c" else BACK
    full = 8 + len(data)
    match draw.choice(["gre", "gre", "udp", "udp", "udplite", "udplite", "icmp", "dccp", "other", "short"]):
        case "gre":
            made = bytearray(
                gre(draw.choice([0, 1, 1, 2]), draw.choice([PPP, PPP, IP_IN_GRE]), draw.choice([77, 78]), data)
            )
            return 47, bytes(made if draw.random() < 0.75 else made[: draw.randrange(9)])
        case "udp":
            length = draw.choice([full, full, full, 8, full + 1, max(full - 3, 0), 0, 7])
            return 17, udp(*ends, ports, data, length, draw.choice(["whole", "whole", "part", "none", "bad"]))
        case "udplite":
            covered = draw.choice([0, 0, 8, full, full + 1, 7, min(9, full)])
            return 136, udplite(*ends, ports, data, covered, draw.choice([17, 17, 17, 136, 0]))
        case "icmp":
            made = bytearray(icmp(draw.choice([8, 8, 8, 0, 9, 10, 14, 15, 18, 19, 30, 1, 2]), 0, b"\0\5\0\1", data))
            return 1, bytes(made if draw.random() < 0.85 else made[: draw.randrange(9)])
        case "dccp":
            return 33, ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + bytes(12) + data
        case "short":
            return draw.choice([6, 17, 132, 136]), data[:12]
    return 99, data


@kernel_judges
@pytest.mark.parametrize("nat", [False, True])
def test_the_kernel_judges_drawn_packets_alike(nat: bool) -> None:
    """The word that rules see, the entries, and what leaves, packet by packet; errors that quote what left among them."""
    rules = MASQUERADE + FILTER if nat else FILTER
    with kernel_router(rules) as kernel:
        for seed in range(30):
            draw = random.Random(seed + 1000 * nat)
            kernel.flush()
            router = EmuRouter(rules)
            checked = draw.choice([1, 1, 0])
            for each in (kernel, router):
                each.set("net.netfilter.nf_conntrack_checksum", checked)
            proto, body = drawn(draw, "c", (CLIENT, SERVER))
            first = ip(CLIENT, SERVER, proto, body)
            done = []
            left: list[str] = []
            for number in range(4):
                side, packet = "c", first
                if number and draw.random() < 0.6:
                    side = "s"
                    if left and draw.random() < 0.5:
                        quoted = bytes.fromhex(left[-1])[: draw.choice([28, 40, 60, 200])]
                        packet = ip(SERVER, OUTSIDE if nat else CLIENT, 1, icmp(3, 3, bytes(4), quoted))
                    elif proto in (33, 47, 99) or not nat:
                        ends = SERVER, OUTSIDE if nat else CLIENT
                        packet = ip(*ends, proto, body) if nat else ip(*ends, *drawn(draw, "s", ends))
                    else:
                        continue
                words = verdict(kernel, side, packet), verdict(router, side, packet)
                entries = kernel.conns(), router.conns()
                done.append((side, packet.hex(), words))
                frames = [[each.got(way) for way in "cs"] for each in (kernel, router)]
                assert words[0] == words[1], done
                assert alike(*entries), (done, entries)
                if words[0]:
                    assert frames[0] == frames[1], done
                left = frames[0][1] or left
