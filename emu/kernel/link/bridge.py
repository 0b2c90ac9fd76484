"""The learning bridge and its ports, and the bridge as an interface of its namespace (net/bridge/).

Source addresses are learned on every frame, known unicast goes to one port, the rest floods to the
newest port first; what is for the bridge's own address, broadcast or multicast is handed up.
Frames cross the bridge's own hooks (`fn(frame, port, okfn)`, see `BridgeHooks`), where
br_netfilter sits. Must not know IP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from emu.clock import MS, SECOND, Clock
from emu.errors import InputError
from emu.kernel.link.bridge_vlan import VlanGroup, key, vid_of
from emu.kernel.link.device import OUT, Device
from emu.kernel.link.source_check import SourceChecks
from emu.kernel.link.veth import Veth
from emu.trail import FDB, Bridged, Learned
from emu.wire.addr import ZERO_MAC, mac_text
from emu.wire.frame import HOST, Frame

AGEING_NS = 300 * SECOND
ETH_HEADER_AND_VLAN = 18
# a MAC that comes in on another port so often in so short a time is in a loop
LOOP_MOVES, LOOP_NS = 1000, 100 * MS
LINK_LOCAL = bytes.fromhex("0180c20000")

Okfn = Callable[[Frame], None]
# A bridge hook either calls okfn(frame), now or later, or ends the frame; it answers nothing.
BridgeHook = Callable[[Frame, "Port | None", Okfn], None]
# As a bridge hook, for frames that are handed up; True: the bridge is promiscuous, and forwards or floods the frame as well.
LocalIn = Callable[[Frame, bool, Okfn], None]


class BridgeHooks:
    """The bridge's hook points of one namespace, at most one function each (NF_BR_*: br_netfilter is the only user).

    `port` is the ingress port (None for frames of the bridge's own interface). `sources`: the rules of nftables before
    `pre_routing`, None without any.
    """

    __slots__ = ("dev_xmit", "forward", "local_in", "post_routing", "pre_routing", "sources")

    def __init__(self) -> None:
        self.sources: SourceChecks | None = None
        self.pre_routing: BridgeHook | None = None
        self.local_in: LocalIn | None = None
        self.forward: BridgeHook | None = None
        self.post_routing: BridgeHook | None = None
        # br_dev_xmit gives it the frames of a bridged DNAT, which go another way (its slow path)
        self.dev_xmit: Callable[[Frame], None] | None = None


class FdbEntry:
    """Where a MAC was last seen. `port` None: the bridge's own. `static` entries do not age or move.

    `moves` counts, from `moves_ns` on, how often it came in on a port that is not the entry's. `vid` is its VLAN, 0 without
    filtering.
    """

    __slots__ = ("mac", "moves", "moves_ns", "port", "static", "updated_ns", "vid")

    def __init__(self, mac: bytes, port: Port | None, updated_ns: int, static: bool = False, vid: int = 0) -> None:
        self.mac, self.port, self.updated_ns, self.static, self.vid = mac, port, updated_ns, static, vid
        self.moves = self.moves_ns = 0


class Port:
    """A device's membership in a bridge. `forwarding` False: the port drops what comes in and sends nothing.

    Raises InputError where frames go round in a loop of bridges: Linux without spanning tree forwards them for ever.
    """

    __slots__ = ("bridge", "device", "fact", "finish", "forwarding", "hairpin", "isolated", "vlans")

    def __init__(self, bridge: Bridge, device: Device, hairpin: bool, forwarding: bool) -> None:
        self.bridge, self.device = bridge, device
        self.hairpin, self.forwarding, self.isolated = hairpin, forwarding, False
        self.vlans = VlanGroup()
        self.fact = Bridged(bridge.name, port=device.name)
        self.finish: Okfn = self.handle_frame_finish

    def carrier_check(self) -> None:
        """br_port_carrier_check: does the port forward? It does while it, its cable and its bridge are up."""
        device = self.device
        forwarding = device.up and device.carrier and self.bridge.up
        if forwarding is not self.forwarding:
            self.set_state(forwarding)

    def set_state(self, forwarding: bool) -> None:
        """br_stp_enable_port and br_stp_disable_port: a port that forwards no more forgets what was learned behind it."""
        self.forwarding = forwarding
        if not forwarding:
            self.forget()
        self.bridge.select_state()

    def forget(self) -> None:
        """br_fdb_delete_by_port: delete what was learned behind this port."""
        fdb = self.bridge.fdb
        for mac in [mac for mac, entry in fdb.items() if entry.port is self]:
            del fdb[mac]
        self.bridge.changed()

    def handle_frame(self, frame: Frame, device: Device) -> None:
        """The port's rx_handler (br_handle_frame)."""
        bridge = self.bridge
        if not (self.forwarding and bridge.up):
            device.drop(device, frame, "BRIDGE_INGRESS_STP_STATE")
            return
        smac, dmac = frame.smac, frame.dmac
        if smac[0] & 1 or smac == ZERO_MAC:
            device.drop(device, frame, "MAC_INVALID_SOURCE")
            return
        if dmac == bridge.mac:
            frame.pkt_type = HOST
        elif dmac.startswith(LINK_LOCAL) and 0 < dmac[5] < 16:
            if dmac[5] == 1:
                device.drop(device, frame, "MAC_IEEE_MAC_CONTROL")
            else:
                device.deliver(frame)
            return
        hooks = bridge.hooks
        if hooks.sources is not None:
            refusal = hooks.sources.refusal(frame, device.name)
            if refusal is not None:
                bridge.net.drop(frame, "NETFILTER_DROP", refusal, device)
                return
        hook = hooks.pre_routing
        if hook is not None:
            hook(frame, self, self.finish)
        else:
            self.handle_frame_finish(frame)

    def handle_frame_finish(self, frame: Frame) -> None:
        """Learn, then forward, flood or hand up (br_handle_frame_finish)."""
        bridge, vid, source = self.bridge, 0, frame.smac
        fdb, now = bridge.fdb, bridge.clock.now
        if bridge.vlan_filtering:
            vid = self.vlans.allowed_ingress(frame)
            if not vid:
                self.device.drop(self.device, frame, "NOT_SPECIFIED")
                return
            source = key(source, vid)
        entry = fdb.get(source) if not vid else bridge.find(frame.smac, vid)
        if entry is None:
            if now > bridge.cleaned_ns + bridge.ageing_ns:
                bridge.clean()
            fdb[source] = FdbEntry(frame.smac, self, now, vid=vid)
            self._learned(frame)
        elif not entry.static:
            if entry.port is not self:
                entry.port = self
                self._learned(frame)
                self._moved(entry, now)
            elif now - entry.updated_ns > bridge.ageing_ns:  # it was forgotten meanwhile
                bridge.changed()
                entry.updated_ns = now
                self._learned(frame)
            entry.updated_ns = now
        elif entry.port is not self:
            self._moved(entry, now)
        dmac = frame.dmac
        if not dmac[0] & 1:
            entry = fdb.get(dmac) if not vid else bridge.find(dmac, vid)
            if entry is not None and (entry.static or now - entry.updated_ns <= bridge.ageing_ns):
                if entry.port is None:
                    bridge.pass_up(frame, False)
                    return
                if bridge.promisc:
                    if entry.port.should_deliver(self, vid):  # else it is no drop: the bridge takes the frame
                        entry.port.forward(bridge.copy(frame), self)
                    bridge.pass_up(frame, promisc=True)
                else:
                    entry.port.forward(frame, self)
                return
            if not bridge.promisc:
                bridge.flood(frame, self)
                return
        bridge.flood(bridge.copy(frame), self)
        bridge.pass_up(frame, promisc=bridge.promisc)

    def _moved(self, entry: FdbEntry, now: int) -> None:
        """A known MAC came in on another port, or a MAC of the bridge came in from outside. Raises InputError."""
        if now - entry.moves_ns > LOOP_NS:
            entry.moves, entry.moves_ns = 0, now
        entry.moves += 1
        if entry.moves > LOOP_MOVES:
            places = self.loop() or [self.bridge.place]
            raise InputError(
                f"a bridge loop: {', '.join(places)} forward the same frames without end",
                expected="bridges and cables without a circle, as spanning tree is not modelled",
            )

    def loop(self) -> list[str]:
        """The bridges of a circle of cables through this port, each with its two ports; empty if there is none."""
        ways: list[tuple[Port, list[str]]] = [(self, [])]
        seen: set[Port] = set()
        for port, places in ways:
            far = port.device.peer if isinstance(port.device, Veth) else None
            entered: Port | None = None if far is None else far.master
            if entered is None or entered in seen:
                continue
            seen.add(entered)
            bridge = entered.bridge
            if bridge is self.bridge:
                return [f"{bridge.place} ({self.device.name}, {entered.device.name})", *places]
            for leaving in bridge.ports:
                if leaving is not entered:
                    pair = f"{bridge.place} ({entered.device.name}, {leaving.device.name})"
                    ways.append((leaving, [*places, pair]))
        return []

    def _learned(self, frame: Frame) -> None:
        if frame.trail is not None:
            frame.trail.append(Learned(self.bridge.name, self.device.name, frame.smac))
        self.bridge.changed()

    def should_deliver(self, ingress: Port | None, vid: int = 0) -> bool:
        """br_forward.c: not back out of the ingress port unless it is in hairpin mode; only what is of a VLAN of the port."""
        return (
            self.forwarding
            and self.device.up
            and self.device.carrier
            and (ingress is not self or self.hairpin)
            and not (self.isolated and ingress is not None and ingress.isolated)
            and (not vid or vid in self.vlans.vids)
        )

    def forward(self, frame: Frame, ingress: Port | None) -> None:
        """Send out of this port, across FORWARD (bridged frames only) and POST_ROUTING (__br_forward)."""
        device = self.device
        tagged = frame.vlan is not None
        if not self.should_deliver(ingress, vid_of(frame) if tagged else 0):
            device.drop(device, frame, "NO_TX_TARGET")
            return
        if tagged:
            self.vlans.handle(frame)
        trail = frame.trail
        if trail is not None:
            trail.append(self.fact)
        hooks = self.bridge.hooks
        if ingress is not None and hooks.forward is not None:
            frame.outdev = device
            hooks.forward(frame, self, self._post_routing)
        else:
            self._post_routing(frame)

    def _post_routing(self, frame: Frame) -> None:
        hook = self.bridge.hooks.post_routing
        if hook is not None:
            hook(frame, self, self.push_xmit)
        else:
            self.push_xmit(frame)

    def push_xmit(self, frame: Frame) -> None:
        """br_dev_queue_push_xmit: frames too long for the port are dropped."""
        device = self.device
        if len(frame.buf) > device.mtu + ETH_HEADER_AND_VLAN and not frame.gso_size:
            device.drop(device, frame, "PKT_TOO_BIG")
        else:
            device.transmit(frame)


class Bridge(Device):
    """A bridge. `ports` newest first (the order of a flood); `fdb` maps a MAC to its entry."""

    __slots__ = (
        "_flood_facts", "ageing_ns", "cleaned_ns", "fdb", "hooks", "ports", "up_fact", "vlan_filtering", "vlan_group",
    )  # fmt: skip

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int = 1500, ageing_ns: int = AGEING_NS) -> None:
        super().__init__(clock, name, mac, mtu, kind="bridge")
        self.carrier = False  # until a port forwards
        self.hooks = BridgeHooks()
        self.ports: list[Port] = []
        self.fdb: dict[bytes, FdbEntry] = {mac: FdbEntry(mac, None, 0, static=True)}
        self.ageing_ns = ageing_ns
        self.vlan_filtering = False
        self.vlan_group = VlanGroup()  # of its own interface
        self.cleaned_ns = clock.now
        self.up_fact = Bridged(name, up=True)
        self._flood_facts: dict[int, Bridged] = {}

    def add_port(self, device: Device, *, hairpin: bool = False, forwarding: bool = True) -> Port:
        """Enslave a device (br_add_if). Its own MAC becomes a local entry of the fdb. Raises InputError: lo, a bridge, or a
        port of a bridge already."""
        if device.rx_handler is not None and device.master is None:  # netdev_rx_handler_register
            raise InputError(f"{device.name} cannot be a port of {self.name}: another device has its frames")
        if device.kind in ("loopback", "bridge") or device.master is not None:
            why = f"is a port of {device.master.bridge.name}" if device.master is not None else f"is a {device.kind}"
            raise InputError(f"{device.name} cannot be a port of {self.name}: it {why}", expected="another device")
        port = Port(self, device, hairpin, forwarding)
        self.ports.insert(0, port)
        self.fdb[device.mac] = FdbEntry(device.mac, None, 0, static=True)
        device.master, device.rx_handler = port, port.handle_frame
        self.changed()
        self.select_state()
        return port

    def remove_port(self, device: Device) -> None:
        """Release a device and forget what was learned behind it (br_del_if)."""
        port = device.master
        self.ports.remove(port)
        device.master = device.rx_handler = None
        # the bridge or another port may have the same address (fdb_delete_local)
        if device.mac != self.mac and all(each.device.mac != device.mac for each in self.ports):
            self.fdb.pop(device.mac, None)
        port.forget()
        self.select_state()

    def set_mac(self, mac: bytes) -> None:
        """Give the bridge another address (br_stp_change_bridge_id): a local entry of its own, and neighbours are forgotten."""
        old, self.mac = self.mac, mac
        if old == mac:
            return
        if all(port.device.mac != old for port in self.ports):
            self.fdb.pop(old, None)
        known = self.fdb.get(mac)
        if known is None or not known.static:
            self.fdb[mac] = FdbEntry(mac, None, self.clock.now, static=True)
        self.changed()
        self.forget_neighbours()

    def select_state(self) -> None:
        """br_port_state_selection: the bridge has a carrier while a port forwards."""
        forwarding = any(port.forwarding for port in self.ports)
        if forwarding is self.carrier:
            return
        if self.net is None:
            self.carrier = forwarding
        else:
            self.net.carrier_changed(self, on=forwarding)

    @property
    def place(self) -> str:
        """`node-1/cbr0`, for people."""
        return self.name if self.net is None else f"{self.net.name}/{self.name}"

    def adjust_mtu(self) -> None:
        """Without an MTU of its own, the bridge has the smallest of its ports' (br_mtu_auto_adjust)."""
        self.mtu = min((port.device.mtu for port in self.ports), default=1500)

    def find(self, mac: bytes, vid: int) -> FdbEntry | None:
        """The entry of a MAC in a VLAN. A local one is in the VLANs of its port, or of the bridge's own interface."""
        entry = self.fdb.get(key(mac, vid))
        if entry is not None:
            return entry
        local = self.fdb.get(mac)
        if local is None or not local.static:
            return None
        ours = mac == self.mac and vid in self.vlan_group.vids
        return local if ours or any(each.device.mac == mac and vid in each.vlans.vids for each in self.ports) else None

    def port(self, name: str) -> Port:
        """The port of the device called `name`. Raises KeyError."""
        for port in self.ports:
            if port.device.name == name:
                return port
        raise KeyError(name)

    def flush(self) -> None:
        """Forget every learned address."""
        self.fdb = {mac: entry for mac, entry in self.fdb.items() if entry.static}
        self.changed()

    def clean(self) -> None:
        """br_fdb_cleanup: free what is past its age. Nothing is found by it any more, so that only memory differs."""
        self.changed()
        self.cleaned_ns = now = self.clock.now
        for mac in [m for m, each in self.fdb.items() if not each.static and now - each.updated_ns > self.ageing_ns]:
            del self.fdb[mac]

    def changed(self) -> None:
        """Entries came, moved or went: call the namespace's recorder, if there is one."""
        if self.net is not None and self.net.recorder is not None:
            self.net.recorder.reread(FDB)

    def fdb_text(self, entry: FdbEntry) -> str:
        """As `bridge fdb show` prints it."""
        vlan = f" vlan {entry.vid}" if entry.vid else ""
        state = self.fdb_state(entry)
        words = f"{mac_text(entry.mac)} dev {self.fdb_device(entry)}{vlan} master {self.name}"
        return f"{words} {state}" if state else words

    @staticmethod
    def fdb_state(entry: FdbEntry) -> str:
        """permanent for an address of the bridge or a port, static for one behind a port, "" for what was learned."""
        if not entry.static:
            return ""
        return "permanent" if entry.port is None else "static"

    def fdb_device(self, entry: FdbEntry) -> str:
        """The name of the device that an entry is shown at: a local one at the port that has its MAC."""
        if entry.port is not None:
            return entry.port.device.name
        return next((port.device.name for port in self.ports if port.device.mac == entry.mac), self.name)

    def listed(self) -> Iterator[FdbEntry]:
        """The live entries, as `bridge fdb show` lists them."""
        for entry in self.fdb.values():
            if entry.static or self.clock.now - entry.updated_ns <= self.ageing_ns:
                yield entry

    def learned(self) -> Iterator[FdbEntry]:
        """The live learned entries, as `bridge fdb show` lists them."""
        for entry in self.fdb.values():
            if not entry.static and self.clock.now - entry.updated_ns <= self.ageing_ns:
                yield entry

    def copy(self, frame: Frame) -> Frame:
        """One more copy of a frame, counted by the namespace."""
        if self.net is not None:
            self.net.copied += 1
        return frame.clone()

    def pass_up(self, frame: Frame, promisc: bool) -> None:
        """To the namespace's own stack, as a frame received on the bridge interface (br_pass_frame_up). `promisc`: the frame
        is not the bridge's own alone, and the bridge is promiscuous."""
        if frame.vlan is not None and not self.vlan_group.handle(frame) and not self.promisc:
            self.drop(self, frame, "NOT_SPECIFIED")  # the bridge's own interface is not in the VLAN
            return
        frame.vlan = None
        if frame.trail is not None:
            frame.trail.append(self.up_fact)
        hook = self.hooks.local_in
        if hook is not None:
            hook(frame, promisc, self.receive)
        else:
            self.receive(frame)

    def flood(self, frame: Frame, ingress: Port | None) -> None:
        """To every other port, newest first; each but the last gets a copy (br_flood). Without a port to send it out of, a
        frame is dropped, unless it was a copy of one that is handed up."""
        vid = vid_of(frame)
        targets = [port for port in self.ports if port.should_deliver(ingress, vid)]
        if not targets:
            if ingress is None or not (frame.dmac[0] & 1 or self.promisc):
                self.drop(self, frame, "NO_TX_TARGET")
            elif self.net is not None:
                self.net.absorbed += 1
            return
        if frame.trail is not None:
            number = len(targets)
            fact = self._flood_facts.get(number)
            if fact is None:
                fact = self._flood_facts[number] = Bridged(self.name, flooded=number)
            frame.trail.append(fact)
        waiting = len(self.clock.backlog)
        for port in targets[:-1]:
            port.forward(self.copy(frame), ingress)
        targets[-1].forward(frame, ingress)
        self.clock.together(waiting)

    def xmit(self, frame: Frame) -> None:
        """Transmit a frame of the namespace's own stack on the bridge interface (br_dev_xmit)."""
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        if frame.bridged_dnat and self.hooks.dev_xmit is not None:
            self.hooks.dev_xmit(frame)
            return
        dmac, vid = frame.dmac, 0
        if self.vlan_filtering:
            vid = self.vlan_group.allowed_ingress(frame)
            if not vid:
                self.drop(self, frame, "NOT_SPECIFIED")
                return
        if not dmac[0] & 1:
            entry = self.fdb.get(dmac) if not vid else self.find(dmac, vid)
            if entry is not None and (entry.static or self.clock.now - entry.updated_ns <= self.ageing_ns):
                # a local entry is a port's, or the bridge's own, which is behind no port
                port = entry.port or next((each for each in self.ports if each.device.mac == dmac), None)
                if port is not None and dmac != self.mac:
                    port.forward(frame, None)
                else:
                    self.drop(self, frame, "NO_TX_TARGET")
                return
        self.flood(frame, None)
