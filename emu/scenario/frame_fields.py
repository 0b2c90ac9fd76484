"""A captured frame as named fields, and a frame's likeness of a scenario compared with them, field by field.

Fields are called `ip.ttl`, `tcp.flags`, `inner.ip.src`: by Scapy's names. Must not know interfaces, times or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from msgspec import Struct

from emu.capture.summary import FLAG_LETTERS, carried, relative
from emu.errors import InputError
from emu.scenario.endpoints import check_glob
from emu.scenario.kinds import FrameLike
from emu.wire.addr import ip4_text, mac_text
from emu.wire.captured import macs
from emu.wire.frame import ETH_HLEN, ICMP, IP_DF, IP_MF, TCP, UDP
from emu.wire.summary import Summary, options, read
from emu.wire.tcp import ACK

FIELDS: dict[str, tuple[str, ...]] = {
    "eth": ("src", "dst", "type"),
    "arp": ("op", "psrc", "pdst", "hwsrc", "hwdst"),
    "ip": ("src", "dst", "ttl", "tos", "id", "proto", "flags", "frag"),
    "tcp": ("sport", "dport", "flags", "seq", "ack", "window", "len", "mss", "wscale"),
    "udp": ("sport", "dport", "len"),
    "icmp": ("type", "code", "id", "seq", "mtu"),
}
ABSENT = "-"
_LETTERS = "".join(letter for _, letter in FLAG_LETTERS)
_OPERATIONS = {1: "who-has", 2: "is-at"}
_FRAG_NEEDED = (3, 4)


class Compared(NamedTuple):
    """One field: what is expected, what the frame has (`-`: it has no such field), and whether they are equal."""

    field: str
    expected: str
    actual: str
    equal: bool


def fields_of(data: bytes, firsts: Sequence[int] = ()) -> dict[str, str]:
    """Every field of a frame, as text. `firsts`: the initial sequence numbers that `tcp.seq` and `tcp.ack` count from."""
    destination, source = macs(data)
    seen = read(data)
    found = {"eth.src": mac_text(source), "eth.dst": mac_text(destination), "eth.type": str(seen.ethertype)}
    found |= _network(seen, firsts)
    if seen.kind == "IPv4" and not seen.fragment:
        found |= _payload(data, seen)
    inner = carried(seen)
    if inner is not None:
        if seen.vni >= 0:
            found["vni"] = str(seen.vni)
        start = seen.carried if seen.vni >= 0 else bytes(ETH_HLEN) + seen.carried
        below = _network(inner, firsts) | (_payload(start, inner) if inner.kind == "IPv4" else {})
        found |= {f"inner.{name}": value for name, value in below.items()}
    return found


def _network(seen: Summary, firsts: Sequence[int]) -> dict[str, str]:
    if seen.kind == "ARP":
        return {
            "arp.op": _OPERATIONS.get(seen.flags, str(seen.flags)),
            "arp.psrc": ip4_text(seen.src),
            "arp.pdst": ip4_text(seen.dst),
            "arp.hwsrc": mac_text(seen.sha),
            "arp.hwdst": mac_text(seen.tha),
        }
    if seen.kind != "IPv4":
        return {}
    flags = [word for bit, word in ((IP_DF, "DF"), (IP_MF, "MF")) if seen.frag & bit]
    found = {
        "ip.src": ip4_text(seen.src),
        "ip.dst": ip4_text(seen.dst),
        "ip.ttl": str(seen.ttl),
        "ip.tos": str(seen.tos),
        "ip.id": str(seen.ip_id),
        "ip.proto": str(seen.proto),
        "ip.flags": "+".join(flags),
        "ip.frag": str(seen.offset),
    }
    if seen.offset:
        return found
    if seen.proto == TCP:
        return found | _tcp(seen, firsts)
    if seen.proto == UDP:
        return found | {"udp.sport": str(seen.sport), "udp.dport": str(seen.dport), "udp.len": str(seen.size)}
    if seen.proto == ICMP:
        found |= {"icmp.type": str(seen.sport), "icmp.code": str(seen.dport)}
        if (seen.sport, seen.dport) == _FRAG_NEEDED:
            return found | {"icmp.mtu": str(seen.seq)}
        return found | ({} if seen.quote else {"icmp.id": str(seen.ident), "icmp.seq": str(seen.seq)})
    return found


def _tcp(seen: Summary, firsts: Sequence[int]) -> dict[str, str]:
    found = {
        "tcp.sport": str(seen.sport),
        "tcp.dport": str(seen.dport),
        "tcp.flags": "".join(letter for bit, letter in FLAG_LETTERS if seen.flags & bit),
        "tcp.seq": str(relative(seen.seq, firsts)),
        "tcp.window": str(seen.window),
        "tcp.len": str(seen.size),
    }
    if seen.flags & ACK:
        found["tcp.ack"] = str(relative(seen.ack, firsts))
    for kind, _, value in options(seen.options):
        if kind in (2, 3):
            found["tcp.mss" if kind == 2 else "tcp.wscale"] = str(int.from_bytes(value, "big"))
    return found


def _payload(data: bytes, seen: Summary) -> dict[str, str]:
    """The text of what TCP, UDP or ICMP carries; bytes that are no UTF-8 as `\\xff`."""
    start = ETH_HLEN + (data[ETH_HLEN] & 15) * 4
    if seen.proto == TCP and len(data) > start + 12:
        start += (data[start + 12] >> 4) * 4
    elif seen.proto in (UDP, ICMP):
        start += 8
    else:
        return {}
    return {"payload": data[start : start + seen.size].decode("utf-8", "backslashreplace")}


def wanted(like: FrameLike) -> dict[str, str]:
    """The fields that a likeness gives, by name, as texts or globs. A layer without fields is `tcp: ""`."""
    found: dict[str, str] = {}
    parts: tuple[Struct | None, ...] = (like.eth, like.arp, like.ip, like.tcp, like.udp, like.icmp)
    for (layer, names), part in zip(FIELDS.items(), parts, strict=True):
        if part is None:
            continue
        given = {name: getattr(part, name) for name in names}
        given = {
            name: value for name, value in given.items() if value not in ("", None) or (name, value) == ("flags", "")
        }
        found |= {f"{layer}.{name}": _text(layer, name, value) for name, value in given.items()}
        if not given:
            found[layer] = ""
    for name, value in (("payload", like.payload), ("vni", like.vni)):
        if value is not None:
            found[name] = str(value)
    if like.inner is not None:
        found |= {f"inner.{name}": value for name, value in wanted(like.inner).items()}
    return found


def _text(layer: str, name: str, value: object) -> str:
    if (layer, name) == ("tcp", "flags"):
        letters = str(value).upper()
        wrong = next((letter for letter in letters if letter not in _LETTERS), None)
        if wrong is not None:
            raise InputError(f'"{wrong}" is not a TCP flag', path="tcp.flags", expected=f"letters of {_LETTERS}")
        return "".join(letter for letter in _LETTERS if letter in letters)
    if (layer, name) == ("ip", "flags"):
        words = str(value).replace(",", "+").split("+") if value else []
        wrong = next((word for word in words if word not in ("DF", "MF")), None)
        if wrong is not None:
            raise InputError(f'"{wrong}" is not an IP flag', path="ip.flags", expected="DF, MF or DF+MF")
        return "+".join(sorted(words))
    text = str(value)
    check_glob(text)
    return text


def compare(expected: Mapping[str, str], actual: Mapping[str, str]) -> list[Compared]:
    """Each expected field beside the frame's."""
    found = []
    for name, value in expected.items():
        if name.rpartition(".")[2] in FIELDS:  # a layer alone: is it there?
            there = any(each.startswith(f"{name}.") for each in actual)
            found.append(Compared(name, "there", "there" if there else ABSENT, there))
            continue
        has = actual.get(name, ABSENT)
        found.append(Compared(name, value, has, name in actual and (has == value or fnmatchcase(has, value))))
    return found


def same_packet(data: bytes) -> tuple[object, ...]:
    """What a packet keeps on its way over bridges, routers, NAT and tunnels: two frames with the same key are hops of one packet."""
    outer = read(data)
    seen = carried(outer) or outer
    if seen.kind == "ARP":
        return seen.kind, seen.flags, seen.src, seen.dst
    echo = (seen.seq,) if seen.proto == ICMP else (seen.seq, seen.ack)
    return seen.kind, seen.proto, seen.ip_id, seen.frag, seen.flags, seen.size, *echo
