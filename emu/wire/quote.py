"""The packet that an ICMP error quotes: how it is cut, read and rewritten by NAT (RFC 792, RFC 5508).

Must not know connections, or why an error is sent.
"""

from __future__ import annotations

from emu.wire import sctp
from emu.wire.checksum import adjust
from emu.wire.frame import ETH_HLEN, GRE, GRE_PPP, ICMP, ICMP_QUERY, IP_OFFSET, PORTS, SCTP, TCP, UDP, UDPLITE, Frame
from emu.wire.icmp import body
from emu.wire.rewrite import set_payload

SOURCE, DESTINATION = 0, 1  # the half that NAT rewrites (MANIP_SRC, MANIP_DST)


def cut(frame: Frame, most: int) -> bytes:
    """The quote in an error about `frame`: its IP packet, at most `most` bytes."""
    return bytes(frame.buf[ETH_HLEN : ETH_HLEN + min(frame.tot_len, most)])


def packet_of(frame: Frame) -> Frame | None:
    """The packet that an error quotes, as a frame; None if the quote is shorter than an IPv4 header and 8 bytes."""
    quote = Frame.parse(bytes(12) + b"\x08\x00" + body(frame), frame.flow)
    if quote.proto < 0 or len(quote.buf) < quote.l4 + 8:
        return None
    return quote


def tuple_of(frame: Frame) -> tuple[int, int, int, int, int] | None:
    """(protocol, source, destination, and both ports) of the packet that an ICMP error quotes; None where the quote is too short or a later fragment."""
    buf = frame.buf
    at = frame.l4 + 8
    if len(buf) < at + 20:
        return None
    l4 = at + (buf[at] & 15) * 4
    proto = buf[at + 9]
    if (buf[at + 6] << 8 | buf[at + 7]) & IP_OFFSET:
        return None
    src, dst = int.from_bytes(buf[at + 12 : at + 16], "big"), int.from_bytes(buf[at + 16 : at + 20], "big")
    if proto in PORTS:
        if len(buf) < l4 + 4:
            return None
        return proto, src, dst, buf[l4] << 8 | buf[l4 + 1], buf[l4 + 2] << 8 | buf[l4 + 3]
    if proto == ICMP:
        if len(buf) < l4 + 8:
            return None
        ident = buf[l4 + 4] << 8 | buf[l4 + 5] if buf[l4] in ICMP_QUERY else 0
        return proto, src, dst, ident, buf[l4] << 8 | buf[l4 + 1]
    if proto == GRE and len(buf) >= l4 + 8 and buf[l4 + 1] & 7 == 1:
        return (proto, src, dst, 0, buf[l4 + 6] << 8 | buf[l4 + 7]) if buf[l4 + 2 : l4 + 4] == GRE_PPP else None
    return proto, src, dst, 0, 0


def rewrite(frame: Frame, addr: int, sent: tuple[int, int, int, int, int], manip: int) -> None:
    """Write one half of `sent` into the packet that an ICMP error quotes, and adjust its checksums and the error's."""
    buf = frame.buf
    at = frame.l4 + 8
    l4 = at + (buf[at] & 15) * 4
    quote = bytearray(buf[at:])
    head = l4 - at
    field = 12 if manip == SOURCE else 16
    old = int.from_bytes(quote[field : field + 4], "big")
    quote[field : field + 4] = addr.to_bytes(4, "big")
    _mend(quote, 10, old, addr)
    proto = quote[9]
    if proto == ICMP:
        if quote[head] in ICMP_QUERY:
            _put(quote, head + 4, sent[3], head + 2)
    else:
        port_at, port = (head, sent[3]) if manip == SOURCE else (head + 2, sent[4])
        check_at = {TCP: head + 16, UDP: head + 6, UDPLITE: head + 6}.get(proto, -1)
        short = len(quote) < (head + 20 if proto == TCP else head + 8)
        if short or (proto == UDP and quote[check_at : check_at + 2] == b"\0\0"):
            check_at = -1
        if check_at >= 0:
            _mend(quote, check_at, old, addr)
        if proto in PORTS:
            _put(quote, port_at, port, check_at)
        if proto == SCTP and len(quote) >= head + sctp.HLEN:
            # over what is quoted, even where that is not the whole packet
            quote[head + 8 : head + sctp.HLEN] = sctp.checksum_of(bytes(quote[head:]))
        if proto in (UDP, UDPLITE) and check_at >= 0 and quote[check_at : check_at + 2] == b"\0\0":
            quote[check_at] = quote[check_at + 1] = 0xFF
    check = buf[frame.l4 + 2] << 8 | buf[frame.l4 + 3]
    for word in range(0, len(quote) - 1, 2):
        new_word, old_word = quote[word : word + 2], buf[at + word : at + word + 2]
        if new_word != old_word:
            check = adjust(check, int.from_bytes(old_word, "big"), int.from_bytes(new_word, "big"))
    set_payload(frame, frame.l4 + 2, check.to_bytes(2, "big") + bytes(buf[frame.l4 + 4 : at]) + bytes(quote))


def _put(data: bytearray, at: int, word: int, check_at: int) -> None:
    """Write a 16-bit field; `check_at` (-1: none) is the checksum that covers it."""
    if check_at >= 0:
        _mend(data, check_at, data[at] << 8 | data[at + 1], word)
    data[at : at + 2] = word.to_bytes(2, "big")


def _mend(data: bytearray, at: int, old: int, new: int) -> None:
    check = adjust(data[at] << 8 | data[at + 1], old, new)
    data[at : at + 2] = check.to_bytes(2, "big")
