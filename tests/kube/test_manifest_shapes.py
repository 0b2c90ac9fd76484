"""Manifests of the kinds that people find: each brings up the pods that a cluster would, or states why there are none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.kube.api.loader import load_text
from emu.scenario.run import Run, run

HEAD = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: shapes}
cluster:
  nodes:
  - {name: control, taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]}
  - {name: worker-1, zone: a, labels: {disk: ssd, cores: "8"}}
  - {name: worker-2, zone: b, labels: {cores: "16"}}
steps: STEPS
---
"""
WORKLOAD = """
apiVersion: apps/v1
kind: KIND
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {SPEC, containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}
"""


def ran(path: Path, text: str, steps: str = "[]") -> Run:
    file = path / "shapes.yaml"
    file.write_text(HEAD.replace("STEPS", steps) + text)
    return run(file)


def homes(result: Run) -> dict[str, int]:
    found = Counter(pod.spec.node_name or pod.status.phase for pod in result.cluster.store.list(Pod))
    return dict(sorted(found.items()))


def workload(kind: str, spec: str) -> str:
    return WORKLOAD.replace("KIND", kind).replace("SPEC", spec)


def affinity(term: str) -> str:
    required = f"requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{term}]}}"
    return f"affinity: {{nodeAffinity: {{{required}}}}}"


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        (workload("Deployment", "nodeSelector: {kubernetes.io/os: linux}"), {"worker-1": 1}),
        (workload("Deployment", "nodeSelector: {beta.kubernetes.io/os: linux, kubernetes.io/arch: amd64}"), {"worker-1": 1}),
        (workload("Deployment", "nodeSelector: {kubernetes.io/hostname: worker-2}"), {"worker-2": 1}),
        (workload("Deployment", "nodeSelector: {topology.kubernetes.io/zone: b}"), {"worker-2": 1}),
        (workload("DaemonSet", "nodeSelector: {kubernetes.io/os: linux}"), {"worker-1": 1, "worker-2": 1}),
        (workload("DaemonSet", "tolerations: [{operator: Exists}]"), {"control": 1, "worker-1": 1, "worker-2": 1}),
        (workload("DaemonSet", "hostNetwork: true, tolerations: [{operator: Exists, effect: NoSchedule}]"), {"control": 1, "worker-1": 1, "worker-2": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: disk, operator: In, values: [ssd, nvme]}]}")), {"worker-1": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: disk, operator: NotIn, values: [ssd]}]}")), {"worker-2": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: disk, operator: DoesNotExist}]}")), {"worker-2": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: cores, operator: Gt, values: ['8']}]}")), {"worker-2": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: cores, operator: Lt, values: ['9']}, {key: disk, operator: Exists}]}")), {"worker-1": 1}),
        (workload("DaemonSet", affinity("{matchFields: [{key: metadata.name, operator: In, values: [worker-2]}]}, {}")), {"worker-2": 1}),
        (workload("DaemonSet", affinity("{matchExpressions: [{key: disk, operator: Exists}]}, {matchExpressions: [{key: cores, operator: In, values: ['16']}]}")), {"worker-1": 1, "worker-2": 1}),
        (workload("Deployment", affinity("{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]}")), {"worker-1": 1}),
        ("""
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec: {replicas: 2, selector: {app: old}, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c}]}}}
""", {"worker-1": 1, "worker-2": 1}),
        ("""
apiVersion: batch/v1
kind: Job
metadata: {name: load}
spec: {parallelism: 2, completions: 2, template: {spec: {restartPolicy: Never, containers: [{name: c}]}}}
""", {"worker-1": 1, "worker-2": 1}),
    ],
)  # fmt: skip
def test_the_pods_that_a_cluster_has(tmp_path: Path, text: str, pods: dict[str, int]) -> None:
    result = ran(tmp_path, text)
    assert homes(result) == pods
    assert all(pod.ready for pod in result.cluster.store.list(Pod))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (workload("Deployment", "nodeSelector: {kubernetes.io/os: windows}"), "stays Pending: 0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 node(s) didn't match Pod's node affinity/selector."),
        (workload("Deployment", affinity("{matchExpressions: [{key: gpu, operator: Exists}]}")), "2 node(s) didn't match Pod's node affinity/selector"),
        (workload("DaemonSet", "nodeSelector: {gpu: a}"), "daemonset/web: has no pods"),
        (workload("StatefulSet", "nodeSelector: {gpu: a}"), "stays Pending"),
        ("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: r}\nspec: {schedule: '0 3 * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c}]}}}}}\n", "cronjob/r: its first Job starts 10800 s after the start"),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Never, nodeSelector: {gpu: a}, containers: [{name: c}]}}}\n", "stays Pending"),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c}]}}}\n", "job/j: its pods run on: no annotation emu/runs on the template states when they end"),
        ("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\n", "kind Widget of example.com/v1 is a custom resource, which is not modelled: nothing acts on it"),
        ("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {}\n", "kind Ingress is not modelled: no ingress controller runs"),
        (workload("Deployment", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}"), "spec.template.spec.affinity.podAntiAffinity is not modelled: which node a pod is placed on"),
    ],
)  # fmt: skip
def test_what_is_left_out_or_has_no_pods_is_stated(tmp_path: Path, text: str, note: str) -> None:
    assert any(note in each for each in ran(tmp_path, text).notes)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("apiVersion: apps/v1beta3\nkind: Deployment\nmetadata: {name: shop}\n", 'there is no Deployment in "apps/v1beta3" (expected apps/v1)'),
        ("apiVersion: batch/v1alpha1\nkind: CronJob\nmetadata: {name: shop}\n", 'there is no CronJob in "batch/v1alpha1" (expected batch/v1)'),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [web.yaml]\n", "this is a kustomization, which kubectl builds: emu reads the folder of one that only lists files (expected its output: kubectl kustomize FOLDER | emu run -f -)"),
        (workload("Deployment", affinity("{matchExpressions: [{key: a, operator: In}]}")), "In needs values"),
        (workload("Deployment", affinity("{matchExpressions: [{key: a, operator: Gt, values: ['1', '2']}]}")), "Gt takes one value"),
        (workload("Deployment", affinity("")), "there is no term (expected one or more)"),
        (workload("Deployment", "tolerations: [{key: a, operator: Exists, tolerationSeconds: 5}]"), "effect must be 'NoExecute' when `tolerationSeconds` is set"),
    ],
)  # fmt: skip
def test_what_a_cluster_of_today_refuses(text: str, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        load_text(text)
    assert what in str(wrong.value)


def test_a_kustomization_may_lack_its_kind() -> None:
    with pytest.raises(InputError, match="a kustomization"):
        load_text("resources: [web.yaml]\n", "shop/kustomization.yaml")
    with pytest.raises(InputError, match="apiVersion is missing"):
        load_text("resources: [web.yaml]\n", "shop/web.yaml")


def test_a_sidecar_two_names_of_one_port_and_a_host_port_answer(tmp_path: Path) -> None:
    text = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: worker-1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: worker-2
  initContainers:
  - {name: prepare, image: prepare, ports: [{containerPort: 9999}]}
  - {name: proxy, image: proxy, restartPolicy: Always, ports: [{name: stats, containerPort: 15090}]}
  containers:
  - {name: web, ports: [{name: http, containerPort: 8080, hostPort: 8088}, {name: https, containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 443, targetPort: https}, {name: c, port: 15090, targetPort: stats}]
"""
    steps = "\n" + "".join(
        f'- tcp: {{from: {frm}, to: "{to}", send: hi}}\n  expect: {{outcome: {outcome}}}\n'
        for frm, to, outcome in (
            ("default/client", "svc/web:80", "delivered"),
            ("default/client", "svc/web:443", "delivered"),
            ("default/client", "svc/web:15090", "delivered"),
            ("default/client", "default/web:9999", "refused"),
            ("external", "node/worker-2:8088", "delivered"),
            ("default/client", "node/worker-2:8088", "delivered"),
        )
    )
    result = ran(tmp_path, text, steps)
    assert result.exit_status == 0, result.notes
    assert result.notes == []
