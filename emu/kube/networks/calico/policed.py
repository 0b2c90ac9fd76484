"""The policies that felix follows: what it has written of each, and which of them a pod calls. Must not know nodes.

A policy whose pods have not changed is not written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.meta import Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.networks.calico.chains import Lines
from emu.kube.networks.calico.policies import Draft, Written, calls, unread
from emu.kube.policy.dataplane import Dataplane, dataplanes
from emu.kube.policy.follow import Followed
from emu.kube.policy.rules import Policy, Way
from emu.kube.policy.verdict import Selecting

NAME = "calico"
POLICED = (Namespace, Pod, NetworkPolicy, ClusterNetworkPolicy)


class _Known(NamedTuple):
    """A policy as it was written last, while its groups had these versions."""

    policy: Policy
    draft: Draft
    versions: tuple[int, ...]
    written: Written


class Policies:
    """`written` by the name of each chain of a policy; `groups` are the chains of several policies that pods have asked for."""

    def __init__(self) -> None:
        self.written: Mapping[str, Written] = {}
        self.groups: dict[str, Lines] = {}
        self._followed = Followed()
        self._known: dict[str, _Known] = {}  # by the policy's kind, namespace and name
        self._calls: dict[
            tuple[str, str, Way], tuple[Selecting, Lines, Mapping[str, Lines]]
        ] = {}  # of pods, while the same policies select them

    def follow(self, objects: Iterable[Object]) -> None:
        """Follow to these objects."""
        index = self._followed.update(objects)
        self._known = {str(policy): self._policy(policy) for policy in index.policies}
        self.written = {chain: known.written for known in self._known.values() for chain in known.written.chains}
        self.groups = {}

    def _policy(self, policy: Policy) -> _Known:
        known = self._known.get(str(policy))
        draft = (
            known.draft if known is not None and known.policy is policy else Draft(policy, self._followed.index.groups)
        )
        versions = draft.versions
        if known is not None and known.draft is draft and known.versions == versions:
            return known
        return _Known(policy, draft, versions, draft.written())

    def calls(self, namespace: str, name: str) -> tuple[Lines, Lines]:
        """A pod's calls, to it and from it."""
        if not self._known:
            return _NONE
        end = self._followed.index.pod(namespace, name)
        found: list[Lines] = []
        for way in _WAYS:
            lines: Lines = ()
            if end is not None and end.pod is not None:
                selecting, key = self._followed.index.selecting(end.pod, way), (namespace, name, way)
                known = self._calls.get(key)
                if known is None or known[0] is not selecting:
                    known = self._calls[key] = (selecting, *calls(selecting, way))
                lines = known[1]
                self.groups |= known[2]
            found.append(lines)
        return found[0], found[1]


_NONE: tuple[Lines, Lines] = ((), ())
_WAYS: tuple[Way, Way] = ("ingress", "egress")
_CHAINS = ("cali-tw-", "cali-fw-", "cali-pi-", "cali-po-")
dataplanes.add(NAME)(
    Dataplane(NAME, kinds=(NetworkPolicy, ClusterNetworkPolicy), network=NAME, chains=_CHAINS, unread=unread)
)
