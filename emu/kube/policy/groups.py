"""The pods that selectors of policies mean, kept up to date pod by pod: what a dataplane puts into its sets.

A pod that changes is compared with the selectors that ask for one of its labels, old or new, and with no others. Must not know
policies or sets.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from emu.kube.api.meta import LabelSelector
from emu.kube.policy.ends import End
from emu.kube.policy.rules import Pods

Label = tuple[str, str]
Name = tuple[str, str]  # a pod's namespace and name


def needed(selector: LabelSelector) -> tuple[Label | None, ...]:
    """Labels one of which each selected pod has; (None,) where the selector asks for none."""
    for label in selector.match_labels.items():
        return (label,)
    for term in selector.match_expressions:
        if term.operator == "In":
            return tuple((term.key, value) for value in dict.fromkeys(term.values))
    return (None,)


class Group:
    """The pods of one selector, in the order of their names. `version` grows with each change."""

    __slots__ = ("_ends", "_sorted", "pods", "version")

    def __init__(self, pods: Pods) -> None:
        self.pods = pods
        self.version = 0
        self._ends: dict[Name, End] = {}
        self._sorted: tuple[End, ...] | None = ()

    @property
    def ends(self) -> tuple[End, ...]:
        if self._sorted is None:
            self._sorted = tuple(self._ends[name] for name in sorted(self._ends))
        return self._sorted

    def change(self, name: Name, end: End | None) -> None:
        """A pod is a member with this end, or none."""
        if self._ends.get(name) is not end:
            if end is None:
                self._ends.pop(name)
            else:
                self._ends[name] = end
            self.version += 1
            self._sorted = None


class Groups:
    """Every group that was asked for, and the first end of every pod. `changed` has the groups that a change of a pod has changed, until
    who follows them empties it."""

    def __init__(self) -> None:
        self.changed: set[Group] = set()
        self._ends: dict[Name, End] = {}
        self._groups: dict[bytes, Group] = {}
        self._by_label: dict[tuple[str, Label | None], list[Group]] = {}  # by namespace ("": any) and label

    def of(self, pods: Pods) -> Group:
        key = msgspec.json.encode(pods)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(pods)
            for label in needed(pods.pods):
                self._by_label.setdefault((pods.namespace, label), []).append(group)
            for name, end in self._ends.items():
                if pods.has(end):
                    group.change(name, end)
        return group

    def change(self, name: Name, end: End | None) -> None:
        """A pod has this end now, or none."""
        old = self._ends.pop(name, None)
        if end is not None:
            self._ends[name] = end
        for group in dict.fromkeys(each for pod in (old, end) if pod is not None for each in self._asking(pod)):
            before = group.version
            group.change(name, end if end is not None and group.pods.has(end) else None)
            if group.version != before:
                self.changed.add(group)

    def _asking(self, end: End) -> Iterator[Group]:
        assert end.pod is not None
        for namespace in ("", end.pod.namespace):
            for label in (None, *end.pod.labels.items()):
                yield from self._by_label.get((namespace, label), ())
