"""A VXLAN device: frames of one virtual network, and where each MAC of it is found (drivers/net/vxlan/vxlan_core.c).

The forwarding database maps a MAC to the hosts (remotes) that get a copy of its frames; the all-zero
MAC is for what is not found. Entries are set by hand, or learned from the frames that come in.
How a frame is carried to a remote is injected (`Underlay`). Must not know routes or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from emu.clock import SECOND, Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.trail import FDB
from emu.wire.addr import ZERO_MAC, ip4_text, mac_text
from emu.wire.frame import Frame
from emu.wire.vxlan import HEADROOM

DEFAULT_PORT = 8472  # the kernel's; IANA's is 4789
MIN_MTU, MAX_MTU, ETHERNET_MTU = 68, 65535, 1500
INHERIT = 1  # as a TOS: the inner packet's
PERMANENT, STATIC, LEARNED = "permanent", "static", "learned"


class Remote(NamedTuple):
    """Where a frame is sent: an address, and 0 or None for the device's own port and VNI, and for any device."""

    addr: int
    port: int = 0
    vni: int = 0
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class VxlanConfig:
    """`ip link add ... type vxlan`. Addresses are ints, 0 for none. The UDP source port is from `port_min` up to, and
    without, `port_max` (0 0: the namespace's ephemeral ports). `ttl` 0: the route's; `tos` 1: the inner packet's. `df` is
    unset, set or inherit. `ageing_s` 0: what was learned does not age."""

    vni: int
    local: int = 0
    remote: int = 0
    lower: Device | None = None
    dstport: int = DEFAULT_PORT
    port_min: int = 0
    port_max: int = 0
    ttl: int = 0
    ttl_inherit: bool = False
    tos: int = 0
    df: str = "unset"
    udpcsum: bool = True
    learning: bool = True
    ageing_s: int = 300
    localbypass: bool = True

    def text(self) -> str:
        """The words behind `type vxlan`, which make the same device."""
        words = [f"id {self.vni}", f"dstport {self.dstport}"]
        words += [f"local {ip4_text(self.local)}"] if self.local else []
        words += [f"remote {ip4_text(self.remote)}"] if self.remote else []
        words += [f"dev {self.lower.name}"] if self.lower is not None else []
        words += [f"srcport {self.port_min} {self.port_max}"] if self.port_min or self.port_max else []
        words += ["ttl inherit"] if self.ttl_inherit else [f"ttl {self.ttl}"] if self.ttl else []
        words += ["tos inherit"] if self.tos == INHERIT else [f"tos {self.tos:#x}"] if self.tos else []
        words += [f"df {self.df}"] if self.df != "unset" else []
        words += ["udpcsum" if self.udpcsum else "noudpcsum", "learning" if self.learning else "nolearning"]
        words += [f"ageing {self.ageing_s}"] if self.ageing_s != 300 else []
        words += [] if self.localbypass else ["nolocalbypass"]
        return " ".join(words)


class NoRemote(NamedTuple):
    """What decided that a frame is sent nowhere: the forwarding database of a device has no remote for its MAC."""

    device: str
    mac: bytes

    def __str__(self) -> str:
        return f"fdb of {self.device}: no entry for {mac_text(self.mac)}, and none for all others"


class VxlanEntry:
    """The remotes of a MAC, in the order in which they were added. `state` is permanent, static or learned; a learned one
    ages from `updated_ns` on."""

    __slots__ = ("mac", "remotes", "state", "updated_ns")

    def __init__(self, mac: bytes, remote: Remote, state: str, updated_ns: int) -> None:
        self.mac, self.remotes, self.state, self.updated_ns = mac, [remote], state, updated_ns


class Underlay(Protocol):
    """What carries the frames of the VXLAN devices of one namespace."""

    def open(self, device: Vxlan) -> None: ...
    def close(self, device: Vxlan) -> None: ...
    def xmit_one(self, device: Vxlan, frame: Frame, remote: Remote, mac: bytes) -> None:
        """`mac` is that of the entry which has the remote."""


class Vxlan(Device):
    """A VXLAN device. Its MTU is by default 50 bytes less than that of the device that it is bound to (`dev`), and never
    more; without one it is 1500. Raises InputError for an MTU that it cannot have."""

    __slots__ = ("config", "fdb", "underlay")

    def __init__(self, clock: Clock, name: str, mac: bytes, config: VxlanConfig, mtu: int | None = None) -> None:
        super().__init__(clock, name, mac, ETHERNET_MTU, kind="vxlan")
        self.config = config
        self.underlay: Underlay | None = None
        self.fdb: dict[bytes, VxlanEntry] = {}
        if config.remote:
            remote = Remote(config.remote, config.dstport, config.vni, config.lower)
            self.fdb[ZERO_MAC] = VxlanEntry(ZERO_MAC, remote, PERMANENT, clock.jiffy_ns)
        if mtu is None:
            self.mtu = min(self.max_mtu, ETHERNET_MTU if config.lower is None else self.max_mtu)
        else:  # a new device takes the largest that it can have in its stead, if that is smaller (vxlan_dev_configure)
            self.mtu = min(mtu, self.max_mtu)

    @property
    def max_mtu(self) -> int:
        lower = self.config.lower
        return MAX_MTU if lower is None else max(lower.mtu - HEADROOM, MIN_MTU)

    def set_mtu(self, mtu: int) -> None:
        """vxlan_change_mtu. Raises InputError."""
        if not MIN_MTU <= mtu <= self.max_mtu:
            raise InputError(f"{self.name} cannot have an MTU of {mtu}", expected=f"{MIN_MTU} to {self.max_mtu} bytes")
        super().set_mtu(mtu)

    def open(self) -> None:
        """vxlan_open: receive on the UDP port. Raises InputError if the port is taken."""
        if self.underlay is not None:
            self.underlay.open(self)

    def close(self) -> None:
        """vxlan_stop: receive no more, and forget what was learned."""
        if self.underlay is not None:
            self.underlay.close(self)
        self.flush()

    def flush(self) -> None:
        """Forget every learned address."""
        self.fdb = {mac: entry for mac, entry in self.fdb.items() if entry.state != LEARNED}
        self.changed()

    def changed(self) -> None:
        """Entries came, changed or went: call the namespace's recorder, if there is one."""
        if self.net is not None and self.net.recorder is not None:
            self.net.recorder.reread(FDB)

    # -- frames ---------------------------------------------------------------------------------

    def xmit(self, frame: Frame) -> None:
        """vxlan_xmit: one copy for each remote of the destination, the first remote last."""
        if frame.partial:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        entry = self.find(frame.dmac) or self.find(ZERO_MAC)
        underlay = self.underlay
        if entry is None or underlay is None:
            self.net.drop(frame, "NO_TX_TARGET", NoRemote(self.name, frame.dmac), self)
            return
        first, *others = entry.remotes
        for remote in others:
            self.net.copied += 1
            underlay.xmit_one(self, frame.clone(), remote, entry.mac)
        underlay.xmit_one(self, frame, first, entry.mac)

    def snoop(self, mac: bytes, source: int) -> str:
        """vxlan_snoop: learn that `mac` is behind the host `source`. A drop reason, "" for none."""
        if mac[0] & 1 or mac == ZERO_MAC:
            return "MAC_INVALID_SOURCE"
        entry, now = self.find(mac), self.clock.jiffy_ns
        if entry is None:
            if self.up:
                remote = Remote(source, self.config.dstport, self.config.vni)
                self.fdb[mac] = VxlanEntry(mac, remote, LEARNED, now)
                self.changed()
            return ""
        entry.updated_ns = now
        first = entry.remotes[0]
        if first.addr == source and first.device is None:
            return ""
        if entry.state != LEARNED:
            return "VXLAN_ENTRY_EXISTS"
        entry.remotes[0] = first._replace(addr=source, device=None)
        self.changed()
        return ""

    # -- the forwarding database -------------------------------------------------------------------

    def find(self, mac: bytes) -> VxlanEntry | None:
        """The entry of a MAC, unless it is past its age (vxlan_cleanup removes it then)."""
        entry = self.fdb.get(mac)
        if entry is not None and entry.state == LEARNED:
            ageing_ns = self.config.ageing_s * SECOND
            if ageing_ns and self.clock.now >= entry.updated_ns + ageing_ns:
                del self.fdb[mac]
                self.changed()
                return None
        return entry

    def append(self, mac: bytes, remote: Remote, state: str = PERMANENT) -> None:
        """`bridge fdb append`: one more remote. Only the all-zero MAC and multicast MACs have several; for another MAC that
        is there already, only the entry's state changes, as in Linux."""
        entry = self.find(mac)
        if entry is None:
            self.fdb[mac] = VxlanEntry(mac, remote, state, self.clock.jiffy_ns)
            self.changed()
            return
        entry.state, entry.updated_ns = state, self.clock.jiffy_ns
        if (mac[0] & 1 or mac == ZERO_MAC) and self._whole(remote) not in map(self._whole, entry.remotes):
            entry.remotes.append(remote)
        self.changed()

    def add(self, mac: bytes, remote: Remote, state: str = PERMANENT) -> None:
        """`bridge fdb add`. Raises InputError if the MAC has an entry."""
        if self.find(mac) is not None:
            raise InputError(f"{self.name} has an fdb entry for {mac_text(mac)}", expected="append or replace")
        self.append(mac, remote, state)

    def replace(self, mac: bytes, remote: Remote, state: str = PERMANENT) -> None:
        """`bridge fdb replace`: the only remote of a unicast MAC. Raises InputError for the all-zero and for multicast MACs."""
        if mac[0] & 1 or mac == ZERO_MAC:
            raise InputError(f"{mac_text(mac)} cannot be replaced", expected="a unicast MAC")
        self.fdb[mac] = VxlanEntry(mac, remote, state, self.clock.jiffy_ns)
        self.changed()

    def delete(self, mac: bytes, remote: Remote | None = None) -> None:
        """`bridge fdb del`, of one remote or (None) of the whole entry. A remote that the entry does not have is no error to
        Linux. Raises InputError if there is no entry."""
        entry = self.find(mac)
        if entry is None:
            raise InputError(f"{self.name} has no fdb entry for {mac_text(mac)}", expected="an entry of the device")
        kept = [] if remote is None else [each for each in entry.remotes if self._whole(each) != self._whole(remote)]
        if kept:
            entry.remotes = kept
        else:
            del self.fdb[mac]
        self.changed()

    def _whole(self, remote: Remote) -> Remote:
        """The remote with the port and VNI that it stands for."""
        return remote._replace(port=remote.port or self.config.dstport, vni=remote.vni or self.config.vni)

    def entries(self) -> Iterator[tuple[VxlanEntry, Remote]]:
        """Each live entry with each of its remotes."""
        for mac in list(self.fdb):
            entry = self.find(mac)
            if entry is not None:
                for remote in entry.remotes:
                    yield entry, remote

    def fdb_line(self, entry: VxlanEntry, remote: Remote) -> str:
        """As `bridge fdb show` prints it."""
        return " ".join(self._words(entry, remote, [f"dev {self.name}"], ["self"]))

    def fdb_text(self, entry: VxlanEntry, remote: Remote) -> str:
        """As `bridge fdb show dev NAME` prints it, without `self`."""
        return " ".join(self._words(entry, remote, [], []))

    def _words(self, entry: VxlanEntry, remote: Remote, device: list[str], whose: list[str]) -> list[str]:
        words = [mac_text(entry.mac), *device, f"dst {ip4_text(remote.addr)}"]
        words += [f"port {remote.port}"] if remote.port not in (0, self.config.dstport) else []
        words += [f"vni {remote.vni}"] if remote.vni not in (0, self.config.vni) else []
        words += [f"via {remote.device.name}"] if remote.device is not None else []
        return [*words, *whose, *([] if entry.state == LEARNED else [entry.state])]
