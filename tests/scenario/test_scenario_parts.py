"""The parts of a scenario file by themselves: durations, shares, endpoints, keys, and the schema of it all."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.scenario.endpoints import Endpoint, endpoint
from emu.scenario.kinds import ScenarioPart
from emu.scenario.objects import object_key
from emu.scenario.quantity import duration_ns, share
from emu.scenario.schema import schema
from emu.scenario.script import Scenario, load_text
from emu.scenario.steps import in_order

SECOND = 1_000_000_000
HEAD = "apiVersion: emu/v1\nkind: Scenario\n"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("5s", 5 * SECOND),
        ("200ms", SECOND // 5),
        ("1m30s", 90 * SECOND),
        ("1.5s", 1_500_000_000),
        ("7us", 7_000),
        ("3ns", 3),
        ("2h", 7200 * SECOND),
        (2, 2 * SECOND),
        (0.25, SECOND // 4),
    ],
)
def test_durations(text: str | float, ns: int) -> None:
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "5s5", "five", -1])
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(InputError, match="is not a duration"):
        duration_ns(text)


@given(st.integers(0, 10**9))
def test_durations_in_ns_are_exact(ns: int) -> None:
    assert duration_ns(f"{ns}ns") == ns


@pytest.mark.parametrize(("text", "value"), [("10%", 0.1), ("0%", 0.0), ("100%", 1.0), (0.5, 0.5), (1, 1.0)])
def test_shares(text: str | float, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["10", "101%", 1.5, -0.1, "half"])
def test_what_is_no_share(text: str | float) -> None:
    with pytest.raises(InputError, match="is not a share"):
        share(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("default/web", Endpoint("pod", "web", "default")),
        ("pod/web", Endpoint("pod", "web", "default")),
        ("shop/web-*:8080", Endpoint("pod", "web-*", "shop", "8080")),
        ("svc/web:http", Endpoint("svc", "web", "default", "http")),
        ("svc/dns.kube-system:53", Endpoint("svc", "dns", "kube-system", "53")),
        ("svc/*:*", Endpoint("svc", "*", "default", "*")),
        ("node/node-1", Endpoint("node", "node-1")),
        ("external", Endpoint("external", "")),
        ("localhost:80", Endpoint("address", "127.0.0.1", "", "80")),
        ("10.96.0.10:53", Endpoint("address", "10.96.0.10", "", "53")),
    ],
)
def test_endpoints(text: str, found: Endpoint) -> None:
    assert endpoint(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "web", "Default/Web", "a/b/c/d", "10.0.0.300", "svc/", "default/web:0", "default/web:99999", "node/a:http"],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(InputError):
        endpoint(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pod/web-1", ("pod", "default", "web-1")),
        ("deploy/web", ("deployment", "default", "web")),
        ("svc/shop/web", ("service", "shop", "web")),
        ("node/node-1", ("node", "", "node-1")),
    ],
)
def test_names_of_objects(text: str, key: tuple[str, str, str]) -> None:
    assert object_key(text) == key


def test_the_schema_has_every_action_and_agrees_with_what_is_read() -> None:
    described = schema()
    assert json.loads(json.dumps(described)) == described
    step = described["$defs"]["Step"]
    assert [each["required"] for each in step["oneOf"]] == [[action] for action in in_order()]
    assert set(in_order()) < set(step["properties"])
    for name, part in described["$defs"].items():
        assert part["additionalProperties"] is False, name
    assert set(described["$defs"]["ScenarioPart"]["properties"]) == set(ScenarioPart.__struct_encode_fields__)


def test_what_stands_where() -> None:
    text = HEAD + "steps:\n- wait: 1s\n- apply:\n    apiVersion: v1\n    kind: Pod\n    metadata: {name: x}\n"
    text += "    spec: {containers: [{name: c}]}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    scenario = load_text(text, "here.yaml")
    assert scenario.name == "here"
    assert [str(each.key) for each in scenario.objects] == ["namespace/shop"]
    assert [str(each.key) for each in scenario.applied[1]] == ["pod/x"]
    assert str(scenario.error(InputError("wrong"), 1)) == "here.yaml:5: steps[1]: wrong"


def test_a_second_scenario_in_one_file_is_refused() -> None:
    with pytest.raises(InputError, match="a second scenario in one file"):
        Scenario.parse(HEAD + "---\n" + HEAD)


def test_what_a_step_applies_is_checked_in_its_place() -> None:
    with pytest.raises(InputError) as wrong:
        Scenario.parse(
            HEAD + "steps:\n- apply: {apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: 3}}\n"
        )
    assert str(wrong.value) == "scenario.yaml:4: steps[0].apply.spec.containers: 3 is not a list"


def test_defaults_are_left_out_when_written_back() -> None:
    scenario = Scenario.parse(HEAD + "cluster: {nodes: 3}\n")
    assert msgspec.to_builtins(scenario.spec)["cluster"] == {"nodes": 3}
