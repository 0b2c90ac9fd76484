"""The two public manifests, from text to slices: every Service's slices hold the pods that they should."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from control_plane import Plane
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load

MANIFESTS = Path(__file__).parents[2] / "data" / "manifests"


def endpoints(plane: Plane) -> dict[str, tuple[int, list[str], list[int | None]]]:
    """By Service: slices, the workloads behind its endpoints, the ports."""
    found: dict[str, tuple[int, list[str], list[int | None]]] = {}
    for service in plane.store.list(Service):
        slices = [s for s in plane.store.list(EndpointSlice) if s.service_name == service.name]
        pods = [e.target_ref.name.rsplit("-", 2)[0] for s in slices for e in s.endpoints if e.target_ref is not None]
        found[service.name] = (len(slices), pods, [p.port for s in slices for p in s.ports])
    return found


def test_guestbook(plane: Plane) -> None:
    plane.apply(load([MANIFESTS / "guestbook.yaml"]).objects)
    assert Counter(p.name.rsplit("-", 2)[0] for p in plane.pods()) == {
        "redis-master": 1,
        "redis-replica": 2,
        "frontend": 3,
    }
    assert Counter(p.spec.node_name for p in plane.pods()) == {"n1": 3, "n2": 3}
    assert endpoints(plane) == {
        "redis-master": (1, ["redis-master"], [6379]),
        "redis-replica": (1, ["redis-replica"] * 2, [6379]),
        "frontend": (1, ["frontend"] * 3, [80]),
    }
    frontend = plane.store.get(Service, "default", "frontend")
    assert frontend is not None
    assert frontend.spec.type == "NodePort"
    assert 30000 <= frontend.spec.ports[0].node_port <= 32767


def test_microservices_demo(plane: Plane) -> None:
    plane.apply(load([MANIFESTS / "microservices-demo.yaml"]).objects)
    assert len(plane.pods()) == 12
    assert all(p.ready for p in plane.pods())
    assert endpoints(plane) == {
        "frontend": (1, ["frontend"], [8080]),
        "frontend-external": (1, ["frontend"], [8080]),
        "adservice": (1, ["adservice"], [9555]),
        "currencyservice": (1, ["currencyservice"], [7000]),
        "cartservice": (1, ["cartservice"], [7070]),
        "redis-cart": (1, ["redis-cart"], [6379]),
        "recommendationservice": (1, ["recommendationservice"], [8080]),
        "checkoutservice": (1, ["checkoutservice"], [5050]),
        "emailservice": (1, ["emailservice"], [8080]),
        "paymentservice": (1, ["paymentservice"], [50051]),
        "shippingservice": (1, ["shippingservice"], [50051]),
        "productcatalogservice": (1, ["productcatalogservice"], [3550]),
    }
    services = plane.store.list(Service)
    assert len({s.spec.cluster_ip for s in services}) == 12
    assert [s.name for s in services if s.spec.ports[0].node_port] == ["frontend-external"]
