"""`emu validate`: every file read as what it is, counted, and looked over. Must not know any kind of object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.errors import InputError
from emu.report import Report, columns

if TYPE_CHECKING:
    from emu.kube.api.loader import Loaded

PLACED = re.compile(r".+?:\d+: ")
RULES_SUFFIXES = (".rules", ".iptables", ".v4")


def validate_files(files: Sequence[Path]) -> tuple[Report, list[str]]:
    """A row a file, and the warnings. Raises InputError for the first file that is wrong."""
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    for path in files:
        row, found = _rules(path) if path.suffix in RULES_SUFFIXES else _yaml(path)
        rows.append({"file": str(path), **row, "warnings": found})
        warnings += found
    shown = [row | {"found": ", ".join(f"{n} {kind}" for kind, n in row["objects"].items())} for row in rows]
    text = columns(("FILE", "KIND", "OBJECTS", "WITHOUT EFFECT"), shown, ("file", "kind", "found", "ignored"))
    return Report(rows, text), warnings


def _rules(path: Path) -> tuple[dict[str, Any], list[str]]:
    from emu.kernel.dumped.rules import pasted_rules
    from emu.kernel.netfilter.dump import unknown
    from emu.kube.api.documents import read_text

    ruleset, notes = pasted_rules(read_text(path), str(path))
    count = {"tables": len(ruleset.tables), "rules": sum(1 for _ in ruleset.rules())}
    odd = [f"{path}: {text}" for text in notes]
    odd += [f"{path}:{each.rule.line}: {each.why}: what comes to this rule is undecided" for each in unknown(ruleset)]
    return {"kind": "iptables-save", "objects": count, "ignored": []}, odd


def _yaml(path: Path) -> tuple[dict[str, Any], list[str]]:
    from emu.kube import live
    from emu.kube.api.core import Node, Pod
    from emu.kube.api.loader import load_documents, read
    from emu.kube.plan import ClusterConfig, plan_nodes
    from emu.scenario.build import build
    from emu.scenario.lint import meant, waiting, warnings, without_nodes
    from emu.scenario.run import check_endpoints
    from emu.scenario.script import is_scenario, load_found
    from emu.wire.addr import Prefix

    found = list(read(path))
    if not found:
        raise InputError("is empty", file=str(path), expected="a scenario or manifests")
    if not is_scenario(found[0]) and any(live.shows(each.value) for each in found):
        loaded = load_documents(found, live=True)
        shown = live.read(loaded)
        odd = [str(each) for each in (*shown.objects.findings, *shown.config.findings)]
        return {"kind": "export", "objects": _count(loaded), "ignored": loaded.ignored}, odd
    if not is_scenario(found[0]):
        loaded = load_documents(found)
        settings = ClusterConfig()
        declared = [each for each in loaded.objects if isinstance(each, Node)]
        try:
            nodes = plan_nodes(settings, declared, Prefix.parse(settings.pod_subnet))
        except InputError as error:
            raise error.at(file=str(path)) from None
        odd = [*warnings(loaded), *without_nodes(loaded, nodes, pods=True)]
        return {"kind": "manifests", "objects": _count(loaded), "ignored": loaded.ignored}, odd
    scenario = load_found(path, iter(found))
    cluster = build(scenario)
    check_endpoints(scenario, cluster)
    count = _count(scenario.loaded) | {"steps": len(scenario.spec.steps)}
    odd = [text if PLACED.match(text) else f"{path}: {text}" for text in cluster.warnings]
    stay = [f"{path}: {text}" for text in waiting(cluster.store.list(Pod))]
    stay += without_nodes(scenario.loaded, cluster.store.list(Node))
    odd = [*meant(scenario.loaded), *odd, *stay]
    return {"kind": "scenario", "objects": count, "ignored": scenario.loaded.ignored}, odd


def _count(loaded: Loaded) -> dict[str, int]:
    return dict(Counter(obj.kind for obj in loaded.objects))
