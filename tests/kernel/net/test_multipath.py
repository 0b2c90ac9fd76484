"""Routes with several next hops: flows keep their way, weights are kept, and what is down is not taken."""

from __future__ import annotations

from collections import Counter

import pytest

import emu
from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.veth import pair
from emu.kernel.net.fib_rules import NO_FLOW, Flow
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.multipath import PURPOSE
from emu.kernel.net.netns import Netns
from emu.kernel.net.route import update_pmtu
from emu.lab import Lab
from emu.wire.addr import ip4
from emu.wire.frame import TCP, UDP

FAR = ip4("192.0.2.1")
DEFAULT = "default nexthop via 10.0.0.9 weight 1 nexthop via 10.0.1.9 weight 3"


def router(seed: int = 0) -> Netns:
    clock = Clock(seed)
    net = boot.namespace(clock, "router", {"net.ipv4.ip_forward": 1})
    for number in range(2):
        near, _ = pair(clock, f"eth{number}", bytes((2, 0, 0, 0, 0, number)), "far", bytes((2, 0, 0, 0, 1, number)))
        net.attach(near)
        boot.address(net, near, f"10.0.{number}.1/24")
    boot.route(net, DEFAULT)
    return net


def way(net: Netns, src: int, dst: int = FAR, flow: Flow = NO_FLOW, *, local: bool = False) -> str:
    route = net.ipv4.fib.lookup(dst, src, 0, "eth0")
    assert route is not None
    assert len(route.hops) == 2
    name: str = net.ipv4.multipath.choose(route, src, dst, flow, local=local).device.name
    return name


def test_weights_are_kept_and_flows_keep_their_way() -> None:
    net = router()
    taken = Counter(way(net, src) for src in range(4000))
    assert 900 <= taken["eth0"] <= 1100  # 1000 of 4000; the deviation of such a draw is 27
    assert all(way(net, src) == way(net, src) for src in range(50))
    ports = {way(net, 1, FAR, Flow(0, TCP, port, 80)) for port in range(50)}
    assert len(ports) == 1, "ports do not count by default"


def test_another_seed_is_another_key_and_the_same_seed_the_same() -> None:
    one, same, other = ([way(router(seed), src) for src in range(40)] for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("policy", "fields", "alike", "differing"),
    [
        (1, 7, (), (Flow(0, TCP, 1, 80), Flow(0, UDP, 1, 80), Flow(0, TCP, 1, 81))),
        (3, 0x30, (Flow(0, TCP, 1, 80), Flow(0, UDP, 1, 80)), (Flow(0, TCP, 2, 80), Flow(0, TCP, 1, 81))),
        (3, 4, (Flow(0, TCP, 1, 80), Flow(0, TCP, 2, 81)), (Flow(0, TCP), Flow(0, UDP))),
        (2, 7, (Flow(0, TCP, 1, 80), Flow(0, UDP, 2, 81)), ()),
    ],
)
def test_what_the_hash_covers(policy: int, fields: int, alike: tuple[Flow, ...], differing: tuple[Flow, ...]) -> None:
    def ways(flow: Flow) -> list[str]:
        return [way(net, src, FAR, flow) for src in range(64)]

    net = router()
    net.sysctl["net.ipv4.fib_multipath_hash_policy"] = policy
    net.sysctl["net.ipv4.fib_multipath_hash_fields"] = fields
    if alike:
        assert len({tuple(ways(flow)) for flow in alike}) == 1
    assert len({tuple(ways(flow)) for flow in differing}) == len(differing)


def test_a_next_hop_that_failed_is_not_taken_if_so_asked() -> None:
    lab = Lab()
    client, one, two = lab.host("client"), lab.host("one"), lab.host("two")
    lab.cable(client, "10.0.0.1/24", one, "10.0.0.9/24")
    lab.cable(client, "10.0.1.1/24", two, "10.0.1.9/24")
    boot.route(client, DEFAULT)
    client.sockets.udp().sendto(b"x", ("10.0.1.7", 9))  # absent: its entry fails
    lab.run(4)
    boot.route(client, "198.51.100.0/24 nexthop via 10.0.0.9 nexthop via 10.0.1.7")
    found = client.ipv4.fib.lookup(ip4("198.51.100.1"))
    assert found is not None

    def gateways() -> set[int]:
        return {client.ipv4.multipath.choose(found, 0, dst, Flow(), local=True).gateway for dst in range(64)}

    assert gateways() == {ip4("10.0.0.9"), ip4("10.0.1.7")}
    client.sysctl["net.ipv4.fib_multipath_use_neigh"] = 1
    assert gateways() == {ip4("10.0.0.9")}


def test_a_path_mtu_holds_on_every_next_hop() -> None:
    net = router()
    update_pmtu(net, FAR, 0, 1400)
    found = net.ipv4.fib.lookup(FAR)
    assert found is not None
    assert [net.ipv4.exceptions.output(hop, FAR).mtu for hop in found.hops] == [1400, 1400]


def test_flows_really_part(tmp_path: object) -> None:
    """One host behind a router with two ways: both are taken, each connection by one of them."""
    lab = emu.Lab(seed=3)
    client, gate, server = lab.host("client"), lab.router("gate"), lab.router("server")
    lab.cable(client, "10.1.0.1/24", gate, "10.1.0.254/24")
    boot.route(client, "default via 10.1.0.254")
    for number in range(2):
        lab.cable(gate, f"10.0.{number}.1/24", server, f"10.0.{number}.9/24")
    lo = server.device("lo")
    for number in range(1, 17):
        server.ipv4.add_address(lo, ip4(f"192.0.2.{number}"), 32)
    boot.route(gate, "192.0.2.0/24 nexthop via 10.0.0.9 nexthop via 10.0.1.9")
    boot.route(server, "default via 10.0.0.1")
    for number in range(1, 17):
        for _ in range(3):
            client.sockets.udp().sendto(b"x", (f"192.0.2.{number}", 9))
    lab.run(1)
    seen = [
        {
            each.data[30:34]
            for each in lab.frames(f"server/eth{number}")
            if each.data[12:14] == b"\x08\0" and each.direction == "in"
        }
        for number in range(2)
    ]
    assert not seen[0] & seen[1], "a destination is reached by one way"
    assert len(seen[0] | seen[1]) == 16
    assert min(map(len, seen)) >= 3


class _Answers:
    """A script of yes and no."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.shares = list(answers), []  # type: tuple[list[bool], list[float]]

    def number(self) -> int | None:
        return None

    def below(self, threshold: int, bits: int) -> bool:
        self.shares.append(round(threshold / (1 << bits), 4))
        return self.answers.pop(0)


def test_a_script_chooses_once_for_each_flow() -> None:
    net = router()
    boot.route(net, "198.51.100.0/24 nexthop via 10.0.0.9 nexthop via 10.0.1.9 weight 2 nexthop via 10.0.1.8")
    script = net.random(PURPOSE).script = _Answers(False, True, False, False)
    found: Route | None = net.ipv4.fib.lookup(ip4("198.51.100.1"))
    assert found is not None
    chosen = [net.ipv4.multipath.choose(found, src, 5, Flow(), local=False).gateway for src in (1, 2, 1, 2)]
    assert chosen == [ip4("10.0.1.9"), ip4("10.0.1.8")] * 2
    assert script.shares == [0.25, 0.6667, 0.25, 0.6667]


@pytest.mark.parametrize(
    ("text", "error_text"),
    [
        ("10.9.0.0/16 via 10.0.0.9 nexthop via 10.0.1.9", "its next hops state the gateway"),
        ("blackhole 10.9.0.0/16 nexthop via 10.0.1.9", "its next hops state the gateway"),
        ("10.9.0.0/16 nexthop via 10.0.0.9 weight 0", "'0' is not a weight"),
        ("10.9.0.0/16 nexthop weight 2", "a next hop has no way out"),
        ("10.9.0.0/16 nexthop via 10.0.0.9 nexthop via 10.7.7.7", "the gateway is not on a link"),
        ("10.9.0.0/16 nexthop via 10.0.0.9 metric 5", "cannot read 'metric'"),
    ],
)
def test_what_is_not_a_next_hop(text: str, error_text: str) -> None:
    with pytest.raises(InputError, match=error_text):
        boot.route(router(), text)
