"""Loss, probes, resets and closes: what a 6.18 kernel sent in the same situation (veth, offloads off, reno), times to the ms.

Exact times here, of timeouts in whole ticks; the kernel's timer wheel rounds them up (tests/test_clock.py).
"""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_options import Segment
from emu.kernel.transport.tcp_states import State
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN
from tcp_wire import CLIENT_ISS, DET, MS, SERVER_ISS, Wire, flag_letters


def connected(config: TcpConfig = DET, mss: int = 1460) -> tuple[Wire, TcpEndpoint, TcpEndpoint]:
    wire = Wire(config=config, mss=mss)
    wire.connect()
    wire.wait(5)
    assert wire.server is not None
    return wire, wire.client, wire.server


def test_syn_is_sent_again_at_1_2_3_4_5_7_11_s_and_given_up_after_131() -> None:
    endpoint, _ = TcpEndpoint.connect(DET, 1460, 1, 0)
    times = []
    while (due := endpoint.deadline) is not None:
        times += [due // (1000 * MS)] * len(endpoint.on_deadline(due))
    assert times == [1, 2, 3, 4, 5, 7, 11, 19, 35, 67]
    assert endpoint.error == errno.ETIMEDOUT
    assert endpoint.state == "CLOSE"


def test_syn_ack_is_sent_again_at_1_3_7_s() -> None:
    wire = Wire(lose=lambda side, segment: side == "c" and segment.flags == ACK)
    wire.connect()
    wire.wait(3500)
    wire.lose = lambda side, segment: False
    wire.wait(10_000)
    assert [(at, line[:6]) for at, line in wire.sent()] == [
        (0, "c [S] "),
        (0, "s [SA]"),
        (0, "c [A] "),
        (1000, "s [SA]"),
        (1000, "c [A] "),
        (3000, "s [SA]"),
        (3000, "c [A] "),
        (7000, "s [SA]"),
        (7000, "c [A] "),
    ]
    assert wire.server is not None
    assert wire.server.state == "ESTABLISHED"


def test_syn_ack_is_given_up_in_silence() -> None:
    syn = Segment(7, 0, SYN, 64240, mss=1460)
    endpoint, out = TcpEndpoint.accept(DET, 1460, 1, syn, 0)
    count = len(out)
    while (due := endpoint.deadline) is not None:
        count += len(endpoint.on_deadline(due))
    assert (count, endpoint.state, due) == (6, "CLOSE", None)


def test_one_lost_of_a_burst_is_repaired_by_sack() -> None:
    wire, client, _ = connected()
    lost: list[int] = []

    def third(side: str, segment: Segment) -> bool:
        if side == "c" and not lost and segment.seq == (CLIENT_ISS + 2921) & 0xFFFFFFFF:
            lost.append(segment.seq)
            return True
        return False

    wire.lose = third
    start = len(wire.log)
    wire.send("c", client.write(b"x" * 14600, wire.now))
    wire.wait(1000)
    acks = [line for line in wire.log[start:] if line[0] == "s"]
    assert acks[-1].startswith("s [A] seq=1 ack=14601 ")
    assert acks[:-1] == [
        "s [A] seq=1 ack=1461 win=525 len=0",
        "s [A] seq=1 ack=2921 win=548 len=0",
        "s [A] seq=1 ack=2921 win=571 len=0 {4381:5841}",
        "s [A] seq=1 ack=2921 win=594 len=0 {4381:7301}",
        *(f"s [A] seq=1 ack=2921 win=594 len=0 {{4381:{right}}}" for right in range(8761, 14602, 1460)),
    ]
    assert [line for line in wire.log[start:] if "seq=2921 " in line and line[0] == "c"] == [
        "c [A] seq=2921 ack=1 win=502 len=1460"
    ] * 2


def test_tail_loss_probe_then_doubling_timeouts() -> None:
    wire, client, _ = connected()
    wire.send("c", client.write(b"a" * 10, wire.now))
    wire.wait(10)
    start = len(wire.log)
    wire.lose = lambda side, segment: True
    wire.send("c", client.write(b"x" * 200, wire.now))
    wire.wait(1500)
    wire.lose = lambda side, segment: False
    wire.wait(500)
    assert wire.sent(start) == [
        (0, "c [PA] seq=11 ack=1 win=502 len=200"),
        (200, "c [PA] seq=11 ack=1 win=502 len=200"),
        (404, "c [PA] seq=11 ack=1 win=502 len=200"),  # the timeout is 51 whole ticks, doubled from then on
        (812, "c [PA] seq=11 ack=1 win=502 len=200"),
        (1628, "c [PA] seq=11 ack=1 win=502 len=200"),
        (1628, "s [A] seq=1 ack=211 win=501 len=0"),
    ]


def test_the_tail_of_two_segments_is_probed_after_two_round_trips_and_2_ms() -> None:
    """TCP_TIMEOUT_MIN_US, whatever a tick is; a kernel with HZ=250 sent it 5.4 ms later, at the second tick."""
    wire, client, _ = connected()
    assert client.set_nodelay(True, wire.now) == []
    wire.send("c", client.write(b"a" * 10, wire.now))
    wire.wait(10)
    start = len(wire.log)
    wire.lose = lambda side, segment: True
    for size in (100, 101):
        wire.send("c", client.write(b"x" * size, wire.now))
    wire.wait(50)
    (first, _), (second, _), (probe, line) = wire.sent(start)[:3]
    assert (first, second) == (0, 0) and line == "c [PA] seq=111 ack=1 win=502 len=101"
    assert 2 <= probe <= 4


def test_small_segments_are_joined_when_sent_again() -> None:
    wire, client, _ = connected()
    assert client.set_nodelay(True, wire.now) == []
    wire.send("c", client.write(b"a" * 10, wire.now))
    wire.wait(10)
    start = len(wire.log)
    wire.lose = lambda side, segment: True
    for size in (100, 101, 102, 103, 104):
        wire.send("c", client.write(b"x" * size, wire.now))
        wire.wait(1)
    wire.wait(400)
    wire.lose = lambda side, segment: False
    wire.wait(1000)
    assert [line for _, line in wire.sent(start)[5:]] == [
        "c [PA] seq=417 ack=1 win=502 len=104",
        "c [PA] seq=11 ack=1 win=502 len=510",
        "c [PA] seq=11 ack=1 win=502 len=510",
        "s [A] seq=1 ack=521 win=501 len=0",
    ]


def test_fin_lost() -> None:
    wire, client, server = connected()
    wire.send("c", client.write(b"hello", wire.now))
    wire.wait(10)
    wire.send("s", server.read(10, wire.now)[1])
    start = len(wire.log)
    wire.lose = lambda side, segment: True
    wire.send("c", client.close(wire.now))
    wire.wait(900)
    wire.lose = lambda side, segment: False
    wire.wait(1000)
    wire.send("s", server.close(wire.now))
    assert wire.sent(start) == [
        *((at, "c [FA] seq=6 ack=1 win=502 len=0") for at in (0, 200, 404, 812, 1628)),
        (1664, "s [A] seq=1 ack=7 win=502 len=0"),
        (1900, "s [FA] seq=1 ack=7 win=502 len=0"),
        (1900, "c [A] seq=7 ack=2 win=502 len=0"),
    ]


def test_data_is_given_up_after_924_s() -> None:
    wire, client, _ = connected()
    wire.lose = lambda side, segment: True
    begin = wire.now
    wire.send("c", client.write(b"x", wire.now))
    assert client.on_icmp_error(errno.EHOSTUNREACH, wire.now) == []
    wire.wait(2_000_000)
    assert client.error == errno.EHOSTUNREACH  # the soft error is the better reason
    assert client.state == "CLOSE"
    assert len(wire.log) > 15
    assert 924_000 <= (wire.times[-1][0] - begin) // MS + 120_000 <= 1_200_000


def test_half_close_then_close_with_unread_data() -> None:
    wire, client, server = connected()
    wire.send("c", client.write(b"hello", wire.now))
    wire.wait(10)
    wire.send("s", server.read(10, wire.now)[1])
    start = len(wire.log)
    wire.send("c", client.shutdown(wire.now))
    wire.wait(100)
    wire.send("s", server.write(b"answer", wire.now))
    wire.wait(100)
    wire.send("c", client.close(wire.now))
    assert [line for _, line in wire.sent(start)] == [
        "c [FA] seq=6 ack=1 win=502 len=0",
        "s [A] seq=1 ack=7 win=502 len=0",
        "s [PA] seq=1 ack=7 win=502 len=6",
        "c [A] seq=7 ack=7 win=502 len=0",
        "c [RA] seq=7 ack=7 win=502 len=0",
    ]
    assert server.error == errno.EPIPE


def test_close_with_unread_data_and_abort() -> None:
    wire, client, server = connected()
    wire.send("c", client.write(b"hello", wire.now))
    wire.send("s", server.close(wire.now))
    assert wire.log[-1] == "s [RA] seq=1 ack=6 win=502 len=0"
    assert (client.error, client.state) == (errno.ECONNRESET, "CLOSE")
    wire, client, server = connected()
    wire.send("c", client.abort(wire.now))
    assert wire.log[-1] == "c [RA] seq=1 ack=1 win=502 len=0"
    assert server.error == errno.ECONNRESET


def test_data_to_a_closed_socket() -> None:
    wire, client, server = connected()
    wire.send("c", client.write(b"hello", wire.now))
    wire.wait(10)
    wire.send("s", server.read(10, wire.now)[1])
    start = len(wire.log)
    wire.send("s", server.close(wire.now))
    wire.wait(100)
    wire.send("c", client.write(b"more", wire.now))
    assert [line for _, line in wire.sent(start)] == [
        "s [FA] seq=1 ack=6 win=502 len=0",
        "c [A] seq=6 ack=2 win=502 len=0",
        "c [PA] seq=6 ack=2 win=502 len=4",
        "s [R] seq=2 ack=0 win=0 len=0",
    ]
    assert client.error == errno.EPIPE
    assert server.state == "CLOSE"


def test_simultaneous_close() -> None:
    wire, client, server = connected()
    fins = [*client.close(wire.now)], [*server.close(wire.now)]
    wire.send("c", fins[0])
    assert server.state == "CLOSING"
    wire.send("s", fins[1])
    assert (client.state, server.state) == ("TIME_WAIT", "TIME_WAIT")
    wire.wait(61_000)
    assert client.deadline is None


def test_zero_window_probes_and_opening() -> None:
    wire, client, server = connected()
    left = 400_000

    def write() -> None:
        nonlocal left
        while left and not client.no_space:
            wire.send("c", client.write(b"x" * left, wire.now))
            left -= client.taken

    write()
    for _ in range(100):  # the program writes when the send buffer has room
        wire.wait(50)
        write()
    assert client.unsent > 0 and left > 0
    held = server.readable
    assert any("win=0 " in line for line in wire.log if line[0] == "s")
    probes = [at for at, line in wire.sent() if line[0] == "c"][-4:]
    gaps = [b - a for a, b in pairwise(probes)]
    assert all(1.9 < b / a < 2.1 for a, b in pairwise(gaps))
    got = 0
    for _ in range(200):
        data, out = server.read(1 << 20, wire.now)
        got += len(data)
        wire.send("s", out)
        wire.wait(50)
        write()
    assert held < got == 400_000
    assert client.unsent == left == 0 and " ack=400001 " in wire.log[-1]


@pytest.mark.parametrize("sack", [True, False])
def test_path_mtu_shrinks(sack: bool) -> None:
    """Segments that are too large come again at once, cut; then all are small."""
    wire, client, server = connected(TcpConfig(timestamps=False, sack=sack))
    wire.lose = lambda side, segment: len(segment.payload) > 1360
    start = len(wire.log)
    wire.send("c", client.write(b"x" * 5000, wire.now))
    wire.send("c", client.on_pmtu(1400, wire.now))
    wire.wait(3000)
    assert server.readable == 5000
    assert client.mss == 1360
    assert wire.sent(start)[-1][0] < 250


def test_icmp_unreachable_reverts_a_backoff() -> None:
    wire, client, _ = connected()
    wire.send("c", client.write(b"x", wire.now))
    wire.wait(50)
    wire.lose = lambda side, segment: True
    wire.send("c", client.write(b"y", wire.now))
    wire.wait(1000)
    sent = len(wire.log)
    before = client.deadline
    assert before is not None
    wire.send("c", client.on_icmp_error(errno.EHOSTUNREACH, wire.now))
    after = client.deadline
    assert len(wire.log) > sent or (after is not None and after < before)
    assert (client.state, client.error) == ("ESTABLISHED", None)
    assert client.on_icmp_error(errno.EHOSTUNREACH, wire.now, seq=(CLIENT_ISS - 5000) & 0xFFFFFFFF) == []


def test_icmp_error_fails_a_connect() -> None:
    endpoint, _ = TcpEndpoint.connect(DET, 1460, 1, 0)
    assert endpoint.on_icmp_error(errno.ENETUNREACH, 5, seq=1) == []
    assert (endpoint.state, endpoint.error, endpoint.deadline) == ("CLOSE", errno.ENETUNREACH, None)


def test_challenge_acks() -> None:
    """RFC 5961: a RST in the window but not at its edge, and a SYN, are asked back; no more than one in half a second."""
    wire, client, _ = connected()
    seq = SERVER_ISS + 1
    odd = Segment(seq + 5, 0, RST, 0)
    assert [flag_letters(s) for s in client.on_segment(odd, wire.now)] == ["A"]
    assert client.on_segment(Segment(seq, 0, SYN, 1000), wire.now) == []
    wire.wait(600)
    assert [flag_letters(s) for s in client.on_segment(Segment(seq, 0, SYN, 1000), wire.now)] == ["A"]
    assert client.on_segment(Segment(seq, 0, RST, 0), wire.now) == []
    assert (client.state, client.error) == ("CLOSE", errno.ECONNRESET)


def test_unexpected_syn_ack() -> None:
    endpoint, _ = TcpEndpoint.connect(DET, 1460, 1000, 0)
    out = endpoint.on_segment(Segment(5, 77, SYN | ACK, 100), 10)
    assert [(flag_letters(s), s.seq, s.ack, s.window, s.stateless) for s in out] == [("R", 77, 0, 0, True)]
    assert endpoint.state == "SYN_SENT"


def test_simultaneous_open() -> None:
    a, syn_a = TcpEndpoint.connect(DET, 1460, 1000, 0)
    b, syn_b = TcpEndpoint.connect(DET, 1460, 9000, 0)
    to_a, to_b = list(syn_b), list(syn_a)
    for _ in range(4):
        to_b, to_a = [s for x in to_a for s in a.on_segment(x, 10)], [s for x in to_b for s in b.on_segment(x, 10)]
    assert (a.state, b.state) == ("ESTABLISHED", "ESTABLISHED")
    assert (to_a, to_b) == ([], [])


def test_time_wait_answers_and_reuse() -> None:
    wire, client, server = connected()
    wire.send("c", client.close(wire.now))
    wire.send("s", server.close(wire.now))
    assert client.state == "TIME_WAIT"
    fin = Segment(SERVER_ISS + 1, (CLIENT_ISS + 2) & 0xFFFFFFFF, FIN | ACK, 502)
    wire.wait(30_000)
    answer = client.on_segment(fin, wire.now)
    assert [(flag_letters(s), s.stateless) for s in answer] == [("A", True)]
    assert client.deadline == wire.now + 60_000 * MS
    assert client.reusable_isn(Segment(SERVER_ISS - 99, 0, SYN, 100)) is None
    assert client.reusable_isn(Segment(SERVER_ISS + 999, 0, SYN, 100)) == (CLIENT_ISS + 2 + 65537) & 0xFFFFFFFF


def test_fin_wait_2_of_a_closed_socket_ends_after_60_s() -> None:
    wire, client, _ = connected()
    wire.send("c", client.close(wire.now))
    wire.wait(59_000)
    states: list[State] = [client.state]
    wire.wait(2_000)
    states.append(client.state)
    assert states == ["FIN_WAIT2", "CLOSE"]


def test_a_closed_socket_answers_what_is_out_of_its_window_and_resets_too() -> None:
    """tcp_timewait_state_process in FIN_WAIT2: data always, what has none once in half a second."""
    wire, client, _ = connected()
    wire.send("c", client.close(wire.now))
    wire.wait(1_000)
    far = (SERVER_ISS + (1 << 30)) & 0xFFFFFFFF
    bare, data = Segment(far, 0, RST, 0), Segment(far, 0, RST, 0, payload=b"x")
    answers = [client.on_segment(segment, wire.now) for segment in (data, data, bare, bare)]
    assert [[flag_letters(each) for each in some] for some in answers] == [["A"], ["A"], ["A"], []]
    assert client.state == "FIN_WAIT2"


def test_data_written_while_connecting_goes_with_the_handshake() -> None:
    endpoint, out = TcpEndpoint.connect(DET, 1460, 1000, 0)
    assert endpoint.write(b"early", 0) == []
    server, answer = TcpEndpoint.accept(DET, 1460, 5, out[0], 10)
    sent = endpoint.on_segment(answer[0], 20)
    assert [s.payload for s in sent][-1] == b"early"
    for segment in sent:
        server.on_segment(segment, 30)
    assert server.read(100, 40)[0] == b"early"
    assert sent[-1].flags == PSH | ACK


def test_progress_is_reported_once() -> None:
    wire, client, _ = connected()
    assert client.progress
    client.progress = False
    wire.send("c", client.write(b"x", wire.now))
    assert client.progress
