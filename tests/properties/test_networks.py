"""Random topologies and traffic, held to every named invariant: outcomes, TTLs, NAT, endpoints, checksums, determinism."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.testing import invariants
from emu.testing.strategies import Network, Spot, Topology, Traffic, examples, networks, topologies

CASES = networks(loss=True)


def run(case: tuple[Topology, list[Traffic]], seed: int = 0, seconds: float = 8) -> Network:
    topology, flows = case
    network = topology.build(seed)
    for number, flow in enumerate(flows, 1):
        network.send(flow, number)
        network.lab.run(0.05)
    network.lab.run(seconds)
    return network


@given(CASES)
@examples(400)
def test_whatever_is_sent_every_invariant_holds(case: tuple[Topology, list[Traffic]]) -> None:
    invariants.hold(run(case).lab)


@given(CASES, st.floats(0.01, 3))
@examples(80)
def test_one_outcome_holds_in_the_middle_too(case: tuple[Topology, list[Traffic]], seconds: float) -> None:
    invariants.one_outcome(run(case, seconds=seconds).lab)


@given(topologies(nat=False), st.data())
@examples(150)
def test_the_ttl_falls_by_the_number_of_routers(topology: Topology, data: st.DataObject) -> None:
    hosts = st.integers(0, len(topology.spots) - 1)
    source, target = data.draw(hosts), data.draw(hosts)
    network = topology.build()
    socket = network.hosts[source].sockets.ping(1)
    socket.send(topology.address(target))
    network.lab.run(1)
    crossed = topology.routed(source, target)
    assert [reply.ttl for reply in socket.replies] == [64 - crossed]
    if source != target:
        assert invariants.hops(network.lab, f"h{source}", f"h{target}") == [crossed]


@pytest.mark.parametrize("routers", [1, 3])
@pytest.mark.parametrize("call_iptables", [True, False])
def test_pings_answer_through_every_kind_of_way(routers: int, call_iptables: bool) -> None:
    """So that the properties above do not hold for want of answers."""
    spots = (Spot(0, True), Spot(0, True), Spot(routers - 1, False))
    topology = Topology(routers, spots, frozenset(range(routers)), call_iptables)
    flows = [Traffic(0, target, protocol) for target in (1, 2) for protocol in ("udp", "ping", "tcp")]
    network = run((topology, flows))
    back = [each for each in network.lab.frames("h0/eth0") if each.direction == "in"]
    assert {each.flow for each in back} >= set(range(1, len(flows) + 1))
    invariants.hold(network.lab)


@given(CASES, st.integers(0, 3))
@examples(50)
def test_the_same_seed_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Topology, list[Traffic]], seed: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("twice")
    files = []
    for name in ("one.pcapng", "other.pcapng"):
        capture = run(case, seed).lab.capture
        assert capture is not None
        capture.write(folder / name)
        files.append((folder / name).read_bytes())
    assert files[0] == files[1]
