"""The closed list of ids: how severe each finding is, and what it states. `emu/lint/README.md` has the same list for people.

error: what is written cannot do what it states. warning: it works otherwise than it looks. note: what emu assumes, or does not model.
Must not know who finds what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from emu.kube.dumped import IDS as DUMPED
from emu.modelled import Finding

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


class Kind(NamedTuple):
    """One id of the list."""

    severity: Severity
    what: str


KINDS: dict[str, Kind] = {
    "invalid": Kind("error", "a file, an object or a scenario that an API server or emu refuses"),
    "unknown-kind": Kind("error", "a kind that Kubernetes does not have: an API server refuses it"),
    "unknown-field": Kind("error", "a field or an annotation of emu's that no one reads, most often misspelt"),
    "selector-matches-nothing": Kind("error", "a Service's selector matches no pod"),
    "target-port-name": Kind("error", "targetPort is a name that no container's port has"),
    "no-ready-endpoint": Kind("error", "a Service's pods are there, and none of them is ready"),
    "node-name": Kind("error", "nodeName is the name of no node"),
    "unschedulable": Kind("error", "no node takes the pod: taints, labels, room"),
    "host-port-taken": Kind("error", "two pods of a node want one port of it: by hostPort, or in the node's own network"),
    "stale-slice": Kind("error", "an EndpointSlice is not what the controller would write"),
    "left-out": Kind("error", "an object of an export that cannot be read"),
    "target-port-number": Kind("warning", "targetPort is a number that no container declares, and refuses"),
    "policy-selects-nothing": Kind("warning", "the podSelector of a NetworkPolicy matches no pod"),
    "policy-without-effect": Kind("warning", "the cluster's network enforces no policy, or not this kind"),
    "removed-version": Kind("warning", "an apiVersion that current clusters refuse; it is read as its successor"),
    "pod-without-address": Kind("warning", "a pod of an export that has no address yet"),
    "pod-not-ready": Kind("warning", "a pod of an export that has an address and is not ready"),
    "node-not-ready": Kind("warning", "a node of an export that is not Ready"),
    "declared-twice": Kind("warning", "an object that is in an export more than once"),
    "newer-field": Kind("warning", "a field or kind of an export that this release of emu does not know"),
    "nodes-ignored": Kind("warning", "nodes that a scenario states beside Node objects, which count"),
    "subnet-overlap": Kind("warning", "the pod or Service subnet overlaps a LAN"),
    "node-address": Kind("warning", "a node's InternalIP lies in no LAN"),
    "external-ip-unreachable": Kind("warning", "an ExternalIP of a node that nothing has or translates"),
    "route-refused": Kind("warning", "a route to a node's pods that the underlay cannot have"),
    **{id: Kind(severity, what) for id, (severity, what) in DUMPED.items()},
    "port-not-declared": Kind("note", "targetPort is a number that no container declares; it is taken to listen"),
    "policy-not-modelled": Kind("note", "what enforces a policy, or a part of it, is not modelled"),
    "kind-not-modelled": Kind("note", "a kind of Kubernetes that emu does not model"),
    "custom-resource": Kind("note", "a custom resource: nothing acts on it"),
    "field-not-modelled": Kind("note", "a field of an object that emu does not model"),
    "setting-not-modelled": Kind("note", "a sysctl, a key of the cluster, of kube-proxy or of a CNI plugin that emu does not model"),
    "rule-not-modelled": Kind("note", "a rule whose packets are undecided"),
    "job-runs-on": Kind("note", "a Job whose pods do not end, as nothing states when they do"),
    "cronjob-first-run": Kind("note", "when the first Job of a CronJob starts"),
    "kustomization": Kind("note", "what of a kustomization is not applied"),
    "no-expectation": Kind("note", "a scenario without a single expectation: only the invariants judge"),
    "assumed": Kind("note", "what an export or a pasted text does not state, and what is taken for it"),
}  # fmt: skip


def severity(finding: Finding) -> Severity:
    return KINDS[finding.id].severity


def at_least(findings: Iterable[Finding], least: Severity) -> list[Finding]:
    """Those that are as severe as `least`, or more."""
    return [each for each in findings if SEVERITIES.index(severity(each)) <= SEVERITIES.index(least)]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe first; of one severity by file and line."""
    return sorted(findings, key=lambda each: (SEVERITIES.index(severity(each)), each.file, each.line, each.id))
