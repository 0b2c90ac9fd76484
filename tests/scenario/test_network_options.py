"""A network's own options: one key of `cluster` by the network's name, typed by the network, in the schema, with errors in place."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kube.networks.network import NodeSettings, Options, load_network, network_options, networks
from emu.kube.plan import ClusterConfig
from emu.scenario.build import configured
from emu.scenario.schema import schema
from emu.scenario.script import load_text
from emu.wire.addr import Prefix

PODS, CIDR = Prefix.parse("10.244.0.0/16"), Prefix.parse("10.244.1.0/24")


class Inner(Options, frozen=True):
    depth: int = 1


class Toy(Options, frozen=True):
    """The options of a toy."""

    warm_target: int = 0
    inner: Inner = Inner()

    def check(self, pod_subnet: Prefix) -> None:
        if self.inner.depth > pod_subnet.length:
            raise InputError(
                f"{self.inner.depth} is too deep", path="inner.depth", expected=f"up to {pod_subnet.length}"
            )


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks with options, beside those that are there."""
    assert "toy-net" not in network_options
    for name in ("toy-net", "other-net"):
        monkeypatch.setitem(network_options._parts, name, Toy)
        monkeypatch.setitem(networks._parts, name, networks["bridge"])


def scenario(cluster: str) -> str:
    return f"apiVersion: emu/v1\nkind: Scenario\ncluster: {cluster}\n"


def config(cluster: str) -> ClusterConfig:
    return configured(load_text(scenario(cluster)))


def test_the_options_reach_the_configuration_and_the_network() -> None:
    found = config("{network: toy-net, toy-net: {warmTarget: 3, inner: {depth: 2}}}").network_options
    assert found == Toy(3, Inner(2))
    assert config("{network: toy-net}").network_options is None
    assert NodeSettings(CIDR, PODS, options=found).of(Toy) is found
    assert NodeSettings(CIDR, PODS).of(Toy) == Toy()
    assert load_network("toy-net", CIDR, PODS, options=found).config.name == "bridge"


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("{network: toy-net, toy-nte: {}}", 'cluster.toy-nte: unknown key "toy-nte" (expected "toy-net"?)'),
        ("{network: toy-net, toy-net: {warmTraget: 3}}", 'unknown key "warmTraget" (expected "warmTarget"?)'),
        ("{network: toy-net, toy-net: {inner: {deep: 3}}}", 'cluster.toy-net.inner.deep: unknown key "deep"'),
        ("{network: toy-net, toy-net: {warmTarget: x}}", 'cluster.toy-net.warmTarget: "x" is not a whole number'),
        ("{network: toy-net, toy-net: {inner: {depth: 17}}}", "cluster.toy-net.inner.depth: 17 is too deep (expected up to 16)"),
        ("{network: other-net, toy-net: {}}", 'cluster.toy-net: the network is "other-net" (expected options of "toy-net" beside'),
    ],
)  # fmt: skip
def test_wrong_options_are_errors_in_their_place(cluster: str, message: str) -> None:
    with pytest.raises(InputError) as wrong:
        load_text(scenario(cluster))
    assert message in str(wrong.value) and wrong.value.line == 3


def test_options_of_another_network_are_refused_in_code_too() -> None:
    for name in ("bridge", "/tmp/a.conflist"):
        with pytest.raises(InputError, match=f"Toy are no options of network '{name}'"):
            load_network(name, CIDR, PODS, options=Toy())


def test_the_schema_has_them() -> None:
    made = schema()["$defs"]
    assert made["ClusterPart"]["properties"]["toy-net"]["anyOf"] == [{"$ref": "#/$defs/Toy"}, {"type": "null"}]
    assert made["Toy"]["properties"]["warmTarget"]["type"] == "integer"
    assert made["Toy"]["additionalProperties"] is False
