"""Which dataplane enforces the policies of an export: the pod network's own where it is modelled."""

from __future__ import annotations

import pytest

from emu.kube.cluster import Cluster
from exports import Shape, export

CLOSED = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed", "namespace": "shop", "uid": "7"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


@pytest.mark.parametrize(
    ("flavour", "dataplane", "word"),
    [("kind", "kindnet", "dropped"), ("calico", "calico", "dropped"), ("cilium", "kube-router", "rejected")],
)
def test_what_enforces_the_policies_of_an_export(flavour: str, dataplane: str, word: str) -> None:
    found = export(Shape(flavour, 4))
    found["items"].append(CLOSED)
    cluster = Cluster.live(found, capture=False)
    assert cluster.policy is not None and cluster.policy.name == dataplane
    assert cluster.tcp("default/tools", "svc/web.shop:80", b"?", timeout_s=1).outcome.word == word
    assert any("stand for its own" in each for each in cluster.warnings) is (dataplane == "kube-router")
