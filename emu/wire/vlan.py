"""The tag of a VLAN (IEEE 802.1Q) in a frame's bytes. Must not know who is in a VLAN."""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, Frame

ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
TAG_BYTES = 4
TAG_NEEDS = 6  # bytes behind the Ethernet header: a tag, and two bytes of what follows (skb_vlan_untag)
VID_MASK = 0xFFF


def tci_of(frame: Frame) -> int:
    """Priority, DEI and VLAN of the outermost tag of a frame that has one."""
    return frame.buf[ETH_HLEN] << 8 | frame.buf[ETH_HLEN + 1]
