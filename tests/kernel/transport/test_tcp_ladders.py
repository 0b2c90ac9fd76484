"""Request and response as a kernel sent them (ladders s01 to s04, s12), replayed between two endpoints."""

from __future__ import annotations

import errno

import pytest

from emu.kernel.transport.tcp import TcpConfig
from emu.kernel.transport.tcp_states import State
from tcp_wire import MS, RECORDED_RMEM, Wire, flag_letters

SYN_OPTIONS = "020405b4" + "01010402" + "01030307"

LADDER = f"""
c [S] seq=0 ack=0 win=64240 len=0 {SYN_OPTIONS}
s [SA] seq=0 ack=1 win=64240 len=0 {SYN_OPTIONS}
c [A] seq=1 ack=1 win=502 len=0
c [PA] seq=1 ack=1 win=502 len=6
s [A] seq=1 ack=7 win=502 len=0
s [PA] seq=1 ack=7 win=502 len=3
c [A] seq=7 ack=4 win=502 len=0
c [FA] seq=7 ack=4 win=502 len=0
s [FA] seq=4 ack=8 win=502 len=0
c [A] seq=8 ack=5 win=502 len=0
""".strip().splitlines()


def converse(wire: Wire) -> None:
    """The driver of the ladders: it waits 2 ms between calls."""
    wire.connect()
    wire.wait(2)
    assert wire.server is not None
    assert wire.client.state == wire.server.state == "ESTABLISHED"
    wire.send("c", wire.client.write(b"GET /\n", wire.now))
    wire.wait(2)
    data, out = wire.server.read(100, wire.now)
    assert data == b"GET /\n"
    wire.send("s", out)
    wire.send("s", wire.server.write(b"OK\n", wire.now))
    wire.wait(2)
    data, out = wire.client.read(100, wire.now)
    assert data == b"OK\n"
    wire.send("c", out)
    wire.wait(2)


def test_request_and_response_are_the_ladder() -> None:
    wire = Wire()
    converse(wire)
    wire.send("c", wire.client.close(wire.now))
    wire.wait(2)
    assert wire.server is not None
    assert wire.server.eof
    wire.send("s", wire.server.close(wire.now))
    wire.wait(2)
    assert wire.log == LADDER
    states: list[tuple[State, State]] = [(wire.client.state, wire.server.state)]
    assert wire.server.error is None
    wire.wait(60_000)
    states.append((wire.client.state, wire.server.state))
    assert states == [("TIME_WAIT", "CLOSE"), ("CLOSE", "CLOSE")]


def test_a_fin_is_acknowledged_after_40_ms_when_the_application_does_not_close() -> None:
    wire = Wire()
    converse(wire)
    sent = wire.now
    wire.send("c", wire.client.close(wire.now))
    wire.wait(39)
    assert wire.log == LADDER[:8]
    wire.wait(3)
    assert wire.log[8:] == ["s [A] seq=4 ack=8 win=502 len=0"]
    assert wire.client.time_waiting
    assert wire.client.deadline is not None
    assert wire.client.deadline - sent > 60_000 * MS
    wire.wait(100)
    assert wire.server is not None
    out = wire.server.close(wire.now)
    assert [flag_letters(s) for s in out] == ["FA"]
    answer = wire.client.on_segment(out[0], wire.now)
    assert [(flag_letters(s), s.stateless) for s in answer] == [("A", True)]  # the mini socket's: IP ID 0


def test_closed_port() -> None:
    wire = Wire(listening=False)
    wire.connect()
    assert wire.log == [LADDER[0], "s [RA] seq=0 ack=1 win=0 len=0"]
    assert wire.client.error == errno.ECONNREFUSED
    assert wire.client.state == "CLOSE"


def test_default_profile_has_timestamps() -> None:
    wire = Wire(config=TcpConfig(rmem=RECORDED_RMEM))
    converse(wire)
    syn, syn_ack, ack = wire.log[:3]
    assert "win=64240" in syn
    assert syn.split()[-1].startswith("020405b40402080a")
    assert syn.endswith("01030307")
    assert "win=65160" in syn_ack
    assert ack.split()[-1].startswith("0101080a")
    assert "win=502" in ack
    assert wire.client.mss == 1448


@pytest.mark.parametrize(("mss", "window"), [(1460, 64240), (1410, 64860), (65495, 65495)])
def test_first_window(mss: int, window: int) -> None:
    wire = Wire(mss=mss)
    wire.connect()
    assert f"win={window}" in wire.log[0]


def test_second_request_is_acknowledged_late() -> None:
    wire = Wire()
    converse(wire)
    assert wire.server is not None
    wire.send("c", wire.client.write(b"again\n", wire.now))
    wire.wait(39.9)
    assert wire.log[7:] == ["c [PA] seq=7 ack=4 win=502 len=6"]
    wire.wait(1)
    assert wire.log[8:] == ["s [A] seq=4 ack=13 win=502 len=0"]


def test_second_answer_carries_the_ack() -> None:
    wire = Wire()
    converse(wire)
    assert wire.server is not None
    wire.send("c", wire.client.write(b"again\n", wire.now))
    wire.wait(2)
    _, out = wire.server.read(100, wire.now)
    wire.send("s", out)
    wire.send("s", wire.server.write(b"OK\n", wire.now))
    assert wire.log[7:9] == ["c [PA] seq=7 ack=4 win=502 len=6", "s [PA] seq=4 ack=13 win=502 len=3"]


def test_nagle() -> None:
    """Of 1+2+3 bytes, 1 ms apart, after the connection has become interactive: one, then the rest after the delayed ACK."""
    wire = Wire()
    converse(wire)
    for piece in (b"a", b"bb", b"ccc"):
        wire.send("c", wire.client.write(piece, wire.now))
        wire.wait(1)
    wire.wait(100)
    assert wire.log[7:] == [
        "c [PA] seq=7 ack=4 win=502 len=1",
        "s [A] seq=4 ack=8 win=502 len=0",
        "c [PA] seq=8 ack=4 win=502 len=5",
        "s [A] seq=4 ack=13 win=502 len=0",
    ]


def test_nodelay() -> None:
    wire = Wire()
    converse(wire)
    assert wire.client.set_nodelay(True, wire.now) == []
    for piece in (b"a", b"bb", b"ccc"):
        wire.send("c", wire.client.write(piece, wire.now))
    assert [line for line in wire.log[7:] if line[0] == "c"] == [
        "c [PA] seq=7 ack=4 win=502 len=1",
        "c [PA] seq=8 ack=4 win=502 len=2",
        "c [PA] seq=10 ack=4 win=502 len=3",
    ]


# Window fields of one receiver that does not read, as a 6.18 kernel sent them (veth, offloads off, reno).
WINDOWS_30000 = [525, 548, 571, 594, 592, 581, 570, 559, 548, 537, 526, 515, 504, 493, 482, 471, 460, 449, 438, 427]


def test_windows_of_a_long_write() -> None:
    wire = Wire()
    wire.connect()
    wire.wait(5)
    wire.send("c", wire.client.write(b"x" * 30000, wire.now))
    acks = [line for line in wire.log[3:] if line[0] == "s"]
    assert acks == [f"s [A] seq=1 ack={1461 + 1460 * i} win={field} len=0" for i, field in enumerate(WINDOWS_30000)]
    sent = [line for line in wire.log[3:] if line[0] == "c"]
    assert sum(int(line.rpartition("=")[2]) for line in sent) == 30000
    wire.wait(41)
    assert wire.log[-1] == "s [A] seq=1 ack=30001 win=421 len=0"
    assert wire.server is not None
    data, out = wire.server.read(1 << 20, wire.now)
    assert len(data) == 30000
    wire.send("s", out)


@pytest.mark.parametrize(
    ("sizes", "fields"),
    [((6,), [502]), ((200,), [501]), ((1000, 1000, 1000), [525, 541, 534]), ((200, 1460, 1460), [501, 524, 547])],
)
def test_windows_of_small_writes(sizes: tuple[int, ...], fields: list[int]) -> None:
    wire = Wire()
    wire.connect()
    for size in sizes:
        wire.wait(10)
        wire.send("c", wire.client.write(b"x" * size, wire.now))
    assert [int(line.split("win=")[1].split()[0]) for line in wire.log[3:] if line[0] == "s"] == fields


def fields(wire: Wire, start: int) -> list[int]:
    return [int(line.split("win=")[1].split()[0]) for line in wire.log[start:] if line[0] == "s"]


def test_windows_with_timestamps() -> None:
    wire = Wire(config=TcpConfig(rmem=RECORDED_RMEM))
    wire.connect()
    wire.wait(5)
    wire.send("c", wire.client.write(b"x" * 30000, wire.now))
    wire.wait(60)
    assert fields(wire, 3) == [532, 555, 577, 595, *range(584, 418, -11), 411]


def test_windows_after_reading() -> None:
    """Reading acknowledges the end of a write; once full windows are out, a shrinking window holds ACKs back until the next read."""
    wire = Wire()
    wire.connect()
    wire.wait(5)
    wire.send("c", wire.client.write(b"x" * 30000, wire.now))
    assert wire.server is not None
    wire.wait(10)
    start = len(wire.log)
    wire.send("s", wire.server.read(1 << 20, wire.now)[1])
    wire.wait(10)
    wire.send("c", wire.client.write(b"y" * 20000, wire.now))
    wire.wait(1)  # before a probe for the tail
    wire.send("s", wire.server.read(1 << 20, wire.now)[1])
    assert fields(wire, start) == [594, 616, 626, 626]
    assert [line for line in wire.log[start:] if "[PA]" in line] == ["c [PA] seq=48981 ack=1 win=502 len=1020"]


def test_conversation_with_timestamps() -> None:
    """Three requests of 300 bytes and answers of 500, 2 ms apart, as a kernel sent them."""
    wire = Wire(config=TcpConfig(rmem=RECORDED_RMEM))
    wire.connect()
    wire.wait(2)
    assert wire.server is not None
    for _ in range(3):
        wire.send("c", wire.client.write(b"x" * 300, wire.now))
        wire.wait(2)
        wire.send("s", wire.server.read(1000, wire.now)[1])
        wire.send("s", wire.server.write(b"y" * 500, wire.now))
        wire.wait(2)
        wire.send("c", wire.client.read(1000, wire.now)[1])
    wire.wait(100)
    assert [line.rpartition(" ")[0] for line in wire.log[3:]] == [
        "c [PA] seq=1 ack=1 win=502 len=300",
        "s [A] seq=1 ack=301 win=507 len=0",
        "s [PA] seq=1 ack=301 win=507 len=500",
        "c [A] seq=301 ack=501 win=501 len=0",
        "c [PA] seq=301 ack=501 win=501 len=300",
        "s [PA] seq=501 ack=601 win=505 len=500",
        "c [PA] seq=601 ack=1001 win=501 len=300",
        "s [PA] seq=1001 ack=901 win=503 len=500",
        "c [A] seq=901 ack=1501 win=501 len=0",
    ]


def test_windows_of_a_request_with_the_buffers_of_linux_6_18() -> None:
    """One GET of 26 bytes as tcpdump saw it on Linux 6.18 (tcp_rmem 4096 131072 33554432): scale 10, windows 63 and 64."""
    wire = Wire(config=TcpConfig(), mss=1460)
    wire.connect()
    wire.wait(1)
    wire.send("c", wire.client.write(bytes(74), wire.now))
    assert wire.server is not None
    _, out = wire.server.read(100, wire.now)
    wire.send("s", [*out, *wire.server.write(bytes(185), wire.now)])
    _, out = wire.client.read(185, wire.now)
    wire.send("c", out)
    wire.send("s", wire.server.write(bytes(26), wire.now))
    _, out = wire.client.read(26, wire.now)
    wire.send("c", out)
    wire.send("s", wire.server.close(wire.now))
    wire.send("c", wire.client.close(wire.now))
    assert [line.split(" len=")[0].partition("win=")[2] for line in wire.log] == [
        *("64240", "65160", "63", "63", "64", "64", "63", "64", "63", "64", "63", "64")
    ]
    assert wire.log[0].endswith("0103030a") and wire.log[1].endswith("0103030a")
