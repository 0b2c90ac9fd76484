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
- name: not known yet
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


def test_a_new_service_is_refused_until_the_proxy_has_its_endpoints_again() -> None:
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


def test_an_open_connection_goes_on_to_a_pod_that_is_drained() -> None:
    steps = """\
- name: chat
  tcp: {from: default/client, to: "svc/web:80", send: one, close: false}
  expect: {outcome: delivered}
- drain: node-2
  settle: false
- wait: 5s
- name: the rules know the new pod only
  tcp: {from: default/client, to: "svc/web:80", send: x}
  expect: {outcome: delivered, dnat: "10.244.1.*:8080"}
- name: the old connection goes on
  more: {of: chat, send: two, close: false}
  expect: {outcome: delivered, received: two, at: default/web-*, dnat: "10.244.2.*:8080"}
- wait: 6s
- name: it is over when the pod is gone
  more: {of: chat, send: three, timeout: 2s}
  expect: {outcome: timeout}
"""
    done = run(load_text(scenario(steps)))
    assert done.failures == []
    assert len({step.flows[0].flow.number for step in done.steps if step.action in ("tcp", "more")}) == 4


@pytest.mark.parametrize("more", ["{of: absent}", "{of: closed}"])
def test_only_what_is_open_goes_on(more: str) -> None:
    steps = f'- name: closed\n  tcp: {{from: default/client, to: "svc/web:80"}}\n- more: {more}\n'
    with pytest.raises(InputError) as wrong:
        load_text(scenario(steps))
    assert "steps[1].more.of: no earlier step" in str(wrong.value)


def test_what_was_closed_meanwhile_does_not_go_on() -> None:
    steps = '- name: chat\n  tcp: {from: default/client, to: "svc/web:80", close: false}\n- more: {of: chat}\n- more: {of: chat}\n'
    with pytest.raises(InputError) as wrong:
        run(load_text(scenario(steps)))
    assert 'steps[2].more: "chat" has no connection open' in str(wrong.value)
