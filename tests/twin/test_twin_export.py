"""The cluster of an export on this machine's kernel: the same flows, with the export's addresses, frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emu.scenario.script import load
from exports import Shape, export
from twins import agrees, needs_twin

pytestmark = needs_twin
TEXT = """
apiVersion: emu/v1
kind: Scenario
metadata: {name: over}
manifests: [dump.json]
steps:
- tcp: {from: default/debug, to: "svc/web.shop:80"}
- tcp: {from: default/tools, to: "svc/cart.shop:80"}
- scale: {deployment/shop/cart: 2}
- tcp: {from: default/tools, to: "svc/cart.shop:80"}
---
{apiVersion: v1, kind: Pod, metadata: {name: debug}, spec: {containers: [{name: c}]}}
"""


@pytest.mark.parametrize("flavour", ["kubeadm", "kind", "gke"])
def test_the_kernel_agrees(flavour: str, tmp_path: Path) -> None:
    (tmp_path / "dump.json").write_text(json.dumps(export(Shape(flavour, 3))), encoding="utf-8")
    path = tmp_path / "over.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert len(agrees(load(path), "exports").flows) == 3
