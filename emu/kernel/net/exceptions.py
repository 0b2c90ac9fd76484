"""Route exceptions: the path MTU or the better gateway of a single destination, each belonging to one route (struct
fib_nh_exception, net/ipv4/route.c).

The routes of `fib` do not change; while there are no exceptions the walk does not look here. Must not know ICMP, nor
namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from emu.clock import Clock
from emu.kernel.link.device import Device
from emu.kernel.net.fib_semantics import Route
from emu.wire.addr import ip4_text

IP_MAX_MTU: Final = 0xFFFF  # what lo takes


@dataclass(slots=True)
class RouteException:
    """fib_nh_exception: what holds for packets to `dst` on `route` until `expires_ns`. `pmtu`, `gateway`: 0 for not known.

    `locked`: the path MTU is below `min_pmtu`, so that packets to it may be fragmented.
    """

    route: Route
    dst: int
    expires_ns: int
    pmtu: int = 0
    gateway: int = 0
    locked: bool = False
    _output: Route | None = None
    _input: Route | None = None

    def change(self, expires_ns: int, *, pmtu: int = 0, gateway: int = 0, locked: bool = False) -> None:
        """update_or_create_fnhe: an argument of 0 changes nothing."""
        self.expires_ns = expires_ns
        self.gateway = gateway or self.gateway
        if pmtu:
            self.pmtu, self.locked = pmtu, locked
        self._output = self._input = None

    @property
    def mtu(self) -> int:
        """ipv4_mtu: the largest packet to `dst`, bytes, by this exception."""
        most: int = self.route.mtu or (IP_MAX_MTU if self.route.kind == "local" else self.route.device.mtu)
        return min(self.pmtu, most) if self.pmtu else most

    @property
    def output(self) -> Route:
        """The route as a local packet takes it."""
        if self._output is None:
            self._output = replace(
                self.input,
                mtu=self.mtu if self.pmtu else self.route.mtu,
                mtu_locked=self.locked,
                cached=f"{'<redirected> ' if self.gateway else ''}for {ip4_text(self.dst)}",
            )
        return self._output

    @property
    def input(self) -> Route:
        """The route as a packet that is forwarded takes it: the gateway counts, the MTU does not (ip_forward_use_pmtu)."""
        if self._input is None:
            route = self.route
            if self.gateway:
                route = replace(route, gateway=self.gateway, cached=f"<redirected> for {ip4_text(self.dst)}")
            self._input = route
        return self._input


class RouteExceptions(dict[tuple[Route, int], RouteException]):
    """The exceptions of one namespace, by route and destination."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def find(self, route: Route, dst: int) -> RouteException | None:
        """find_exception: the exception of `dst`, unless it has expired."""
        entry = self.get((route, dst))
        if entry is not None and self._clock.jiffy_ns > entry.expires_ns:
            del self[route, dst]
            return None
        return entry

    def output(self, route: Route, dst: int) -> Route:
        """The route of a local packet to `dst`."""
        entry = self.find(route, dst)
        return route if entry is None else entry.output

    def input(self, route: Route, dst: int) -> Route:
        """The route of a packet to be forwarded to `dst`."""
        entry = self.find(route, dst)
        return route if entry is None else entry.input

    def learn(
        self, route: Route, dst: int, lasting_ns: int, *, pmtu: int = 0, gateway: int = 0, locked: bool = False
    ) -> None:
        """Store an exception of `dst` that holds for `lasting_ns` from now on."""
        entry = self.find(route, dst)
        if entry is None:
            entry = self[route, dst] = RouteException(route, dst, 0)
        entry.change(self._clock.jiffy_ns + lasting_ns, pmtu=pmtu, gateway=gateway, locked=locked)

    def remove_device(self, device: Device) -> None:
        """Remove the exceptions of routes out of a device that is removed."""
        for key in [key for key in self if key[0].device is device]:
            del self[key]
