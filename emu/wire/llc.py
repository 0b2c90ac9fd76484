"""Frames with a length in the place of an EtherType (IEEE 802.3): LLC follows, or what IPX had before it (eth_type_trans).

Must not know devices.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, Frame

ETH_P_802_3_MIN = 0x600  # an EtherType is at least so large
_RAW = b"\xff\xff"  # the sum of an IPX header, which is never made


def is_llc(frame: Frame) -> bool:
    """Does LLC follow?"""
    return frame.ethertype < ETH_P_802_3_MIN and frame.buf[ETH_HLEN : ETH_HLEN + len(_RAW)] != _RAW
