"""Every key of a scenario, and every option of a cluster in code, is read somewhere: none is accepted in silence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

import emu
from emu.kube.dns.zone import DnsConfig
from emu.kube.networks.network import network_options
from emu.kube.plan import ClusterConfig, NodeConfig
from emu.kube.proxy.config import ProxyConfig
from emu.kube.timing import Timing
from emu.scenario import kinds
from emu.scenario.kube_proxy import KEYS
from emu.scenario.steps import actions


@cache
def attributes_read() -> set[str]:
    """Attributes, and strings that name one (`getattr(link, key)`)."""
    found = set()
    for path in Path(emu.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.Tuple):
                found |= {
                    each.value for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found


def parts() -> Iterator[type[msgspec.Struct]]:
    """Every struct that a scenario file may hold."""
    todo: list[inspect.Type] = [inspect.type_info(kinds.ScenarioPart)]
    todo += [inspect.type_info(action.shape) for action in actions.values()]
    todo += [inspect.type_info(options) for options in network_options.values()]
    seen: set[type] = set()
    while todo:
        at = todo.pop()
        if isinstance(at, inspect.UnionType):
            todo += at.types
        elif isinstance(at, inspect.VarTupleType):
            todo.append(at.item_type)
        elif isinstance(at, inspect.StructType) and at.cls not in seen:
            seen.add(at.cls)
            todo += [field.type for field in at.fields]
            yield at.cls


@pytest.mark.parametrize("part", [*parts()], ids=lambda part: part.__name__)
def test_a_key_of_a_scenario_is_read(part: type[msgspec.Struct]) -> None:
    declared = {
        *(KEYS if part is kinds.KubeProxyPart else ()),
        "apiVersion",
        "kind",
        "mode",
    }  # the last three have one value
    pairs = zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True)
    assert [key for name, key in pairs if name not in attributes_read() and key not in declared] == []


@pytest.mark.parametrize("config", [ClusterConfig, NodeConfig, ProxyConfig, DnsConfig, Timing])
def test_an_option_of_a_cluster_is_read(config: type) -> None:
    assert [name for name in config.__annotations__ if name not in attributes_read()] == []
