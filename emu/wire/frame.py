"""The live frame: one bytearray, cached offsets and addresses, and the fields of sk_buff that go with it.

`buf` always begins with 14 bytes of Ethernet header (zero while a local packet has none yet);
IPv4 begins at 14, its payload at `l4`. The cached fields equal the bytes at all times: only
`wire/rewrite.py` changes either. A frame has one owner: code that passes it to a second receiver clones it.
Must not know devices, namespaces or Scapy; the fields of sk_buff are opaque here.
"""

from __future__ import annotations

from typing import Any

from emu.wire.addr import ZERO_MAC

ETH_HLEN = 14
IP_HLEN = 20
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
AF_INET = 2
ICMP, IGMP, TCP, UDP, GRE, PIM, SCTP, UDPLITE = 1, 2, 6, 17, 47, 103, 132, 136
IP_MF, IP_DF, IP_OFFSET = 0x2000, 0x4000, 0x1FFF

# sk_buff's pkt_type (include/uapi/linux/if_packet.h)
HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING, LOOPBACK = range(6)
# a TCP segment without options other than timestamps: sequence number, acknowledgement, flags, window, payload, timestamps (None: without)
Plain = tuple[int, int, int, int, bytes, tuple[int, int] | None]


class Frame:
    """One frame on its way. Addresses are ints, MACs 6 bytes.

        `family` is AF_INET, or 0 where the frame holds no valid packet; then `proto`, the IP protocol, is -1.
        `tot_len` is the packet's length by its header, `ttl` its time to live.
        `sport`/`dport` are the ports of TCP, UDP, UDP-Lite and SCTP; for ICMP the echo id (0 without one) and
        `type << 8 | code`; for GRE of PPTP 0 and the call id; both are 0 for other protocols and for fragments after the first.
        `frag` is the fragment word (MF and offset), 0 for a whole datagram.
        `indev`/`outdev` are the devices that a hook sees, `physin`/`physout` the bridge ports
        (the kernel's nf_bridge_info; set while br_netfilter passes this frame to hooks).
        `ct`/`ctdir`/`ctinfo`: the connection, 0 original or 1 reply, and the kernel's ctinfo number.
        `bridged_dnat` and `br_smac` (its source MAC until then): br_netfilter sent the frame on the slow path after a DNAT.
        `route` is the kernel's dst entry; `valid`: the headers were checked, or emu built them.
        `trail` collects what happens to the frame until a tap drains it (None: no one captures).
        `flow` numbers the flow that caused the frame (0: background). `sock` is the local socket that sent it.
        `packet` numbers the packet that the frame is (0: none was drawn): its copies, fragments and segments have the same
        number, and so has the packet of a tunnel that carries it. `caused_by` is the number of the packet that it answers, or
        that waits for it (0: none).
        `frag_max_size`: the largest fragment of a reassembled datagram, else 0. `ignore_df`: it may be fragmented in spite of
        its DF, because its socket asks for that, or because a bridge reassembled it. `cause`: what the frame was made
        from: the sizes of the fragments, or the ICMP error that quotes it. `options`: what input read of the IP options (None
        without options, and where a bridge has the frame). `burst`: cut from a larger buffer (GSO).
        `partial` (CHECKSUM_PARTIAL): the transport checksum is the pseudo header's sum only, a device completes it;
        `confirms` (dst_pending_confirm): the sender's packets are acknowledged, which confirms the neighbours on the way.
    `gso_size`: a device cuts the payload into segments of so many bytes (0: no cut). `vlan`: the tag that a bridge with VLAN
    filtering keeps beside the frame (None: no such bridge has it). `plain`: what a TCP segment was built of, as long as nothing behind
    its ports was rewritten (None: read the bytes).
    """

    __slots__ = (
        "br_smac", "bridged_dnat", "buf", "burst", "cause", "caused_by", "confirms", "ct", "ctdir", "ctinfo", "dmac", "dport", "dst",
        "ethertype", "family", "flow", "frag", "frag_max_size", "gso_size", "ignore_df", "indev", "l4", "mark", "options", "outdev", "packet", "partial", "physin",
        "physout", "pkt_type", "plain", "proto", "route", "smac", "sock", "sport", "src", "tot_len", "trail", "ttl", "valid", "vlan",
    )  # fmt: skip

    def __init__(self, buf: bytearray, flow: int = 0, trail: list[Any] | None = None) -> None:
        self.buf = buf
        self.flow = flow
        self.trail = trail
        self.dmac = self.smac = ZERO_MAC
        self.ethertype = ETH_P_IP
        self.proto = -1
        self.family = self.tot_len = self.ttl = self.packet = self.caused_by = 0
        self.src = self.dst = self.sport = self.dport = self.l4 = self.frag = 0
        self.mark = self.pkt_type = self.ctdir = self.ctinfo = self.frag_max_size = self.gso_size = 0
        self.br_smac = ZERO_MAC
        self.bridged_dnat = self.ignore_df = self.valid = self.burst = self.partial = self.confirms = False
        # opaque here: their classes are on higher floors
        self.indev: Any = None
        self.outdev: Any = None
        self.physin: Any = None
        self.physout: Any = None
        self.ct: Any = None
        self.route: Any = None
        self.sock: Any = None
        self.cause: Any = None
        self.options: Any = None
        self.vlan: int | None = None
        self.plain: Plain | None = None

    @classmethod
    def parse(cls, data: bytes | bytearray, flow: int = 0, trail: list[Any] | None = None) -> Frame:
        """A frame from captured or injected bytes; raises nothing. Without a whole Ethernet header its MACs are zero."""
        frame = cls(bytearray(data), flow, trail)
        frame.reparse()
        return frame

    def reparse(self) -> None:
        """Fill the cached fields from the bytes."""
        buf = self.buf
        self.dmac, self.smac = bytes(buf[0:6]), bytes(buf[6:12])
        if len(buf) >= ETH_HLEN:
            self.ethertype = buf[12] << 8 | buf[13]
        else:
            self.dmac, self.smac, self.ethertype = ZERO_MAC, ZERO_MAC, 0
        self.proto, self.l4, self.frag, self.plain = -1, 0, 0, None
        self.family = self.tot_len = self.ttl = 0
        self.src = self.dst = self.sport = self.dport = 0
        # the version is the receiver's to check (ip_rcv_core): what a host sends itself is tracked and routed with any
        if self.ethertype != ETH_P_IP or len(buf) < ETH_HLEN + IP_HLEN:
            return
        l4 = self.l4 = ETH_HLEN + (buf[14] & 15) * 4
        self.family, self.ttl, self.proto = AF_INET, buf[22], buf[23]
        self.tot_len = buf[16] << 8 | buf[17]
        self.frag = (buf[20] << 8 | buf[21]) & (IP_MF | IP_OFFSET)
        self.src = int.from_bytes(buf[26:30], "big")
        self.dst = int.from_bytes(buf[30:34], "big")
        if self.frag & IP_OFFSET:
            return
        if self.proto in PORTS and len(buf) >= l4 + 4:
            self.sport = buf[l4] << 8 | buf[l4 + 1]
            self.dport = buf[l4 + 2] << 8 | buf[l4 + 3]
        elif self.proto == ICMP and len(buf) >= l4 + 8:
            if buf[l4] in ICMP_QUERY:
                self.sport = buf[l4 + 4] << 8 | buf[l4 + 5]
            self.dport = buf[l4] << 8 | buf[l4 + 1]
        elif self.proto == GRE and len(buf) >= l4 + 8 and buf[l4 + 1] & 7 == 1 and buf[l4 + 2 : l4 + 4] == GRE_PPP:
            self.dport = buf[l4 + 6] << 8 | buf[l4 + 7]

    def clone(self) -> Frame:
        """A copy with its own buffer and trail (skb_copy): both have the trail's entries that no tap has drained yet."""
        new = Frame.__new__(Frame)
        new.br_smac = self.br_smac
        new.bridged_dnat = self.bridged_dnat
        new.burst = self.burst
        new.cause = self.cause
        new.caused_by = self.caused_by
        new.confirms = self.confirms
        new.ct = self.ct
        new.ctdir = self.ctdir
        new.ctinfo = self.ctinfo
        new.dmac = self.dmac
        new.dport = self.dport
        new.dst = self.dst
        new.ethertype = self.ethertype
        new.family = self.family
        new.flow = self.flow
        new.frag = self.frag
        new.frag_max_size = self.frag_max_size
        new.gso_size = self.gso_size
        new.ignore_df = self.ignore_df
        new.indev = self.indev
        new.l4 = self.l4
        new.mark = self.mark
        new.options = self.options
        new.outdev = self.outdev
        new.packet = self.packet
        new.partial = self.partial
        new.physin = self.physin
        new.physout = self.physout
        new.pkt_type = self.pkt_type
        new.plain = self.plain
        new.proto = self.proto
        new.route = self.route
        new.smac = self.smac
        new.sock = self.sock
        new.sport = self.sport
        new.src = self.src
        new.tot_len = self.tot_len
        new.ttl = self.ttl
        new.valid = self.valid
        new.vlan = self.vlan
        new.buf = self.buf[:]
        new.trail = self.trail[:] if self.trail is not None else None
        return new

    @property
    def largest(self) -> int:
        """The longest IPv4 packet, bytes, among the segments that the frame is cut into (skb_gso_network_seglen)."""
        if not self.gso_size:
            return len(self.buf) - ETH_HLEN
        return self.l4 - ETH_HLEN + (self.buf[self.l4 + 12] >> 4) * 4 + self.gso_size

    @property
    def tos(self) -> int:
        return self.buf[15]

    @property
    def ip_id(self) -> int:
        return self.buf[18] << 8 | self.buf[19]

    @property
    def frag_word(self) -> int:
        """DF, MF and the offset, as in the header."""
        return self.buf[20] << 8 | self.buf[21]

    @property
    def payload(self) -> bytes:
        """The bytes after the IP header, without padding."""
        return b"" + self.buf[self.l4 : ETH_HLEN + self.tot_len]

    @property
    def option_bytes(self) -> bytes:
        """The IP options; empty without any."""
        return bytes(self.buf[ETH_HLEN + IP_HLEN : self.l4])

    @property
    def df(self) -> bool:
        return bool(self.buf[20] & 0x40)


# ICMP types with an identifier: echo, timestamp, information, address mask (nf_conntrack_proto_icmp.c)
ICMP_QUERY = frozenset((0, 8, 13, 14, 15, 16, 17, 18))
# the protocols that connection tracking knows by ports, which are their first two words (DCCP is none of them)
PORTS = frozenset((TCP, UDP, SCTP, UDPLITE))
GRE_PPP = b"\x88\x0b"  # what version 1 of GRE carries
