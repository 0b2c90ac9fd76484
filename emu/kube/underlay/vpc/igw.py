"""The internet gateway: a stateless translation of one address, the private one into the public one and back.

Ports stay as they are, and so does the TTL. An ICMP error that comes in quotes a packet with the public source: the quote is
translated, too (RFC 5508). Must not know which addresses belong together.
"""

from __future__ import annotations

from emu.wire import quote
from emu.wire.frame import ICMP, IP_OFFSET, Frame
from emu.wire.icmp import ERRORS
from emu.wire.rewrite import set_destination, set_source


def leave(frame: Frame, public: int) -> None:
    """A packet goes out: its source becomes `public`."""
    _quoted(frame, public, quote.DESTINATION)
    set_source(frame, public, frame.sport)


def enter(frame: Frame, private: int) -> None:
    """A packet comes in: its destination becomes `private`."""
    _quoted(frame, private, quote.SOURCE)
    set_destination(frame, private, frame.dport)


def _quoted(frame: Frame, addr: int, half: int) -> None:
    if frame.proto != ICMP or frame.frag & IP_OFFSET or frame.dport >> 8 not in ERRORS:
        return
    sent = quote.tuple_of(frame)
    if sent is not None:
        quote.rewrite(frame, addr, sent, half)
