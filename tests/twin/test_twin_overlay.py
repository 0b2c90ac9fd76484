"""An overlay of VXLAN between two nodes, wired by hand as flannel does, judged by this machine's kernel flow by flow."""

from __future__ import annotations

import platform

import pytest

from emu.kernel import boot
from emu.kernel.net.neighbour import lookup
from emu.kube.cluster import Cluster
from emu.scenario import build
from emu.scenario import run as scenario_run
from emu.scenario.script import Scenario, load_text
from emu.twin.cluster import TwinCluster
from emu.twin.judge import one_cpu
from emu.twin.report import Report
from emu.twin.twin import Twin
from emu.wire.addr import ip4, ip4_text
from twin_rows import ping, send, tcp, udp
from twins import AGAIN, JUDGED, needs_twin, scenario

pytestmark = needs_twin
STEPS = {
    "tcp": tcp("default/web:8080"),
    "ping": ping("default/web"),
    "udp": udp("default/web:53"),
    "service": tcp("svc/web:80") + udp("svc/web:53"),
    "from the node": ping("default/web", frm="node/node-1"),
    "a long datagram": udp("default/web:53", send="x" * 2000),
    "too long with DF": send(f"IP(dst='POD', flags='DF')/ICMP(id=7)/'{'x' * 1472}'")
    + udp("default/web:53", send="x" * 1440)
    + udp("default/web:53", send="x" * 1440),
    "no such pod": ping("10.244.2.77"),
}


def overlay(cluster: Cluster, words: str) -> None:
    """A VXLAN device on each node, and on each the other's pod network behind it."""
    nets = [node.net for node in cluster.nodes.values()]
    ends = [(net, net.ipv4.select_addr(net.device("eth0"), 0), number) for number, net in enumerate(nets, 1)]
    for net, addr, number in ends:
        boot.vxlan(net, "flannel.1", bytes((2, 0, 0, 0, 8, number)), f"id 1 local {ip4_text(addr)} dev eth0 {words}")
        boot.address(net, "flannel.1", f"10.244.{number}.0/32")
        for _far, remote, other in ends:
            if other != number:
                boot.fdb(net, f"append 02:00:00:00:08:{other:02x} dev flannel.1 dst {ip4_text(remote)}")
                entry = lookup(net.ipv4, net.device("flannel.1"), ip4(f"10.244.{other}.0"))
                assert entry is not None
                entry.update(bytes((2, 0, 0, 0, 8, other)), "PERMANENT")
                for route in [each for each in net.ipv4.fib.main if str(each.prefix) == f"10.244.{other}.0/24"]:
                    net.ipv4.fib.remove(route)
                boot.route(net, f"10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink")


def judged(script: Scenario, words: str) -> tuple[Report, int]:
    report = Report(script.name, platform.release())
    twins: list[Twin] = []

    def made(each: Scenario) -> Cluster:
        cluster = TwinCluster(build.configured(each), each.objects, seed=each.spec.seed)
        overlay(cluster, words)
        twins.append(Twin(cluster, report))
        twins[0].begin()
        cluster.twin = twins[0]
        return cluster

    with one_cpu():
        try:
            cluster = scenario_run.run(script, build=made).cluster
        finally:
            for twin in twins:
                twin.close()
    assert cluster.capture is not None
    return report, len(cluster.capture.frames(interface="node-1/flannel.1"))


@pytest.mark.parametrize("words", ["nolearning", "dstport 4789 noudpcsum ttl 9 tos inherit df set"])
@pytest.mark.parametrize("name", STEPS)
def test_the_overlay_is_the_kernels(name: str, words: str) -> None:
    steps = STEPS[name].replace("POD", "10.244.2.2")
    script = load_text(scenario(steps=steps, cluster="{nodes: 2}"))
    report, crossed = judged(script, words)
    if report.exit_status == 1:  # on a busy machine a program is late: a second chance, as all twins have
        AGAIN.append(str(report.as_earlier()))
        report, crossed = judged(script, words)
    assert not report.undecided and report.flows and crossed
    assert report.exit_status == 0, report.text()
    JUDGED["overlays"] += 1
