"""A loop of bridges without spanning tree: Linux forwards a broadcast for ever, emu names the loop and ends."""

from __future__ import annotations

import pytest

from emu import craft
from emu.clock import US, Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.loopback import Loopback
from emu.kernel.link.veth import pair
from emu.kube.cluster import Cluster
from emu.lab import Lab
from emu.scenario import build as scenario_build
from emu.scenario.run import run
from emu.scenario.script import Scenario, load_text
from emu.wire.frame import Frame

BROADCAST = "Ether(dst='ff:ff:ff:ff:ff:ff')/IP(src='10.0.0.1', dst='10.0.0.255')/UDP()"


def cables(*pairs: tuple[str, str]) -> Lab:
    """A host behind each bridge, and cables between bridges by name ("a", "b"); host `a` has the bridge `a/br0`."""
    lab = Lab(capture=False)
    bridges = {name: lab.bridge(lab.host(name), "br0") for name in dict.fromkeys(end for ends in pairs for end in ends)}
    for name, bridge in bridges.items():
        lab.cable(lab.host(f"behind-{name}"), "", bridge, "")
    for one, other in pairs:
        if one != other:
            lab.cable(bridges[one], "", bridges[other], "")
            continue
        net = lab.namespaces[one]
        for end in boot.veth(net, "loop0", net, "loop1", "02:00:00:00:01:00", "02:00:00:00:01:01"):
            bridges[one].add_port(end)
    return lab


@pytest.mark.parametrize("sender", ["a", "behind-a"])
@pytest.mark.parametrize(
    ("pairs", "members"),
    [
        ([("a", "b"), ("a", "b")], {"a/br0 (", "b/br0 ("}),
        ([("a", "b"), ("a", "b"), ("a", "b")], {"a/br0 (", "b/br0 ("}),
        ([("a", "b"), ("b", "c"), ("c", "a")], {"a/br0 (", "b/br0 (", "c/br0 ("}),
        ([("a", "a")], {"a/br0 (loop"}),
        ([("d", "a"), ("a", "b"), ("a", "b")], {"a/br0 (", "b/br0 ("}),
    ],
    ids=["two cables", "three cables", "a ring", "a cable to itself", "behind a tree"],
)
def test_a_loop_is_named(pairs: list[tuple[str, str]], members: set[str], sender: str) -> None:
    lab = cables(*pairs)
    net = lab.namespaces[sender]
    device = "br0" if sender == "a" else None
    with pytest.raises(InputError, match=r"a bridge loop: .* forward the same frames without end") as caught:
        net.sockets.send_packet(craft.expression(BROADCAST), device=device)
    text = str(caught.value)
    assert all(member in text for member in members), text
    assert "d/br0" not in text
    assert lab.clock.now < 100_000 * US


@pytest.mark.slow
def test_a_tree_of_bridges_is_none_however_much_it_floods() -> None:
    lab = cables(("a", "b"), ("b", "c"), ("b", "d"))
    for _ in range(3000):
        lab.namespaces["behind-a"].sockets.send_packet(craft.expression(BROADCAST))


def test_frames_that_go_one_way_round_end_at_the_limit_of_a_drain() -> None:
    clock = Clock(drain_limit=500)
    ends = [
        pair(clock, f"left{n}", bytes((2, 0, 0, 0, 0, n)), f"right{n}", bytes((2, 0, 0, 0, 1, n))) for n in range(2)
    ]
    for here, there in ((ends[0][1], ends[1][0]), (ends[1][1], ends[0][0])):
        here.rx_handler = lambda frame, device, out=there: out.transmit(frame)
    with pytest.raises(InputError, match=r"500 deliveries and no end: frames go round by <veth (left|right)[01]>"):
        ends[0][0].transmit(Frame.parse(b"\xff" * 6 + bytes((2, 0, 0, 0, 9, 9)) + b"\x88\xb5" + bytes(46)))
        clock.drain()


def test_what_linux_does_not_enslave() -> None:
    """br_add_if: no loopback (EINVAL), no bridge (ELOOP), no port of a bridge (EBUSY)."""
    clock = Clock()
    bridge, other = (Bridge(clock, name, bytes((2, 0, 0, 0, 0, n))) for n, name in enumerate(("br0", "br1")))
    end, _peer = pair(clock, "eth0", bytes(6), "eth1", bytes(6))
    bridge.add_port(end)
    for device, why in ((Loopback(clock), "it is a loopback"), (other, "it is a bridge"), (end, "it is a port of br0")):
        with pytest.raises(InputError, match=f"{device.name} cannot be a port of br.: {why}"):
            (other if device is end else bridge).add_port(device)


SCENARIO = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: loop}
cluster: {nodes: 1}
steps:
- wait: 1s
- send: {from: node/node-1, scapy: "IP(dst='10.9.9.9')/UDP()"}
"""


def test_a_scenario_ends_as_bad_input_with_the_step() -> None:
    def build(scenario: Scenario) -> Cluster:
        cluster = scenario_build.build(scenario)
        net = cluster.node("node-1").net
        bridge = boot.bridge(net, "br9", "02:00:00:00:09:09")
        for end in boot.veth(net, "loop0", net, "loop1", "02:00:00:00:01:00", "02:00:00:00:01:01"):
            bridge.add_port(end)
        boot.address(net, bridge, "10.9.9.1/24")
        return cluster

    with pytest.raises(
        InputError, match=r"steps\[1\]\.send: a bridge loop: node-1/br9 \(loop[01], loop[01]\) "
    ) as caught:
        run(load_text(SCENARIO), build=build)
    assert caught.value.exit_status == 2 and caught.value.line == 8
