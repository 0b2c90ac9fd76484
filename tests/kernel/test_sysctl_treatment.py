"""How each sysctl is treated, held against the code that reads it: no row is silent."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import emu
from emu.kernel.sysctl import Sysctls, fate_of, report
from emu.kernel.sysctl_table import TABLE, Sysctl, Value
from emu.modelled import NotModelled, Used, WithoutEffect

EMU = Path(emu.__file__).parent
# what observes or drives a cluster from outside is no reader
OUTSIDE = ("twin", "testing", "report", "cli", "scenario", "kube/api", "kube/dumped")
CONNTRACK = "kernel/netfilter/conntrack"


def files() -> Iterator[tuple[str, ast.Module]]:
    for path in EMU.rglob("*.py"):
        name = path.relative_to(EMU).with_suffix("").as_posix()
        if not name.startswith(OUTSIDE) and name != "kernel/sysctl_table":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def text_of(node: ast.expr) -> str:
    """A string or f-string as a pattern, with `.+` for what an f-string fills in; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else ".+" for part in node.values)
    return ""


def written(tree: ast.Module) -> set[int]:
    """The strings that name what is set: keys of literals, of `sysctl[...] = value`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found.add(id(node.slice))
        elif isinstance(node, ast.Dict):
            found |= {id(key) for key in node.keys}
    return found


def compared(tree: ast.Module) -> set[int]:
    """The strings that a name is only compared with, and keys of tables that are looked up by one."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            found |= {id(each) for each in (node.left, *node.comparators)}
        elif isinstance(node, ast.Dict):
            found |= {id(value) for value in node.values}
    return found


def patterns(name: str, tree: ast.Module) -> Iterator[str]:
    """What a module reads, as patterns of the table's names."""
    skip = written(tree) | compared(tree)
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    words = "|".join(sorted(each for each in strings if re.fullmatch(r"\w+", each)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in skip:
            text = text_of(node)
            if text.startswith(r"net\.") and not text.endswith((".+", "_", r"\.")):
                yield text.replace(".+", r"\*")
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            tree_of = {"conf": "conf", "neigh": "neigh", "neigh_ns": "neigh"}.get(called)
            if tree_of is not None and len(node.args) == 2 and text_of(node.args[1]):
                yield rf"net\.ipv4\.{tree_of}\.\*\.{text_of(node.args[1])}"
            elif called == "get" and name == CONNTRACK and len(node.args) == 1:
                yield r"net\.netfilter\.nf_conntrack_" + text_of(node.args[0]).replace(".+", f"({words})")


@cache
def readers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {row.name: set() for row in TABLE}
    for name, tree in files():
        for pattern in set(patterns(name, tree)):
            for row in TABLE:
                if re.fullmatch(pattern, row.name):
                    found[row.name].add(name)
    return found


def other(row: Sysctl) -> Value | None:
    """A value that is not the default; None where there is none."""
    if isinstance(row.default, tuple):
        return tuple(number + 1 for number in row.default)
    if isinstance(row.default, str):
        return {"ports": "30000-30100", "names": "cubic", "name": "fq"}[row.unit]
    low, high = row.limits
    return row.default + 1 if row.default < high else max(low, row.default - 1)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_declared_readers_are_those_that_read_it(row: Sysctl) -> None:
    declared = row.treatment.readers if isinstance(row.treatment, Used) else ()
    assert set(declared) == readers()[row.name]
    assert declared or not isinstance(row.treatment, Used)


def test_no_row_is_silent() -> None:
    """Away from its default a row is read, or reported, or its reason is in the table."""
    for row in TABLE:
        value = other(row)
        assert value is not None
        name = row.name.replace("*", "eth0")
        sysctls = Sysctls()
        sysctls.add_device("eth0")
        changed_names: list[str] = []
        sysctls.on_change(changed_names.append)
        if row.name == "net.ipv4.tcp_congestion_control":
            with pytest.raises(emu.InputError, match="expected reno"):
                sysctls[name] = value
            continue
        sysctls[name] = value
        assert name in changed_names
        found = {changed: what for changed, _, what in sysctls.not_modelled()}
        if isinstance(row.treatment, NotModelled):
            assert row.treatment.what and found[name] == row.treatment, row.name
            assert report(name, value).endswith(f"is not modelled: {row.treatment.what}")
            sysctls[name] = row.default
            assert not list(sysctls.not_modelled()) and not report(name, row.default)
        else:
            assert not found and not report(name, value)
            assert not isinstance(row.treatment, WithoutEffect) or row.treatment.why


def test_a_default_of_its_own() -> None:
    """`all` refuses source routes, while a device's own variable accepts them: both must accept."""
    sysctls = Sysctls()
    name = "net.ipv4.conf.{}.accept_source_route".format
    assert [sysctls[name(scope)] for scope in ("all", "default")] == [0, 1]
    sysctls.add_device("eth0")
    assert not sysctls.conf("eth0", "accept_source_route")
    sysctls[name("all")] = 1
    assert sysctls.conf("eth0", "accept_source_route")


@pytest.mark.parametrize(
    ("name", "kind", "outcome", "open_"),
    [
        ("net.ipv4.conf.all.proxy_arp_pvlan", "tcp", "delivered", True),
        ("net.ipv4.tcp_ecn", "tcp", "delivered", False),
        ("net.ipv4.tcp_abort_on_overflow", "tcp", "timeout", True),
        ("net.ipv4.tcp_abort_on_overflow", "tcp", "delivered", False),
        ("net.ipv4.tcp_abort_on_overflow", "udp", "timeout", False),
        ("net.ipv4.conf.eth0.bootp_relay", "send", "delivered", True),
        ("net.ipv4.conf.eth0.bootp_relay", "udp", "delivered", False),
    ],
)
def test_whose_fate(name: str, kind: str, outcome: str, open_: bool) -> None:
    fate = fate_of(name)
    assert (fate is not None and fate.concerns(kind, outcome)) is open_


def test_a_lab_has_warnings_too() -> None:
    lab = emu.Lab()
    lab.host("a", net__ipv4__tcp_sack=0)
    router = lab.router("b", net__ipv4__tcp_dsack=0)
    assert lab.warnings == ["b: net.ipv4.tcp_dsack = 0 is not modelled: duplicate SACK blocks"]
    router.sysctl["net.ipv4.tcp_dsack"] = 1
    assert lab.warnings == []
