"""The answers of iptables' REJECT (net/ipv4/netfilter/nf_reject_ipv4.c): an ICMP error or a TCP reset.

The target decides, this module sends. The reset for a bridged packet is sent out of the port that the packet came in
on, with the destination's addresses as its source. Must not know rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu import craft
from emu.kernel.net import icmp, ip_output
from emu.kernel.netfilter.conn import attach
from emu.trail import Born
from emu.wire import icmp as wire_icmp
from emu.wire import tcp as wire_tcp
from emu.wire.frame import ETH_HLEN, IP_OFFSET, TCP, Frame
from emu.wire.rewrite import set_ethernet
from emu.wire.tcp import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

# the ICMP code of `icmp-port-unreachable` ...
CODES = {f"icmp-{name}": code for (kind, code), name in wire_icmp.ERROR_NAMES.items() if kind == wire_icmp.DEST_UNREACH}
RESET = Born("the RST of a REJECT rule")


def reject(net: Netns, frame: Frame, with_: str, hook: int) -> None:
    """Answer `frame` with the packet that `--reject-with` names."""
    if with_ == "tcp-reset":
        _reset(net, frame)
    else:
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, CODES[with_])


def _reset(net: Netns, frame: Frame) -> None:
    """nf_send_reset: a RST is never answered, nor a segment with a wrong checksum."""
    if frame.proto != TCP or frame.frag & IP_OFFSET or not wire_tcp.header_length(frame):
        return
    theirs, acked, offset, flags, _window = wire_tcp.head(frame.buf, frame.l4)
    if flags & RST:
        return
    if not frame.valid and not wire_tcp.checksum_ok(frame):
        return
    route = net.ipv4.lookup_output(frame.src, 0, frame.mark)
    if route is None or route.kind not in ("unicast", "local"):
        return
    length = ETH_HLEN + frame.tot_len - frame.l4 - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
    answer = wire_tcp.build(
        craft.template("tcp"), frame.dst, frame.src, frame.dport, frame.sport,
        seq=acked if flags & ACK else 0, ack=0 if flags & ACK else (theirs + length) & 0xFFFFFFFF,
        flags=RST if flags & ACK else RST | ACK, window=0, options=b"", payload=b"", ident=0,
        ttl=net.ipv4.default_ttl, tos=0, flow=frame.flow, trail=[RESET] if net.tracing else None,
    )  # fmt: skip
    net.born += 1
    if frame.physin is not None:
        header = frame.smac + frame.dmac + net.ipv4.type_bytes
        set_ethernet(answer, header, frame.smac, frame.dmac)
        frame.physin.transmit(answer)
        return
    answer.route = route
    if frame.ct is not None:
        attach(answer, frame)
    ip_output.local_out(net, answer)
