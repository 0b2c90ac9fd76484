"""Neighbours: NUD states, packets that wait for resolution, probes (net/core/neighbour.c, RFC 4861 section 7.3.2).

An entry is resolved by its family's `solicit`; it holds a ready Ethernet header for its packets.
`header` is set only while the entry can be used without a check of its state
(connected, and used once), so that the hot path is one test. Must not know ARP's format.
"""

from __future__ import annotations

from emu.clock import SECOND, TICK_NS, Timer
from emu.kernel.link.device import Device
from emu.kernel.net.family import Family
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.truesize import truesize
from emu.trail import NEIGH, Waited
from emu.wire.addr import ZERO_MAC, ip4_text, mac_text
from emu.wire.frame import Frame
from emu.wire.rewrite import set_ethernet

NONE, INCOMPLETE, REACHABLE, STALE, DELAY = "NONE", "INCOMPLETE", "REACHABLE", "STALE", "DELAY"
PROBE, FAILED, NOARP, PERMANENT = "PROBE", "FAILED", "NOARP", "PERMANENT"

# include/net/neighbour.h: NUD_CONNECTED, NUD_VALID
CONNECTED = frozenset((PERMANENT, NOARP, REACHABLE))
VALID = frozenset((PERMANENT, NOARP, REACHABLE, PROBE, STALE, DELAY))

SENDABLE = CONNECTED | {DELAY, PROBE}
TIMED = frozenset((INCOMPLETE, REACHABLE, DELAY, PROBE))  # NUD_IN_TIMER
SOONEST_NS = 2 * TICK_NS  # HZ / 100: no timer of an entry is shorter


class Neighbour:
    """One address on one link. `lladdr` is 6 bytes; times are virtual ns.

    `queue` holds packets while INCOMPLETE. `confirmed_ns`/`used_ns`/`updated_ns` as in struct neighbour, by jiffies.
    """

    __slots__ = (
        "_timer", "addr", "confirmed_ns", "device", "family", "header", "hh", "lladdr", "net", "probes", "queue",
        "queued_bytes", "reachable_ns", "state", "updated_ns", "used_ns", "waited",
    )  # fmt: skip

    def __init__(self, family: Family, device: Device, addr: int) -> None:
        net = family.net
        now = net.clock.jiffy_ns
        self.family, self.net, self.device, self.addr = family, net, device, addr
        self.state = NONE
        self.lladdr = ZERO_MAC
        # hh: the whole header, once an entry was used; header: the same, while no check of the state is needed
        self.hh: bytearray | None = None
        self.header: bytearray | None = None
        self.queue: list[Frame] = []
        self.queued_bytes = self.probes = 0
        self.confirmed_ns = now - SECOND * 3600
        self.used_ns = self.updated_ns = now
        self.reachable_ns = _reachable_ns(family, device)
        self.waited: Waited | None = None  # made for the first packet that waits
        self._timer: Timer | None = None

    # -- sending --------------------------------------------------------------------------------

    def output(self, frame: Frame) -> None:
        """neigh_resolve_output: send now, or queue while a request is unanswered."""
        if self.state in SENDABLE:
            self.used_ns = self.net.clock.jiffy_ns
        elif not self.event_send(frame):
            return
        set_ethernet(frame, self.hh or self.hh_init(), self.lladdr, self.device.mac)
        self.device.transmit(frame)

    def hh_init(self) -> bytearray:
        """neigh_hh_init: the header of what is sent to the neighbour, kept from the first packet on."""
        self.hh = header = bytearray(self.lladdr + self.device.mac + self.family.type_bytes)
        if self.state in CONNECTED:
            self.header = header
        return header

    def event_send(self, frame: Frame | None) -> bool:
        """neigh_event_send: may a packet be sent at once? If not, it was queued (or dropped: the entry is FAILED)."""
        state, net = self.state, self.net
        now = self.used_ns = net.clock.jiffy_ns
        if state in SENDABLE:
            return True
        if state == STALE:
            self._set(DELAY)
            self._arm(now + net.sysctl.neigh_ns(self.device.name, "delay_first_probe_time"))
            return True
        first = state != INCOMPLETE
        if first:
            tries = net.sysctl.neigh(self.device.name, "mcast_solicit")
            tries += net.sysctl.neigh(self.device.name, "app_solicit")
            if not tries:
                self._set(FAILED)
                if frame is not None:
                    self.family.ops.error_report(frame, self)
                return False
            self.probes = net.sysctl.neigh(self.device.name, "ucast_solicit")
            self._set(INCOMPLETE)
            self.updated_ns = now
        if frame is not None:
            self._enqueue(frame)
        if first:
            # the first request is sent only when the packet is in the queue: its source is the request's source
            self._solicit()
        return False

    def _enqueue(self, frame: Frame) -> None:
        limit = self.net.sysctl.neigh(self.device.name, "unres_qlen_bytes")
        size = truesize(frame)
        while self.queue and self.queued_bytes + size > limit:
            old = self.queue.pop(0)
            self.queued_bytes -= truesize(old)
            _released(old)
            self.net.drop(old, "NEIGH_QUEUEFULL", self)
        self.queue.append(frame)
        self.queued_bytes += size
        if frame.sock is not None:
            frame.sock.waiting += size
        if frame.trail is not None:
            if self.waited is None:
                self.waited = Waited(self.addr, self.device.name)
            frame.trail.append(self.waited)

    def _solicit(self) -> None:
        self.probes += 1
        wait_ns = max(self.net.sysctl.neigh_ns(self.device.name, "retrans_time_ms"), SOONEST_NS)
        self._arm(self.net.clock.jiffy_ns + wait_ns)
        self.family.ops.solicit(self, self.queue[-1] if self.queue else None)

    # -- updates --------------------------------------------------------------------------------

    def update(self, lladdr: bytes, state: str, *, override: bool = True) -> None:
        """neigh_update: the link-layer address came from a reply, from a request of its owner, or from an administrator."""
        now, old = self.net.clock.jiffy_ns, self.state
        if old in (PERMANENT, NOARP) and state not in (PERMANENT, NOARP):
            return
        changed = lladdr != self.lladdr
        if state in CONNECTED:
            self.confirmed_ns = now
        if old in VALID:
            if changed and not override:
                return
            if not changed and state == STALE:
                # the same address again changes nothing: the entry keeps its state
                state = old
        if state != old or changed:
            self.updated_ns = now
        if changed:
            self.lladdr = lladdr
            if self.hh is not None:
                self.hh = bytearray(lladdr + self.device.mac + self.family.type_bytes)
            if state not in CONNECTED:
                self.confirmed_ns = now - 2 * self.reachable_ns
        if state == old:
            self._set(old)
            return
        self._set(state)
        if state == REACHABLE:
            self._arm(now + self.reachable_ns)
        else:
            self._disarm()
        if old not in VALID and state in VALID:
            self._flush_queue()

    def _flush_queue(self) -> None:
        queue, self.queue, self.queued_bytes = self.queue, [], 0
        for frame in queue:
            _released(frame)
            self.output(frame)

    def confirm(self) -> None:
        """neigh_confirm: traffic proves that the neighbour receives our packets (TCP's forward progress)."""
        self.confirmed_ns = self.used_ns = self.net.clock.jiffy_ns

    def forget(self) -> None:
        """neigh_flush_dev: the entry goes with its link, and packets that wait for it without a word to their senders."""
        self._disarm()
        queue, self.queue, self.queued_bytes = self.queue, [], 0
        for frame in queue:
            _released(frame)
            self.net.drop(frame, "QUEUE_PURGE", self, self.device)
        self.state, self.header = FAILED, None
        self.family.neighbours.discard(self)
        if self.net.recorder is not None:
            self.net.recorder.changed(NEIGH, self, "")

    def delete(self) -> None:
        """neigh_delete (`ip neigh del`): senders of packets that wait are answered with host unreachable."""
        if self.state in (INCOMPLETE, PROBE):
            self._fail()
        self.remove()

    def remove(self) -> None:
        """neigh_remove_one: the entry is no longer found."""
        self.forget()
        self.device.neigh[self.family.number].pop(self.addr, None)

    # -- what the table's collection asks -----------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Does no timer hold the entry?"""
        return self.state not in TIMED

    @property
    def useless(self) -> bool:
        return self.state in (FAILED, NOARP) or self.family.ops.kind_of(self.addr) == "MULTICAST"

    def stale(self, now_ns: int) -> bool:
        """neigh_periodic_work: may it go, unused for gc_stale_time or FAILED?"""
        if self.state == PERMANENT:
            return False
        self.used_ns = max(self.used_ns, self.confirmed_ns)
        keep_ns = self.net.sysctl.neigh_ns(self.device.name, "gc_stale_time")
        return self.state == FAILED or now_ns >= self.used_ns + keep_ns

    # -- time -----------------------------------------------------------------------------------

    def _set(self, state: str) -> None:
        if state == PERMANENT:
            self.family.neighbours.discard(self)  # exempt_from_gc
        self.state = state
        self.header = self.hh if state in CONNECTED else None
        if self.net.recorder is not None:
            self.net.recorder.changed(NEIGH, self, self.text())

    def _arm(self, due_ns: int) -> None:
        self._disarm()
        self._timer = self.net.clock.call_at(due_ns, self._expire, background=self.state != INCOMPLETE, wheel=True)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """neigh_timer_handler."""
        now, name, sysctl = self.net.clock.jiffy_ns, self.device.name, self.net.sysctl
        delay_ns = sysctl.neigh_ns(name, "delay_first_probe_time")
        if self.state == REACHABLE:
            if now <= self.confirmed_ns + self.reachable_ns:
                self._arm(max(self.confirmed_ns + self.reachable_ns, now + SOONEST_NS))
            elif now <= self.used_ns + delay_ns:
                self._set(DELAY)
                self.updated_ns = now
                self._arm(now + delay_ns)
            else:
                self._set(STALE)
                self.updated_ns = now
        elif self.state == DELAY:
            if now <= self.confirmed_ns + delay_ns:
                self._set(REACHABLE)
                self.updated_ns = now
                self._arm(max(self.confirmed_ns + self.reachable_ns, now + SOONEST_NS))
            else:
                self._set(PROBE)
                self.updated_ns = now
                self.probes = 0
                self._solicit()
        elif self.state in (INCOMPLETE, PROBE):
            tries = sysctl.neigh(name, "ucast_solicit") + sysctl.neigh(name, "app_solicit")
            if self.state == INCOMPLETE:
                tries += sysctl.neigh(name, "mcast_solicit")
            if self.probes >= tries:
                self._fail()
            else:
                self._solicit()

    def _fail(self) -> None:
        """neigh_invalidate: every waiting packet is answered with host unreachable."""
        self._set(FAILED)
        self.updated_ns = self.net.clock.jiffy_ns
        self._disarm()
        queue, self.queue, self.queued_bytes = self.queue, [], 0
        for frame in queue:
            _released(frame)
            self.family.ops.error_report(frame, self)

    def text(self) -> str:
        """As `ip neigh show` prints it; "" for one that it leaves out."""
        if self.state in (NOARP, NONE):
            return ""
        words = [ip4_text(self.addr), "dev", self.device.name]
        if self.state in VALID:
            words += ["lladdr", mac_text(self.lladdr)]
        return " ".join([*words, self.state])

    def __repr__(self) -> str:
        return f"<neighbour {self.addr:#x} {self.device.name} {self.state}>"


def _reachable_ns(family: Family, device: Device) -> int:
    """neigh_rand_reach_time: drawn once for all neighbours of a device, as neigh_parms has it."""
    for other in device.neigh[family.number].values():
        known: int = other.reachable_ns
        return known
    net = family.net
    base = net.sysctl.neigh(device.name, "base_reachable_time_ms") * 1_000_000
    return base // 2 + net.clock.random(f"neighbour/{net.name}/{device.name}").randrange(base) if base else 0


def _released(frame: Frame) -> None:
    """A waiting frame leaves the queue: its socket may send the segment again."""
    if frame.sock is not None:
        frame.sock.waiting -= truesize(frame)


def lookup(family: Family, device: Device, addr: int) -> Neighbour | None:
    """The entry of an address on a device, made if there is none (__neigh_lookup with creat); None if the machine's table is
    full."""
    entry: Neighbour | None = device.neigh[family.number].get(addr)
    if entry is None:
        entry = Neighbour(family, device, addr)
        if not family.neighbours.admit(entry):
            return None
        device.own_neighbours(family.number)[addr] = entry
        family.ops.constructor(entry)
    return entry


def resolves(number: int, hop: Route) -> bool:
    """fib_good_nh: is the next hop's entry valid, or is there none? `number` is AF_*."""
    entry = hop.device.neigh[number].get(hop.gateway)
    return entry is None or entry.state in VALID
