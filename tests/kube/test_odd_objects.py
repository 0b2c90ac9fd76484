"""Old and odd objects: what runs of each, what it listens on, and what a client gets. The client asks over TCP, and waits where the row states it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import emu
from emu.clock import SECOND
from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text

CLIENT = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec: {nodeName: node-1, containers: [{name: c}]}\n"


def service(name: str, ports: str) -> str:
    return f"---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{ports}]}}\n"


def workload(api_version: str, kind: str, spec: str, containers: str, *, more: str = "", annotations: str = "") -> str:
    template = f"template: {{metadata: {{labels: {{app: web}}, annotations: {{{annotations}}}}}, spec: {{{more}containers: [{containers}]}}}}"
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\nspec: {{{spec}{template}}}\n"


WEB = "{name: c, ports: [{containerPort: 80}]}"
ONE = service("web", "{port: 80}")
POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, labels: {{app: web}}}}\nspec: {{nodeName: node-2, {}}}\n"
CRON = (
    "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: web}\nspec:\n  schedule: '* * * * *'\n  jobTemplate: {spec: {template: {metadata: {labels: "
    "{app: web}, annotations: {emu/runs: 30s}}, spec: {restartPolicy: Never, containers: [" + WEB + "]}}}}\n"
)
NEVER = "restartPolicy: Never, "


class Row(NamedTuple):
    """Objects, the pods that run of them (besides the client) after `wait_s`, and the outcome of each target."""

    text: str
    pods: int
    flows: dict[str, str]
    wait_s: float = 0
    notes: tuple[str, ...] = ()


ROWS = {
    "a Job": Row(workload("batch/v1", "Job", "", WEB, more=NEVER) + ONE, 1, {"svc/web:80": "delivered"}),
    "a Job of several pods": Row(
        workload("batch/v1", "Job", "parallelism: 2, completions: 3, ", WEB, more=NEVER) + ONE, 2, {"svc/web:80": "delivered"}
    ),
    "a Job that has ended": Row(
        workload("batch/v1", "Job", "", WEB, more=NEVER, annotations="emu/runs: 5s") + ONE, 0, {"svc/web:80": "rejected"}, 10
    ),
    "a suspended Job": Row(workload("batch/v1", "Job", "suspend: true, ", WEB, more=NEVER) + ONE, 0, {"svc/web:80": "rejected"}),
    "a CronJob before its time": Row(CRON + ONE, 0, {"svc/web:80": "rejected"}),
    "a CronJob at its time": Row(CRON + ONE, 1, {"svc/web:80": "delivered"}, 65),
    "a CronJob between two times": Row(CRON + ONE, 0, {"svc/web:80": "rejected"}, 100),
    "a ReplicationController": Row(
        workload("v1", "ReplicationController", "replicas: 2, selector: {app: web}, ", WEB) + ONE, 2, {"svc/web:80": "delivered"}
    ),
    "a ReplicationController without a selector": Row(
        workload("v1", "ReplicationController", "replicas: 1, ", WEB) + ONE, 1, {"svc/web:80": "delivered"}
    ),
    "extensions/v1beta1": Row(
        workload("extensions/v1beta1", "Deployment", "replicas: 2, ", WEB) + ONE, 2, {"svc/web:80": "delivered"},
        notes=("Deployment of extensions/v1beta1 is read as apps/v1: clusters since 1.16 refuse it",),
    ),
    "a DaemonSet of extensions/v1beta1": Row(
        workload("extensions/v1beta1", "DaemonSet", "", WEB) + ONE, 2, {"svc/web:80": "delivered"}, notes=("is read as apps/v1",)
    ),
    "a native sidecar": Row(
        POD.format("initContainers: [{name: s, restartPolicy: Always, ports: [{containerPort: 15090}]}], containers: [" + WEB + "]") + service("web", "{name: a, port: 80}, {name: b, port: 15090}"),
        1, {"svc/web:80": "delivered", "svc/web:15090": "delivered", "default/web:15090": "delivered"},
    ),
    "an init container": Row(
        POD.format("initContainers: [{name: s, ports: [{containerPort: 9000}]}], containers: [" + WEB + "]") + ONE,
        1, {"svc/web:80": "delivered", "default/web:9000": "refused"},
    ),
    "two names of one number": Row(
        POD.format("containers: [{name: c, ports: [{name: http, containerPort: 80}, {name: https, containerPort: 80}]}]")
        + service("web", "{name: a, port: 80, targetPort: http}, {name: b, port: 443, targetPort: https}"),
        1, {"svc/web:80": "delivered", "svc/web:443": "delivered"},
    ),
    "one number in two protocols": Row(
        POD.format("containers: [{name: c, ports: [{name: a, containerPort: 80}, {name: b, containerPort: 80, protocol: UDP}]}]") + ONE,
        1, {"svc/web:80": "delivered"},
    ),
    "a port that is not declared": Row(
        POD.format("containers: [{name: c}]") + service("web", "{port: 80, targetPort: 3000}"), 1, {"svc/web:80": "delivered"},
    ),
    "a hostPort": Row(
        POD.format("containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]"), 1, {"node/node-2:8080": "delivered"},
    ),
    "nodes of Linux": Row(
        workload("apps/v1", "DaemonSet", "selector: {matchLabels: {app: web}}, ", WEB, more="nodeSelector: {kubernetes.io/os: linux}, ") + ONE,
        2, {"svc/web:80": "delivered"},
    ),
    "custom resources": Row(
        POD.format(f"containers: [{WEB}]") + ONE + "".join(
            f"---\napiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: n{i}}}\n" for i, kind in enumerate(("Widget", "Widget", "Gate"))
        ),
        1, {"svc/web:80": "delivered"}, notes=("3 custom resources are not modelled, nothing acts on them: 2 Widget of example.com/v1, 1 Gate of example.com/v1",),
    ),
    "a policy that no one enforces": Row(
        POD.format(f"containers: [{WEB}]") + ONE
        + "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n",
        1, {"svc/web:80": "delivered"}, notes=("network bridge enforces no policy: networkpolicy/p has no effect",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_runs_and_answers(name: str) -> None:
    row = ROWS[name]
    cluster = emu.Cluster(2, load_text(row.text + CLIENT).objects, capture=False)
    if row.wait_s:
        cluster.clock.run_until(cluster.clock.now + int(row.wait_s * SECOND))
    assert len(cluster.pods) - 1 == row.pods, [*cluster.pods]
    assert {to: cluster.tcp("default/client", to, b"hi").outcome.word for to in row.flows} == row.flows
    for words in row.notes:
        assert [each for each in cluster.warnings if words in each], cluster.warnings


def test_a_finished_pod_of_an_export_serves_nothing() -> None:
    """kubelet has given its address back; it is listed as Completed."""
    node = (
        "{apiVersion: v1, kind: Node, metadata: {name: n1, uid: u1}, spec: {podCIDR: 10.244.0.0/24}, status: {addresses: [{type: InternalIP, address: "
        "10.0.0.1}], conditions: [{type: Ready, status: 'True'}]}}\n---\n"
    )
    pods = "".join(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, uid: {name}, labels: {{app: web}}}}, spec: {{nodeName: n1, restartPolicy: Never, containers: [{WEB}]}}, status: "
        f"{{phase: {phase}, podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}}}\n---\n"
        for name, phase, ip, ready in (
            ("done", "Succeeded", "10.244.0.9", "False"),
            ("client", "Running", "10.244.0.8", "True"),
        )
    )
    cluster = emu.Cluster.live(
        node + pods + ONE.removeprefix("---\n").replace("{selector", "{clusterIP: 10.96.0.9, selector"), capture=False
    )
    assert [*cluster.pods] == ["default/client"]
    done = cluster.store.get(Pod, "default", "done")
    assert done is not None and done.finished
    flow = cluster.tcp("default/client", "10.244.0.9:80", b"hi", timeout_s=3)
    assert flow.outcome.word in ("error", "timeout", "dropped", "rejected")
