"""What is recorded beside the frames: the changes add up to the views, and nothing differs for being recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

import emu
from emu.capture.states import TABLES, Change, Lines, States
from emu.clock import SECOND
from emu.kernel.net.netns import Netns
from emu.kube.cluster import Cluster
from emu.report import views
from emu.scenario import gallery
from emu.scenario.build import build
from emu.scenario.record import Run
from emu.scenario.run import run
from emu.scenario.script import Scenario
from emu.wire.frame import Frame

STORIES = gallery.stories()


def recorded(path: Path) -> tuple[Run, States]:
    done = run(path, record=True)
    assert done.cluster.capture is not None
    assert done.cluster.capture.states is not None
    return done, done.cluster.capture.states


def shown(net: Netns, table: str) -> list[str]:
    return sorted(views[table](net).text.splitlines())


def without_seconds(lines: list[str]) -> list[str]:
    """The lines of connections without what goes on between changes: the seconds that are left."""
    return sorted(" ".join(word for at, word in enumerate(line.split()) if at != 4) for line in lines)


@pytest.mark.parametrize("path", STORIES.values(), ids=STORIES)
def test_the_changes_add_up_to_the_views(path: Path) -> None:
    done, states = recorded(path)
    held: Lines = states.at()
    for name, net in done.cluster.namespaces.items():
        for table in TABLES:
            found, expected = held[name].get(table, []), shown(net, table)
            if table == "conntrack":
                found, expected = without_seconds(found), without_seconds(expected)
            assert found == expected, (name, table)
    assert states.at(0)


@pytest.mark.parametrize("name", ["pod-to-service", "flannel-vxlan", "conntrack-table-full", "dns-takes-five-seconds"])
def test_nothing_differs_for_being_recorded(name: str, tmp_path: Path) -> None:
    path = STORIES[name]
    done, _ = recorded(path)
    plain = run(path)
    for index, each in enumerate((done, plain)):
        assert each.cluster.capture is not None
        each.cluster.capture.write(tmp_path / f"{index}.pcapng")
    assert (tmp_path / "0.pcapng").read_bytes() == (tmp_path / "1.pcapng").read_bytes()
    assert [each.flow.outcome for each in done.flows] == [each.flow.outcome for each in plain.flows]


@pytest.mark.parametrize("name", ["pod-to-service", "flannel-vxlan", "local-policy-elsewhere", "calico-ipip"])
def test_each_moment_is_what_the_views_showed_then(name: str) -> None:
    """Against what a tap sees that reads the views of its namespace at each frame."""
    seen: list[tuple[str, dict[str, list[str]]]] = []

    def built(scenario: Scenario) -> Cluster:
        cluster = build(scenario)
        capture = cluster.capture
        assert capture is not None
        capture.record()
        for _ in range(capture.mark()):
            seen.append(("", {}))
        for interface in capture.interfaces:
            device = interface.device
            if device is not None:
                device.tap = watching(device.tap, interface.owner, cluster.namespaces[interface.owner])
            else:
                net = cluster.namespaces[interface.owner]
                net.drop_listeners.insert(0, lambda *_: seen.append(("", {})))
        return cluster

    def watching(inner: Any, owner: str, net: Netns) -> Any:
        def tap(frame: Frame, direction: int) -> None:
            seen.append((owner, {table: shown(net, table) for table in TABLES}))
            inner(frame, direction)

        return tap

    capture = run(STORIES[name], build=built).cluster.capture
    assert capture is not None
    assert capture.states is not None
    assert len(seen) == len(capture.frames(background=True))
    for number, (owner, tables) in enumerate(seen[:400]):
        held = capture.states.at(number).get(owner, {})
        for table, expected in tables.items():
            found = held.get(table, [])
            if table == "conntrack":
                found, expected = without_seconds(found), without_seconds(expected)
            assert found == expected, (number, owner, table)


def lab() -> tuple[emu.Lab, Netns, Netns]:
    """A client and a server behind a router with a bridge."""
    bench = emu.Lab()
    client, router, server = bench.host("client"), bench.router("router"), bench.host("server")
    bridge = bench.bridge(router, "br0", "10.0.0.1/24")
    bench.cable(client, "10.0.0.2/24", bridge, "")
    bench.cable(server, "10.0.1.2/24", router, "10.0.1.1/24", default=True)
    emu.kernel.boot.route(client, "default via 10.0.0.1")
    return bench, client, server


def of(changes: list[Change], netns: str, table: str) -> list[Change]:
    return [each for each in changes if (each.netns, each.table) == (netns, table)]


def test_what_ages_goes_at_its_time() -> None:
    bench, client, server = lab()
    assert bench.capture is not None
    states = bench.capture.record()
    socket = server.sockets.udp()
    socket.bind(("0.0.0.0", 9))
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=9))
    bench.run(500)
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=8, dport=9))
    bench.run(1)
    learned, aged, again = (each for each in of(states.changes(), "router", "fdb") if "permanent" not in each.new)
    assert (learned.new, learned.gone, aged.gone, again.new) == (aged.gone, "", learned.new, learned.new)
    assert 300 * SECOND < aged.time_ns - learned.time_ns < 310 * SECOND
    assert aged.before < again.before
    opened, ended, *_ = of(states.changes(), "router", "conntrack")
    assert "sport=7" in opened.new
    assert (ended.gone, ended.new) == (opened.new, "")
    assert (opened.name, ended.name) == ("router#1", "router#1")
    assert {each.name for each in of(states.changes(), "router", "fdb")} == {""}
    assert opened.time_ns < ended.time_ns == 30 * SECOND  # counted from the tick


def test_an_open_port_and_a_route_are_changes() -> None:
    bench, _, server = lab()
    assert bench.capture is not None
    states = bench.capture.record()
    socket = server.sockets.tcp()
    socket.bind(("0.0.0.0", 80))
    socket.listen()
    emu.kernel.boot.route(server, "10.9.0.0/16 via 10.0.1.1")
    socket.close()
    found = [(each.table, each.gone, each.new) for each in states.changes()]
    assert found == [
        ("sockets", "", "tcp LISTEN 0.0.0.0:80"),
        ("routes", "", "10.9.0.0/16 via 10.0.1.1 dev eth0"),
        ("sockets", "tcp LISTEN 0.0.0.0:80", ""),
    ]


def test_the_last_sight_knows_where_the_packet_ended() -> None:
    bench, client, server = lab()
    bench.iptables(server, "-A INPUT -p udp -j ACCEPT")
    assert bench.capture is not None
    bench.capture.record()
    socket = server.sockets.udp()
    socket.bind(("0.0.0.0", 9))
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=9))
    bench.run(1)
    ended = [each for each in bench.frames() if each.after]
    assert {(each.direction, each.after[0].fact.to) for each in ended} == {("in", "ARP"), ("in", "a UDP socket")}
    ended = [each for each in ended if "UDP" in each.line()]
    assert [each.interface for each in ended] == ["server/eth0"]
    (end,) = ended[0].after
    assert (end.fact.to, end.port) == ("a UDP socket", 9)
    assert [str(each) for each in end.trail if hasattr(each, "spec")] == ["-A INPUT -p udp -j ACCEPT"]


def test_counters_are_those_of_the_moment() -> None:
    bench, client, _ = lab()
    router = bench.namespaces["router"]
    bench.iptables(router, "-A FORWARD -p udp --dport 9 -j ACCEPT", "-A FORWARD -p udp -j DROP")
    assert bench.capture is not None
    bench.capture.record()
    for _ in range(3):
        for port in (9, 10):
            client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=port))
            bench.run(1)
    for frames in (bench.frames("router/eth1"), bench.frames("router/drop")):
        counted = [dict(each.counters) for each in frames if each.direction in ("out", "drop")]
        assert [packets for each in counted for packets, _ in each.values()] == [1, 2, 3]


def test_rules_are_kept_from_each_moment_on() -> None:
    bench, client, _ = lab()
    router = bench.namespaces["router"]
    assert bench.capture is not None
    states = bench.capture.record()
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=9))
    bench.run(1)
    bench.iptables(router, "-A FORWARD -p udp -j DROP")
    first, second = (each for each in states.rules() if each.netns == "router")
    assert (first.before, second.before) == (0, len(bench.frames()))
    assert [str(rule) for rule in second.ruleset.rules()] == ["-A FORWARD -p udp -j DROP"]
    assert not list(first.ruleset.rules())


def test_a_fork_records_on_its_own() -> None:
    bench, client, _ = lab()
    assert bench.capture is not None
    states = bench.capture.record()
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=9))
    bench.run(1)
    other = bench.fork()
    assert other.capture is not None
    assert other.capture.states is not None
    before = states.changes()
    assert other.capture.states.changes() == before
    other.namespaces["client"].sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=8, dport=9))
    other.run(1)
    assert len(other.capture.states.changes()) > len(before)
    assert states.changes() == before


def test_what_was_there_when_recording_began_has_its_names_too() -> None:
    bench, client, _ = lab()
    client.sockets.send_packet(IP(dst="10.0.1.2") / UDP(sport=7, dport=9))
    bench.run(1)
    assert bench.capture is not None
    states = bench.capture.record()
    opened = [each for each in states.opening if (each.netns, each.table) == ("router", "conntrack")]
    assert [each.name for each in opened] == ["router#1"]
    assert [each.new for each in opened] == states.first["router"]["conntrack"] == states.at(0)["router"]["conntrack"]
