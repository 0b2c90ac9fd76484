"""Objects in versions that API servers have removed are read as an API server of their time stored them, and reported.

The defaults are those of kubernetes 1.15 (pkg/apis/extensions/v1beta1/defaults.go and its like); the releases are those of the Deprecated
API Migration Guide.
"""

from __future__ import annotations

from typing import Any

import pytest

from emu.errors import InputError
from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import CronJob
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.documents import documents
from emu.kube.api.kinds import API_VERSION_OF, KINDS
from emu.kube.api.loader import load_documents, load_text
from emu.kube.api.networking import NetworkPolicy
from emu.kube.api.old_versions import SUCCESSORS, current
from manifest_pods import REMOVED

TEMPLATE = "template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c}]}}"


def read(api_version: str, kind: str, spec: str) -> Any:
    loaded = load_text(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\n{spec}", "old.yaml")
    (obj,) = loaded.objects
    return obj, [str(each) for each in loaded.objects.findings]


@pytest.mark.parametrize(
    ("api_version", "type_", "update"),
    [
        ("extensions/v1beta1", Deployment, ""),
        ("extensions/v1beta1", ReplicaSet, ""),
        ("extensions/v1beta1", DaemonSet, "OnDelete"),
        ("apps/v1beta1", Deployment, ""),
        ("apps/v1beta1", StatefulSet, "OnDelete"),
    ],
)
def test_a_selector_that_is_not_written_is_the_templates_labels(api_version: str, type_: Any, update: str) -> None:
    obj, notes = read(api_version, type_.__name__, f"spec: {{{TEMPLATE}}}")
    assert isinstance(obj, type_) and obj.api_version == "apps/v1"
    assert obj.spec.selector.match_labels == {"app": "web"} == obj.metadata.labels
    if update:
        assert obj.spec.update_strategy.type == update
    what = f"{type_.__name__} of {api_version} is read as apps/v1: clusters since 1.16 refuse it"
    assert notes == [f"old.yaml:1: {type_.__name__.lower()}/web: {what}"]


def test_what_is_written_counts() -> None:
    spec = f"spec: {{selector: {{matchLabels: {{app: web}}}}, updateStrategy: {{type: RollingUpdate}}, templateGeneration: 3, {TEMPLATE}}}"
    obj, notes = read("extensions/v1beta1", "DaemonSet", spec)
    assert obj.spec.update_strategy.type == "RollingUpdate" and len(notes) == 1
    with pytest.raises(InputError, match="selector"):
        read("apps/v1beta2", "Deployment", f"spec: {{{TEMPLATE}}}")  # that version had no default


def test_a_cronjob_and_a_policy() -> None:
    job = "spec: {schedule: '0 0 * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c}]}}}}}"
    assert isinstance(read("batch/v1beta1", "CronJob", job)[0], CronJob)
    policy, notes = read("extensions/v1beta1", "NetworkPolicy", "spec: {podSelector: {}}")
    assert isinstance(policy, NetworkPolicy) and "networking.k8s.io/v1" in notes[0]


def test_the_topology_of_an_endpoint_becomes_node_and_zone() -> None:
    obj, _ = read(
        "discovery.k8s.io/v1beta1",
        "EndpointSlice",
        "addressType: IPv4\nendpoints: [{addresses: [10.0.0.1], topology: {kubernetes.io/hostname: n1, topology.kubernetes.io/zone: a}}]\nports: []",
    )
    assert isinstance(obj, EndpointSlice)
    assert (obj.endpoints[0].node_name, obj.endpoints[0].zone) == ("n1", "a")


@pytest.mark.parametrize(("api_version", "kind"), REMOVED, ids=lambda value: value)
def test_each_removed_version_has_its_successor(api_version: str, kind: str) -> None:
    assert SUCCESSORS[api_version, kind].version == REMOVED[api_version, kind]


def test_the_successors_are_the_versions_that_are_read() -> None:
    typed = {key: each for key, each in SUCCESSORS.items() if key[1] in API_VERSION_OF}
    assert {key: each for key, each in typed.items() if (each.version, key[1]) not in KINDS} == {}
    assert not {*SUCCESSORS} & {*KINDS}


def test_a_version_that_never_was_is_refused() -> None:
    with pytest.raises(InputError, match=r'there is no Deployment in "apps/v3" \(expected apps/v1\)'):
        read("apps/v3", "Deployment", "")


def test_an_export_has_been_accepted_in_the_version_that_it_has() -> None:
    text = f"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {{name: web}}\nspec: {{{TEMPLATE}}}"
    loaded = load_documents(documents(text), live=True)
    assert len(loaded.objects) == 1 and loaded.objects.findings == []


@pytest.mark.parametrize(
    "value", ["spec: 1", "spec: {template: []}", "spec: {template: {metadata: {labels: 3}}}", "endpoints: {}"]
)
@pytest.mark.parametrize("key", [("extensions/v1beta1", "Deployment"), ("discovery.k8s.io/v1beta1", "EndpointSlice")])
def test_odd_values_are_left_to_the_reader(key: tuple[str, str], value: str) -> None:
    with pytest.raises(InputError):
        read(*key, value)


def test_the_object_that_is_given_stays_as_it_is() -> None:
    value = {
        "apiVersion": "extensions/v1beta1",
        "kind": "Deployment",
        "metadata": {},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}}},
    }
    before = repr(value)
    assert current(value)[0]["spec"]["selector"] == {"matchLabels": {"a": "b"}} and repr(value) == before
