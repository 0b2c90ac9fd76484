"""Every key of kube-proxy's configuration is used, has no effect, or is reported."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import emu
from emu.modelled import NotModelled
from emu.scenario.build import build
from emu.scenario.kinds import DetectLocal, KubeProxyPart, ProxyIptables
from emu.scenario.kube_proxy import KEYS
from emu.scenario.script import load_text

SCENARIO = "apiVersion: emu/v1\nkind: Scenario\ncluster:\n  nodes: 1\n  kubeProxy:\n    {}\n"


def warnings(line: str) -> list[str]:
    return build(load_text(SCENARIO.format(line), "s.yaml")).warnings


def test_a_key_is_declared_or_read() -> None:
    tree = ast.parse((Path(emu.__file__).parent / "scenario" / "build.py").read_text(encoding="utf-8"))
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for part in (KubeProxyPart, ProxyIptables, DetectLocal):
        for attribute, key in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
            declared = part is KubeProxyPart and key in KEYS
            assert declared is not (attribute in read or key == "mode"), key  # mode has one value
    assert set(KEYS) <= set(KubeProxyPart.__struct_encode_fields__)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_not_modelled_is_reported(key: str) -> None:
    row = KEYS[key]
    found = warnings(f"{key}: something")
    if isinstance(row, NotModelled):
        assert found == [f"s.yaml:6: cluster.kubeProxy: {key} something is not modelled: {row.what}"]
    else:
        assert found == []


@pytest.mark.parametrize(
    "line",
    ["bindAddress: 0.0.0.0", 'healthzBindAddress: ""', "conntrack: {maxPerCore: null, tcpEstablishedTimeout: null}", "featureGates: {}"],
)  # fmt: skip
def test_what_configurations_are_printed_with_is_no_report(line: str) -> None:
    assert warnings(line) == []


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(emu.InputError, match=r'unknown key "iptable" .expected "iptables"?'):
        warnings("iptable: {}")


def test_another_mode_is_an_error() -> None:
    with pytest.raises(emu.InputError, match='"nftables" is not allowed here'):
        warnings("mode: nftables")


def test_a_sysctl_has_the_line_of_its_key() -> None:
    text = "apiVersion: emu/v1\nkind: Scenario\ncluster:\n  nodes: 2\n  sysctls:\n    net.ipv4.tcp_sack: 0\n    net.ipv4.tcp_ecn: 1\n"
    made = build(load_text(text, "s.yaml"))
    what = "net.ipv4.tcp_ecn = 1 is not modelled: ECN (the flags of SYNs, the ECN bits of IP)"
    assert made.warnings == [f"s.yaml:7: cluster.sysctls: {what}"]


def test_an_applied_manifest_is_looked_at_when_it_is_read() -> None:
    manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "lables": {}}}
    text = f"apiVersion: emu/v1\nkind: Scenario\nsteps:\n- apply: {manifest}\n"
    run = emu.run(load_text(text, "s.yaml"))
    assert run.notes == ['s.yaml:4: namespace/a: unknown field "metadata.lables" (expected "labels"?)']
