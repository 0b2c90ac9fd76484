"""AWS with two network interfaces a node: the wiring by `ip` and `iptables` from the objects, and then the frames of flows.

First the kernel is wired by this test's own commands (`aws_node`), and has to be as the emulator's node and pods are.
Then flows run on both sides, frame by frame; the VPC stands between the kernel's cables as emu models it.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from aws_node import Interface, Pod, wire
from emu.kernel.net.netns import Netns
from emu.kube.api import core
from emu.kube.cluster import Cluster
from emu.kube.underlay.vpc.vpc import Vpc
from emu.scenario import build
from emu.scenario.script import load_text
from emu.twin import tables
from emu.twin.space import Space
from emu.wire.addr import ip4_text, mac_text
from twin_rows import ping, tcp, udp
from twins import agrees, needs_twin

pytestmark = needs_twin

# node-1 has a pod behind each interface, node-2 one behind its first
PODS = "".join(
    f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}, "
    f'annotations: {{emu/app: "http@8080"}}}}, spec: {{nodeName: {node}, containers: [{{name: c, ports: '
    f"[{{containerPort: 8080{port}}}, {{containerPort: 53, protocol: UDP}}]}}]}}}}\n"
    for name, node, port in (
        ("first", "node-1", ""), ("second", "node-1", ", hostPort: 8081"), ("far", "node-2", ""),
    )
)  # fmt: skip
SERVICES = """---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {clusterIP: 10.96.0.10, selector: {app: far}, ports: [{name: http, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: second}
spec: {type: NodePort, clusterIP: 10.96.0.11, selector: {app: second}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
"""
CLUSTER = "{nodes: 2, network: aws-vpc, underlay: vpc, aws-vpc: {instanceType: t3.nano MORE}}"
FIRST, SECOND, FAR, PUBLIC = "default/first", "default/second", "default/far", "192.0.2.11"


def text(steps: str, *, more: str = "", services: str = SERVICES) -> str:
    cluster = CLUSTER.replace(" MORE", f", {more}" if more else "")
    return f"apiVersion: emu/v1\nkind: Scenario\ncluster: {cluster}\nsteps:\n{steps}{PODS}{services}"


ROWS: dict[str, dict[str, str]] = {
    "one-node": {"steps": ping(SECOND, frm=FIRST) + tcp(f"{FIRST}:8080", frm=SECOND) + udp(f"{SECOND}:53", frm=FIRST)},
    "two-nodes-first-interface": {"steps": ping(FAR, frm=FIRST) + tcp(f"{FAR}:8080", frm=FIRST) + ping(FIRST, frm=FAR)},
    "two-nodes-second-interface": {"steps": ping(FAR, frm=SECOND) + tcp(f"{SECOND}:8080", frm=FAR) + udp(f"{FAR}:53", frm=SECOND)},
    "service": {"steps": tcp("svc/far:80", frm=FIRST) + tcp("svc/far:80", frm=SECOND) + udp("svc/far:53", frm=SECOND)},
    "service-of-its-own-node": {"steps": tcp("svc/second:80", frm=FIRST) + tcp("svc/second:80", frm=FAR)},
    "own-service": {"steps": tcp("svc/second:80", frm=SECOND)},
    "node-port": {"steps": tcp(f"{PUBLIC}:30080", frm="external") + tcp("192.0.2.12:30080", frm="external")},
    "node-port-local": {
        "steps": tcp(f"{PUBLIC}:30080", frm="external"),
        "services": SERVICES.replace("type: NodePort", "type: NodePort, externalTrafficPolicy: Local"),
    },
    "node-port-from-inside": {"steps": tcp("10.0.0.11:30080", frm=FAR) + tcp("10.0.0.11:30080", frm="node/node-2")},
    "strict-rp-filter": {
        "steps": "- sysctl: {node: node-1, set: {net.ipv4.conf.eth0.rp_filter: 1}}\n"
        + tcp(f"{PUBLIC}:30080", frm="external", timeout="1500ms"),
        "services": SERVICES.replace("type: NodePort", "type: NodePort, externalTrafficPolicy: Local"),
    },
    "host-port": {"steps": tcp(f"{PUBLIC}:8081", frm="external") + tcp("10.0.0.11:8081", frm=FAR) + tcp("10.0.0.11:8081", frm="node/node-1")},
    "host-port-hairpin": {"steps": tcp("10.0.0.11:8081", frm=SECOND)},
    "internet-first-interface": {"steps": ping("external", frm=FIRST) + tcp("external:80", frm=FIRST) + udp("external:53", frm=FIRST)},
    "internet-second-interface": {"steps": ping("external", frm=SECOND) + tcp("external:80", frm=SECOND) + udp("external:53", frm=SECOND)},
    "internet-closed-port": {"steps": udp("203.0.113.10:9", frm=SECOND) + tcp("203.0.113.10:9", frm=SECOND)},
    "internet-too-long": {"steps": ping("external", frm=SECOND) + udp("external:53", send="p" * 3000, frm=SECOND) + udp("external:53", send="p" * 3000, frm=SECOND)},
    "external-snat": {"steps": ping("external", frm=SECOND) + ping(FAR, frm=SECOND), "more": "AWS_VPC_K8S_CNI_EXTERNALSNAT: true"},
    "nat-gateway": {
        "steps": "- vpc: {subnet: subnet-a, routes: {0.0.0.0/0: nat-gateway}}\n" + tcp("external:80", frm=SECOND) + ping("external", frm=SECOND),
        "more": "AWS_VPC_K8S_CNI_EXTERNALSNAT: true",
    },
    "nodes": {"steps": ping(FAR, frm="node/node-1") + ping(SECOND, frm="node/node-1") + ping(SECOND, frm="node/node-2") + ping("external", frm="node/node-2")},
    "prefixes": {"steps": ping(FAR, frm=SECOND) + tcp("svc/far:80", frm=SECOND) + ping("external", frm=FIRST), "more": "ENABLE_PREFIX_DELEGATION: true"},
    "security-group": {
        "steps": '- vpc: {securityGroup: nodes, ingress: ["all group nodes"]}\n' + tcp(f"{FAR}:8080", frm=SECOND) + tcp("external:80", frm=SECOND)
        + tcp(f"{PUBLIC}:30080", frm="external", timeout="1500ms"),
    },
    "source-dest-check": {"steps": '- send: {from: node/node-1, scapy: "IP(src=\'10.9.9.9\', dst=\'10.0.16.11\') / UDP(sport=1, dport=9)"}\n'},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    agrees(text(**ROWS[name]), "table")


@pytest.mark.parametrize(("name", "options"), [("addresses", ""), ("prefixes", "ENABLE_PREFIX_DELEGATION: true")])
def test_the_kernel_is_wired_the_same_by_commands_of_its_own(name: str, options: str) -> None:
    """Links, addresses, routes of all tables, rules, neighbours, AWS's chains."""
    script = load_text(text("- wait: 0s\n", more=options))
    cluster = Cluster(build.configured(script), script.objects, seed=script.spec.seed)
    for node in cluster.nodes.values():
        pods = [_pod(cluster, each) for each in cluster.store.list(core.Pod) if each.spec.node_name == node.name]
        assert pods
        with ExitStack() as stack:
            space, spaces = wire(stack, _interfaces(cluster, node.name), pods)
            assert _of_kernel(space) == _of_emulated(node.net)
            assert _aws(space.run("iptables-save")) == _aws(node.net.ipv4.tables.save())
            found = space.run("ip", "rule", "show").splitlines()
            assert [" ".join(line.split()) for line in found] == [each.text() for each in node.net.ipv4.fib.rules]
            for pod, inside in spaces.items():
                assert _of_kernel(inside) == _of_emulated(cluster.pods[pod].net)


def _interfaces(cluster: Cluster, node: str) -> list[Interface]:
    """As EC2 describes them."""
    assert isinstance(cluster.underlay, Vpc)
    enis = [each for each in cluster.underlay.cloud.enis.values() if each.instance == node]
    return [
        Interface(
            eni.number,
            mac_text(eni.mac),
            f"{ip4_text(eni.primary)}/{eni.subnet.cidr.length}",
            ip4_text(eni.subnet.router),
            [
                *map(ip4_text, eni.addresses[1:]),
                *(ip4_text(prefix.net + host) for prefix in eni.prefixes for host in range(16)),
            ],
        )
        for eni in sorted(enis, key=lambda each: each.number)
    ]


def _pod(cluster: Cluster, pod: core.Pod) -> Pod:
    device = cluster.pods[f"{pod.namespace}/{pod.name}"].net.device("eth0")
    peer = getattr(device, "peer", None)
    assert peer is not None
    return Pod(pod.namespace, pod.name, pod.status.pod_ip, mac_text(device.mac), mac_text(peer.mac))


def _of_kernel(space: Space) -> dict[str, list[str]]:
    neighbours = [" ".join(line.split()) for line in space.run("ip", "neigh", "show", "nud", "permanent").splitlines()]
    return {**tables.kernel_setup(space), "routes": sorted(tables.kernel_routes(space)), "neighbours": neighbours}


def _of_emulated(net: Netns) -> dict[str, list[str]]:
    neighbours = [each.text() for each in net.neighbours if each.state == "PERMANENT"]
    return {**tables.emulated_setup(net), "routes": sorted(tables.emulated_routes(net)), "neighbours": neighbours}


def _aws(saved: str) -> list[str]:
    """AWS's chains and rules with their tables, in the order of the text."""
    found, table = [], ""
    for line in tables.rules(saved):
        table = line if line.startswith("*") else table
        if "AWS" in line:
            found.append(f"{table} {line}")
    return found
