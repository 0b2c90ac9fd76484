"""`--over KEY=VALUES`: which place of a scenario a key means, and which values it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.documents import Path, documents, path_text
from emu.sweep.axis import MOST, axes_of, axis_of, path_of, put

TEXT = """\
apiVersion: emu/v1
cluster:
  nodes:
  - {name: node-1, zone: a}
  - {name: node-1.b, zone: b}
  kubeProxy:
steps:
- name: the client asks
  tcp: {from: a, to: "b:80"}
- scale: {statefulset/web: 2}
- name: no.5
  link: {node: node-1, loss: 0.5}
"""
DOCUMENT = next(documents(TEXT, "shop.yaml"))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("seed", ("seed",)),
        ("cluster.network", ("cluster", "network")),
        ("cluster.kubeProxy.mode", ("cluster", "kubeProxy", "mode")),
        ("cluster.kubeProxy.iptables.masqueradeAll", ("cluster", "kubeProxy", "iptables", "masqueradeAll")),
        ('cluster.sysctls["net.ipv4.ip_forward"]', ("cluster", "sysctls", "net.ipv4.ip_forward")),
        (r'cluster.sysctls["a\"b"]', ("cluster", "sysctls", 'a"b')),
        ("cluster.nodes[1].zone", ("cluster", "nodes", 1, "zone")),
        ("cluster.nodes.node-1.zone", ("cluster", "nodes", 0, "zone")),
        ("cluster.nodes.node-1.b.zone", ("cluster", "nodes", 1, "zone")),
        ("steps[2].link.loss", ("steps", 2, "link", "loss")),
        ("steps.no.5.link.loss", ("steps", 2, "link", "loss")),
        ("steps.the client asks.tcp.to", ("steps", 0, "tcp", "to")),
        ("steps[1].scale.statefulset/web", ("steps", 1, "scale", "statefulset/web")),
        ("metadata.name", ("metadata", "name")),
    ],
)
def test_the_place_that_a_key_means(key: str, path: tuple[str | int, ...]) -> None:
    assert path_of(key, DOCUMENT) == path


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("steps[3].wait", "shop.yaml:7: steps: there is no steps[3] (expected [0] to [2])"),
        ("steps.the client ask.tcp.to", 'shop.yaml:7: steps: no entry is called "the client ask" (expected "the client asks"?)'),
        ("steps.xyz.tcp", 'shop.yaml:7: steps: no entry is called "xyz" (expected one of no.5, the client asks)'),
        ("cluster[0]", "shop.yaml:2: cluster: cluster is a mapping: [0] is no key (expected nodes, kubeProxy)"),
        ("steps[2].link.loss.more", "shop.yaml:12: steps[2].link.loss: steps[2].link.loss is 0.5, a single value: it has no more"),
        ("cluster..nodes", '"cluster..nodes" is no path (expected KEY.KEY, KEY[NUMBER], LIST.NAME or KEY["A.B"])'),
        ("steps[one].tcp", '"steps[one].tcp" is no path (expected KEY.KEY, KEY[NUMBER], LIST.NAME or KEY["A.B"])'),
    ],
)  # fmt: skip
def test_a_key_that_means_no_place(key: str, message: str) -> None:
    with pytest.raises(InputError) as wrong:
        path_of(key, DOCUMENT)
    assert str(wrong.value) == message


@pytest.mark.parametrize(
    ("entries", "expected"), [("[a]", "[0]"), ("[a, b]", "[0] to [1]"), ("[]", "a list with entries")]
)
def test_an_entry_that_is_not_there(entries: str, expected: str) -> None:
    (document,) = documents(f"steps: {entries}", "one.yaml")
    with pytest.raises(InputError) as wrong:
        path_of("steps[9]", document)
    assert str(wrong.value) == f"one.yaml:1: steps: there is no steps[9] (expected {expected})"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2", [2]),
        ("2,4,8", [2, 4, 8]),
        ("2, 4", [2, 4]),
        ("0..3", [0, 1, 2, 3]),
        ("-1..1", [-1, 0, 1]),
        ("7..7,9,11..12", [7, 9, 11, 12]),
        ("bridge,flannel", ["bridge", "flannel"]),
        ("0.01,0.05", [0.01, 0.05]),
        ("true,false,null", [True, False, None]),
        ("10.244.0.0/16", ["10.244.0.0/16"]),
        ("svc/web:80,10.96.0.1:80", ["svc/web:80", "10.96.0.1:80"]),
        ('"a,b",c', ["a,b", "c"]),
        ("'it''s',x", ["it's", "x"]),
        ('"0..3"', ["0..3"]),
        ('"2",2', ["2", 2]),
        ('""', [""]),
        ("a=b", ["a=b"]),
    ],
)
def test_the_values(text: str, values: list[Any]) -> None:
    if text == '"2",2':  # they would look the same in a table
        with pytest.raises(InputError, match="the value 2 is there twice"):
            axis_of(f"seed={text}", DOCUMENT)
        return
    found = [*axis_of(f"seed={text}", DOCUMENT).values]
    assert found == values and [*map(type, found)] == [*map(type, values)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed", '"seed" has no values (expected KEY=VALUE,VALUE or KEY=FIRST..LAST)'),
        ("=1", '"=1" has no values (expected KEY=VALUE,VALUE or KEY=FIRST..LAST)'),
        ("", '"" has no values (expected KEY=VALUE,VALUE or KEY=FIRST..LAST)'),
        ("seed=", 'seed: a value is empty (expected KEY=VALUE,VALUE or KEY=FIRST..LAST; "" is the empty text)'),
        ("seed=1,,2", 'seed: a value is empty (expected KEY=VALUE,VALUE or KEY=FIRST..LAST; "" is the empty text)'),
        ("seed=1,", 'seed: a value is empty (expected KEY=VALUE,VALUE or KEY=FIRST..LAST; "" is the empty text)'),
        ("seed=1,2,1", "seed: the value 1 is there twice (expected each value once)"),
        ("seed=9..1", "seed: 9..1 ends before it begins (expected 1..9)"),
        ("seed=0..100000", "seed: 0..100000 has 100,001 values (expected at most 100,000)"),
        ("seed={a: 1}", "seed: {a: 1} is no single value (expected a number, a text, true, false or null)"),
        ("seed=[1]", "seed: [1] is no single value (expected a number, a text, true, false or null)"),
        ("seed=*:80", 'seed: *:80: broken YAML: did not find expected alphabetic or numeric character while scanning an alias (expected "*:80" for a text)'),
        ("seed='a'b", """seed: 'a'b: broken YAML: did not find expected <document start> (expected "'a'b" for a text)"""),
    ],
)  # fmt: skip
def test_values_that_are_none(word: str, message: str) -> None:
    with pytest.raises(InputError) as wrong:
        axis_of(word, DOCUMENT)
    assert str(wrong.value) == message


def test_a_key_is_swept_over_once() -> None:
    with pytest.raises(InputError, match="is there twice"):
        axes_of(["cluster.nodes[0].zone=a", "cluster.nodes.node-1.zone=b"], DOCUMENT)


def test_there_are_not_too_many_runs() -> None:
    with pytest.raises(InputError, match="--over asks for 1,000,000 runs"):
        axes_of(["seed=0..999", "cluster.cpus=1..1000"], DOCUMENT)
    assert MOST == 100_000


def test_a_value_is_put_into_a_copy() -> None:
    before = str(DOCUMENT.value)
    changed = put(DOCUMENT.value, path_of("steps[2].link.loss", DOCUMENT), 0.1)
    assert changed["steps"][2]["link"] == {"node": "node-1", "loss": 0.1}
    changed = put(changed, path_of("cluster.kubeProxy.iptables.masqueradeAll", DOCUMENT), new=True)
    assert changed["cluster"]["kubeProxy"] == {"iptables": {"masqueradeAll": True}}
    assert changed["steps"][0] is DOCUMENT.value["steps"][0] and str(DOCUMENT.value) == before


names = st.text("ab.-_/ =1[]", max_size=5)
values = st.recursive(
    st.integers() | st.booleans(), lambda parts: st.lists(parts, min_size=1, max_size=3) | st.dictionaries(names, parts, min_size=1, max_size=3), max_leaves=8
)  # fmt: skip


def paths(value: Any, at: Path = ()) -> list[Path]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in parts for path in ((*at, key), *paths(part, (*at, key)))]


@given(st.dictionaries(names, values, min_size=1, max_size=3))
def test_every_path_of_a_message_is_a_key(value: dict[str, Any]) -> None:
    document = next(documents(json.dumps(value), "x.json"))
    for path in paths(value):
        axis = axis_of(f"{path_text(path)}=7", document)
        assert axis.path == path
        before: Any = value
        after = put(value, axis.path, 7)
        changed: Any = after
        for step in path:
            before, changed = before[step], changed[step]
        assert changed == 7 and put(after, path, before) == value
