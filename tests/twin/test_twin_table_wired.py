"""Each network's flows on a kernel's side that is wired from the objects by the tests' own commands and the real CNI plugins.

No device, address, route, rule or chain of the network's is taken from what emu wired; see `wired_cluster`. kube-proxy's
chains are emu's text, which its own cases judge (`tests/kube/proxy`). A row is a network with all kinds of flows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.netns import Netns
from emu.kube.networks.aws_vpc import host_network
from emu.kube.networks.calico import dataplane
from emu.scenario.script import load_text
from emu.twin import judge
from emu.twin.cni import FOLDER
from twin_rows import ping, tcp, udp
from twins import agrees, needs_twin, scenario
from wired_cluster import ByObjects
from wired_networks import Aws, Bridge, Calico, Flannel, Kindnet

PLUGINS = ("bridge", "host-local", "loopback", "portmap", "ptp")
pytestmark = [
    *needs_twin,
    pytest.mark.skipif(
        any(not (FOLDER / each).is_file() for each in PLUGINS),
        reason=f"skipped: no CNI plugins in {FOLDER} (Debian: containernetworking-plugins)",
    ),
]
CLIENT, NEAR, FAR = "default/client", "default/near", "default/far"
PODS = "\n" + "---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}, "
    f'annotations: {{emu/app: "http@8080"}}}}, spec: {{nodeName: {node}, containers: [{{name: c, ports: '
    f"[{{containerPort: 8080{port}}}, {{containerPort: 53, protocol: UDP{dns}}}]}}]}}}}\n"
    for name, node, port, dns in (
        ("client", "node-1", "", ""), ("near", "node-1", ", hostPort: 8081", ", hostPort: 5353"), ("far", "node-2", "", ""),
    )
) + """---
apiVersion: v1
kind: Service
metadata: {name: far}
spec: {type: NodePort, clusterIP: 10.96.0.10, selector: {app: far}, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {type: NodePort, clusterIP: 10.96.0.11, selector: {app: near}, ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}
"""  # fmt: skip
ROWS: dict[str, tuple[type[ByObjects], str]] = {
    "bridge": (Bridge, "{nodes: 2, network: bridge, hairpin: true}"),
    "kindnet": (Kindnet, "{nodes: 2, network: kindnet, underlay: switched}"),
    "flannel vxlan": (Flannel, "{nodes: 2, network: flannel}"),
    "flannel host-gw": (Flannel, "{nodes: 2, network: flannel, underlay: switched, flannel: {Backend: {Type: host-gw}}}"),
    "calico without encapsulation": (Calico, "{nodes: 2, network: calico, underlay: switched, calico: {vxlanMode: Never}}"),
    "calico vxlan": (Calico, "{nodes: 2, network: calico, calico: {vxlanMode: Always}}"),
    "aws-vpc, two interfaces a node": (Aws, "{nodes: 2, network: aws-vpc, underlay: vpc, aws-vpc: {instanceType: t3.nano}}"),
}  # fmt: skip


def flows(kind: type[ByObjects], cluster: str) -> str:
    """One and two nodes, a Service and back, NodePorts, hostPorts from outside, from the node and hairpin, the internet."""
    one, two = ("192.168.50.11", "192.168.50.12") if "switched" in cluster else ("192.168.51.11", "192.168.52.12")
    seen = one, two  # as the outside knows them
    if kind is Aws:
        (one, two), seen = ("10.0.0.11", "10.0.16.11"), ("192.0.2.11", "192.0.2.12")
    steps = "".join((
        ping(NEAR, frm=CLIENT), tcp(f"{NEAR}:8080", frm=CLIENT), udp(f"{CLIENT}:53", frm=NEAR),
        ping(FAR, frm=CLIENT), tcp(f"{FAR}:8080", frm=NEAR), udp(f"{NEAR}:53", frm=FAR),
        tcp("svc/far:80", frm=CLIENT), udp("svc/far:53", frm=NEAR), tcp("svc/near:80", frm=FAR),
        tcp(f"{seen[0]}:30080", frm="external"), tcp(f"{seen[0]}:30081", frm="external"), tcp(f"{two}:30080", frm=CLIENT),
        tcp(f"{seen[0]}:8081", frm="external"), udp(f"{seen[0]}:5353", frm="external"),
        tcp(f"{one}:8081", frm="node/node-1"), tcp("127.0.0.1:8081", frm="node/node-1"), tcp(f"{one}:8081", frm=NEAR),
        ping("external", frm=CLIENT), tcp("external:80", frm=NEAR), udp("external:53", frm=NEAR),
    ))  # fmt: skip
    return steps.replace("}\n", "}\n  expect: {outcome: delivered}\n")


def text(name: str, steps: str = "") -> str:
    kind, cluster = ROWS[name]
    return scenario(steps or flows(kind, cluster), cluster=cluster, pods=PODS)


@pytest.mark.parametrize("name", ROWS)
def test_the_kernel_agrees(name: str) -> None:
    report = agrees(text(name), "wired from objects", wired=ROWS[name][0](text(name)))
    assert [note for note in report.notes if note.startswith("step ")] == [], "each flow is delivered"


def nothing_known(net: Netns, device: Vxlan, vteps: Sequence[object]) -> None:
    """felix that forgets where the other nodes are."""


def without_snat(*words: object) -> list[host_network.HostRule]:
    """aws-node that forgets the rules of POSTROUTING."""
    return [rule for rule in RULES_OF(*words) if rule.chain != "POSTROUTING"]  # type: ignore[arg-type]


RULES_OF = host_network.rules_of
PLANTED: dict[str, tuple[object, str, object, str]] = {
    "calico vxlan": (dataplane, "_set_vteps", nothing_known, udp(f"{FAR}:53", frm=CLIENT, timeout="200ms")),
    "aws-vpc, two interfaces a node": (
        host_network,
        "rules_of",
        without_snat,
        udp("external:53", frm=NEAR, timeout="200ms"),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_wrong_step_of_an_agent_is_judged_by_the_flows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror of the emulator's account would have it on both sides."""
    room, step, wrong, flow = PLANTED[name]
    monkeypatch.setattr(room, step, wrong)
    source = text(name, flow)
    report = judge(load_text(source), wired=ROWS[name][0](source))
    assert report.exit_status == 1
    assert "frames" in {each.what for done, each in report.differences if done.name.startswith("udp")}, report.text()
