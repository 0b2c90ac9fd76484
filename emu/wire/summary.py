"""A captured frame's bytes as fields: what words, lines and other views of a frame are made of.

Reads plain bytes, which no namespace holds any more; odd bytes give less, never an error. Must not know trails,
interfaces or words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from emu.wire import vxlan
from emu.wire.frame import ETH_HLEN, ETH_P_ARP, ETH_P_IP, ICMP, IP_MF, IP_OFFSET, TCP, UDP
from emu.wire.icmp import ERRORS
from emu.wire.proto import IPIP, WITH_PORTS
from emu.wire.vlan import ETH_P_8021Q, TAG_NEEDS, VID_MASK


class Summary(NamedTuple):
    """`kind` is ARP, IPv4 or other. For ARP `src`/`dst` are sender's and target's address, `flags` the operation,
    `sha`/`tha` their MACs.

    `size` counts the payload of TCP and UDP, of ICMP what follows its 8 bytes, else of IP. `frag` is the fragment word
    with DF; `sport`/`dport` of ICMP are type and code, `ident`/`seq` an echo's. `carried` is what a tunnel's packet has inside: a
    frame of the VXLAN network `vni`, or, with -1, an IP packet. A frame with the tag of the VLAN `vlan` (-1: without one) is of
    the kind other, and carries the frame without its tag.
    """

    kind: str
    ethertype: int = 0
    src: int = 0
    dst: int = 0
    proto: int = -1
    ttl: int = 0
    tos: int = 0
    ip_id: int = 0
    frag: int = 0
    sport: int = 0
    dport: int = 0
    flags: int = 0
    size: int = 0
    seq: int = 0
    ack: int = 0
    window: int = 0
    ident: int = 0
    options: bytes = b""
    quote: bytes = b""
    carried: bytes = b""
    vni: int = -1
    vlan: int = -1
    sha: bytes = b""
    tha: bytes = b""

    @property
    def fragment(self) -> bool:
        """A piece of a datagram, the first included."""
        return bool(self.frag & (IP_MF | IP_OFFSET))

    @property
    def has_ports(self) -> bool:
        return self.proto in WITH_PORTS and not self.frag & IP_OFFSET

    @property
    def offset(self) -> int:
        return (self.frag & IP_OFFSET) * 8


def read(data: bytes) -> Summary:
    """The summary of an Ethernet frame."""
    ethertype = int.from_bytes(data[12:14], "big")
    if ethertype == ETH_P_ARP and len(data) >= 42:
        word = int.from_bytes
        src, dst = word(data[28:32], "big"), word(data[38:42], "big")
        operation = word(data[20:22], "big")
        return Summary("ARP", ethertype, src, dst, flags=operation, sha=data[22:28], tha=data[32:38])
    if ethertype == ETH_P_IP:
        return read_ip(data[14:], ethertype)
    if ethertype == ETH_P_8021Q and len(data) >= ETH_HLEN + TAG_NEEDS:
        vid = int.from_bytes(data[14:16], "big") & VID_MASK
        return Summary("other", ethertype, size=len(data) - ETH_HLEN, carried=data[:12] + data[16:], vlan=vid)
    return Summary("other", ethertype, size=max(len(data) - 14, 0))


def tunnelled(data: bytes) -> bytes:
    """What a tunnel's packet has inside, as an Ethernet frame (of IP in IP with a header of zeros); else the frame itself."""
    seen = read(data)
    if not seen.carried or seen.vlan >= 0:
        return data
    return seen.carried if seen.vni >= 0 else bytes(12) + ETH_P_IP.to_bytes(2, "big") + seen.carried


def read_ip(packet: bytes, ethertype: int = ETH_P_IP) -> Summary:
    """The summary of an IPv4 packet, which may be cut short (as an ICMP error quotes it)."""
    word = int.from_bytes
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return Summary("other", ethertype, size=len(packet))
    l4 = (packet[0] & 15) * 4
    proto, frag = packet[9], word(packet[6:8], "big")
    size = max(word(packet[2:4], "big") - l4, 0)
    fields: dict[str, Any] = {}
    head = packet[l4:]
    if not frag & IP_OFFSET and len(head) >= 8:
        if proto in WITH_PORTS:
            fields = {"sport": word(head[:2], "big"), "dport": word(head[2:4], "big")}
        if proto == UDP:
            size -= 8
            if fields["dport"] in vxlan.PORTS and len(head) >= 16 and head[8:12] == vxlan.header(0)[:4]:
                fields |= {"carried": head[16:], "vni": word(head[12:15], "big")}
        elif proto == TCP:
            fields["seq"] = word(head[4:8], "big")
            if len(head) >= 20:
                header = (head[12] >> 4) * 4
                size = max(size - header, 0)
                fields |= {"ack": word(head[8:12], "big"), "flags": head[13], "window": word(head[14:16], "big")}
                fields["options"] = head[20:header]
        elif proto == ICMP:
            size -= 8
            fields = {
                "sport": head[0],
                "dport": head[1],
                "ident": word(head[4:6], "big"),
                "seq": word(head[6:8], "big"),
            }
            if head[0] in ERRORS:
                fields["quote"] = head[8:]
        elif proto == IPIP:
            fields = {"carried": head}
    return Summary(
        "IPv4", ethertype, word(packet[12:16], "big"), word(packet[16:20], "big"), proto, packet[8], packet[1],
        word(packet[4:6], "big"), frag, size=size, **fields,
    )  # fmt: skip


def options(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The options of a TCP header: kind, length as the option has it (1 for padding, below 2: it is broken and the last)
    and value."""
    at = 0
    while at < len(data):
        kind = data[at]
        if kind < 2:
            yield kind, 1, b""
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        yield kind, length, data[at + 2 : at + length]
        if length < 2:
            return
        at += length
