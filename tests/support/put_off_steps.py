"""Flows and changes, drawn, in a cluster of three nodes where pods may be put off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.cluster import Cluster
from emu.kube.networks.calico.network import CalicoOptions

OBJECTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 7
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}}
"""
POD = "{{apiVersion: v1, kind: Pod, metadata: {{name: {0}, labels: {{app: web}}}}, spec: {{nodeName: node-{1}, {2}containers: [{{name: c}}]}}}}"
SERVICE = "{{apiVersion: v1, kind: Service, metadata: {{name: s{0}}}, spec: {{selector: {{app: {1}}}, ports: [{{port: {0}}}]}}}}"
node = st.integers(1, 3)
pod = st.integers(0, 9)
STEPS: dict[str, tuple[Callable[..., Any], tuple[st.SearchStrategy[Any], ...]]] = {
    "tcp": (lambda c, a, close: c.tcp(_pod(c, a), "svc/web:80", b"x", close=close, timeout_s=2), (pod, st.booleans())),
    "ping": (lambda c, a, b: c.ping(_pod(c, a), _pod(c, b), timeout_s=1), (pod, pod)),
    "from node": (lambda c, a, b: c.udp(f"node/node-{a}", f"{_pod(c, b)}:9", timeout_s=1), (node, pod)),
    "from outside": (lambda c, a: c.tcp("external", f"node/node-{a}:30080", b"x", timeout_s=2), (node,)),
    "no host": (lambda c, a, b: c.udp(f"node/node-{a}", f"10.244.{b}.99:9", timeout_s=1), (node, node)),
    "delete": (lambda c, a, grace: c.delete("pod", *_pod(c, a).split("/"), grace_s=grace, settle=grace != 7), (pod, st.sampled_from((None, 0, 7)))),
    "scale": (lambda c, n, settle: c.scale("deployment", "default", "web", n, settle=settle), (st.integers(0, 12), st.booleans())),
    "drain": (lambda c, a: c.drain(f"node-{a}"), (node,)),
    "cordon": (lambda c, a, on: c.cordon(f"node-{a}", unschedulable=on), (node, st.booleans())),
    "pod": (lambda c, n, a, host: c.apply(POD.format(f"p{n}", a, "hostNetwork: true, " if host else "")), (st.integers(0, 5), node, st.booleans())),
    "service": (lambda c, port, app: c.apply(SERVICE.format(port, app)), (st.integers(85, 88), st.sampled_from(("web", "db", "none")))),
    "link": (lambda c, a, down: c.link(f"node-{a}", down=down), (node, st.booleans())),
    "rule": (lambda c, a: c.iptables(f"node-{a}", "-A FORWARD -p udp -j DROP"), (node,)),
    "wait": (lambda c, s: c.wait(s), (st.sampled_from((0.001, 1, 40, 190)),)),
    "copy": (lambda c: c.fork(), ()),
}  # fmt: skip
steps = st.lists(
    st.sampled_from(sorted(STEPS)).flatmap(lambda name: st.tuples(st.just(name), *STEPS[name][1])), max_size=6
)
CALICO: tuple[dict[str, Any], ...] = ({}, {"ipip_mode": "CrossSubnet"}, {"vxlan_mode": "Never"}, {"block_size": 30})
networks = st.sampled_from(
    [
        {"network": name, "underlay": underlay}
        for name in ("bridge", "flat", "flannel", "kindnet")
        for underlay in ("routed", "switched")
        if (name, underlay) != ("kindnet", "routed")
    ]
    + [
        {"network": "calico", "underlay": underlay, "network_options": CalicoOptions(**options)}
        for underlay in ("routed", "switched")
        for options in CALICO
    ]
)
settings = st.fixed_dictionaries(
    {}, optional={"policy": st.just("kube-router"), "offloads": st.just(True), "cpus": st.just(2)}
)
configs = st.builds(lambda network, more: network | more, networks, settings)


def _pod(cluster: Cluster, number: int) -> str:
    names = sorted(cluster.pods)
    return names[number % len(names)] if names else "default/none"


def ran(cluster: Cluster, drawn: list[tuple[Any, ...]]) -> tuple[Cluster, list[object]]:
    seen: list[object] = []
    for name, *values in drawn:
        try:
            found = STEPS[name][0](cluster, *values)
        except InputError as error:
            found = error
        if isinstance(found, Cluster):
            cluster = found
        elif name in ("tcp", "ping", "from node", "from outside", "no host") and not isinstance(found, InputError):
            seen.append(
                (found.outcome, found.received, found.nat, found.at, found.rtt_ns, found.ended_ns, found.arrivals)
            )
        else:
            seen.append(str(found) if isinstance(found, (InputError, list)) else name)
    return cluster, seen
