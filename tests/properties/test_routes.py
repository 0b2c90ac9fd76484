"""The FIB's answer is that of a naive list: rules in order, longest prefix, lowest metric; after adds, deletes, throws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from attributes import attributes
from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net.fib import Fib
from emu.kernel.net.fib_rules import LOCAL_TABLE, MAIN_TABLE, IpRule
from emu.kernel.net.fib_semantics import FAILING, Route
from emu.kernel.net.iproute import parse_route
from emu.testing.strategies import addresses, examples, prefixes
from emu.wire.addr import Prefix, ip4_text, mask

DEVICES = tuple(Device(Clock(), name) for name in ("eth0", "eth1"))
KINDS = ("unicast", "unicast", "unicast", *FAILING, "throw", "local", "broadcast")
# few bits, so that prefixes nest and clash
NETS = prefixes(within="10.0.0.0/8", shortest=8, longest=12) | prefixes(0, 4) | prefixes(28, 32, within="10.0.0.0/28")
PROBES = addresses("10.0.0.0/28") | addresses("10.0.0.0/8") | addresses()


@dataclass
class Naive:
    """Routes in a list, rules in a list."""

    routes: list[Route] = field(default_factory=list)
    rules: list[IpRule] = field(default_factory=list)
    merged: bool = True  # until a rule changes, local and main are one trie

    def lookup(self, dst: int, src: int, mark: int, iif: str, oif: Device | None) -> Route | None:
        for each in sorted(self.rules, key=lambda rule: rule.priority):
            fits = (dst & mask(each.dst.length), src & mask(each.src.length)) == (each.dst.net, each.src.net)
            if not fits or mark & each.mask != each.mark or each.iif not in ("", iif):
                continue
            together = self.merged and each.table in (LOCAL_TABLE, MAIN_TABLE)
            tables = (LOCAL_TABLE, MAIN_TABLE) if together else (each.table,)
            found = [r for r in self.routes if r.table in tables and dst & mask(r.prefix.length) == r.prefix.net]
            found = [r for r in found if oif is None or r.device in (oif, None)]
            if found:
                best = min(found, key=lambda route: (-route.prefix.length, -route.table, route.metric))
                if best.kind != "throw":
                    return best
        return None


class Routing(RuleBasedStateMachine):
    """A Fib beside a Naive, changed in the same way."""

    routes: Bundle[Route] = Bundle("routes")
    policies: Bundle[IpRule] = Bundle("policies")

    def __init__(self) -> None:
        super().__init__()
        self.fib = Fib()
        self.naive = Naive(rules=list(self.fib.rules))

    @rule(
        target=routes, prefix=NETS, kind=st.sampled_from(KINDS), device=st.sampled_from(DEVICES),
        metric=st.sampled_from((0, 0, 100)), table=st.sampled_from((MAIN_TABLE, MAIN_TABLE, LOCAL_TABLE, 7)),
        proto=st.sampled_from(("boot", "kernel")),
    )  # fmt: skip
    def add(self, prefix: Prefix, kind: str, device: Device, metric: int, table: int, proto: str) -> Any:
        out = device if kind in ("unicast", "local", "broadcast") else None
        route = Route(prefix, kind, out, metric=metric, table=table, proto=proto)
        taken = any((r.prefix, r.metric, r.table) == (prefix, metric, table) for r in self.naive.routes)
        try:
            self.fib.add(route)
        except InputError:
            assert taken
            return multiple()
        assert not taken
        self.naive.routes.append(route)
        return route

    @rule(route=consumes(routes))
    def remove(self, route: Route) -> None:
        if route in self.naive.routes:
            self.fib.remove(route)
            self.naive.routes.remove(route)

    @rule(device=st.sampled_from(DEVICES))
    def device_goes(self, device: Device) -> None:
        self.fib.remove_device(device)
        # an address stays local until it goes itself
        self.naive.routes = [each for each in self.naive.routes if each.device is not device or each.kind == "local"]

    @rule(
        target=policies, priority=st.sampled_from((0, 100, 100, 40000)), table=st.sampled_from((MAIN_TABLE, 7, 99)),
        src=prefixes(0, 8, within="10.0.0.0/8") | st.just(Prefix(0, 0)), dst=prefixes(0, 1) | st.just(Prefix(0, 0)),
        mark=st.sampled_from(((0, 0), (1, 1))), iif=st.sampled_from(("", "", "eth0")),
    )  # fmt: skip
    def add_rule(self, priority: int, table: int, src: Prefix, dst: Prefix, mark: tuple[int, int], iif: str) -> IpRule:
        made = IpRule(priority, table, src, dst, *mark, iif)
        self.fib.add_rule(made)
        self.naive.rules.append(made)
        self.naive.merged = False
        return made

    @rule(gone=consumes(policies))
    def remove_rule(self, gone: IpRule) -> None:
        self.fib.remove_rule(gone)
        self.naive.rules.remove(gone)
        self.naive.merged = False

    @rule(
        dst=PROBES, src=PROBES, mark=st.sampled_from((0, 1, 3)), iif=st.sampled_from(("", "eth0")),
        oif=st.sampled_from((None, None, *DEVICES)),
    )  # fmt: skip
    def look_up(self, dst: int, src: int, mark: int, iif: str, oif: Device | None) -> None:
        assert self.fib.lookup(dst, src, mark, iif, oif) is self.naive.lookup(dst, src, mark, iif, oif)

    @invariant()
    def every_routes_own_address_is_looked_up_alike(self) -> None:
        for route in self.naive.routes[-3:]:
            assert self.fib.lookup(route.prefix.net) is self.naive.lookup(route.prefix.net, 0, 0, "", None)

    @invariant()
    def all_are_listed(self) -> None:
        assert sorted(map(id, (r for table in self.fib.tables.values() for r in table))) == sorted(
            map(id, self.naive.routes)
        )
        own = [r for r in self.naive.routes if r.kind == "local" and r.proto == "kernel" and r.prefix.length == 32]
        assert self.fib.own == {r.prefix.net for r in own}


TestRouting = Routing.TestCase
TestRouting.settings = examples(150, stateful_step_count=40)


@given(
    NETS, st.sampled_from(("unicast", *FAILING, "throw")), st.integers(0, 2), st.sampled_from((0, 1400)), st.booleans()
)
@examples(100)
def test_a_routes_text_is_the_route(prefix: Prefix, kind: str, gateway: int, mtu: int, metric: bool) -> None:
    unicast = kind == "unicast"
    route = Route(
        prefix, kind, DEVICES[0] if unicast else None, gateway if unicast else 0, mtu=mtu, metric=int(metric) * 50,
        scope="link" if unicast and not gateway else "global",
    )  # fmt: skip
    again = parse_route(route.text(), {device.name: device for device in DEVICES}.__getitem__)
    names = list(attributes(Route))
    assert [getattr(again, name) for name in names] == [getattr(route, name) for name in names], ip4_text(prefix.net)


def test_an_address_is_own_as_long_as_one_route_makes_it_so() -> None:
    fib = Fib()
    routes = [Route(Prefix(1, 32), "local", metric=metric, proto="kernel", table=LOCAL_TABLE) for metric in (0, 1)]
    for route in routes:
        fib.add(route)
    fib.remove(routes[0])
    assert fib.own == {1}
    fib.remove(routes[1])
    assert fib.own == set()
