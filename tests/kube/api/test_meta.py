"""Names, selectors, keys: the words that all kinds share."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from emu.errors import InputError
from emu.kube.api.apps import Deployment
from emu.kube.api.core import Pod, Service, ServicePort, ServiceSpec
from emu.kube.api.kinds import TYPES, kind_named, type_of
from emu.kube.api.loader import convert
from emu.kube.api.meta import (
    Key,
    LabelSelector,
    LabelSelectorRequirement,
    ObjectMeta,
    Other,
    field_name,
    replace,
)


@pytest.mark.parametrize(
    ("attribute", "field"),
    [
        ("name", "name"),
        ("cluster_ip", "clusterIP"),
        ("cluster_ips", "clusterIPs"),
        ("pod_cidrs", "podCIDRs"),
        ("ip_mode", "ipMode"),
        ("load_balancer_ip", "loadBalancerIP"),
        ("health_check_node_port", "healthCheckNodePort"),
        ("client_ip", "clientIP"),
    ],
)
def test_field_names(attribute: str, field: str) -> None:
    assert field_name(attribute) == field


LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("operator", "key", "values", "holds"),
    [
        ("In", "app", ("web", "db"), True),
        ("In", "app", ("db",), False),
        ("In", "zone", ("a",), False),
        ("NotIn", "app", ("db",), True),
        ("NotIn", "app", ("web",), False),
        ("NotIn", "zone", ("a",), True),
        ("Exists", "tier", (), True),
        ("Exists", "zone", (), False),
        ("DoesNotExist", "tier", (), False),
        ("DoesNotExist", "zone", (), True),
    ],
)
def test_requirements(operator: str, key: str, values: tuple[str, ...], holds: bool) -> None:
    requirement = LabelSelectorRequirement(key=key, operator=operator, values=values)  # type: ignore[arg-type]  # a table
    assert requirement.matches(LABELS) is holds
    assert LabelSelector(match_expressions=(requirement,)).matches(LABELS) is holds
    assert LabelSelector({"app": "other"}, (requirement,)).matches(LABELS) is False


def test_an_empty_selector_matches_everything() -> None:
    assert LabelSelector().matches({})


def test_keys() -> None:
    assert str(Key("pod", "default", "web")) == "pod/web"
    assert str(Key("pod", "shop", "web")) == "pod/shop/web"
    assert str(Key("node", "", "n1")) == "node/n1"
    assert Pod(metadata=ObjectMeta(name="a", namespace="b")).key == Key("pod", "b", "a")


@pytest.mark.parametrize("word", ["svc", "service", "services", "Service"])
def test_kubectls_names(word: str) -> None:
    assert kind_named(word) == "service"


def test_unknown_kind() -> None:
    with pytest.raises(InputError, match='"pood" is not a kind of object'):
        kind_named("pood")


def test_types() -> None:
    assert type_of("apps/v1", "Deployment") is Deployment
    assert type_of("v1", "ConfigMap") is Other
    assert type_of("serving.knative.dev/v1", "Service") is Other
    for api_version, kind in (("v1", "Deployment"), ("discovery.k8s.io/v1beta1", "EndpointSlice"), ("apps/v1", "Pod")):
        with pytest.raises(InputError, match=f"there is no {kind} in"):
            type_of(api_version, kind)


def test_a_manifest_becomes_its_object() -> None:
    spec = ServiceSpec(
        ports=(ServicePort(port=80, target_port="http"),), cluster_ip="10.96.0.9", cluster_ips=("10.96.0.9",)
    )
    service = Service(metadata=ObjectMeta(name="web", namespace="shop"), spec=spec)
    value = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "ports": [{"port": 80, "targetPort": "http"}],
            "clusterIP": "10.96.0.9",
            "clusterIPs": ["10.96.0.9"],
        },
    }
    assert convert(value) == [service]
    assert {t.__name__ for t in TYPES} >= {"Pod", "Service"}


def test_applying_again_keeps_what_was_allocated() -> None:
    old = Service(
        metadata=ObjectMeta(name="web"),
        spec=ServiceSpec(
            type="NodePort",
            cluster_ip="10.96.0.9",
            cluster_ips=("10.96.0.9",),
            ports=(ServicePort(port=80, node_port=30001),),
        ),
    )
    new = replace(old, spec=ServiceSpec(type="NodePort", ports=(ServicePort(port=80), ServicePort(port=81, name="b"))))
    spec = new.inherit(old).spec
    assert (spec.cluster_ip, [p.node_port for p in spec.ports]) == ("10.96.0.9", [30001, 0])
    assert replace(new, spec=replace(new.spec, type="ClusterIP")).inherit(old).spec.ports[0].node_port == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Deployment, {"metadata": {"name": "a"}, "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}}}),
        (Deployment, {"metadata": {"name": "a"}, "spec": {"selector": {}, "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]}}}}),
        (Pod, {"metadata": {"name": "a", "labels": {}}, "spec": {"containers": []}, "status": {}}),
        (Service, {"metadata": {"name": "a"}, "spec": {"type": "ClusterIP", "ports": [{"port": 80}]}}),
    ],
)  # fmt: skip
def test_another_process_writes_an_object_as_this_one(
    kind: type[Deployment | Pod | Service], value: dict[str, object]
) -> None:
    """A pod's name has a hash of what is written; a default that is stated is written, one that is not is left out."""
    made = msgspec.convert(value, kind)
    sent = pickle.loads(pickle.dumps(made))
    assert sent == made and msgspec.json.encode(sent) == msgspec.json.encode(made)
