"""Faults planted in the emulator are found by the twin, each where it was planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from emu.kernel.link.bridge import Bridge
from emu.kernel.net import arp, ip_forward
from emu.kernel.net.neighbour import REACHABLE
from emu.kernel.netfilter.nat_ports import MANIP_DST, unique_tuple
from emu.kernel.transport.tcp_options import Segment
from emu.scenario.script import load_text
from emu.twin import Difference, judge
from twins import needs_twin, scenario

pytestmark = needs_twin

ACROSS = scenario("- ping: {from: default/client, to: default/web}")
SERVICE = scenario('- tcp: {from: default/client, to: "svc/web:80", send: "GET / HTTP/1.0\\r\\n\\r\\n"}')
SAME_NODE = scenario("- ping: {from: default/client, to: default/web}", node="node-1")


def found(text: str) -> Difference:
    report = judge(load_text(text))
    assert report.exit_status == 1, report.text()
    assert report.first is not None
    return report.first[1]


@pytest.mark.parametrize("text", [ACROSS, SERVICE, SAME_NODE], ids=["across", "service", "same-node"])
def test_without_a_fault_all_is_equal(text: str) -> None:
    report = judge(load_text(text))
    assert report.exit_status == 0, report.text()


def test_a_wrong_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ip_forward, "decrease_ttl", lambda frame: None)
    difference = found(ACROSS)
    kernel, emulated = difference.pair
    assert difference.what == "frames"
    assert difference.where == "node-1/eth0"
    assert "ttl63" in kernel
    assert "ttl64" in emulated


def test_a_missing_arp(monkeypatch: pytest.MonkeyPatch) -> None:
    real = arp.solicit

    def knowing(net: Any, neighbour: Any, waiting: Any) -> None:
        peer = getattr(neighbour.device, "peer", None)
        if peer is None or peer.net is None or not peer.net.ipv4.is_local(neighbour.addr):
            real(net, neighbour, waiting)
        else:
            neighbour.update(peer.mac, REACHABLE)

    monkeypatch.setattr(arp, "solicit", knowing)
    difference = found(ACROSS)
    kernel, emulated = difference.pair
    assert difference.where == "default/client/eth0"
    assert "ARP who-has 10.244.1.1" in kernel
    assert "ICMP echo-request" in emulated


def test_a_wrong_nat_port(monkeypatch: pytest.MonkeyPatch) -> None:
    real = unique_tuple

    def wrong(t: Any, conn: Any, manip: int, span: Any, random: Any) -> Any:
        proto, src, dst, sport, dport = real(t, conn, manip, span, random)
        return proto, src, dst, sport, dport + (manip == MANIP_DST and dport == 8080)

    monkeypatch.setattr("emu.kernel.netfilter.nat.unique_tuple", wrong)
    difference = found(SERVICE)
    kernel, emulated = difference.pair
    assert ">8080 [S]" in kernel
    assert ">8081 [S]" in emulated


def test_a_missing_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., None] = Bridge.flood

    def lazy(self: Bridge, frame: Any, ingress: Any) -> None:
        ports, self.ports = self.ports, self.ports[-1:] if ingress is None else self.ports
        others = [port for port in self.ports if port is not ingress]
        self.ports = others[1:] if len(others) > 1 else self.ports
        real(self, frame, ingress)
        self.ports = ports

    monkeypatch.setattr(Bridge, "flood", lazy)
    third = "apiVersion: v1\nkind: Pod\nmetadata: {name: idle}\nspec: {nodeName: node-1, containers: [{name: idle}]}\n"
    difference = found(scenario("- ping: {from: default/client, to: default/web}", node="node-1", more=third))
    kernel, emulated = difference.pair
    assert "ARP who-has" in kernel
    assert emulated == "(nothing more)"


def test_a_wrong_window(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Segment

    def narrow(*arguments: Any, **named: Any) -> Any:
        segment = real(*arguments, **named)
        return replace(segment, window=segment.window - 1) if segment.window > 1000 else segment

    monkeypatch.setattr("emu.kernel.transport.tcp_output.Segment", narrow)
    difference = found(SERVICE)
    kernel, emulated = difference.pair
    assert "win=64240" in kernel
    assert "win=64239" in emulated
