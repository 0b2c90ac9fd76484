"""A packet of a script as typed values: `< S. 0:0(0) ack 1 win 5792 <mss 1460,nop,wscale 2>`. Must not know bytes or sockets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emu.errors import InputError

ANY = "..."
FLAGS = "FSRPUEW."  # as bits they are in another order, see `bits`
_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128}
_IP = re.compile(r"\s*\[(?P<words>[^\]]*)\]")
_TCP = re.compile(
    r"\s*(?P<flags>[FSRPUEW.]+|-)\s+(?P<seq>\d+):(?P<end>\d+)\((?P<length>\d+)\)(?:\s+ack\s+(?P<ack>\d+))?"
    r"(?:\s+win\s+(?P<win>\d+))?(?:\s+urg\s+(?P<urg>\d+))?\s*(?:<(?P<options>[^>]*)>)?\s*$"
)
_UDP = re.compile(r"\s*udp\s*\((?P<length>\d+)\)\s*$")
_ICMP = re.compile(
    r"\s*icmp\s+(?P<type>\w+)(?:\s+(?P<code>[a-z]\w*))?(?:\s+mtu\s+(?P<mtu>\d+))?"
    r"(?:\s+\[(?P<seq>\d+):(?P<end>\d+)\((?P<length>\d+)\)\]|\s+\[udp\s*\((?P<udp>\d+)\)\])?\s*$"
)
_OPTION = re.compile(
    r"mss (?P<mss>\d+)|wscale (?P<wscale>\d+)|(?P<nop>nop)|(?P<eol>eol)|(?P<sackOK>sackOK)|sack (?P<sack>\d+:\d+(?: \d+:\d+)*)|"
    r"TS val (?P<val>\d+) ecr (?P<ecr>\d+)"
)
UNREACH, TIME = "unreachable", "time_exceeded"
ICMP_CODES = {
    (UNREACH, "net_unreachable"): (3, 0), (UNREACH, "host_unreachable"): (3, 1), (UNREACH, "protocol_unreachable"): (3, 2),
    (UNREACH, "port_unreachable"): (3, 3), (UNREACH, "frag_needed"): (3, 4), (UNREACH, "source_route_failed"): (3, 5),
    (UNREACH, "net_prohibited"): (3, 9), (UNREACH, "host_prohibited"): (3, 10), (UNREACH, "packet_filtered"): (3, 13),
    (TIME, "exceeded_transit"): (11, 0), (TIME, "exceeded_reassembly"): (11, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One TCP option by packetdrill's name, with its numbers (`sack`: left and right in turn)."""

    name: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.name == "sack":
            pairs = zip(self.numbers[::2], self.numbers[1::2], strict=True)
            return "sack " + " ".join(f"{left}:{right}" for left, right in pairs)
        if self.name == "TS":
            return f"TS val {self.numbers[0]} ecr {self.numbers[1]}"
        return " ".join((self.name, *map(str, self.numbers)))


@dataclass(frozen=True)
class Tcp:
    """A segment; numbers count from the first of each side. `options` None: any. `window` None: not compared."""

    flags: str
    seq: int
    length: int
    ack: int | None
    window: int | None
    urgent: int
    options: tuple[Option, ...] | None

    @property
    def bits(self) -> int:
        return sum(_BITS[letter] for letter in self.flags)

    @property
    def syn(self) -> bool:
        return "S" in self.flags

    def __str__(self) -> str:
        words = [self.flags or "-", f"{self.seq}:{self.seq + self.length}({self.length})"]
        words += [] if self.ack is None else [f"ack {self.ack}"]
        words += [] if self.window is None else [f"win {self.window}"]
        words += [f"urg {self.urgent}"] if self.urgent else []
        if self.options:
            words.append(f"<{','.join(map(str, self.options))}>")
        return " ".join(words)


@dataclass(frozen=True)
class Udp:
    length: int

    def __str__(self) -> str:
        return f"udp ({self.length})"


@dataclass(frozen=True)
class Icmp:
    """An error about a segment (`seq`, `length`) or a datagram (`udp`: its length) that was sent."""

    kind: int
    code: int
    mtu: int
    seq: int
    length: int
    udp: int | None
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Packet:
    """A packet that the network brings, or that must go out (`outbound`). None of `ttl`, `tos`, `ecn`: not stated."""

    outbound: bool
    what: Tcp | Udp | Icmp
    ttl: int | None = None
    tos: int | None = None
    ecn: str = ""

    def __str__(self) -> str:
        ip = [f"ttl {self.ttl}"] if self.ttl is not None else []
        ip += [f"tos 0x{self.tos:02x}"] if self.tos is not None else []
        ip += [self.ecn] if self.ecn else []
        return f"{'>' if self.outbound else '<'} {''.join(f'[{word}] ' for word in ip)}{self.what}"


def letters(bits: int) -> str:
    """The flags of a segment as scripts write them; "" for none."""
    return "".join(letter for letter in "FSRPUEW." if bits & _BITS[letter])


def parse_packet(text: str) -> Packet:
    """Read a packet, from its `<` or `>` on. Raises InputError: cannot be read, or outside of the subset."""
    outbound, rest = text[0] == ">", text[1:]
    ttl: int | None = None
    tos: int | None = None
    ecn = ""
    while (found := _IP.match(rest)) is not None:
        rest = rest[found.end() :]
        for word in re.findall(r"(?:ttl|tos|flowlabel)\s+\S+|[^\s,]+", found["words"]):
            name, _, value = word.partition(" ")
            if name == "ttl":
                ttl = int(value, 0)
            elif name == "tos":
                tos = int(value, 0)
            elif word in ("noecn", "ect0", "ect1", "ect01", "ce"):
                ecn = word
            else:
                raise InputError(
                    f"[{word}] is outside of the subset", expected="ttl N, tos N, noecn, ect0, ect1, ect01 or ce"
                )
    return Packet(outbound, _body(rest, text), ttl, tos, ecn)


def _body(rest: str, text: str) -> Tcp | Udp | Icmp:
    found = _TCP.match(rest)
    if found is not None:
        return _tcp(found)
    found = _UDP.match(rest)
    if found is not None:
        return Udp(int(found["length"]))
    found = _ICMP.match(rest)
    if found is not None:
        return _icmp(found)
    word = (rest.split() or [""])[0]
    for name in ("icmpv6", "ipv4", "ipv6", "gre", "mpls", "psp", "udp"):
        if word.lower().startswith(name):
            raise InputError(f"a packet of {name} is outside of the subset", expected="TCP, UDP or an ICMP error")
    if re.match(r"\s*\S+[.:]\S+\s*>\s*\S+", rest):
        raise InputError("a packet with addresses is outside of the subset", expected="one connection at a time")
    if re.match(r"[FSRPUEW.]*\d[FSRPUEW.\d]*$", word):
        raise InputError("AccECN's counter among the flags is outside of the subset", expected=f"letters of {FLAGS}")
    raise InputError(f"cannot read the packet {text!r}", expected="FLAGS SEQ:END(LENGTH) [ack N] [win N] [<OPTIONS>]")


def _tcp(found: re.Match[str]) -> Tcp:
    seq, end, length = int(found["seq"]), int(found["end"]), int(found["length"])
    if (seq + length) & 0xFFFFFFFF != end:
        raise InputError(f"{seq} + {length} is not {end}", expected="SEQ:END(LENGTH)")
    flags = "" if found["flags"] == "-" else found["flags"]
    ack, window = found["ack"], found["win"]
    options = _options(found["options"] or "")
    return Tcp(
        "".join(letter for letter in FLAGS if letter in flags),
        seq,
        length,
        None if ack is None else int(ack),
        None if window is None else int(window),
        int(found["urg"] or 0),
        options,
    )


def _options(text: str) -> tuple[Option, ...] | None:
    words = [" ".join(word.split()) for word in text.split(",")] if text.strip() else []
    if words == [ANY]:
        return None
    options = []
    for word in words:
        found = _OPTION.fullmatch(word)
        if found is None:
            raise InputError(
                f"the option {word!r} is outside of the subset",
                expected="mss, wscale, sackOK, sack, TS, nop, eol or ...",
            )
        name = str(found.lastgroup)
        if name == "ecr":
            options.append(Option("TS", (int(found["val"]), int(found["ecr"]))))
        elif name == "sack":
            options.append(Option("sack", tuple(map(int, re.findall(r"\d+", found["sack"])))))
        else:
            options.append(Option(name, (int(found[name]),) if name in ("mss", "wscale") else ()))
    return tuple(options)


def _icmp(found: re.Match[str]) -> Icmp:
    pair = ICMP_CODES.get((found["type"], found["code"] or ""))
    if pair is None:
        words = f"{found['type']} {found['code'] or ''}".strip()
        known = ", ".join(f"{kind} {code}" for kind, code in ICMP_CODES)
        raise InputError(f"the ICMP message {words!r} is outside of the subset", expected=f"one of {known}")
    udp = found["udp"]
    return Icmp(
        *pair,
        int(found["mtu"] or 0),
        int(found["seq"] or 0),
        int(found["length"] or 0),
        None if udp is None else int(udp),
        " ".join(found[0].split()),
    )
