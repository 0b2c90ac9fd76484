"""Steps that change objects: they end settled, or leave the cluster to follow while the next steps take their time."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.scenario.run import run
from emu.scenario.script import load_text

OBJECTS = """
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 10, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
HEAD = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: story}\n"


def scenario(steps: str, cluster: str = "{nodes: 2}") -> str:
    return f"{HEAD}cluster: {cluster}\nsteps:\n{steps}{OBJECTS}"


def test_a_step_ends_settled() -> None:
    steps = """\
- drain: node-2
- tcp: {from: default/client, to: "svc/web:80", send: hello}
  expect: {outcome: delivered, at: default/web-*, dnat: "10.244.1.*:8080"}
"""
    done = run(load_text(scenario(steps)))
    assert done.failures == []
    pod = done.steps[0].change.rpartition(" ")[2]
    assert done.steps[0].change == f"drained node-2 of {pod}"
    assert done.steps[1].flows[0].flow.started_ns >= 10_000_000_000  # the drained pod served out its grace period
    assert pod not in done.cluster.pods


def test_rules_follow_as_time_passes() -> None:
    steps = """\
- scale: {deployment/web: 0}
  settle: false
- name: nobody knows yet
  tcp: {from: default/client, to: "svc/web:80", send: hello, timeout: 4ms}
  expect: {outcome: delivered, at: default/web-*}
- wait: 2s
- name: the last one serves while it terminates
  tcp: {from: default/client, to: "svc/web:80", send: hello}
  expect: {outcome: delivered, at: default/web-*}
- wait: 10s
- name: now it is gone
  tcp: {from: default/client, to: "svc/web:80"}
  expect: {outcome: rejected, code: port-unreachable}
"""
    assert run(load_text(scenario(steps))).failures == []


def test_a_new_service_is_refused_until_the_proxy_hears_of_its_endpoints_again() -> None:
    """The proxy syncs at once for the Service, and for its slice only when the minimum period is over."""
    steps = """\
- apply:
    apiVersion: v1
    kind: Service
    metadata: {name: late}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
  settle: false
- wait: 50ms
- tcp: {from: default/client, to: "svc/late:80"}
  expect: {outcome: OUTCOME}
- wait: 2s
- tcp: {from: default/client, to: "svc/late:80"}
  expect: {outcome: delivered}
"""
    slow = "{nodes: 2, kubeProxy: {iptables: {minSyncPeriod: 1s}}}"
    quick = "{nodes: 2, kubeProxy: {iptables: {minSyncPeriod: 0s}}}"
    wait = "- wait: 10s\n"
    refused = wait + steps.replace("OUTCOME", "rejected, code: port-unreachable")
    assert run(load_text(scenario(refused, slow))).failures == []
    assert run(load_text(scenario(wait + steps.replace("OUTCOME", "delivered"), quick))).failures == []


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ("- wait: 5s\n  settle: false\n", "steps[0].settle: wait changes no objects that the cluster could follow"),
        ("- drain: pod/web\n", 'steps[0].drain: "pod/web" is not a node (expected the name of a node)'),
        ("- drain: node-7\n", "steps[0].drain: no node is called 'node-7'"),
    ],
)
def test_bad_steps(steps: str, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        run(load_text(scenario(steps)))
    assert what in str(wrong.value)


@pytest.mark.parametrize(
    ("periods", "what"),
    [
        ("syncPeriod: 0s", "cluster.kubeProxy.iptables.syncPeriod: kube-proxy's periods do not fit"),
        ("syncPeriod: 1s, minSyncPeriod: 2s", "cluster.kubeProxy.iptables.syncPeriod: kube-proxy's periods do not fit"),
        ("minSyncPeriod: soon", 'cluster.kubeProxy.iptables.minSyncPeriod: "soon" is not a duration'),
    ],
)
def test_bad_periods(periods: str, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        run(load_text(scenario("- wait: 1s\n", f"{{nodes: 1, kubeProxy: {{iptables: {{{periods}}}}}}}")))
    assert what in str(wrong.value)
