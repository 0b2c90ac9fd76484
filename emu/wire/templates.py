"""The frames that wire/ makes others from: one for each kind that is originated here, Ethernet header first, every address zero.

They are what Scapy builds of the packets in `tests/wire/test_templates.py`, which holds the bytes equal: so a frame is born without
the time that importing Scapy takes. Must not know who sends them.
"""

from __future__ import annotations

ZERO_MAC, BROADCAST = bytes(6), b"\xff" * 6

_ARP = "0806 0001 0800 06 04"  # EtherType; Ethernet, IPv4 and the lengths of their addresses
_ARP_ADDRESSES = bytes(2 * (6 + 4))
ARP_REQUEST = BROADCAST + ZERO_MAC + bytes.fromhex(f"{_ARP} 0001") + _ARP_ADDRESSES
ARP_REPLY = ZERO_MAC + ZERO_MAC + bytes.fromhex(f"{_ARP} 0002") + _ARP_ADDRESSES


def _ipv4(length: int, frag: str, protocol: int, checksum: str, payload: str) -> bytes:
    """An Ethernet and an IPv4 header (no options, TTL 64), and what stands behind them, in hexadecimal digits."""
    header = f"0800 45 00 {length:04x} 0000 {frag} 40 {protocol:02x} {checksum} 00000000 00000000"
    return ZERO_MAC + ZERO_MAC + bytes.fromhex(header + payload)


_DF, _MAY_FRAGMENT = "4000", "0000"
UDP = _ipv4(28, _DF, 17, "3ad2", "0000 0000 0008 0000")
TCP = _ipv4(40, _DF, 6, "3ad1", "0000 0000 00000000 00000000 5010 0000 0000 0000")  # an ACK of 20 bytes
ECHO_REQUEST = _ipv4(28, _DF, 1, "3ae2", "08 00 0000 0000 0000")
ECHO_REPLY = _ipv4(28, _MAY_FRAGMENT, 1, "7ae2", "00 00 0000 0000 0000")
ICMP_ERROR = _ipv4(
    28, _MAY_FRAGMENT, 1, "7ae2", "03 03 0000 0000 0000"
)  # port unreachable, until the sender writes its own
