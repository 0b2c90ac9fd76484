"""A flow's set-up looks nothing over that grows with the cluster: no pod, node, namespace or Service but its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import pytest

from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.dns.zone import DnsConfig

pytestmark = pytest.mark.pure("a compiled store's methods are not replaced")
V = TypeVar("V")
PODS = """\
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: prod}, spec: {containers: [{name: c}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]}
"""


class Closed(dict[str, V]):
    """A mapping to look up in, and not to go through."""

    def _closed(self, *_: Any) -> NoReturn:
        raise AssertionError("all of it was gone through")

    def __iter__(self) -> Iterator[str]:
        self._closed()

    keys = values = items = _closed


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Two nodes. What is made once after a change of objects is made: the index of `pod/other`, the DNS server's zone."""
    made = Cluster(ClusterConfig.of(2, dns=DnsConfig()), load_text(PODS).objects)
    made.ping("pod/other", "default/web")
    made.resolve_name("default/client", "web.default")
    for name in ("pods", "nodes", "namespaces"):
        setattr(made, name, Closed(getattr(made, name)))
    made.unmodelled.pods = made.pods
    made.tcp("default/client", "node/node-2:9", timeout_s=1)

    def closed(_self: object, *_: Any, **__: Any) -> list[Any]:
        raise AssertionError("all objects of a kind were gone through")

    monkeypatch.setattr(type(made.store), "list", closed)
    monkeypatch.setattr(type(made.store), "__iter__", closed)
    return made


def test_the_guard_itself(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="gone through"):
        cluster.tcp("default/cli*", "svc/web:80")
    with pytest.raises(AssertionError, match="gone through"):
        cluster.tcp("default/client", "svc/w*:80")


@pytest.mark.parametrize("source", ["default/client", "pod/client", "pod/other", "node/node-1", "external"])
@pytest.mark.parametrize("to", ["default/web:80", "pod/web:80", "node/node-2:9", "svc/web:80", "external:80"])
@pytest.mark.parametrize("kind", ["tcp", "udp", "ping"])
def test_exact_names(cluster: Cluster, kind: str, source: str, to: str) -> None:
    if kind == "ping":
        flow = cluster.ping(source, to.partition(":")[0], timeout_s=1)
    else:
        flow = getattr(cluster, kind)(source, to, b"hi", timeout_s=1)
    assert flow.outcome.word in ("delivered", "refused", "rejected", "dropped", "timeout")


def test_what_goes_on_and_what_is_looked_up(cluster: Cluster) -> None:
    first = cluster.tcp("default/client", "svc/web:tcp", b"one", close=False)
    assert cluster.more(first, b"two").received == b"two"
    assert cluster.send("default/client", "IP(dst='10.244.2.2')/ICMP()").at
    assert cluster.resolve_name("default/client", "web.default").delivered
    assert cluster.tcp("default/client", "name:web:80", b"hi").received == b"hi"
