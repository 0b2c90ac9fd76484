"""The VLANs of a bridge with filtering: which a port is in, the tag of a frame inside the bridge (net/bridge/br_vlan.c).

A frame without a tag belongs to the port's VLAN (PVID); one of a VLAN that the port is not in is dropped, and leaves only by
ports that are in it. Must not know the forwarding database.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.errors import InputError
from emu.wire.frame import ETH_HLEN, Frame
from emu.wire.rewrite import tag, untag
from emu.wire.vlan import ETH_P_8021Q, TAG_BYTES, VID_MASK, tci_of

DEFAULT_PVID, LAST_VID = 1, 4094


class VlanGroup:
    """The VLANs of one port, or of the bridge's own interface (struct net_bridge_vlan_group). `vids` maps a VLAN to whether
    its frames leave without a tag. A new one is in VLAN 1, without tags."""

    __slots__ = ("pvid", "vids")

    def __init__(self) -> None:
        self.pvid = DEFAULT_PVID
        self.vids: dict[int, bool] = {DEFAULT_PVID: True}

    def add(self, vid: int, *, pvid: bool = False, untagged: bool = False) -> None:
        """`bridge vlan add vid VID [pvid] [untagged]`. Raises InputError."""
        if not 1 <= vid <= LAST_VID:
            raise InputError(f"{vid} is not a VLAN of a bridge", expected=f"1 to {LAST_VID}")
        self.vids[vid] = untagged
        if pvid:
            self.pvid = vid
        elif self.pvid == vid:
            self.pvid = 0

    def remove(self, vid: int) -> None:
        """`bridge vlan del vid VID`. Raises InputError."""
        if vid not in self.vids:
            raise InputError(f"VLAN {vid} is not there", expected=", ".join(map(str, self.vids)) or "a VLAN")
        del self.vids[vid]
        if self.pvid == vid:
            self.pvid = 0

    def allowed_ingress(self, frame: Frame) -> int:
        """__allowed_ingress: take the frame's tag off, and give its VLAN; 0: the frame is dropped."""
        tci = 0
        if frame.ethertype == ETH_P_8021Q and len(frame.buf) >= ETH_HLEN + TAG_BYTES:
            tci = tci_of(frame)
            untag(frame)
        vid = tci & VID_MASK
        if not vid:
            vid = self.pvid
            tci |= vid
        frame.vlan = tci
        return vid if vid in self.vids else 0

    def handle(self, frame: Frame) -> bool:
        """br_handle_vlan: the frame as it leaves, with its tag or without. False: this port is not in its VLAN."""
        tci = frame.vlan
        if tci is None:
            return True
        untagged = self.vids.get(tci & VID_MASK)
        if untagged is None:
            return False
        if not untagged:
            tag(frame, tci)
        frame.vlan = None
        return True

    def lines(self) -> Iterator[str]:
        """As `bridge vlan show` lists them."""
        for vid in sorted(self.vids):
            words = [
                str(vid),
                *(["PVID"] if vid == self.pvid else []),
                *(["Egress Untagged"] if self.vids[vid] else []),
            ]
            yield " ".join(words)


def vid_of(frame: Frame) -> int:
    """The VLAN of a frame inside a bridge with filtering; 0 in one without."""
    return 0 if frame.vlan is None else frame.vlan & VID_MASK


def key(mac: bytes, vid: int) -> bytes:
    """What the forwarding database has an entry of a MAC in a VLAN under."""
    return mac + vid.to_bytes(2, "big") if vid else mac
