"""SCTP in connection tracking: an association's states and seconds as the kernel had them, and its checks."""

from __future__ import annotations

import random

import pytest

from emu.wire.sctp import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
)
from kernel_lab import kernel_judges
from odd_packets import CLIENT, OUTSIDE, SERVER, chunk, icmp, ip, sctp
from router_pair import FILTER, MASQUERADE, EmuRouter, alike, kernel_router, verdict

Chunk = tuple[int, int, int]  # type, flags, the tag that it asks for
Sent = tuple[str, int, list[Chunk]]  # side, tag, chunks
# The tags: packets to the client have 11, packets to the server 22
ASSOCIATION: list[tuple[Sent, str, str, int]] = [
    (("c", 0, [(INIT, 0, 11)]), "NEW", "CLOSED", 9),
    (("s", 11, [(INIT_ACK, 0, 22)]), "ESTABLISHED", "COOKIE_WAIT", 2),
    (("c", 22, [(COOKIE_ECHO, 0, 0), (DATA, 0, 0)]), "ESTABLISHED", "COOKIE_ECHOED", 2),
    (("s", 11, [(COOKIE_ACK, 0, 0), (SACK, 0, 0)]), "ESTABLISHED", "ESTABLISHED", 209),
    (("c", 22, [(DATA, 0, 0)]), "ESTABLISHED", "ESTABLISHED", 209),
    (("s", 11, [(HEARTBEAT, 0, 0)]), "ESTABLISHED", "ESTABLISHED", 209),
    (("c", 22, [(HEARTBEAT_ACK, 0, 0)]), "ESTABLISHED", "ESTABLISHED", 209),
    (("c", 22, [(SHUTDOWN, 0, 0)]), "ESTABLISHED", "SHUTDOWN_SENT", 2),
    (("s", 11, [(SHUTDOWN_ACK, 0, 0)]), "ESTABLISHED", "SHUTDOWN_ACK_SENT", 2),
    (("c", 22, [(SHUTDOWN_COMPLETE, 0, 0)]), "ESTABLISHED", "CLOSED", 9),
]
PORTS = {"c": (1500, 2000), "s": (2000, 1500)}


def packet_of(sent: Sent, to_client: str = CLIENT, check: bytes = b"") -> bytes:
    side, tag, chunks = sent
    src, dst = (CLIENT, SERVER) if side == "c" else (SERVER, to_client)
    return ip(src, dst, 132, sctp(PORTS[side], tag, [chunk(*each) for each in chunks], check))


def test_an_association_from_init_to_shutdown_complete() -> None:
    router = EmuRouter()
    assured = False
    for sent, word, state, seconds in ASSOCIATION:
        assert verdict(router, sent[0], packet_of(sent)) == word
        router.wait(0.01)
        (line,) = router.conns()
        assured = assured or state == "ESTABLISHED"
        assert line.split()[4:6] == [str(seconds), state], sent
        assert ("[ASSURED]" in line) is assured


@pytest.mark.parametrize(
    ("steps", "sent", "word"),
    [
        (0, ("c", 0, []), "INVALID"),  # no chunk
        (0, ("c", 22, [(DATA, 0, 0)]), "INVALID"),  # data opens no entry
        (0, ("c", 5, [(INIT, 0, 11)]), "INVALID"),  # an INIT has tag 0
        (0, ("c", 22, [(ABORT, 0, 0)]), "INVALID"),  # out of the blue
        (0, ("c", 22, [(COOKIE_ACK, 0, 0)]), "INVALID"),
        (0, ("c", 22, [(SHUTDOWN_ACK, 0, 0)]), "NEW"),
        (0, ("c", 22, [(HEARTBEAT, 0, 0)]), "NEW"),  # a second path
        (0, ("c", 0, [(INIT, 0, 11), (DATA, 0, 0)]), "INVALID"),  # an INIT stands alone
        (4, ("c", 22, [(DATA, 0, 0), (COOKIE_ECHO, 0, 0)]), "INVALID"),  # COOKIE ECHO stands first
        (4, ("c", 33, [(DATA, 0, 0)]), "INVALID"),  # another tag
        (4, ("c", 33, [(ABORT, 0, 0)]), "INVALID"),
        (4, ("c", 11, [(ABORT, 0, 0)]), "INVALID"),
        (4, ("c", 11, [(ABORT, 1, 0)]), "ESTABLISHED"),  # reflected: T is set
        (4, ("s", 11, [(INIT_ACK, 0, 33)]), "INVALID"),  # asks for another tag, and nothing asked it
    ],
)
def test_what_is_taken(steps: int, sent: Sent, word: str) -> None:
    router = EmuRouter()
    for each, *_ in ASSOCIATION[:steps]:
        router.send(each[0], packet_of(each))
    assert verdict(router, sent[0], packet_of(sent)) == word


@pytest.mark.parametrize(("checked", "word"), [(1, "INVALID"), (0, "NEW")])
def test_a_wrong_crc_is_invalid_where_checksums_are_verified(checked: int, word: str) -> None:
    router = EmuRouter()
    router.set("net.netfilter.nf_conntrack_checksum", checked)
    assert verdict(router, "c", packet_of(ASSOCIATION[0][0], check=bytes(4))) == word


def test_a_repeated_init_does_not_keep_the_entry_alive() -> None:
    router = EmuRouter()
    for _ in range(3):
        router.send("c", packet_of(ASSOCIATION[0][0]))
        router.wait(2.9)
    (line,) = router.conns()
    assert line.split()[4:6] == ["1", "CLOSED"]


def test_nat_computes_the_crc_anew() -> None:
    router = EmuRouter(MASQUERADE + FILTER)
    router.send("c", packet_of(ASSOCIATION[0][0]))
    (left,) = (bytes.fromhex(each) for each in router.got("s"))
    assert left[20:] == sctp(PORTS["c"], 0, [chunk(INIT, 0, 11)]) and left[12:16] == bytes((10, 0, 2, 1))
    quoting = ip(SERVER, OUTSIDE, 1, icmp(3, 3, bytes(4), left))
    router.send("s", quoting)
    (error,) = (bytes.fromhex(each) for each in router.got("c"))
    assert error[28 + 20 :] == left[20:], "the quoted CRC is right too"


def drawn(seed: int) -> list[Sent]:
    """A part of an association, then anything."""
    draw = random.Random(seed)
    kinds = [*range(12), 14, 63, 128, INIT, INIT_ACK, INIT_ACK, COOKIE_ACK, COOKIE_ECHO, HEARTBEAT, HEARTBEAT_ACK]
    sent = [each for each, *_ in ASSOCIATION[: draw.choice([0, 0, 1, 2, 3, 4, 4, 5, 8, 9, 10])]]
    for _ in range(draw.randint(2, 6)):
        many = 1 if draw.random() < 0.8 else draw.randint(2, 3)
        chunks = [(draw.choice(kinds), draw.choice([0, 0, 1]), draw.choice([11, 22, 33, 0])) for _ in range(many)]
        side = draw.choice("cs")
        sent.append((side, draw.choice([0, 33, *([22] if side == "c" else [11]) * 3, 11, 22]), chunks))
    return sent


@kernel_judges
@pytest.mark.parametrize("nat", [False, True])
def test_the_kernel_judges_drawn_packets_alike(nat: bool) -> None:
    """The word that rules see, the entry, its state and its seconds, packet by packet."""
    rules = MASQUERADE + FILTER if nat else FILTER
    with kernel_router(rules) as kernel:
        for seed in range(25):
            kernel.flush()
            router = EmuRouter(rules)
            done = []
            for sent in drawn(seed + 1000 * nat):
                packet = packet_of(sent, OUTSIDE if nat else CLIENT)
                words = verdict(kernel, sent[0], packet), verdict(router, sent[0], packet)
                entries = kernel.conns(), router.conns()
                done.append((sent, words))
                if nat and len(entries[0]) > 1:
                    break  # the server's packet came first: a port is drawn
                assert words[0] == words[1], done
                assert alike(*entries), (done, entries)
                if words[0]:
                    assert [kernel.got(side) for side in "cs"] == [router.got(side) for side in "cs"], done
