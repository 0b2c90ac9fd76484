"""Manifests to objects, and every mistake with file, line and path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.core import Pod, Service
from emu.kube.api.documents import documents
from emu.kube.api.loader import convert, load, load_text

MANIFESTS = Path(__file__).parents[2] / "data" / "manifests"
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports:
  - port: 80
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: web
    ports:
    - containerPort: 80
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web}]
"""


def test_microservices_demo() -> None:
    loaded = load([MANIFESTS / "microservices-demo.yaml"])
    assert Counter(o.kind for o in loaded.objects) == {"Deployment": 12, "Service": 12}
    assert len(loaded.ignored) == 11
    assert loaded.ignored[0] == "serviceaccount/frontend"
    assert {o.namespace for o in loaded.objects} == {"default"}
    frontend = next(o for o in loaded.objects if isinstance(o, Service) and o.name == "frontend")
    [port] = frontend.spec.ports
    assert (port.name, port.port, port.target_port, port.protocol) == ("http", 80, 8080, "TCP")
    place = loaded.places[frontend.key]
    assert (Path(str(place.file)).name, place.line) == ("microservices-demo.yaml", 114)


def test_guestbook() -> None:
    loaded = load([MANIFESTS / "guestbook.yaml"])
    assert [str(o.key) for o in loaded.objects] == [
        "service/redis-master",
        "deployment/redis-master",
        "service/redis-replica",
        "deployment/redis-replica",
        "service/frontend",
        "deployment/frontend",
    ]
    assert loaded.ignored == []


def test_a_folder_is_read_by_name_and_not_below(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(SERVICE)
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}')
    (tmp_path / "notes.txt").write_text("not: [a manifest")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.yaml").write_text("not: [a manifest")
    assert [str(o.key) for o in load([tmp_path]).objects] == ["namespace/shop", "service/web"]


def test_the_same_object_in_two_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("# a comment\n" + SERVICE)
    with pytest.raises(InputError) as caught:
        load([tmp_path])
    assert str(caught.value) == f"{tmp_path}/b.yaml:2: service/web is declared twice, first at {tmp_path}/a.yaml:2"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: No such file or directory"):
        load([tmp_path / "none.yaml"])
    with pytest.raises(InputError, match="no manifests in this folder"):
        load([tmp_path])
    (tmp_path / "a.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputError, match="not UTF-8 text"):
        load([tmp_path])


def test_lists() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + SERVICE.replace("\n", "\n  ") + "\n"
    text += "---\napiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: c}]}\n"
    loaded = load_text(text, "f.yaml")
    assert [str(o.key) for o in loaded.objects] == ["service/web", "pod/a"]
    assert [p.line for p in loaded.places.values()] == [4, 15]
    with pytest.raises(InputError) as caught:
        load_text(text.replace("port: 80", "port: eighty"), "f.yaml")
    assert str(caught.value) == (
        'f.yaml:9: items[0].spec.ports[0].port: "eighty" is not an integer (expected a port number 1 to 65535)'
    )


def test_defaults_nulls_and_unknown_fields() -> None:
    [service] = load_text(SERVICE + "  selector:\n  clusterIP: null\n  brandNew: {a: 1}\nstatus: null\n").objects
    assert isinstance(service, Service)
    spec = service.spec
    assert (spec.type, spec.cluster_ip, spec.selector, spec.ports[0].protocol) == ("ClusterIP", "", {}, "TCP")
    assert spec.session_affinity_config.client_ip.timeout_seconds == 10800
    assert (spec.internal_traffic_policy, spec.external_traffic_policy) == ("Cluster", "Cluster")


def test_namespaces() -> None:
    text = SERVICE + "---\n" + POD.replace("name: web\nspec", "name: web\n  namespace: shop\nspec")
    text += "---\n{apiVersion: v1, kind: Node, metadata: {name: n1, namespace: shop}}\n"
    text += "---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'system:a'}}\n"
    loaded = load_text(text, namespace="test")
    assert [str(o.key) for o in loaded.objects] == ["service/test/web", "pod/shop/web", "node/n1"]
    assert loaded.ignored == ["clusterrole/system:a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "f.yaml:1: a list is not an object (expected a mapping with apiVersion and kind)"),
        ("hello", 'f.yaml:1: "hello" is not an object (expected a mapping with apiVersion and kind)'),
        ("kind: Pod", "f.yaml:1: apiVersion is missing (expected apiVersion and kind in every manifest)"),
        ("apiVersion: v1", "f.yaml:1: kind is missing (expected apiVersion and kind in every manifest)"),
        ("kind: Pod\napiVersion: 1", "f.yaml:2: apiVersion: 1 is not a string (expected apiVersion and kind in every manifest)"),
        (DEPLOYMENT.replace("apps/v1", "extensions/v1"), 'f.yaml:1: apiVersion: there is no Deployment in "extensions/v1" (expected apps/v1)'),
        (SERVICE.replace("{name: web}", "{}"), "f.yaml:3: metadata: metadata.name is missing"),
        (SERVICE.replace("metadata: {name: web}\n", ""), "f.yaml:1: metadata is missing"),
        (SERVICE.replace("web", "Web_1"), "f.yaml:3: metadata.name: \"Web_1\" is not a name (expected a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit, at most 63)"),
        (SERVICE.replace("web", "1web"), "f.yaml:3: metadata.name: \"1web\" is not a name (expected a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit, at most 63)"),
        (SERVICE.replace("web", "w" * 64), "f.yaml:3: metadata.name: \"" + "w" * 64 + "\" is not a name (expected a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit, at most 63)"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}", "f.yaml:3: metadata.name: \"a/b\" is not a name (expected a-z, 0-9, '-' and '.', beginning and ending with a letter or digit, at most 253)"),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: \"a\\nb\"}", "f.yaml:3: metadata.name: \"a\nb\" is not a name (expected a-z, 0-9, '-' and '.', beginning and ending with a letter or digit, at most 253)"),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}", "f.yaml:3: metadata.name: \"a.b\" is not a name (expected a-z, 0-9 and '-', beginning and ending with a letter or digit, at most 63)"),
        (SERVICE.replace("web", "17"), "f.yaml:3: metadata.name: 17 is not a string (expected quotes around it)"),
        (SERVICE.replace("80", '"http"'), 'f.yaml:6: spec.ports[0].port: "http" is not an integer (expected a port number 1 to 65535)'),
        (SERVICE.replace("80", "65536"), "f.yaml:6: spec.ports[0].port: 65536 is out of range (expected a port number 1 to 65535)"),
        (SERVICE.replace("80", "0"), "f.yaml:6: spec.ports[0].port: 0 is out of range (expected a port number 1 to 65535)"),
        (SERVICE.replace("port: 80", "name: x"), "f.yaml:6: spec.ports[0]: port is missing"),
        (SERVICE + "    targetPort: 1.5\n", "f.yaml:7: spec.ports[0].targetPort: 1.5 is not an integer or a string (expected a port number 1 to 65535, or the name of a port)"),
        (SERVICE + "    targetPort: '8080'\n", "f.yaml:7: spec.ports[0].targetPort: \"8080\" is not the name of a port (expected a number without quotes, or up to 15 of a-z, 0-9 and '-', with at least one letter)"),
        (SERVICE + "    protocol: tcp\n", 'f.yaml:7: spec.ports[0].protocol: "tcp" is not allowed here (expected SCTP, TCP or UDP)'),
        (SERVICE + "  type: Cluster\n", 'f.yaml:7: spec.type: "Cluster" is not allowed here (expected ClusterIP, ExternalName, LoadBalancer or NodePort)'),
        (SERVICE + "  selector: [app]\n", "f.yaml:7: spec.selector: a list is not a mapping"),
        (SERVICE + "  selector: {a: b,\n   tier: 1}\n", "f.yaml:8: spec.selector.tier: 1 is not a string (expected quotes around it)"),
        (SERVICE + "  clusterIP: 10.96.0\n", 'f.yaml:7: spec.clusterIP: "10.96.0" is not an IP address'),
        (SERVICE + "  - port: 81\n", "f.yaml:6: spec.ports[0]: a port of a Service with several ports needs a name"),
        (SERVICE + "    name: a\n  - {port: 80, name: b}\n", "f.yaml:8: spec.ports[1].port: 80/TCP is there twice"),
        (SERVICE + "    name: a\n  - {port: 81, name: a}\n", 'f.yaml:8: spec.ports[1].name: two ports are called "a"'),
        (SERVICE.replace("  ports:\n  - port: 80\n", "  type: ClusterIP\n"), "f.yaml:4: spec.ports: a Service needs at least one port"),
        (POD.replace("80", "99999"), "f.yaml:9: spec.containers[0].ports[0].containerPort: 99999 is out of range (expected a port number 1 to 65535)"),
        (POD.partition("  containers")[0] + "  nodeName: n1\n", "f.yaml:5: spec.containers: a pod needs at least one container"),
        (POD + "  - name: web\n", 'f.yaml:10: spec.containers[1].name: two containers are called "web"'),
        (POD + "  hostNetwork: maybe\n", 'f.yaml:10: spec.hostNetwork: "maybe" is not a boolean'),
        (DEPLOYMENT.replace("{app: web}}\n    spec", "{app: other}}\n    spec"), "f.yaml:7: spec.template.metadata.labels: the labels do not match spec.selector"),
        (DEPLOYMENT.replace("{matchLabels: {app: web}}", "{}"), "f.yaml:5: spec.selector: an empty selector would select every pod (expected matchLabels)"),
        (DEPLOYMENT + "  replicas: -1\n", "f.yaml:10: spec.replicas: -1 is out of range (expected >= 0)"),
        (DEPLOYMENT + "  strategy: {rollingUpdate: {maxSurge: '5'}}\n", 'f.yaml:10: spec.strategy.rollingUpdate.maxSurge: "5" is neither a number nor a percentage (expected such as 1 or "25%")'),
        (DEPLOYMENT + "  strategy: {rollingUpdate: {maxSurge: '²%'}}\n", 'f.yaml:10: spec.strategy.rollingUpdate.maxSurge: "²%" is neither a number nor a percentage (expected such as 1 or "25%")'),
        (SERVICE + "---\n" + SERVICE, "f.yaml:8: service/web is declared twice, first at line 1"),
    ],
)  # fmt: skip
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_text(text, "f.yaml")
    assert str(caught.value) == message
    assert caught.value.exit_status == 2


def test_an_object_inside_another_document() -> None:
    text = "steps:\n- apply:\n    apiVersion: v1\n    kind: Service\n    metadata: {name: web}\n    spec:\n      ports: [{port: x}]\n"
    [document] = documents(text, "scenario.yaml")
    with pytest.raises(
        InputError, match=r'^scenario.yaml:7: steps\[0\].apply.spec.ports\[0\].port: "x" is not an integer'
    ):
        convert(document.value["steps"][0]["apply"], document=document, at=("steps", 0, "apply"))


def test_anchors_and_merge_keys_across_a_manifest() -> None:
    text = POD + "  - &side\n    name: side\n    ports: [{containerPort: 81}]\n  - <<: *side\n    name: other\n"
    [pod] = load_text(text).objects
    assert isinstance(pod, Pod)
    assert [p.container_port for p in pod.spec.ports] == [80, 81, 81]


def refusal(call: Callable[[], object]) -> InputError | None:
    try:
        call()
    except InputError as e:
        return e
    return None


@given(
    st.text(st.sampled_from(SERVICE + DEPLOYMENT + "[]{}&*!|>'\"%@`~\t#?\x00\u2028\ufeff"), max_size=60),
    st.integers(0, len(DEPLOYMENT)),
)
def test_any_text_is_read_or_refused(text: str, at: int) -> None:
    for mutated in (text, DEPLOYMENT[:at] + text + DEPLOYMENT[at:], DEPLOYMENT[:at] + DEPLOYMENT[at + len(text) :]):
        for name in ("f.yaml", "f.json"):
            error = refusal(partial(load_text, mutated, name))
            assert error is None or error.file == name


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 70000)
    | st.floats(allow_nan=False)
    | st.sampled_from(["web", "", "None", "80"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "port", "ports", "spec"]), inner, max_size=2)
    ),
    max_leaves=6,
)
PATHS = [
    ("metadata",), ("metadata", "name"), ("metadata", "labels"), ("spec",), ("spec", "selector"), ("spec", "replicas"),
    ("spec", "template"), ("spec", "template", "spec"), ("spec", "template", "spec", "containers"), ("spec", "ports"),
    ("spec", "clusterIP"), ("spec", "strategy"), ("kind",), ("apiVersion",), ("items",),
]  # fmt: skip


@given(
    st.sampled_from([SERVICE, POD, DEPLOYMENT]),
    st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=2),
)
def test_any_value_is_taken_or_refused_with_a_line(text: str, changes: list[tuple[tuple[str, ...], object]]) -> None:
    [document] = documents(text, "f.yaml")
    for path, value in changes:
        part = document.value
        for step in path[:-1]:
            part = part.setdefault(step, {}) if isinstance(part, dict) else {}
        if isinstance(part, dict):
            part[path[-1]] = value
    error = refusal(partial(convert, document.value, document=document))
    assert error is None or (error.line is not None and "`" not in error.what)
