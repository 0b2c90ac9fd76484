"""Nodes that a scenario states beside Node objects of its manifests: these count, and a name of another is reported."""

from __future__ import annotations

from emu.scenario.run import run
from emu.scenario.script import load_text

TEXT = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: twice}
cluster: {nodes: [{name: NAME}]}
steps:
- ping: {from: node/worker-1, to: node/worker-1}
---
apiVersion: v1
kind: Node
metadata: {name: worker-1}
"""


def notes(name: str) -> list[str]:
    return [each for each in run(load_text(TEXT.replace("NAME", name))).notes if "Node object" in each]


def test_a_node_that_no_object_declares_is_reported() -> None:
    [note] = notes("a")
    assert note == (
        "scenario.yaml:4: cluster.nodes: no Node object of the manifests is called a: where there are Node objects, they are the nodes"
    )


def test_the_same_name_is_the_same_node() -> None:
    assert notes("worker-1") == []
