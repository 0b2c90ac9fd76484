"""The answers of iptables' REJECT (net/ipv4/netfilter/nf_reject_ipv4.c): an ICMP error or a TCP reset.

The target decides, this module sends. The reset for a bridged packet is sent out of the port that the packet came in
on, with the destination's addresses as its source. Must not know rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.net import icmp, ip_output
from emu.kernel.netfilter.conn import CONFIRMED, attach
from emu.kernel.netfilter.hooks import FORWARD
from emu.trail import Born
from emu.wire import icmp as wire_icmp
from emu.wire import tcp as wire_tcp
from emu.wire import templates
from emu.wire import udp as wire_udp
from emu.wire.checksum import ones_sum, pseudo_sum
from emu.wire.frame import ETH_HLEN, ICMP, IP_OFFSET, SCTP, TCP, UDP, Frame
from emu.wire.proto import AH, DCCP, ESP, GRE, UDPLITE
from emu.wire.rewrite import set_ethernet
from emu.wire.tcp import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

# the ICMP code of `icmp-port-unreachable` ...
CODES = {f"icmp-{name}": code for (kind, code), name in wire_icmp.ERROR_NAMES.items() if kind == wire_icmp.DEST_UNREACH}
UNSUMMED = frozenset((DCCP, GRE, ESP, AH, SCTP, UDPLITE))  # protocols with another check, or with one of a part
RESET = Born("the RST of a REJECT rule")


def reject(net: Netns, frame: Frame, with_: str, hook: int) -> None:
    """Answer `frame` with the packet that `--reject-with` names, unless a checksum is wrong."""
    if with_ == "tcp-reset":
        _reset(net, frame, hook)
    elif not frame.frag & IP_OFFSET and (_unsummed(frame) or _summed(net, frame, hook)):
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, CODES[with_])


def _unsummed(frame: Frame) -> bool:
    """nf_reject_verify_csum: has the packet no checksum over all that follows the IP header?"""
    return frame.proto in UNSUMMED or (frame.proto == UDP and wire_udp.without_checksum(frame))


def _summed(net: Netns, frame: Frame, hook: int) -> bool:
    """nf_ip_checksum. It adds up the IP header, too: its sum is right but where IP options were filled in on input. What conntrack
    has summed on input is right to FORWARD, whatever came of it, and INPUT asks for the payload alone."""
    if frame.partial or ((kept := _kept_sum(net, frame)) and hook == FORWARD):
        return True
    if frame.options is not None and frame.options.changed and not kept:
        return False
    if frame.valid and not frame.frag:  # of a datagram's first piece the sum is wrong
        return True
    payload, proto = frame.payload, frame.proto
    pseudo = pseudo_sum(frame.src, frame.dst, proto, len(payload)) if proto in (TCP, UDP) else 0
    return (ones_sum(payload) + pseudo) % 0xFFFF == 0


def _kept_sum(net: Netns, frame: Frame) -> bool:
    """CHECKSUM_COMPLETE: has conntrack summed the packet as it came in? What lo brings back it does not sum again."""
    conntrack, device = net.conntrack, frame.indev
    if conntrack is None or not conntrack.enabled or not conntrack.checksum or device is None or device.loopback:
        return False
    return frame.proto in (TCP, UDP, ICMP) and not frame.frag


def _reset(net: Netns, frame: Frame, hook: int) -> None:
    """nf_send_reset: a RST is never answered, nor a segment with a wrong checksum."""
    if frame.proto != TCP or frame.frag & IP_OFFSET or not wire_tcp.header_length(frame):
        return
    theirs, acked, offset, flags, _window = wire_tcp.head(frame.buf, frame.l4)
    if flags & RST:
        return
    if not _summed(net, frame, hook):
        return
    route = net.ipv4.lookup_output(frame.src, 0, frame.mark)
    if route is None or route.kind not in ("unicast", "local"):
        return
    length = ETH_HLEN + frame.tot_len - frame.l4 - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
    answer = wire_tcp.build(
        templates.TCP, frame.dst, frame.src, frame.dport, frame.sport,
        seq=acked if flags & ACK else 0, ack=0 if flags & ACK else (theirs + length) & 0xFFFFFFFF,
        flags=RST if flags & ACK else RST | ACK, window=0, options=b"", payload=b"", ident=0,
        ttl=net.ipv4.default_ttl, tos=0, flow=frame.flow, trail=[RESET] if net.tracing else None,
    )  # fmt: skip
    net.bear(answer, frame.packet)
    if frame.ct is not None and frame.ct.status & CONFIRMED:
        frame.ct.table.set_closing(frame.ct)
    if frame.physin is not None:
        header = frame.smac + frame.dmac + net.ipv4.type_bytes
        set_ethernet(answer, header, frame.smac, frame.dmac)
        frame.physin.transmit(answer)
        return
    answer.route = route
    if frame.ct is not None:
        attach(answer, frame)
    ip_output.local_out(net, answer)
