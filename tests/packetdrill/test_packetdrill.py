"""Scripts of packetdrill's language: those of `scripts` hold (Linux 6.18 with reno holds them, too), and what differs is shown."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.packetdrill.call import GIVEN, Names, parse_call
from emu.packetdrill.packet import Packet, parse_packet
from emu.packetdrill.run import Result, run
from emu.packetdrill.script import parse
from emu.report.packetdrill import packetdrill

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.pkt"))
LISTENING = """\
0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0  bind(3, ..., ...) = 0
+0  listen(3, 5) = 0
+.1 < S 0:0(0) win 65535 <mss 1000,nop,wscale 7>
"""
CONNECTED = f"{LISTENING}+0  > S. 0:0(0) ack 1 <...>\n+.1 < . 1:1(0) ack 1 win 500\n+0  accept(3, ..., ...) = 4\n"


def ran(text: str) -> Result:
    return run(text, "test.pkt")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_holds(path: Path) -> None:
    result = run(path.read_text(encoding="utf-8"), path.name)
    assert result.failure is None, packetdrill([result]).text
    assert result.events == len(result.script.events) > 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"{LISTENING}+0  > S. 0:0(0) ack 2 win 100 <mss 1460,nop,wscale 7>",
            """\
            failed   test.pkt:5: another packet was sent
                     event   > S. 0:0(0) ack 2 win 100 <mss 1460,nop,wscale 7>
                     field     expected                                            actual
                     packet    > S. 0:0(0) ack 2 win 100 <mss 1460,nop,wscale 7>   > S. 0:0(0) ack 1 win 64240 <mss 1460,nop,wscale 10>
                     ack       2                                                   1
                     win       100                                                 64240
                     options   mss 1460,nop,wscale 7                               mss 1460,nop,wscale 10
            1 script: 0 held, 1 failed, 0 refused""",
        ),
        (
            f"{CONNECTED}+0  write(4, ..., 100) = 90",
            """\
            failed   test.pkt:8: write() gave another result
                     event   write(4, ..., 100) = 90
                     field    expected   actual
                     result   90         100
            1 script: 0 held, 1 failed, 0 refused""",
        ),
        (
            f"{CONNECTED}+0  read(4, ..., 100) = 1",
            """\
            failed   test.pkt:8: read() waits
                     event   read(4, ..., 100) = 1
                     field    expected   actual
                     result   1          none yet
            1 script: 0 held, 1 failed, 0 refused""",
        ),
        (
            f"{CONNECTED}+.1 write(4, ..., 100) = 100\n+.1 > P. 1:101(100) ack 1",
            """\
            failed   test.pkt:9: the packet was sent at another time
                     event   > P. 1:101(100) ack 1
                     field    expected                  actual
                     packet   > P. 1:101(100) ack 1   the same
                     time     0.4 s                   0.3 s
            1 script: 0 held, 1 failed, 0 refused""",
        ),
        (
            f"{CONNECTED}+.1 > P. 1:101(100) ack 1",
            """\
            failed   test.pkt:8: no packet was sent
                     event   > P. 1:101(100) ack 1
                     field    expected                actual
                     packet   > P. 1:101(100) ack 1   none
                     time     until 0.31 s            -
            1 script: 0 held, 1 failed, 0 refused""",
        ),
        (
            f"{CONNECTED}+0 %{{ assert tcpi_snd_cwnd == 9, tcpi_snd_cwnd }}%",
            """\
            failed   test.pkt:8: an assertion does not hold
                     event   assert tcpi_snd_cwnd == 9, tcpi_snd_cwnd
                     field    expected             actual
                     assert   tcpi_snd_cwnd == 9   tcpi_snd_cwnd is 10
            1 script: 0 held, 1 failed, 0 refused""",
        ),
    ],
)
def test_a_failure_shows_the_line_and_both_sides(text: str, shown: str) -> None:
    lines = [" ".join(line.split()) for line in packetdrill([ran(text)]).text.splitlines()]
    assert lines == [" ".join(line.split()) for line in textwrap.dedent(shown).splitlines()]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("+0 epoll_create(1) = 5", "the call epoll_create() is outside of the subset"),
        (
            "+0 setsockopt(3, SOL_TCP, TCP_FASTOPEN, [5], 4) = 0",
            "setsockopt() of TCP_FASTOPEN is outside of the subset",
        ),
        (
            "+0 connect(3, {sa_family=AF_INET, sin_port=htons(80)}, 16) = 0",
            "connect() with an address is outside of the subset",
        ),
        ("+0 socket(..., SOCK_RAW, IPPROTO_ICMP) = 3", "socket() of type SOCK_RAW is outside of the subset"),
        ("+0 < S 0:0(0) win 1 <FO abcd>", "the option 'FO abcd' is outside of the subset"),
        ("+0 < ipv6 1:2 > 3:4: . 1:1(0)", "a packet of ipv6 is outside of the subset"),
        ("+0 < [flowlabel 7] . 1:1(0) ack 1", "[flowlabel 7] is outside of the subset"),
        ("+0 < icmp redirect host [1:1(0)]", "the ICMP message 'redirect host' is outside of the subset"),
        ("+0 < . 1:5(7) ack 1", "1 + 7 is not 5"),
        ("+0 %{ import os }%", "the code 'import os' is outside of the subset"),
        ("+0 `rm -rf x`", "the command 'rm -rf x' is outside of the subset"),
        ("+0 `./missing.sh`", "there is no file './missing.sh'"),
        ("+0 write(3, NULL, 1) = 1", "write() with a buffer is outside of the subset"),
        ("nonsense", "cannot read 'nonsense'"),
        ("+0 ", "there is no event after the time"),
        ("+0 `sysctl", "there is no ` to end what begins here"),
        ("+.1~+.2 < . 1:1(0) ack 1", "a range of times stands before what the script does itself"),
        ("--speed=5", "the option --speed=5 is outside of the subset"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_by_file_and_line(line: str, what: str) -> None:
    socket = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3"
    with pytest.raises(InputError) as caught:
        ran(f"// a comment\n{socket}\n{line}\n")
    assert str(caught.value).startswith(f"test.pkt:3: {what}")


def test_assertions_about_what_emu_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match=r"test\.pkt:8: tcpi_delivered is outside of the subset"):
        ran(f"{CONNECTED}+0 %{{ assert tcpi_delivered == 1 }}%")


@pytest.mark.parametrize(
    ("time", "when"),
    [
        ("0.5", (500_000_000, None, False, False, False)),
        ("+.25", (250_000_000, None, True, False, False)),
        ("*", (0, None, False, True, False)),
        (".1~.2", (100_000_000, 200_000_000, False, False, False)),
        ("+.1~+.2", (100_000_000, 200_000_000, True, False, False)),
    ],
)
def test_forms_of_time(time: str, when: tuple[object, ...]) -> None:
    (event,) = parse(f"{time} > . 1:1(0) ack 1", "a").events
    found = event.when
    assert (found.begin_ns, found.end_ns, found.relative, found.any_time, found.blocking) == when


def test_a_blocking_call_has_two_times_and_may_stand_on_several_lines() -> None:
    (event,) = parse("+0...0.300 write(4, ...,\n   1000) = 1000 // waits", "a").events
    assert (event.when.blocking, event.when.end_ns, event.text) == (True, 300_000_000, "write(4, ..., 1000) = 1000")


@pytest.mark.parametrize(
    "text",
    [
        "> S 0:0(0) win 64240 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>",
        "< . 1:1(0) ack 1 win 500 <nop,nop,sack 1001:2001 3001:4001>",
        "> [ttl 64] [tos 0x10] FP. 1:101(100) ack 5",
        "< [ect0] udp (12)",
    ],
)
def test_a_packet_is_written_as_it_was_read(text: str) -> None:
    packet = parse_packet(text)
    assert isinstance(packet, Packet)
    assert str(packet) == text


def test_a_call_has_its_values() -> None:
    call = parse_call('sendto(3, ..., 0x10, MSG_MORE|MSG_NOSIGNAL, [1, {a=2}], "x") = -1 EPIPE (Broken pipe)')
    flags = Names(("MSG_MORE", "MSG_NOSIGNAL"))
    assert (call.name, call.result, call.errno) == ("sendto", -1, "EPIPE")
    assert call.arguments == (3, GIVEN, 16, flags, [1, {"a": 2}], "x")


def test_settings_that_emu_does_not_have_are_named(tmp_path: Path) -> None:
    (tmp_path / "defaults.sh").write_text(
        '# a comment\nsysctl -q net.ipv4.tcp_wmem="4096 $((64*1024)) 4194304" > /dev/null\n'
    )
    text = f"`./defaults.sh\nsysctl -q net.ipv4.tcp_fastopen=3 net.ipv4.no_such=1`\n{CONNECTED}"
    result = run(text, str(tmp_path / "a.pkt"))
    assert result.failure is None
    assert [note.split(" ")[0] for note in result.notes] == ["net.ipv4.tcp_fastopen", "net.ipv4.no_such=1"]


def test_the_same_script_gives_the_same_result() -> None:
    text = SCRIPTS[0].read_text(encoding="utf-8")
    assert ran(text) == ran(text)
