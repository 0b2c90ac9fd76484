"""The contracts of actions and of views of a run, on whatever their shelves find: see test_contracts.py."""

from __future__ import annotations

import inspect
import json
from contextlib import nullcontext
from functools import cache
from typing import get_args

import pytest

from emu.errors import InputError
from emu.kube.cluster import Cluster
from emu.report import Report, run_views, sentence
from emu.scenario.run import Run, run
from emu.scenario.schema import schema
from emu.scenario.script import load_text
from emu.scenario.steps import actions, in_order
from emu.twin.cluster import TwinCluster

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: contract}
cluster: {nodes: 2}
steps:
STEPS
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: app}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]}]
"""


def scenario(steps: str, underlay: str = "routed") -> str:
    return SCENARIO.replace("STEPS", steps).replace("nodes: 2", f"nodes: 2, underlay: {underlay}")


@cache
def ran() -> Run:
    """A run with a step of each kind, the changes last."""
    usual = [name for name in in_order() if actions[name].underlay == "routed"]
    names = sorted(usual, key=lambda name: actions[name].changes)
    return run(load_text(scenario("\n".join(actions[name].example for name in names))))


@pytest.mark.parametrize("name", sorted(run_views))
def test_a_view_of_a_run(name: str) -> None:
    """Of any run, one without steps too: plain data, and text without an end of line; looking changes nothing."""
    view = run_views[name]
    assert 0 < len(sentence(view)) <= 100, "what `--help` shows"
    for each in (ran(), run(load_text(scenario("- wait: 0s")))):
        report = view(each)
        assert isinstance(report, Report)
        assert not report.text.endswith("\n")
        assert json.loads(json.dumps(report.data)) is not None
        assert view(each) == report
    assert view(ran()).text, "a run with flows has something to show"


# -- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(actions))
def test_an_action(name: str) -> None:
    """Its example runs, and leaves flows or a sentence about what it changed; `expect` and `settle` stand where they may."""
    kind = actions[name]
    text = scenario(kind.example, kind.underlay)
    read = load_text(text)
    assert (read.steps[-1].action, kind().__class__) == (name, kind)
    done = run(read).steps[-1]
    assert done.action == name
    assert bool(done.flows) is kind.sends
    assert bool(done.change) is not kind.sends
    for key, allowed in (("expect: {outcome: delivered}", kind.sends), ("settle: false", kind.changes)):
        with nullcontext() if allowed else pytest.raises(InputError, match=f"steps.*{key.split(':')[0]}: {name} "):
            load_text(scenario(f"{kind.example}\n  {key}"))


@pytest.mark.parametrize("name", sorted(actions))
def test_an_action_is_in_the_schema_and_in_the_messages(name: str) -> None:
    step = schema()["$defs"]["Step"]
    assert name in step["properties"]
    assert {"required": [name]} in step["oneOf"]
    with pytest.raises(InputError, match=f"exactly one of .*{name}"):
        load_text(scenario("- name: nothing"))
    with pytest.raises(InputError, match=rf'unknown key "{name}x" \(expected "{name}"'):
        load_text(scenario(actions[name].example.replace(f"{name}:", f"{name}x:")))


@pytest.mark.parametrize("name", sorted(actions))
@pytest.mark.parametrize("value", ["[[[]]]", "{surprise: 1}", "-1", "{}", '""', "[{a: {b: c}}]"])
def test_an_action_refuses_what_it_cannot_read(name: str, value: str) -> None:
    """Never anything but bad input with the step's place, before or while it runs."""
    message = ""
    try:
        run(load_text(scenario(f"- {name}: {value}"), "story.yaml"))
    except InputError as error:
        message = str(error)
    assert message.startswith("story.yaml:6: steps[0]") or (not message and value not in ("[[[]]]", "-1")), message


@pytest.mark.parametrize("name", sorted(actions))
@pytest.mark.parametrize("cluster", [Cluster, TwinCluster])
def test_a_cluster_has_the_verbs_that_an_action_asks_for(name: str, cluster: type[Cluster]) -> None:
    """The Protocol that the action's class names: each verb is there, and takes what the Protocol passes."""
    verbs = get_args(vars(actions[name])["__orig_bases__"][0])[-1]
    asked = {verb for verb in dir(verbs) if not verb.startswith("_")}
    assert asked
    for verb in asked:
        wanted = [each for each in inspect.signature(getattr(verbs, verb)).parameters.values() if each.name != "self"]
        by_name = {each.name: None for each in wanted if each.kind is each.KEYWORD_ONLY}
        inspect.signature(getattr(cluster, verb)).bind(None, *[None] * (len(wanted) - len(by_name)), **by_name)
