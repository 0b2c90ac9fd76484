"""A talk that people wrote down, as the recording that it would be: both halves, with their pauses. Must not know scenarios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emu.apps.script import CLIENT, Line
from emu.clock import EPOCH_NS, MS
from emu.wire import tcp, templates, udp
from emu.wire.addr import ip4
from emu.wire.frame import Frame
from emu.wire.linktype import RAW
from emu.wire.readdress import packet_in
from emu.wire.record import Record
from emu.wire.tcp import ACK, FIN, PSH, SYN

ENDS = ip4("198.51.100.1"), ip4("198.51.100.2")  # RFC 5737: both are mapped
PORT = 50000  # the client's
SEGMENT = 1400  # bytes: a longer line is sent in several
STEP_NS = 1 * MS  # between packets, beside the pauses


def records(talk: Sequence[Line], protocol: str, port: int) -> Iterator[Record]:
    """The packets of a talk from an unnamed client to an unnamed server's `port`. `protocol` is TCP or UDP."""
    packets = _segments(talk, port) if protocol == "TCP" else _datagrams(talk, port)
    time_ns = EPOCH_NS
    for number, (pause_ns, frame) in enumerate(packets, 1):
        time_ns += pause_ns + STEP_NS
        data = packet_in(frame)
        yield Record(number, time_ns, data, len(data), RAW)


def _ends(who: str, port: int) -> tuple[int, int, int, int]:
    """Addresses and ports of a packet that `who` sends."""
    return (*ENDS, PORT, port) if who == CLIENT else (ENDS[1], ENDS[0], port, PORT)


def _datagrams(talk: Sequence[Line], port: int) -> Iterator[tuple[int, Frame]]:
    for line in talk:
        yield (
            line.after_ns,
            udp.build(
                templates.UDP,
                *_ends(line.who, port),
                line.data,
                ident=0,
                frag=0,
                ttl=64,
                tos=0,
                flow=0,
                trail=None,
            ),
        )


def _segments(talk: Sequence[Line], port: int) -> Iterator[tuple[int, Frame]]:
    sent = {True: 1000, False: 5000}  # the next sequence numbers, of the client and of the server

    def segment(client: bool, flags: int, data: bytes = b"") -> Frame:
        ack = sent[not client] if flags & ACK else 0
        made = tcp.build(
            templates.TCP, *_ends(CLIENT if client else "", port), seq=sent[client], ack=ack, flags=flags,
            window=64240, options=b"", payload=data, ident=0, ttl=64, tos=0, flow=0, trail=None,
        )  # fmt: skip
        sent[client] += len(data) + bool(flags & (SYN | FIN))
        return made

    yield 0, segment(True, SYN)
    yield 0, segment(False, SYN | ACK)
    yield 0, segment(True, ACK)
    for line in talk:
        pause_ns = line.after_ns
        for at in range(0, len(line.data), SEGMENT):
            yield pause_ns, segment(line.who == CLIENT, PSH | ACK, line.data[at : at + SEGMENT])
            pause_ns = 0
    yield 0, segment(True, FIN | ACK)
    yield 0, segment(False, FIN | ACK)
