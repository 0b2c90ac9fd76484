"""YAML and JSON to plain values: what is read, what is refused, and on which line things stand."""

from __future__ import annotations

import json
import pickle

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.documents import documents, path_text

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("{a: 0x10, b: 010, c: 1e3, d: 1.5}", {"a": 16, "b": 8, "c": "1e3", "d": 1.5}),
        ("[yes, off, ~, 'yes']", [True, False, None, "yes"]),
        ("a: 22:22", {"a": "22:22"}),
        ("a: 2024-01-02", {"a": "2024-01-02"}),
        ("{80: a, true: b, null: c}", {"80": "a", "true": "b", "null": "c"}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        (
            "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}",
            {"a": {"p": 1}, "b": {"p": 2, "q": 2}, "c": {"p": 1, "q": 2}},
        ),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert [d.value for d in documents(text)] == [value]


def test_empty_documents_are_left_out_and_lines_count_from_one() -> None:
    found = list(documents("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n"))
    assert [(d.value, d.line) for d in found] == [({"a": 1}, 4), ({"b": 2}, 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [", "f.yaml:3: broken YAML: did not find expected node content while parsing a flow node"),
        ("a: 1\nb: 2\na: 3", 'f.yaml:3: the key "a" is there twice'),
        ("a: *absent", "f.yaml:1: broken YAML: alias of an anchor that is not there"),
        ("\na: &a [*a]", "f.yaml:2: an alias refers to what it is part of"),
        ("a: !!python/object:os.system {}", "f.yaml:1: unknown tag !!python/object:os.system"),
        ("a: !int {}", "f.yaml:1: unknown tag !int"),
        ("a: !!int hello", 'f.yaml:1: "hello" is not of type int'),
        ("? [a]\n: b", "f.yaml:1: a list or mapping cannot be a key"),
        ("a: {<<: 1}", "f.yaml:1: << can only merge a mapping, or a list of them"),
        ("a: \x07", "f.yaml: broken YAML: character #x07 is not allowed"),
        (BOMB, "f.yaml:1: its aliases expand to 10^30 values (expected at most 100,000)"),
        ("[" * 101 + "]" * 101, "f.yaml:1: nested too deeply (expected at most 100 levels)"),
        ("a:\n " + "[" * 200_000, "f.yaml:2: nested too deeply (expected at most 100 levels)"),
        ("- " * 100_000, "f.yaml:1: nested too deeply (expected at most 100 levels)"),
        ("\n".join(" " * i + "a:" for i in range(1200)), "f.yaml:101: nested too deeply (expected at most 100 levels)"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(documents(text, "f.yaml"))
    assert str(caught.value) == message


def test_many_brackets_side_by_side_are_not_deep() -> None:
    [found] = documents("[" + "[], " * 5000 + "]")
    assert len(found.value) == 5000


def test_line_of() -> None:
    [found] = documents("a: 1\nb:\n- c: 2\n- <<: &x\n    d: 3\n  e: 4\n", "f.yaml")
    lines = {(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 0, "c"): 3, ("b", 1, "d"): 5, ("b", 1, "e"): 6}
    assert {path: found.line_of(path) for path in lines} == lines
    assert found.line_of(("b", 0, "missing", "deeper")) == 3
    assert found.line_of(("b", 9)) == 2
    assert str(found.error("wrong", ("b", 1, "e"), expected="5")) == "f.yaml:6: b[1].e: wrong (expected 5)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n"a": 2}', 'f.json:1: the key "a" is there twice'),
        ('{"a": 1,\n"b"}', "f.json:2: broken JSON: Expecting ':' delimiter"),
        ("[" * 100_000, "f.json:1: nested too deeply (expected at most 100 levels)"),
        ("[" * 101 + "]" * 101, "f.json:1: nested too deeply (expected at most 100 levels)"),
    ],
)
def test_json_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(documents(text, "f.json"))
    assert str(caught.value) == message


def test_json_documents_follow_one_another() -> None:
    found = list(documents('{"a": 1}\n{"b":\n [1,\n 2]}\n', "f.json"))
    assert [(d.value, d.line) for d in found] == [({"a": 1}, 1), ({"b": [1, 2]}, 2)]
    assert found[1].line_of(("b", 1)) == 4


def test_path_text() -> None:
    assert path_text(("spec", "ports", 0, "port")) == "spec.ports[0].port"
    assert path_text(("metadata", "labels", "kubernetes.io/name")) == 'metadata.labels["kubernetes.io/name"]'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1), JSON, min_size=1))
def test_what_was_written_is_read(value: dict[str, object]) -> None:
    assert [d.value for d in documents(yaml.safe_dump(value, allow_unicode=True))] == [value]
    assert [d.value for d in documents(json.dumps(value), "f.json")] == [value]


@pytest.mark.parametrize("file", ["x.yaml", "x.json"])
def test_another_process_knows_the_lines_too(file: str) -> None:
    made = next(documents('{"a": 1,\n"b": [{"c": 2},\n{"c": 3}]}\n', file))
    sent = pickle.loads(pickle.dumps(made))
    assert sent.value == made.value and (sent.file, sent.line) == (file, 1)
    assert [each.line_of(("b", 1, "c")) for each in (made, sent, sent.with_value({}), sent.without_value())] == [3] * 4
    assert (
        sent.line_of(("b", 1, "d")) == made.line_of(("b", 1, "d")) == 3
        and sent.with_value({"z": 1}).line_of(("z",)) == 1
    )
