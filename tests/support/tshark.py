"""Wireshark as the judge of captures: fields of frames, what is wrong with a file, TCP analysis per interface.

Runs with an empty home, so that no user's preferences count, and with every checksum verified. Get it from the
`tshark` fixture, which skips (or fails, with EMU_REQUIRE_TSHARK=1) where tshark is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import pack_into, unpack_from
from tempfile import NamedTemporaryFile

CHECKSUMS = ("ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE")
CHECKED = ("ip", "tcp", "udp", "icmp")
# a packet is in a file once for each interface: nothing is put together across them
APART = ("tcp.analyze_sequence_numbers:FALSE", "tcp.desegment_tcp_streams:FALSE", "ip.defragment:FALSE")
QUOTING = {"3", "5", "11", "12"}  # ICMP types that quote the beginning of a packet: its own checksum cannot be verified
IPIP = 4
ERROR = 8388608  # Wireshark's PI_ERROR; bad checksums and malformed packets are of this severity
DECODED = ["-d", "udp.port==8472,vxlan"]  # the kernel's port; Wireshark knows IANA's
IDB, EPB, SHB = 1, 6, 0x0A0D0D0A
STATUS = [f"{layer}.checksum.status" for layer in CHECKED]
JUDGED = (  # the fields that a capture is judged by
    *("frame.number", "frame.interface_name", "frame.comment", "_ws.malformed"),
    *("_ws.expert.severity", "_ws.expert.message", "icmp.type", *STATUS),
)
RAW = 101  # LINKTYPE_RAW: no header before IP, as on tunl0

# Listeners are made when a file is opened: by then the fields of all scripts are known
LISTENERS = """
local late, filters, found = Proto("late", "Many display filters"), { %s }, {}
function late.init()
    for number, filter in ipairs(#found == 0 and filters or {}) do
        local listener, own = Listener.new("frame", filter), {}
        found[number] = own
        function listener.packet(pinfo) own[#own + 1] = pinfo.number end
        function listener.draw()
            if number == #filters then
                for each, numbers in ipairs(found) do print("filter " .. each .. ":" .. table.concat(numbers, " ")) end
            end
        end
    end
end
"""

Fields = dict[str, list[str]]


def available() -> bool:
    return shutil.which("tshark") is not None


class Tshark:
    """`home` is an empty folder for Wireshark's configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, program: str, *arguments: str | Path) -> str:
        """What one of Wireshark's programs prints. Raises AssertionError with its complaint."""
        env = {**os.environ, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "TZ": "UTC"}
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        complaint = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("Running as user"))
        assert done.returncode == 0, f"{' '.join(command)}: {complaint}"
        assert not complaint, f"{' '.join(command)}: {complaint}"
        return done.stdout

    def read(
        self, path: Path, *fields: str, where: str = "", prefs: Sequence[str] = (), options: Sequence[str] = DECODED
    ) -> list[Fields]:
        """The named fields of each frame (all values of a field, as text; absent fields give []).

        `where` is a display filter, `prefs` are `name:value`, `options` go to tshark (`-N`, `dn`) in place of those that
        open VXLAN.
        """
        arguments: list[str | Path] = ["-r", path, "-n", "-T", "json", *options]
        for pref in (*CHECKSUMS, *prefs):
            arguments += ["-o", pref]
        for field in fields:
            arguments += ["-e", field]
        if where:
            arguments += ["-Y", where]
        frames = json.loads(self.run("tshark", *arguments) or "[]")
        return [{field: frame["_source"]["layers"].get(field, []) for field in fields} for frame in frames]

    def found(self, path: Path, filters: Sequence[str], *options: str) -> dict[str, list[int]]:
        """The numbers of the frames that each display filter finds, by one tshark; `options` go to it."""
        with NamedTemporaryFile("w", dir=self.home, suffix=".lua") as script:
            script.write(LISTENERS % ", ".join(f"[==[{each}]==]" for each in filters))
            script.flush()
            printed = self.run(
                "tshark", "-X", f"lua_script:{script.name}", "-r", path, *options, "-T", "fields", "-e", "frame.ignored"
            )
        numbers = re.findall(r"^filter (\d+):(.*)$", printed, re.M)
        assert [int(number) for number, _ in numbers] == [*range(1, len(filters) + 1)], printed[-1000:]
        return {each: [*map(int, found.split())] for each, (_, found) in zip(filters, numbers, strict=True)}

    def problems(self, path: Path, *, commented: bool = True) -> list[str]:
        """What is wrong with a capture, a line each: empty, malformed, bad checksums, no interface name, no comment.

        TCP analysis is left to `analysis`: the same segment on two interfaces is no retransmission.
        """
        return problems(self.read(path, *JUDGED, prefs=APART), commented=commented)

    def problems_of(self, paths: Sequence[Path]) -> dict[Path, list[str]]:
        """`problems` of several captures. Starting tshark costs more than what it reads: one reads all of them, joined.
        capinfos reads each as it is."""
        counted = dict(line.rsplit("\t", 1) for line in self.run("capinfos", "-T", "-r", "-c", *paths).splitlines())
        whole, counts = joined([path.read_bytes() for path in paths])
        assert counted == {str(path): str(count) for path, count in zip(paths, counts, strict=True)}
        frames = self._read_joined(whole, *JUDGED, prefs=APART)
        return {path: problems(own) for path, own in zip(paths, apart(frames, counts), strict=True)}

    def analysis(self, path: Path) -> dict[str, list[str]]:
        """Wireshark's TCP analysis of each interface by itself: interface name -> "#frame: its text", in order.

        Interfaces without an entry are absent. Frame numbers are those of the whole file.
        """
        return self.analysis_of([path])[path]

    def analysis_of(self, paths: Sequence[Path]) -> dict[Path, dict[str, list[str]]]:
        """`analysis` of several captures, by one tshark."""
        whole, counts = joined([path.read_bytes() for path in paths])
        frames = self._read_joined(
            interfaces_apart(whole),
            *("frame.number", "frame.interface_name", "_ws.expert.message"),
            where="tcp.analysis.flags",
            options=["--disable-protocol", "vxlan"],
            prefs=[pref.replace("TRUE", "FALSE") for pref in CHECKSUMS],
        )
        found: dict[Path, dict[str, list[str]]] = {}
        for path, own in zip(paths, apart(frames, counts), strict=True):
            entries: defaultdict[str, list[str]] = defaultdict(list)
            for frame in own:
                entries[frame["frame.interface_name"][0]] += [
                    f"#{frame['frame.number'][0]}: {message}" for message in frame["_ws.expert.message"]
                ]
            found[path] = dict(entries)
        return found

    def _read_joined(
        self, whole: bytes, *fields: str, where: str = "", prefs: Sequence[str] = (), options: Sequence[str] = DECODED
    ) -> list[Fields]:
        with NamedTemporaryFile(dir=self.home, suffix=".pcapng") as file:
            file.write(whole)
            file.flush()
            return self.read(Path(file.name), *fields, where=where, prefs=prefs, options=options)


def problems(frames: list[Fields], *, commented: bool = True) -> list[str]:
    """What is wrong with the frames of a capture, a line each."""
    found = [] if frames else ["no frames"]
    for frame in frames:
        (number,) = frame["frame.number"]
        (name,) = frame["frame.interface_name"] or ("",)
        if not name or name.startswith("unknown"):
            found.append(f"#{number}: no interface name")
        if commented and not any(frame["frame.comment"]):
            found.append(f"#{number} {name}: no comment")
        if frame["_ws.malformed"]:
            found.append(f"#{number} {name}: malformed")
        if not QUOTING.isdisjoint(frame["icmp.type"]):
            found += [
                f"#{number} {name}: {key} bad"
                for key in ("ip.checksum.status", "icmp.checksum.status")
                if "0" in frame[key]
            ]
            continue
        found += [f"#{number} {name}: {key} bad" for key in STATUS if "0" in frame[key]]
        if any(int(severity) >= ERROR for severity in frame["_ws.expert.severity"]):
            found.append(f"#{number} {name}: {'; '.join(frame['_ws.expert.message'])}")
    return found


def apart(frames: list[Fields], counts: list[int]) -> Iterator[list[Fields]]:
    """The frames of each file out of those of the joined one, with the numbers that they have in their own."""
    numbers = [int(frame["frame.number"][0]) for frame in frames]
    begin = 0
    for count in counts:
        own = range(bisect_right(numbers, begin), bisect_right(numbers, begin + count))
        yield [{**frames[at], "frame.number": [str(numbers[at] - begin)]} for at in own]
        begin += count


def joined(files: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Files of pcapng as one of a single section, where each file has interfaces of its own; and how many frames each has."""
    out, counts, interfaces = bytearray(), list[int](), 0
    for number, data in enumerate(files):
        frames = there = 0
        for kind, at, length in blocks(data):
            block = bytearray(data[at : at + length])
            there += kind == IDB
            if kind == EPB:
                frames += 1
                pack_into("<I", block, 8, unpack_from("<I", block, 8)[0] + interfaces)
            if kind != SHB or not number:
                out += block
        counts.append(frames)
        interfaces += there
    return bytes(out), counts


def blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The blocks of a little-endian pcapng file: type, offset, length."""
    at = 0
    while at < len(data):
        kind, length = unpack_from("<II", data, at)
        yield kind, at, length
        at += length


def interfaces_apart(data: bytes) -> bytes:
    """The same file with IPv4 addresses, also of IP in IP, renumbered per interface, so that no two interfaces share a TCP
    connection.

    Comments are dropped with all other packet options (each would be an expert message); checksums do not hold.
    """
    out = bytearray()
    numbers: dict[tuple[int, bytes], int] = {}
    starts: list[int] = []  # where an interface's packets have their IP header
    for kind, at, length in blocks(data):
        if kind == IDB:
            starts.append(0 if int.from_bytes(data[at + 8 : at + 10], "little") == RAW else 14)
        if kind != EPB:
            out += data[at : at + length]
            continue
        interface, _, _, captured = unpack_from("<4I", data, at + 8)
        frame = bytearray(data[at + 28 : at + 28 + captured])
        start = starts[interface]
        if captured >= start + 20 and (not start or frame[12:14] == b"\x08\x00"):
            inner = frame[start + 9] == IPIP and captured >= start + 40
            for place in (12, 16, 32, 36) if inner else (12, 16):
                number = numbers.setdefault((interface, bytes(frame[start + place : start + place + 4])), len(numbers))
                pack_into(">I", frame, start + place, 0x10000000 + number)
        body = data[at + 8 : at + 28] + frame + bytes(-captured % 4)
        total = (len(body) + 12).to_bytes(4, "little")
        out += EPB.to_bytes(4, "little") + total + body + total
    return bytes(out)
