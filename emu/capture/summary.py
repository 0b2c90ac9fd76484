"""A captured frame in words: the middle of a sentence, and one line of text.

Made of the frame's fields only, so that a frame without a trail has words too. Must not know where a header's fields
are, trails, interfaces or why the frame was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emu.capture.blanks import address_text
from emu.wire.addr import mac_text
from emu.wire.captured import macs
from emu.wire.frame import ICMP, IP_DF, IP_MF, IP_OFFSET, TCP, UDP
from emu.wire.icmp import ERROR_WORDS
from emu.wire.proto import GRE, IPIP, PROTOCOL_NAMES, WITH_PORTS
from emu.wire.summary import Summary, options, read, read_ip
from emu.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

Name = Callable[[int], str]
Role = Callable[[bytes], str]

FLAG_LETTERS = ((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (ACK, "A"), (URG, "U"), (ECE, "E"), (CWR, "C"))
PROTOCOLS = {proto: PROTOCOL_NAMES[proto].upper() for proto in (ICMP, GRE, *WITH_PORTS)} | {IPIP: "IPIP"}
ICMP_QUERIES = {
    13: "timestamp-request", 14: "timestamp-reply", 15: "information-request", 16: "information-reply",
    17: "address-mask-request", 18: "address-mask-reply",
}  # fmt: skip
ICMP_WORDS = ERROR_WORDS | {(5, 0): "redirect", (5, 1): "redirect"}
NEAR = 1 << 24  # the largest distance of a sequence number from the initial one of its connection


# -- for a sentence ------------------------------------------------------------------------------


def phrase(seen: Summary, name: Name = address_text) -> str:
    """A phrase that names the frame, for a sentence: `a connection request (SYN)`."""
    if seen.kind == "ARP":
        return _arp_phrase(seen, name)
    if seen.vlan >= 0:
        untagged = _untagged(seen)
        return f"a frame of VLAN {seen.vlan} with {phrase(untagged, name)}{between(untagged, name)}"
    if seen.kind != "IPv4":
        return f"a frame of type {seen.ethertype:#06x}"
    if seen.fragment:
        return f"a fragment (bytes {seen.offset} and on) of a datagram"
    if seen.proto == TCP:
        return _tcp_phrase(seen)
    inner = carried(seen)
    if inner is not None:
        tunnel = f"a packet of VXLAN network {seen.vni}" if seen.vni >= 0 else "an IP-in-IP packet"
        return f"{tunnel} with {phrase(inner, name)}{between(inner, name)}"
    if seen.proto == UDP:
        return f"a datagram of {_count(seen.size)}"
    if seen.proto == ICMP:
        return _icmp_phrase(seen, name)
    return f"a packet of {PROTOCOLS.get(seen.proto, f'protocol {seen.proto}')}"


def _untagged(seen: Summary) -> Summary:
    """A tagged frame without its tag; of a tag in a tag, and of a tunnel in it, the outer one counts."""
    return read(seen.carried)._replace(carried=b"", vlan=-1)


def carried(seen: Summary) -> Summary | None:
    """What a tunnel's packet has inside, if it has anything; of a tunnel in a tunnel the outer one counts."""
    if not seen.carried:
        return None
    inner = read(seen.carried) if seen.vni >= 0 else read_ip(seen.carried)
    return inner._replace(carried=b"")


def _count(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"


def _arp_phrase(seen: Summary, name: Name) -> str:
    if seen.flags == 2:
        return f"the ARP reply that gives the MAC of {name(seen.src)}"
    if seen.src == seen.dst:
        return f"the announcement of {name(seen.src)} (gratuitous ARP)"
    if not seen.src:
        return f"the ARP probe whether {name(seen.dst)} is taken"
    return f"the ARP request who has {name(seen.dst)} (from {name(seen.src)})"


def _tcp_phrase(seen: Summary) -> str:
    flags = seen.flags
    if not flags:  # the quote of an error may be too short to have them
        return "a TCP segment"
    data = f"{_count(seen.size)} of data" if seen.size else ""
    if flags & RST:
        return "a reset (RST)"
    if flags & SYN:
        return "the acceptance of the connection (SYN, ACK)" if flags & ACK else "a connection request (SYN)"
    if flags & FIN:
        return f"{data} and the end of the stream (FIN)" if data else "the end of one direction (FIN)"
    return data or "an acknowledgement (ACK)"


def _icmp_phrase(seen: Summary, name: Name) -> str:
    if seen.sport in (0, 8):
        return f"ping number {seen.seq}" if seen.sport == 8 else f"the answer to ping number {seen.seq}"
    if seen.sport in ICMP_QUERIES:
        return f"the ICMP {ICMP_QUERIES[seen.sport].replace('-', ' ')}"
    words = ICMP_WORDS.get((seen.sport, seen.dport), f"ICMP type {seen.sport} code {seen.dport}")
    if not seen.quote:
        return words
    quoted = read_ip(seen.quote)
    return (
        f'the ICMP error "{words}" about {phrase(quoted, name)} to {endpoint(quoted.dst, quoted.dport, quoted, name)}'
    )


def endpoint(addr: int, port: int, seen: Summary, name: Name = address_text) -> str:
    """`web.default (10.96.0.10:80)`; without a name the address alone, with its port if the protocol has ports."""
    known, text = name(addr), address_text(addr)
    full = f"{text}:{port}" if seen.has_ports else text
    return full if known == text else f"{known} ({full})"


def between(seen: Summary, name: Name = address_text) -> str:
    """` from A to B:PORT` with names; "" if the frame is no IPv4."""
    if seen.kind != "IPv4":
        return ""
    port = f":{seen.dport}" if seen.has_ports else ""
    # an error's or a tunnel's phrase already has the ends of the packet inside
    comma = "," if seen.quote or seen.carried else ""
    return f"{comma} from {name(seen.src)} to {name(seen.dst)}{port}"


# -- one line ------------------------------------------------------------------------------------


def line(data: bytes, role: Role = mac_text, firsts: Sequence[int] = ()) -> str:
    """`[p1>cbr0] 10.244.1.11>10.96.0.10 ttl64 DF TCP 40001>80 [S] seq=0 win=64240 len=0 <mss=1460,...>`.

    `firsts` are initial sequence numbers: a sequence number shortly after one of them is counted from it.
    """
    seen = read(data)
    dmac, smac = macs(data)
    pair = f"[{role(smac)}>{role(dmac)}]"
    return f"{pair} {_line(seen, role, firsts)}"


def _line(seen: Summary, role: Role, firsts: Sequence[int]) -> str:
    if seen.kind == "ARP":
        if seen.flags == 2:
            return f"ARP {address_text(seen.src)} is-at {role(seen.sha)} -> {address_text(seen.dst)}"
        return f"ARP who-has {address_text(seen.dst)} tell {address_text(seen.src)} ({role(seen.sha)})"
    if seen.vlan >= 0:
        return f"VLAN {seen.vlan} {{{_line(_untagged(seen), role, firsts)}}}"
    if seen.kind == "other":
        return f"ethertype {seen.ethertype:#06x} len={seen.size}"
    return ip_line(seen, firsts)


def ip_line(seen: Summary, firsts: Sequence[int] = ()) -> str:
    """The line of an IPv4 packet, without Ethernet."""
    words = [f"{address_text(seen.src)}>{address_text(seen.dst)}", f"ttl{seen.ttl}"]
    if seen.frag & IP_DF:
        words.append("DF")
    if seen.tos:
        words.append(f"tos={seen.tos:#x}")
    if seen.fragment:
        words.append(f"frag={seen.offset}{'+' if seen.frag & IP_MF else ''}")
    if seen.frag & IP_OFFSET:
        words.append(f"{PROTOCOLS.get(seen.proto, f'proto={seen.proto}')} len={seen.size}")
    elif seen.proto == TCP:
        words.append(f"TCP {seen.sport}>{seen.dport} {_tcp_line(seen, firsts)}")
    elif seen.proto == ICMP:
        words.append(f"ICMP {_icmp_line(seen, firsts)}")
    elif seen.has_ports:
        words.append(f"{PROTOCOLS[seen.proto]} {seen.sport}>{seen.dport} len={seen.size}")
    else:
        words.append(f"{PROTOCOLS.get(seen.proto, f'proto={seen.proto}')} len={seen.size}")
    inner = carried(seen)
    if inner is not None:
        tunnel = f"VXLAN {seen.vni} " if seen.vni >= 0 else ""
        words.append(f"{tunnel}{{{_line(inner, mac_text, firsts)}}}")
    return " ".join(words)


def _tcp_line(seen: Summary, firsts: Sequence[int]) -> str:
    letters = "".join(letter for bit, letter in FLAG_LETTERS if seen.flags & bit)
    words = [f"[{letters}]", f"seq={relative(seen.seq, firsts)}"]
    if seen.flags & ACK:
        words.append(f"ack={relative(seen.ack, firsts)}")
    words += [f"win={seen.window}", f"len={seen.size}"]
    names = _options(seen.options)
    return " ".join(words) + (f" <{','.join(names)}>" if names else "")


def relative(number: int, firsts: Sequence[int]) -> int:
    """A sequence number relative to the nearest initial one below it; unchanged if none is near."""
    distance = min((number - first & 0xFFFFFFFF for first in firsts), default=NEAR)
    return distance if distance < NEAR else number


def _options(data: bytes) -> list[str]:
    names: list[str] = []
    for kind, length, raw in options(data):
        if kind < 2:
            names.append(("eol", "nop")[kind])
            continue
        if length < 2:
            return [*names, f"broken({kind})"]
        value = int.from_bytes(raw, "big")
        names.append({2: f"mss={value}", 3: f"wscale={value}", 4: "sackOK", 5: "sack", 8: "TS"}.get(kind, f"opt{kind}"))
    return names


def _icmp_line(seen: Summary, firsts: Sequence[int]) -> str:
    if seen.sport in (0, 8):
        return f"echo-{'request' if seen.sport else 'reply'} id={seen.ident} seq={seen.seq} len={seen.size}"
    if seen.sport in ICMP_QUERIES:
        return f"{ICMP_QUERIES[seen.sport]} id={seen.ident} seq={seen.seq}"
    words = ICMP_WORDS.get((seen.sport, seen.dport), f"type={seen.sport} code={seen.dport}")
    mtu = f" mtu={seen.seq}" if (seen.sport, seen.dport) == (3, 4) else ""
    return f"{words}{mtu} quote({len(seen.quote)}B){{{ip_line(read_ip(seen.quote), firsts)}}}" if seen.quote else words
