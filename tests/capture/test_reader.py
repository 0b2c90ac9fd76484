"""The reader of captures: every form of pcap and pcapng, text dumps, and what is damaged."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from struct import pack

import pytest

from emu.capture.reader import Capture, Record, reading
from emu.errors import InputError
from tshark import Tshark

DATA = Path(__file__).parents[1] / "data" / "replay"
FRAME = bytes(range(60))
SECOND = 1_000_000_000
TEXT2PCAP = """\
Inbound:
000000 00 0e b6 00 00 02 00 0e b6 00 00 01 08 00 45 00   ..............E.
000010 00 1c 00 01 00 00 40 11 00 00 01 01 01 01 02 02   ......@.........
000020 02 02 04 d2 00 50 00 08 00 00
000000 de ad be ef 00 0e b6 00 00 01 08 00 45 00
"""


def read(data: bytes) -> tuple[list[Record], list[str]]:
    capture = Capture(io.BytesIO(data), "x")
    return list(capture), capture.notes


def pcap(order: str, magic: int, *frames: tuple[int, int, bytes, int], linktype: int = 1) -> bytes:
    head = pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    return head + b"".join(pack(f"{order}IIII", s, f, len(d), n) + d for s, f, d, n in frames)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "scale"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_in_both_byte_orders_and_units(order: str, magic: int, scale: int) -> None:
    found, notes = read(pcap(order, magic, (7, 5, FRAME, 60), (8, 0, FRAME[:20], 60)))
    assert found == [
        Record(1, 7 * SECOND + 5 * scale, FRAME, 60, 1),
        Record(2, 8 * SECOND, FRAME[:20], 60, 1),
    ]
    assert notes == []


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return pack(f"{order}II", kind, len(body) + 12) + body + pack(f"{order}I", len(body) + 12)


def pcapng(order: str, options: bytes = b"", units: int = 10**6) -> bytes:
    section = pack("<I", 0x0A0D0D0A) + pack(f"{order}I", 28) + pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
    section += pack(f"{order}I", 28)
    interface = block(order, 1, pack(f"{order}HHI", 101, 0, 20) + options)
    ticks = 3 * units + units // 4
    enhanced = block(order, 6, pack(f"{order}IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, 60, 80) + FRAME)
    old = block(order, 2, pack(f"{order}HHIIII", 0, 0, ticks >> 32, ticks & 0xFFFFFFFF, 60, 60) + FRAME)
    simple = block(order, 3, pack(f"{order}I", 60) + FRAME[:20])
    unknown = block(order, 0x0BAD, b"whatever")
    return section + interface + unknown + enhanced + old + simple


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("option", "units"), [(None, 10**6), (9, 10**9), (3, 10**3), (0x80 | 10, 1 << 10)])
def test_pcapng_in_both_byte_orders_with_all_kinds_of_packets(order: str, option: int | None, units: int) -> None:
    options = b"" if option is None else pack(f"{order}HHB3x", 9, 1, option) + bytes(4)
    found, notes = read(pcapng(order, options, units) * 2)  # two sections
    time_ns = 3 * SECOND + SECOND // 4
    one = [
        Record(1, time_ns, FRAME, 80, 101),
        Record(2, time_ns, FRAME, 60, 101),
        Record(3, 0, FRAME[:20], 60, 101),
    ]
    assert found == [*one, *(each._replace(number=each.number + 3, interface=1) for each in one)]
    assert notes == []


def test_a_time_offset_and_gzip() -> None:
    options = pack("<HHq", 14, 8, 1000) + bytes(4)
    found, _ = read(gzip.compress(pcapng("<", options)))
    assert found[0].time_ns == 1003 * SECOND + SECOND // 4


def test_text_as_text2pcap_reads_it() -> None:
    found, _ = read(TEXT2PCAP.encode())
    assert [len(each.data) for each in found] == [42, 14]
    assert found[0].data.startswith(bytes.fromhex("000eb6000002000eb60000010800"))
    assert found[0].linktype == 1


@pytest.mark.parametrize(
    "text",
    [
        "12:00 IP 10.0.0.1 > 10.0.0.2\n\t0x0000:  4500 0014 0001 0000 4011 66d6 0a00 0001  E...\n\t0x0010:  0a00 0002     ....\n",
        "00000000: 4500 0014 0001 0000 4011 66d6 0a00 0001  E.......@.f.....\n00000010: 0a00 0002  ....\n",
        "00000000  45 00 00 14 00 01 00 00  40 11 66 d6 0a 00 00 01  |E.......@.f.....|\n00000010  0a 00 00 02  |....|\n",
        "> 0000   45 00 00 14 00 01 00 00 40 11 66 d6 0a 00 00 01\n> 0010   0a 00 00 02\n",
    ],
    ids=["tcpdump -x", "xxd", "hexdump -C", "quoted"],
)
def test_other_dumps(text: str) -> None:
    """A packet without a link header is one: its checksum is right."""
    found, _ = read(text.encode())
    assert [(each.data.hex(), each.linktype) for each in found] == [
        ("45000014000100004011" + "66d6" + "0a0000010a000002", 101)
    ]


@pytest.mark.parametrize(
    ("data", "count", "words"),
    [
        (pcap("<", 0xA1B2C3D4, (1, 0, FRAME, 60))[:-1], 1, "the file ends within a frame"),
        (pcap("<", 0xA1B2C3D4, (1, 0, FRAME, 60)) + b"\0" * 5, 1, "the file ends within the header of a frame"),
        (pcap("<", 0xA1B2C3D4, (1, 0, FRAME, 60)) + pack("<IIII", 0, 0, 1 << 30, 1 << 30), 1, "1,073,741,824 bytes"),
        (pcapng("<")[:-2], 2, "the file ends within a block"),
        (pcapng("<") + block("<", 6, pack("<IIIII", 9, 0, 0, 0, 0)), 3, "interface 9, which is not described"),
    ],
)
def test_damage_ends_the_reading_with_a_note(data: bytes, count: int, words: str) -> None:
    found, notes = read(data)
    assert len(found) == count
    assert len(notes) == 1 and words in notes[0] and f"frame {count}" in notes[0]


@pytest.mark.parametrize("data", [b"", b"hello world\n", b"\x00" * 100, b"PK\x03\x04junk"])
def test_what_is_no_capture_is_one_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(InputError, match="text2pcap") as wrong, reading(path):
        pass
    assert wrong.value.file == str(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"), reading(tmp_path / "none"):
        pass


@pytest.mark.parametrize("path", sorted(DATA.glob("*.pcap")), ids=lambda path: path.stem)
def test_wireshark_reads_the_same(path: Path, tshark: Tshark) -> None:
    with reading(path) as capture:
        found = [f"{each.number}\t{each.length}\t{len(each.data)}" for each in capture]
    rows = tshark.read(path, "frame.number", "frame.len", "frame.cap_len")
    assert found == ["\t".join(value for values in row.values() for value in values) for row in rows]
