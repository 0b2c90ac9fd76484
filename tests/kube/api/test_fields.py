"""Every field of a manifest is used, passed over for a stated reason, reported, or unknown; none is silent."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import inspect

import emu
from emu.errors import InputError
from emu.kernel.sysctl import row_of
from emu.kube.api.check import Plan, plan, remarks, remarks_of
from emu.kube.api.fields import ANNOTATIONS, FIELDS, IDLE_SYSCTLS
from emu.kube.api.kinds import KINDS, OTHER_KINDS, TYPES
from emu.kube.api.loader import load, load_text
from emu.kube.api.meta import ApiStruct, Object
from emu.kube.node import kubelet, lifetime, wanted
from emu.kube.node.script import SCRIPT_ANNOTATION
from emu.modelled import NotModelled, WithoutEffect
from emu.scenario.gallery import stories
from emu.scenario.script import load as load_scenario

ROOT = Path(__file__).parents[3]
PUBLIC = sorted((ROOT / "tests" / "data" / "manifests").glob("*.yaml"))


def structs(type_: type[ApiStruct], seen: dict[str, type[ApiStruct]]) -> dict[str, type[ApiStruct]]:
    """The structs that are reached by used fields, by name."""
    if type_.__name__ not in seen:
        seen[type_.__name__] = type_
        for field in msgspec.structs.fields(type_):
            if field.encode_name not in FIELDS.get(type_.__name__, {}):
                for below in parts(inspect.type_info(field.type)):
                    structs(below, seen)
    return seen


def parts(at: inspect.Type) -> Iterator[type[ApiStruct]]:
    for option in at.types if isinstance(at, inspect.UnionType) else (at,):
        item = option.item_type if isinstance(option, inspect.VarTupleType) else option
        if isinstance(item, inspect.StructType) and issubclass(item.cls, ApiStruct):
            yield item.cls


REACHED: dict[str, type[ApiStruct]] = {}
for kind in TYPES:
    structs(kind, REACHED)


def attributes_read() -> set[str]:
    """The names of all attributes that emu reads anywhere."""
    found = set()
    for path in (ROOT / "emu").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return found


def test_a_field_that_is_not_passed_over_is_read() -> None:
    read = attributes_read()
    silent = [
        f"{name}.{field.encode_name}"
        for name, type_ in REACHED.items()
        for field in msgspec.structs.fields(type_)
        if field.encode_name not in FIELDS.get(name, {}) and field.name not in read
    ]
    assert silent == []


def test_the_tables_name_structs_that_are_there() -> None:
    assert set(FIELDS) <= set(REACHED)
    assert all(
        row.why if isinstance(row, WithoutEffect) else row.what  # type: ignore[union-attr]  # the tables hold no Used
        for rows in FIELDS.values()
        for row in rows.values()
    )


def roads(
    known: Plan, type_: type[ApiStruct], path: tuple[str, ...] = ()
) -> Iterator[tuple[type[ApiStruct], tuple[str, ...]]]:
    """Every struct that a kind has, and the fields by which it is reached."""
    yield type_, path
    for field in msgspec.structs.fields(type_):
        if isinstance(known[field.encode_name], type) and field.encode_name not in path:
            below = next(parts(inspect.type_info(field.type)))
            yield from roads(plan(below), below, (*path, field.encode_name))


def value_at(type_: type[ApiStruct], path: tuple[str, ...], leaf: dict[str, Any]) -> Any:
    """A manifest's value with `leaf` at `path`, lists where lists are due."""
    if not path:
        return leaf
    field = next(each for each in msgspec.structs.fields(type_) if each.encode_name == path[0])
    at = inspect.type_info(field.type)
    several = any(
        isinstance(each, inspect.VarTupleType) for each in (at.types if isinstance(at, inspect.UnionType) else (at,))
    )
    below = value_at(next(parts(at)), path[1:], leaf)
    return {path[0]: [below] if several else below}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_that_is_not_modelled_is_reported_at_every_place(kind: type[Object]) -> None:
    for type_, path in roads(plan(kind), kind):
        for name, row in FIELDS.get(type_.__name__, {}).items():
            leaf = {name: "away from the default"}
            found = [*remarks(value_at(kind, path, leaf), kind)]
            if isinstance(row, NotModelled):
                assert [(each.path[-1], each.unknown) for each in found] == [(name, False)], (path, name)
                assert found[0].what.endswith(f'"away from the default" is not modelled: {row.what}')
                for default in (*row.defaults, None, "", [], {}):
                    assert not [*remarks(value_at(kind, path, {name: default}), kind)]
            else:
                assert found == []
        unknown = [*remarks(value_at(kind, path, {"noSuchFieldAnywhere": 1}), kind)]
        assert [each.unknown for each in unknown] == [True]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("kind: Pod, spec: {schedulerName: default-scheduler}", []),
        ("kind: Node, spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24]}", []),
        (
            "kind: Node, spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24, 'fd00::/64']}",
            ["spec.podCIDRs is not modelled: podCIDR alone is read"],
        ),
        (
            "kind: Pod, spec: {schedulingGates: [{name: a}], tolerations: [{operator: Exists, tolerationSeconds: 9}]}",
            ["spec.schedulingGates is not modelled: the pod does not wait for them"],
        ),
        (
            "kind: Service, spec: {trafficDistribution: PreferClose}",
            ['spec.trafficDistribution "PreferClose" is not modelled: every endpoint is as likely, near or far'],
        ),
        (
            ("kind: Pod, spec: {securityContext: {runAsUser: 1, sysctls: [{name: net.core.somaxconn, value: '9'},"
            " {name: net.ipv4.ping_group_range, value: 0 1}, {name: kernel.shm_rmid_forced, value: '1'}]}}"),
            ["spec.securityContext.sysctls[0] net.core.somaxconn is not modelled: the pod keeps the default"],
        ),
        (
            "kind: Pod, metadata: {annotations: {emu/raedy: 'false', example.com/emu: a}}",
            ['unknown annotation "emu/raedy" (expected "emu/ready"?)'],
        ),
        ("kind: Service, spec: {ports: [{targetport: 80}]}", ['unknown field "spec.ports[0].targetport" (expected "targetPort"?)']),
        ("kind: Pod, metadata: {lables: {}}", ['unknown field "metadata.lables" (expected "labels"?)']),
        ("kind: Pod, spec: {contaners: []}", ['unknown field "spec.contaners" (expected "containers"?)']),
        ("kind: Pod, spec: {containers: [{contanerPort: 1}]}", ['unknown field "spec.containers[0].contanerPort"']),
        ("kind: Pod, specs: {}", ['unknown field "specs" (expected "spec"?)']),
    ],
)  # fmt: skip
def test_remarks(written: str, found: list[str]) -> None:
    value = yaml.safe_load(f"{{apiVersion: v1, {written}}}")
    assert [each.what for each in remarks(value, KINDS["v1", value["kind"]])] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("apiVersion: v1\nkind: Sevice\nmetadata: {name: a}\n", 'f.yaml:2: sevice/a: unknown kind "Sevice" in v1 (expected "Service"?)'),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingres\nmetadata: {name: a}\n",
            'f.yaml:2: ingres/a: unknown kind "Ingres" in networking.k8s.io/v1 (expected "Ingress"?)',
        ),
        ("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n", "f.yaml:2: poddisruptionbudget/a: kind PodDisruptionBudget is not modelled: a drain does not wait for it"),
        (
            "apiVersion: example.com/v1\nkind: Service\nmetadata: {name: a}\n",
            "f.yaml:2: service/a: kind Service of example.com/v1 is a custom resource, which is not modelled: nothing acts on it",
        ),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", ""),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 80\n    targetport: 81\n",
            'f.yaml:7: service/a: unknown field "spec.ports[0].targetport" (expected "targetPort"?)',
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: a\n    lables: {}\n",
            'f.yaml:8: namespace/a: unknown field "metadata.lables" (expected "labels"?)',
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    ports: [{containerPort: 80, hostPort: 8080}]\n",
            "",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n",
            "",
        ),
    ],
)  # fmt: skip
def test_findings_have_a_place(text: str, found: str) -> None:
    assert [str(each) for each in load_text(text, "f.yaml").objects.findings] == ([found] if found else [])


def test_custom_resources_are_counted_by_kind_in_one_note() -> None:
    kinds = ["Thing", "Other", "Thing", "Thing"]
    texts = [f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: a{i}}}\n" for i, kind in enumerate(kinds)]
    objects = load_text("---\n".join(texts)).objects
    assert [each.place for each in objects.findings] == ["line 2", "line 6", "line 10", "line 14"]
    assert [str(each) for each in objects.notes] == [
        "4 custom resources are not modelled, nothing acts on them: 3 Thing of example.com/v1, 1 Other of example.com/v1"
    ]
    one = load_text(texts[0]).objects
    assert one.notes == one.findings and "kind Thing of example.com/v1 is a custom resource" in str(one.notes[0])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  contaners: [{name: c}]\n",
            ("f.yaml:4: spec.containers: a pod needs at least one container; "
            'line 5: unknown field "spec.contaners" (expected "containers"?)'),
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetdata: {name: a}\n",
            'f.yaml:1: metadata is missing; line 3: unknown field "metdata" (expected "metadata"?)',
        ),
        ("apiversion: v1\nkind: Pod\n", 'f.yaml:1: apiVersion is missing (expected "apiVersion" instead of "apiversion")'),
        (
            ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n"
            "  template:\n    metadata: {lables: {app: a}}\n    spec: {containers: [{name: c}]}\n"),
            ("f.yaml:7: spec.template.metadata.labels: the labels do not match spec.selector; "
            'line 7: unknown field "spec.template.metadata.lables" (expected "labels"?)'),
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_misspelt_field_beside_it(text: str, error: str) -> None:
    with pytest.raises(InputError) as caught:
        load_text(text, "f.yaml")
    assert str(caught.value) == error


SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{selector: {{a: b}}, ports: [{{port: 80}}], {}}}\n"
)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("ipFamilies: [IPv4]", ""),
        ("ipFamilyPolicy: PreferDualStack", ""),
        ("ipFamilies: [IPv4], ipFamilyPolicy: PreferDualStack", ""),
        ("ipFamilies: [IPv6], ipFamilyPolicy: SingleStack", 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ("ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack", 'spec.ipFamilies[1]: Invalid value: "IPv6": not configured on this cluster'),
        ("ipFamilyPolicy: RequireDualStack", 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'),
        ("ipFamilies: [IPv4, IPv4]", 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
        ("ipFamilies: [IPv4, IPv6], ipFamilyPolicy: SingleStack", "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"),
        ("type: ExternalName, externalName: a.example, ipFamilies: [IPv4]", "spec.ipFamilies: Forbidden: may not be set for 'ExternalName' services"),
        ("ipFamilies: [IPv5]", 'spec.ipFamilies[0]: "IPv5" is not allowed here (expected IPv4 or IPv6)'),
        ("clusterIP: None, ipFamilies: [IPv6]", 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
    ],
)  # fmt: skip
def test_ip_families_of_a_cluster_of_ipv4(spec: str, error: str) -> None:
    text = SERVICE.format(spec)
    if not error:
        assert load_text(text).objects.findings == []
        return
    with pytest.raises(InputError) as caught:
        load_text(text)
    assert str(caught.value).partition(": ")[2] == error


def test_a_headless_service_without_selector_may_have_any_family() -> None:
    spec = "clusterIP: None, ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6]"
    assert load_text(SERVICE.replace("selector: {{a: b}}, ", "").format(spec)).objects.findings == []


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_public_manifests_have_no_unknown_field(path: Path) -> None:
    assert load([path]).objects.findings == []


def test_the_gallery_has_nothing_that_is_not_modelled() -> None:
    found = {name: load_scenario(path).loaded.objects.findings for name, path in stories().items()}
    assert [name for name, findings in found.items() if findings] == []


def test_objects_made_in_code_are_looked_at_too() -> None:
    (service,) = load_text(SERVICE.format("trafficDistribution: PreferSameNode")).objects
    assert [each.what for each in remarks_of(service)] == [
        'spec.trafficDistribution "PreferSameNode" is not modelled: every endpoint is as likely, near or far'
    ]


def test_annotations_are_those_that_the_kubelet_reads() -> None:
    own = {wanted.APP_ANNOTATION, kubelet.READY_ANNOTATION, kubelet.TERMINATE_ANNOTATION, SCRIPT_ANNOTATION}
    assert set(ANNOTATIONS) == {*own, lifetime.RUNS_ANNOTATION, lifetime.EXIT_ANNOTATION}


def test_sysctls_that_a_pod_may_ask_for_in_silence_have_no_effect() -> None:
    assert all(isinstance(row_of(name).treatment, WithoutEffect) for name in IDLE_SYSCTLS)


def test_kinds_are_declared_once() -> None:
    assert not set(OTHER_KINDS) & {kind for _, kind in KINDS}
    assert emu.load([PUBLIC[0]]).objects
