"""Capture files, judged by tshark, capinfos and Scapy's readers; and that no half-written one is left."""

from __future__ import annotations

import io
import os
import tomllib
from pathlib import Path
from struct import unpack_from
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.capture import pcap, pcapng
from emu.capture.pcapng import BROADCAST, INBOUND, OUTBOUND, PROMISCUOUS, UNICAST, Packet, Writer
from emu.errors import InputError
from emu.version import VERSION
from emu.wire.addr import BROADCAST_MAC, ip4, mac
from emu.wire.frame import AF_INET
from tshark import blocks

if TYPE_CHECKING:
    from tshark import Tshark

ROOT = Path(__file__).parents[2]
MAC_A, MAC_B = mac("0a:58:0a:f4:01:01"), mac("0a:58:0a:f4:01:02")
# ICMP echo 10.244.1.2 -> 10.244.2.3, checksums right
ECHO = MAC_A + MAC_B + bytes.fromhex("0800 4500001e00014000400121f2 0af40102 0af40203 0800 95b3 1234 0001 5017")
ARP = (
    BROADCAST_MAC
    + MAC_B
    + bytes.fromhex("0806 0001080006040001")
    + MAC_B
    + bytes.fromhex("0af40102 000000000000 0af40101")
)
COMMENT = "The pod asks for its gateway's address → ARP.\narp who-has 10.244.1.1\nstep (1)"


def story(writer: Writer) -> None:
    port = writer.interface("node-1/veth1a2b", "the node's end of default/client's cable", MAC_A)
    pod = writer.interface("default/client/eth0", mac=MAC_B, addresses=[(ip4("10.244.1.2"), ip4("255.255.255.0"))])
    writer.names(
        {
            (AF_INET, ip4("10.244.1.2")): ["client.default.pod", "client"],
            (AF_INET, ip4("10.244.2.3")): ["web-0.default.pod"],
        }
    )
    writer.packet(pod, 1, ARP, OUTBOUND, COMMENT)
    writer.write_packets(
        [
            (port, 1_001, ARP, INBOUND | BROADCAST, "in"),
            (port, 2_000_000_123, bytearray(ECHO), INBOUND | UNICAST, b"echo"),
            (pod, 2_000_000_124, ECHO, 0, None),
        ]
    )


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "story.pcapng"
    with pcapng.create(path) as writer:
        story(writer)
    return path


def test_tshark_reads_what_was_written(tshark: Tshark, capture: Path) -> None:
    direction, reception = "frame.packet_flags_direction", "frame.packet_flags_reception_type"
    names = ("frame.interface_name", "frame.interface_description", "frame.time_epoch", "frame.comment")
    frames = tshark.read(capture, *names, direction, reception, "frame.len")
    port = ["node-1/veth1a2b"], ["the node's end of default/client's cable"]
    pod: tuple[list[str], list[str]] = (["default/client/eth0"], [])
    assert [tuple(frame.values()) for frame in frames] == [
        (*pod, ["1577836800.000000001"], [COMMENT], ["0x00000002"], ["0"], ["42"]),
        (*port, ["1577836800.000001001"], ["in"], ["0x00000001"], ["3"], ["42"]),
        (*port, ["1577836802.000000123"], ["echo"], ["0x00000001"], ["1"], ["44"]),
        (*pod, ["1577836802.000000124"], [], [], [], ["44"]),
    ]


def test_the_judge_finds_only_the_missing_comment(tshark: Tshark, capture: Path) -> None:
    assert tshark.problems(capture) == ["#4 default/client/eth0: no comment"]
    assert tshark.problems(capture, commented=False) == []


def test_the_judge_sees_bad_frames(tshark: Tshark, tmp_path: Path) -> None:
    path = tmp_path / "bad.pcapng"
    ip, icmp = bytearray(ECHO), bytearray(ECHO)
    ip[24] ^= 1
    icmp[36] ^= 1
    with pcapng.create(path) as writer:
        eth0 = writer.interface("eth0")
        for data in (ip, icmp, ARP[:30]):
            writer.packet(eth0, 0, data, 0, "x")
    words = "\n".join(tshark.problems(path))
    assert "#1 eth0: ip.checksum.status bad" in words
    assert "#2 eth0: icmp.checksum.status bad" in words
    assert "#3 eth0: malformed" in words


def test_names_are_resolved(tshark: Tshark, capture: Path) -> None:
    printed = tshark.run(
        "tshark", "-r", capture, "-N", "dn", "-Y", "icmp", "-T", "fields", "-e", "ip.src_host", "-e", "ip.dst_host"
    )
    assert printed.splitlines() == ["client.default.pod\tweb-0.default.pod"] * 2


def test_capinfos_agrees(tshark: Tshark, capture: Path) -> None:
    words = tshark.run("capinfos", capture)
    for line in (
        "File encapsulation:  Ethernet",
        "File timestamp precision:  nanoseconds (9)",
        "Capture hardware:    virtual",
        "Capture oper-sys:    Linux, emulated",
        f"Capture application: emu {VERSION}",
        "Number of interfaces in file: 2",
        "Name = node-1/veth1a2b",
        "Capture length = 262144",
        "Strict time order:   True",
    ):
        assert line in words


def test_the_application_is_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "emu.version.VERSION"}
    assert f"emu {VERSION}" == pcapng.APPLICATION


def test_scapy_reads_both_forms(capture: Path, tmp_path: Path) -> None:
    utils = pytest.importorskip("scapy.utils")
    frames = list(utils.RawPcapNgReader(str(capture)))
    assert [data for data, _ in frames] == [ARP, ARP, ECHO, ECHO]
    assert [meta.ifname for _, meta in frames] == [
        b"default/client/eth0",
        *[b"node-1/veth1a2b"] * 2,
        b"default/client/eth0",
    ]
    classic = tmp_path / "eth0.pcap"
    with pcap.create(classic) as writer:
        writer.packet(1, ARP)
        writer.write_packets([(2_999_999_999, ECHO)])
    with utils.RawPcapReader(str(classic)) as reader:
        assert reader.nano
        assert [(meta.sec, meta.usec, data) for data, meta in reader] == [
            (1577836800, 1, ARP),
            (1577836802, 999_999_999, ECHO),
        ]


def test_analysis_keeps_interfaces_apart(tshark: Tshark, tmp_path: Path) -> None:
    """The same segment on two interfaces is no retransmission; twice on one, it is."""
    segment = (
        MAC_A
        + MAC_B
        + bytes.fromhex(
            "0800 4500002c0001400040060000 0af40102 0af40203 1388 0050 00000064 000000c8 50180200 0000 0000 61626364"
        )
    )
    path = tmp_path / "tcp.pcapng"
    with pcapng.create(path) as writer:
        once, twice = writer.interface("once"), writer.interface("twice")
        for time_ns, interface in enumerate((once, twice, twice)):
            writer.packet(interface, time_ns * 1_000_000_000, segment, 0, "a segment")
    analysis = tshark.analysis(path)
    assert list(analysis) == ["twice"]
    assert "retransmission" in analysis["twice"][0]
    assert analysis["twice"][0].startswith("#3: ")


DATA = st.binary(min_size=14, max_size=100)
FLAGS = [0, OUTBOUND, INBOUND | UNICAST, INBOUND | PROMISCUOUS]
PACKETS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 1 << 62),
        DATA | DATA.map(bytearray),
        st.sampled_from(FLAGS),
        st.none() | st.text(max_size=40) | st.sampled_from([b"", b"again", b"again and again"]),
    ),
    max_size=20,
)


def written(packets: list[Packet]) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, epoch_ns=0)
    writer.interface("a")
    writer.interface("b")
    writer.write_packets(packets)
    writer.flush()
    return file.getvalue()


@given(PACKETS)
def test_every_packet_is_read_back(packets: list[Packet]) -> None:
    """A reader of the draft's text (blocks, then options by code and length) finds what was given."""
    data = written(packets)
    found = []
    for kind, at, length in blocks(data):
        assert unpack_from("<I", data, at + length - 4) == (length,)
        assert length % 4 == 0
        if kind == 6:
            interface, high, low, captured, original = unpack_from("<5I", data, at + 8)
            assert captured == original
            options = {}
            place, end = at + 28 + (captured + 3) // 4 * 4, at + length - 4
            while place < end:
                code, size = unpack_from("<HH", data, place)
                if code:
                    options[code] = data[place + 4 : place + 4 + size]
                place += 4 + (size + 3) // 4 * 4
            assert place == end
            flags = int.from_bytes(options.get(2, b""), "little")
            found.append((interface, high << 32 | low, data[at + 28 : at + 28 + captured], flags, options.get(1)))
    assert found == [
        (interface, time_ns, bytes(frame), flags, comment.encode() if isinstance(comment, str) else comment)
        for interface, time_ns, frame, flags, comment in packets
    ]


@given(PACKETS)
def test_one_by_one_and_in_bulk_are_the_same_bytes(packets: list[Packet]) -> None:
    file = io.BytesIO()
    writer = Writer(file, epoch_ns=0)
    writer.interface("a")
    writer.interface("b")
    for packet in packets:
        writer.packet(*packet)
    writer.flush()
    assert file.getvalue() == written(packets)


WORDS = st.binary(max_size=40) | st.sampled_from([b"", b"again", "ü".encode() * 40_000])


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(FLAGS), st.integers(0, 1 << 62), DATA, WORDS, WORDS),
        max_size=40,
    )
)
def test_a_comment_in_two_parts_is_the_same_bytes(frames: list[tuple[int, int, int, bytes, bytes, bytes]]) -> None:
    file = io.BytesIO()
    writer = Writer(file, epoch_ns=0)
    writer.interface("a")
    writer.interface("b")
    half = len(frames) // 2
    for some in (frames[:half], frames[half:]):
        writer.write_commented(
            [(interface, writer.around(flags), *rest) for interface, flags, *rest in some]  # type: ignore[misc]
        )
    writer.flush()
    assert file.getvalue() == written(
        [(interface, time_ns, data, flags, one + two) for interface, flags, time_ns, data, one, two in frames]
    )


def test_a_comment_too_long_is_cut_at_a_character(tshark: Tshark, tmp_path: Path) -> None:
    path = tmp_path / "long.pcapng"
    with pcapng.create(path) as writer:
        writer.packet(writer.interface("eth0"), 0, ARP, 0, "x" + "ü" * 40_000)
    (frame,) = tshark.read(path, "frame.comment")
    assert set(frame["frame.comment"][0]) == {"x", "ü"}


def test_an_interface_must_be_announced() -> None:
    with pytest.raises(ValueError, match="interface 0 was not announced"):
        Writer(io.BytesIO()).packet(0, 0, ARP)


@pytest.mark.parametrize("create", [pcapng.create, pcap.create])
def test_a_failure_leaves_the_old_file_and_nothing_else(create: object, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(b"old")
    make = pcapng.create if create is pcapng.create else pcap.create
    with pytest.raises(KeyError), make(path, force=True):
        assert path.read_bytes() == b"old"
        raise KeyError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.pcapng"]  # noqa: PTH208 - names are what is asked
    with make(path, force=True):
        pass
    assert path.read_bytes() != b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_are_made_and_what_cannot_be_is_bad_input(tmp_path: Path) -> None:
    with pcapng.create(tmp_path / "new" / "a.pcapng"):
        pass
    with (
        pytest.raises(InputError, match="cannot be written"),
        pcapng.create(tmp_path / "new" / "a.pcapng" / "b.pcapng"),
    ):
        pass
    with pytest.raises(InputError, match="Is a directory"), pcapng.create(tmp_path / "new"):
        pass


def test_two_runs_give_the_same_bytes(capture: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with pcapng.create("-") as writer:
        story(writer)
    assert capfdbinary.readouterr().out == capture.read_bytes()
