"""The only code that writes into a live frame. It changes headers in place, keeps the cached fields equal to them, and
adjusts checksums instead of computing them again (RFC 1624).

Must not know why a field changes.
"""

from __future__ import annotations

from struct import Struct

from emu.wire import sctp, udplite
from emu.wire.checksum import adjust, checksum, pseudo_sum
from emu.wire.frame import ICMP, IP_DF, IP_OFFSET, SCTP, TCP, UDP, UDPLITE, Frame
from emu.wire.tcp import HLEN, MSS, MSS_LENGTH, NOP, option_at

_put_addresses = Struct("!HII").pack_into  # the header's checksum and both addresses
_put_word = Struct("!H").pack_into


def set_ethernet(frame: Frame, header: bytes | bytearray, dmac: bytes, smac: bytes) -> None:
    """Write a ready 14-byte Ethernet header; `dmac` and `smac` are its addresses, for the cached fields. It is written fastest from a
    bytearray, which Python makes of bytes first."""
    frame.buf[0:14] = header
    frame.dmac = dmac
    frame.smac = smac


def set_dmac(frame: Frame, dmac: bytes) -> None:
    frame.buf[0:6] = dmac
    frame.dmac = dmac


def set_smac(frame: Frame, smac: bytes) -> None:
    frame.buf[6:12] = smac
    frame.smac = smac


def decrease_ttl(frame: Frame) -> None:
    """ip_decrease_ttl (include/net/ip.h): TTL minus one, header checksum plus 0x0100 with end-around carry."""
    buf = frame.buf
    buf[22] = frame.ttl = frame.ttl - 1
    high = buf[24]
    if high < 0xFE:
        buf[24] = high + 1
    else:
        check = (high << 8 | buf[25]) + 0x0100
        if check >= 0xFFFF:
            check -= 0xFFFF
        buf[24] = check >> 8
        buf[25] = check & 255


def set_source(frame: Frame, addr: int, port: int) -> None:
    """New source address and port (echo id for ICMP queries), with both checksums."""
    change = addr + 0xFFFFFFFF - frame.src
    frame.src = addr
    _set_addresses(frame, change)
    old, frame.sport = frame.sport, port
    if not frame.frag & IP_OFFSET:
        _set_port(frame, change, old, port, 0)


def set_addresses_alone(frame: Frame, source: int, destination: int) -> None:
    """New addresses, with the header's checksum alone: the transport's is wrong from now on."""
    change = source + 0xFFFFFFFF - frame.src + destination + 0xFFFFFFFF - frame.dst
    frame.src, frame.dst, frame.valid = source, destination, False
    _set_addresses(frame, change)


def set_destination(frame: Frame, addr: int, port: int) -> None:
    """New destination address and port (ICMP: `port` is the type and code and must not change)."""
    change = addr + 0xFFFFFFFF - frame.dst
    frame.dst = addr
    _set_addresses(frame, change)
    if frame.proto != ICMP:
        old, frame.dport = frame.dport, port
        if not frame.frag & IP_OFFSET:
            _set_port(frame, change, old, port, 2)


def _set_addresses(frame: Frame, change: int) -> None:
    """Write the addresses of the IPv4 header. `change` is what the new one adds to the sum of the header, and of the pseudo header."""
    buf = frame.buf
    total = (0xFFFF - (buf[24] << 8 | buf[25]) + change) % 0xFFFF
    _put_addresses(buf, 24, 0xFFFF - total if total else 0, frame.src, frame.dst)


def _set_port(frame: Frame, change: int, old: int, new: int, offset: int) -> None:
    """Write a port (at `offset` in the transport header; the id of ICMP) and adjust the transport checksum.

    `change` is what the address added to the ones-complement sum of the pseudo header. RFC 1624 equation 3, with all
    terms folded at once: a sum of 0xFFFF is zero, as no term here is all zero.
    """
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    if proto == TCP:
        at = l4 + 16
    elif proto == UDP:
        at = l4 + 6
    else:
        _set_other_port(frame, change, old, new, offset)
        return
    if len(buf) < at + 2:
        frame.reparse()  # the packet ends before the checksum: nothing is written, the cached fields are read again
        return
    check = buf[at] << 8 | buf[at + 1]
    if frame.partial:
        # the checksum field holds the sum of the pseudo header only, not inverted
        check = (check + change) % 0xFFFF or 0xFFFF
        buf[at] = check >> 8
        buf[at + 1] = check & 255
    elif check or proto == TCP:
        total = (0xFFFF - check + change + new + 0xFFFF - old) % 0xFFFF
        check = 0xFFFF - total if total else 0
        if not check and proto == UDP:
            check = 0xFFFF
        _put_word(buf, at, check)
    _put_word(buf, l4 + offset, new)


def _set_other_port(frame: Frame, change: int, old: int, new: int, offset: int) -> None:
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    if proto == ICMP and len(buf) >= l4 + 8:
        if old != new:
            check = adjust(buf[l4 + 2] << 8 | buf[l4 + 3], old, new)
            buf[l4 + 2], buf[l4 + 3] = check >> 8, check & 255
            buf[l4 + 4], buf[l4 + 5] = new >> 8, new & 255
    elif proto == SCTP and len(buf) >= l4 + sctp.HLEN:
        buf[l4 + offset : l4 + offset + 2] = new.to_bytes(2, "big")
        buf[l4 + 8 : l4 + sctp.HLEN] = sctp.checksum_of(frame.payload)
    elif proto == UDPLITE and len(buf) >= l4 + udplite.HLEN:
        total = (0xFFFF - (buf[l4 + 6] << 8 | buf[l4 + 7]) + change + new + 0xFFFF - old) % 0xFFFF
        buf[l4 + 6 : l4 + 8] = (0xFFFF - total).to_bytes(2, "big")  # never 0: UDP-Lite must have a checksum
        buf[l4 + offset : l4 + offset + 2] = new.to_bytes(2, "big")
    else:
        frame.reparse()


def leave_checksum(frame: Frame) -> None:
    """CHECKSUM_PARTIAL: leave the transport checksum of a local TCP or UDP packet for a device."""
    buf, l4 = frame.buf, frame.l4
    at = l4 + (16 if frame.proto == TCP else 6)
    total = pseudo_sum(frame.src, frame.dst, frame.proto, len(buf) - l4) % 0xFFFF or 0xFFFF
    buf[at : at + 2] = total.to_bytes(2, "big")
    frame.partial = True


def complete_checksum(frame: Frame) -> None:
    """skb_checksum_help: compute the checksum that was left for a device."""
    buf, l4 = frame.buf, frame.l4
    at = l4 + (16 if frame.proto == TCP else 6)
    buf[at : at + 2] = b"\0\0"
    total = checksum(buf[l4:], pseudo_sum(frame.src, frame.dst, frame.proto, len(buf) - l4))
    buf[at : at + 2] = (total or (0 if frame.proto == TCP else 0xFFFF)).to_bytes(2, "big")
    frame.partial = False


def set_payload(frame: Frame, start: int, data: bytes) -> None:
    """Overwrite bytes from `start` on (an ICMP error's quote, for example) and read the cached fields again.

    The bytes are final, checksums included.
    """
    frame.buf[start : start + len(data)] = data
    frame.reparse()


def replace(frame: Frame, data: bytes | bytearray) -> None:
    """Replace all bytes of the frame (reassembly, decapsulation) and read the cached fields again."""
    frame.buf = bytearray(data)
    frame.reparse()


def untag(frame: Frame) -> int:
    """Remove the outermost VLAN tag, with its EtherType (skb_vlan_untag); gives the tag's VLAN, 0 to 4095."""
    buf = frame.buf
    vlan = (buf[14] << 8 | buf[15]) & 0xFFF
    del buf[12:16]
    frame.reparse()
    return vlan


def tag(frame: Frame, tci: int) -> None:
    """Put a VLAN tag (802.1Q) behind the MACs (vlan_insert_tag); `tci` is priority, DEI and VLAN."""
    frame.buf[12:12] = bytes((0x81, 0x00, tci >> 8, tci & 0xFF))
    frame.reparse()


def trim(frame: Frame, end: int) -> None:
    """pskb_trim_rcsum: remove the bytes of the frame from `end` on (the padding of a short Ethernet frame, for example)."""
    del frame.buf[end:]
    frame.plain = None


def set_options(frame: Frame, options: bytes, destination: int, *, summed: bool = False) -> None:
    """Write the IP options, of the same length as before, and the destination; `summed`: with the header's checksum."""
    buf, l4 = frame.buf, frame.l4
    buf[30:l4] = destination.to_bytes(4, "big") + options
    frame.dst = destination
    if summed:
        _sum_header(frame)


def insert_options(frame: Frame, options: bytes) -> None:
    """Insert IP options (a multiple of 4 bytes) into a header that has none."""
    buf = frame.buf
    buf[34:34] = options
    frame.l4 += len(options)
    frame.tot_len += len(options)
    buf[14] += len(options) // 4
    buf[16:18] = frame.tot_len.to_bytes(2, "big")
    _sum_header(frame)


def _sum_header(frame: Frame) -> None:
    buf = frame.buf
    buf[24:26] = b"\0\0"
    buf[24:26] = checksum(buf[14 : frame.l4]).to_bytes(2, "big")


def set_tos(frame: Frame, tos: int) -> None:
    """Write the type of service (DSCP and ECN), 0 to 255, and adjust the header checksum."""
    buf = frame.buf
    check = adjust(buf[24] << 8 | buf[25], buf[14] << 8 | buf[15], buf[14] << 8 | tos)
    buf[15] = tos
    buf[24], buf[25] = check >> 8, check & 255


def set_ttl(frame: Frame, ttl: int) -> None:
    """Write the time to live, 0 to 255, and adjust the header checksum."""
    buf = frame.buf
    check = adjust(buf[24] << 8 | buf[25], buf[22] << 8 | buf[23], ttl << 8 | buf[23])
    buf[22] = frame.ttl = ttl
    buf[24], buf[25] = check >> 8, check & 255


def set_df(frame: Frame) -> None:
    """Set "don't fragment", and adjust the header checksum."""
    buf = frame.buf
    old = buf[20] << 8 | buf[21]
    frame.frag = old | IP_DF
    buf[20] |= IP_DF >> 8
    check = adjust(buf[24] << 8 | buf[25], old, frame.frag)
    buf[24], buf[25] = check >> 8, check & 255


def set_mss(frame: Frame, old: int, new: int) -> None:
    """Write another value into the option that `mss_of` reads."""
    at = option_at(frame, MSS) + 2
    buf, place = frame.buf, frame.l4 + 16
    check = buf[place] << 8 | buf[place + 1]
    if (at - frame.l4) % 2:  # at an odd offset each byte counts in the other half of its word
        check = adjust(check, old >> 8, new >> 8)
        check = adjust(check, (old & 255) << 8, (new & 255) << 8)
    else:
        check = adjust(check, old, new)
    whole = bytearray(buf[place : at + 2])
    whole[0:2] = check.to_bytes(2, "big")
    whole[-2:] = new.to_bytes(2, "big")
    set_payload(frame, place, bytes(whole))


def insert_mss(frame: Frame, mss: int) -> None:
    """Insert an MSS option right after the fixed header; adjust both lengths and both checksums."""
    buf, l4 = frame.buf, frame.l4
    segment = bytearray(buf[l4 : l4 + 20]) + bytes((MSS, MSS_LENGTH)) + mss.to_bytes(2, "big") + buf[l4 + 20 :]
    segment[12] += 0x10
    segment[16:18] = b"\0\0"
    pseudo = bytes(buf[26:34]) + bytes((0, TCP)) + len(segment).to_bytes(2, "big")
    segment[16:18] = checksum(pseudo + bytes(segment)).to_bytes(2, "big")
    head = bytearray(buf[14:l4])
    head[2:4] = (len(head) + len(segment)).to_bytes(2, "big")
    head[10:12] = b"\0\0"
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    replace(frame, buf[:14] + head + segment)


def strip_options(frame: Frame, kinds: frozenset[int]) -> None:
    """Write NOPs over the TCP options of these kinds, up to the first that is longer than the header."""
    buf, l4, frame.plain = frame.buf, frame.l4, None
    at, stop = l4 + HLEN, l4 + (buf[l4 + 12] >> 4) * 4
    check = buf[l4 + 16] << 8 | buf[l4 + 17]
    while at < stop - 1:
        length = buf[at + 1] if buf[at] > 1 and buf[at + 1] else 1
        if at + length > stop:
            break
        if buf[at] in kinds:
            for place in range(at, at + length):
                shift = 0 if (place - l4) % 2 else 8
                check = adjust(check, buf[place] << shift, NOP << shift)
                buf[place] = NOP
        at += length
    if not frame.partial:
        buf[l4 + 16], buf[l4 + 17] = check >> 8, check & 255


def clear_tcp_flags(frame: Frame, flags: int) -> None:
    """Clear bits of the TCP header's flags."""
    buf, at, frame.plain = frame.buf, frame.l4 + 13, None
    old, check = buf[at], buf[at + 3] << 8 | buf[at + 4]
    buf[at] = old & ~flags & 0xFF
    if not frame.partial:
        check = adjust(check, old, buf[at])
        buf[at + 3], buf[at + 4] = check >> 8, check & 255
