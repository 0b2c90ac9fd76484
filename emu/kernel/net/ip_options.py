"""IP options: read on input, completed by a router, echoed in answers, cut out of fragments (net/ipv4/ip_options.c).

RFC 791 section 3.1, RFC 1812 section 5.2.4. Only a header of more than 20 bytes comes here. An option's bytes are
changed without the header's checksum: a router computes that when it forwards, and a packet for this host keeps the
old one, which the quote of an ICMP error shows. Must not know what sends an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emu.clock import EPOCH_NS, MS
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_output import source_address
from emu.wire.frame import IP_HLEN, Frame
from emu.wire.rewrite import insert_options, set_options

if TYPE_CHECKING:
    from emu.kernel.link.device import Device
    from emu.kernel.net.netns import Netns

END, NOOP, RECORD_ROUTE, TIMESTAMP, LSRR, CIPSO, SSRR, ROUTER_ALERT = 0, 1, 7, 68, 131, 134, 137, 148
COPIED = 0x80  # the flag of options that every fragment has
TS_ONLY, TS_AND_ADDRESS, TS_PRESPECIFIED = 0, 1, 3
FULL_OVERFLOW = 15
DAY_MS = 86_400_000
ADDRESS, FIRST_SLOT = 4, 4  # bytes of an address; the smallest pointer of a route, which counts from 1


@dataclass(slots=True)
class IpOptions:
    """struct ip_options: `data` are the bytes of the options; `rr`, `ts`, `srr` and `cipso` are the offsets of a record
    route, timestamp, source route and CIPSO in it, -1 for none.

    `rr_needaddr`, `ts_needaddr`, `ts_needtime`: the last place that the pointer passed waits for this host's address or
    time. `changed`: the header's checksum is not right any more. `nexthop`: the next address of a source route (0: none).
    """

    data: bytearray
    rr: int = -1
    ts: int = -1
    srr: int = -1
    cipso: int = -1
    strict: bool = False
    rr_needaddr: bool = False
    ts_needaddr: bool = False
    ts_needtime: bool = False
    changed: bool = False
    nexthop: int = 0


class _Reader:
    """One run of ip_options_compile; `error` is the offset of the wrong byte in `options.data`, -1 for none."""

    __slots__ = ("net", "frame", "device", "route", "options", "error")

    def __init__(self, net: Netns, frame: Frame, device: Device, route: Route | None, options: IpOptions) -> None:
        self.net, self.frame, self.device, self.route, self.options = net, frame, device, route, options
        self.error = -1

    def run(self) -> None:
        data, at = self.options.data, 0
        while at < len(data) and self.error < 0:
            kind = data[at]
            if kind == END:
                self.options.changed |= any(data[at:])
                data[at:] = bytes(len(data) - at)
                return
            if kind == NOOP:
                at += 1
                continue
            length = data[at + 1] if at + 1 < len(data) else 0
            if length < 2 or at + length > len(data):
                self.error = at
                return
            if kind in (LSRR, SSRR):
                self._source_route(at, length)
            elif kind == RECORD_ROUTE:
                self._record_route(at, length)
            elif kind == TIMESTAMP:
                self._timestamp(at, length)
            elif kind == ROUTER_ALERT and length < 4:
                self.error = at + 1
            elif kind == CIPSO:
                self._cipso(at, length)
            at += length

    def _source_route(self, at: int, length: int) -> None:
        options = self.options
        if length < 3:
            self.error = at + 1
        elif options.data[at + 2] < FIRST_SLOT:
            self.error = at + 2
        elif options.srr >= 0:
            self.error = at  # RFC 1812 section 5.2.4.1: one source route at most
        else:
            options.srr, options.strict = at, options.data[at] == SSRR

    def _record_route(self, at: int, length: int) -> None:
        options, data = self.options, self.options.data
        if options.rr >= 0:
            self.error = at
        elif length < 3:
            self.error = at + 1
        elif data[at + 2] < FIRST_SLOT or data[at + 2] + 3 > length >= data[at + 2]:
            self.error = at + 2
        else:
            if data[at + 2] <= length:
                self._put(at + data[at + 2] - 1, self._own())
                data[at + 2] += ADDRESS
                options.rr_needaddr = True
            options.rr = at

    def _timestamp(self, at: int, length: int) -> None:
        options, data = self.options, self.options.data
        if options.ts >= 0:
            self.error = at
            return
        if length < 4:
            self.error = at + 1
            return
        pointer, kind = data[at + 2], data[at + 3] & 15
        if pointer < 5:
            self.error = at + 2
        elif pointer > length:
            overflow = data[at + 3] >> 4
            if kind != TS_PRESPECIFIED:
                if overflow == FULL_OVERFLOW:
                    self.error = at + 3
                    return
                data[at + 3] = kind | overflow + 1 << 4
                options.changed = True
        elif pointer + (7 if kind in (TS_AND_ADDRESS, TS_PRESPECIFIED) else 3) > length:
            self.error = at + 2
        elif kind == TS_ONLY:
            self._stamp(at, at + pointer - 1, 4, address=False)
        elif kind == TS_AND_ADDRESS:
            self._put(at + pointer - 1, self._own())
            self._stamp(at, at + pointer + 3, 8, address=True)
        elif kind == TS_PRESPECIFIED:
            wanted = int.from_bytes(data[at + pointer - 1 : at + pointer + 3], "big")
            if self.net.ipv4.addr_type(wanted) != "UNICAST":
                self._stamp(at, at + pointer + 3, 8, address=False)
        if self.error < 0:
            options.ts = at

    def _stamp(self, at: int, place: int, step: int, *, address: bool) -> None:
        self._put(place, time_of_day(self.net))
        self.options.data[at + 2] += step
        self.options.ts_needtime = True
        self.options.ts_needaddr = address

    def _cipso(self, at: int, length: int) -> None:
        """No domain of interpretation is configured, so that each label is refused at its number (cipso_v4_validate)."""
        self.error = at if self.options.cipso >= 0 else at + (1 if length < 8 else 2)
        self.options.cipso = at

    def _own(self) -> int:
        return own_address(self.net, self.frame, self.device, self.route)

    def _put(self, place: int, value: int) -> None:
        self.options.data[place : place + 4] = value.to_bytes(4, "big")
        self.options.changed = True


def compile(net: Netns, frame: Frame, device: Device, route: Route | None) -> tuple[IpOptions, int]:
    """ip_options_compile: the options of a packet that came in by `device`, with this host's address and time filled in.

    Gives the options, and the offset in the IP header of a byte that is wrong (0: none).
    """
    options = IpOptions(bytearray(frame.option_bytes))
    reader = _Reader(net, frame, device, route, options)
    reader.run()
    set_options(frame, bytes(options.data), frame.dst)
    return options, IP_HLEN + reader.error if reader.error >= 0 else 0


def own_address(net: Netns, frame: Frame, device: Device, route: Route | None) -> int:
    """fib_compute_spec_dst: this host's address as the packet's sender would call it."""
    if route is not None and route.kind == "local":
        return frame.dst
    if frame.src:
        back = net.ipv4.fib.lookup(frame.src)
        if back is not None and back.kind in ("unicast", "local"):
            return source_address(net, back, frame.src)
    return net.ipv4.select_addr(device, frame.src, "global" if frame.src else "link")


def time_of_day(net: Netns) -> int:
    """inet_current_timestamp: milliseconds since midnight, UTC."""
    return (EPOCH_NS + net.clock.now) // MS % DAY_MS


def forward(net: Netns, frame: Frame, route: Route, options: IpOptions) -> None:
    """ip_forward_options: the address of the device that the packet leaves by replaces what `compile` wrote into a record
    route, and the next hop of a source route becomes the destination. A timestamp's address is replaced in a packet with a
    source route alone."""
    data, nexthop = options.data, options.nexthop
    if options.rr_needaddr:
        _put(data, options.rr + data[options.rr + 2] - 5, source_address(net, route, frame.dst).to_bytes(4, "big"))
    if nexthop:
        srr = options.srr
        slots = range(data[srr + 2], data[srr + 1] - 2, ADDRESS)
        for pointer in slots:
            if data[srr + pointer - 1 : srr + pointer + 3] == nexthop.to_bytes(4, "big"):
                _put(data, srr + pointer - 1, source_address(net, route, nexthop).to_bytes(4, "big"))
                data[srr + 2] = pointer + ADDRESS
                break
        if options.ts_needaddr:
            source = source_address(net, route, nexthop)
            _put(data, options.ts + data[options.ts + 2] - 9, source.to_bytes(4, "big"))
    if options.changed:
        options.changed = False
        set_options(frame, bytes(data), nexthop or frame.dst, summed=True)


def echo(net: Netns, frame: Frame, options: IpOptions) -> IpOptions | None:
    """ip_options_echo: the options of an answer to `frame`; its `nexthop` is where the answer goes first, the sender or a
    hop of a source route. None if no answer can be made."""
    made = IpOptions(bytearray(), nexthop=frame.src)
    data = options.data
    if options.rr >= 0:
        pointer, length = data[options.rr + 2], data[options.rr + 1]
        made.rr = 0
        made.data += data[options.rr : options.rr + length]
        if options.rr_needaddr and pointer <= length:
            if pointer + 3 > length:
                return None
            made.data[2] = pointer + ADDRESS
            made.rr_needaddr = True
    if options.ts >= 0 and not _echo_timestamp(
        net, data[options.ts : options.ts + data[options.ts + 1]], options, made
    ):
        return None
    if options.srr >= 0:
        _echo_source_route(frame, options, made)
    if options.cipso >= 0:
        made.data += data[options.cipso : options.cipso + data[options.cipso + 1]]
    made.data += bytes(-len(made.data) % 4)
    return made if made.nexthop else None  # Linux sends an answer to 0.0.0.0 to itself


def _echo_timestamp(net: Netns, option: bytearray, options: IpOptions, made: IpOptions) -> bool:
    pointer, length = option[2], option[1]
    if pointer <= length:
        if options.ts_needaddr:
            if pointer + 3 > length:
                return False
            made.ts_needaddr = True
            pointer += ADDRESS
        if options.ts_needtime:
            if pointer + 3 > length:
                return False
            if option[3] & 15 != TS_PRESPECIFIED:
                made.ts_needtime = True
                pointer += 4
            elif pointer + 7 <= length:
                wanted = int.from_bytes(option[pointer - 1 : pointer + 3], "big")
                if net.ipv4.addr_type(wanted) != "UNICAST":
                    made.ts_needtime = True
                    pointer += 8
        option[2] = pointer
    made.ts = len(made.data)
    made.data += option
    return True


def _echo_source_route(frame: Frame, options: IpOptions, made: IpOptions) -> None:
    """The hops in reverse, without the sender itself (RFC 1812 section 5.2.4.1)."""
    route = options.data[options.srr : options.srr + options.data[options.srr + 1]]
    last = min(route[2], len(route) + 1) - 4  # the pointer of the last hop that was visited
    hops = [bytes(route[at - 1 : at + 3]) for at in range(last, 3, -ADDRESS)]
    # the last place is for the sender's address, which `build` writes
    places = [*hops[1:], bytes(ADDRESS)]
    if hops and hops[-1] == frame.src.to_bytes(4, "big"):
        places.pop()
    if not hops or not places:
        return
    made.nexthop = int.from_bytes(hops[0], "big")
    made.srr, made.strict = len(made.data), options.strict
    made.data += bytes((route[0], 3 + ADDRESS * len(places), FIRST_SLOT)) + b"".join(places)


def insert(net: Netns, frame: Frame, options: IpOptions, source: int, destination: int) -> None:
    """ip_options_build: put a copy of the options into a packet of this host from `source`, finally to `destination`."""
    options = replace(options, data=bytearray(options.data))
    data = options.data
    if options.srr >= 0:
        _put(data, options.srr + data[options.srr + 1] - 4, destination.to_bytes(4, "big"))
    if options.rr_needaddr:
        _put(data, options.rr + data[options.rr + 2] - 5, source.to_bytes(4, "big"))
    if options.ts_needaddr:
        _put(data, options.ts + data[options.ts + 2] - 9, source.to_bytes(4, "big"))
    if options.ts_needtime:
        _put(data, options.ts + data[options.ts + 2] - 5, time_of_day(net).to_bytes(4, "big"))
    frame.options = options
    insert_options(frame, bytes(data))


def _put(data: bytearray, at: int, value: bytes) -> None:
    data[at : at + len(value)] = value


def later_fragment(data: bytes) -> bytes:
    """ip_options_fragment: the options of a fragment that is not the first: those without the copied flag become padding."""
    made, at = bytearray(data), 0
    while at < len(made) and made[at] != END:
        if made[at] == NOOP:
            at += 1
            continue
        length = made[at + 1] if at + 1 < len(made) else 0
        if length < 2 or at + length > len(made):
            break
        if not made[at] & COPIED:
            made[at : at + length] = bytes((NOOP,)) * length
        at += length
    return bytes(made)
