"""Node affinity, of the core group v1: the terms that choose nodes by labels, and by name.

Must not know pods or nodes: a node is its labels and its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from emu.kube.api.meta import ApiStruct, Path, Problem

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class NodeSelectorRequirement(ApiStruct, frozen=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """labels.Requirement.Matches: NotIn also holds without the label; Gt and Lt compare integers, and hold for nothing else."""
        value = labels.get(self.key)
        if self.operator in ("Gt", "Lt"):
            texts = (value or "", *self.values)
            if not all(_INTEGER.fullmatch(text) for text in texts):
                return False
            have, limit = int(texts[0]), int(texts[1])
            return have > limit if self.operator == "Gt" else have < limit
        if self.operator in ("In", "NotIn"):
            return (value in self.values) == (self.operator == "In")
        return (value is not None) == (self.operator == "Exists")

    def problems(self, at: Path) -> Iterator[Problem]:
        number = len(self.values)
        if self.operator in ("In", "NotIn") and not number:
            yield Problem((*at, "values"), f"{self.operator} needs values")
        if self.operator in ("Exists", "DoesNotExist") and number:
            yield Problem((*at, "values"), f"{self.operator} takes no values")
        if self.operator in ("Gt", "Lt") and number != 1:
            yield Problem((*at, "values"), f"{self.operator} takes one value")


class NodeSelectorTerm(ApiStruct, frozen=True):
    """All of it must hold; a term of nothing holds for no node."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        fields = {"metadata.name": name}
        return bool(self.match_expressions or self.match_fields) and (
            all(each.matches(labels) for each in self.match_expressions)
            and all(each.matches(fields) for each in self.match_fields)
        )


class NodeSelector(ApiStruct, frozen=True):
    """One of the terms must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...]

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        return any(term.matches(labels, name) for term in self.node_selector_terms)


class NodeAffinity(ApiStruct, frozen=True):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class Affinity(ApiStruct, frozen=True):
    node_affinity: NodeAffinity | None = None

    @property
    def required(self) -> NodeSelector | None:
        """What a node must have."""
        return (
            self.node_affinity.required_during_scheduling_ignored_during_execution
            if self.node_affinity is not None
            else None
        )

    def problems(self, at: Path) -> Iterator[Problem]:
        path: Path = (*at, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
        terms = self.required.node_selector_terms if self.required is not None else None
        if terms == ():
            yield Problem(path, "there is no term", "one or more")
        for number, term in enumerate(terms or ()):
            for field, some in (("matchExpressions", term.match_expressions), ("matchFields", term.match_fields)):
                for i, each in enumerate(some):
                    yield from each.problems((*path, number, field, i))
