"""Selectors in felix's canonical text, and the hashes by which felix names the sets of what they select. Pure.

The text is what Calico makes of a selector of Kubernetes, taken apart and put together by its parser: terms in their order, values sorted,
parts in parentheses as they were nested. Source: libcalico-go's conversion, syncersv1/updateprocessors and selector/parser, and
felix/calc/rule_scanner.go, of projectcalico/calico 87c15906. Must not know rules or pods.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha224

from emu.kube.api.meta import LabelSelector
from emu.kube.policy.rules import Pods, Policy

ALL = "all()"
_POD = 'projectcalico.org/orchestrator == "k8s"'
_NAMESPACE = "projectcalico.org/namespace"
_SPACES = f"has({_NAMESPACE})"  # what stands for every namespace
_OF_NAMESPACE = "pcns."
_LONGEST_SET = 31


def peer_text(pods: Pods) -> str:
    """The selector of a rule's peer: its namespaces, then its pods. A peer of namespaces alone has the first part only."""
    spaces = f'{_NAMESPACE} == "{pods.namespace}"' if pods.namespace else _spaces(pods.namespaces)
    return spaces if pods.whole else _both((spaces, _pods(pods.pods)))


def subject_text(policy: Policy) -> str:
    """The selector of the pods that a policy binds: the pods, then their namespaces."""
    subject = policy.subject
    spaces = f'{_NAMESPACE} == "{subject.namespace}"' if subject.namespace else _spaces(subject.namespaces)
    return _both((_pods(subject.pods), spaces))


def unique_id(kind: str, content: str) -> str:
    """MakeUniqueID."""
    value = urlsafe_b64encode(sha224(f"{kind}:{content}".encode()).digest()).decode().rstrip("=")
    return f"{kind}:{value}"


def peer_set(text: str) -> str:
    """The name of the set of the addresses that a selector means."""
    return _limited(unique_id("s", text))


def port_set(text: str, protocol: str, port: str) -> str:
    """The name of the set of the addresses and ports that have a name, of what a selector means. `protocol` in lower case."""
    return _limited(unique_id("n", f"{unique_id('s', text)},{protocol},{port}"))


def _limited(uid: str) -> str:
    return f"cali40{uid}"[:_LONGEST_SET]


def _pods(selector: LabelSelector) -> str:
    return _both((_POD, *_terms(selector)))


def _spaces(selector: LabelSelector) -> str:
    terms = [*_terms(selector, _OF_NAMESPACE)]
    return _both(terms) if terms else _SPACES


def _both(terms: Sequence[str]) -> str:
    return terms[0] if len(terms) == 1 else f"({' && '.join(terms)})"


def _terms(selector: LabelSelector, prefix: str = "") -> Iterator[str]:
    for key, value in sorted(selector.match_labels.items()):
        yield f'{prefix}{key} == "{value}"'
    for term in selector.match_expressions:
        key = f"{prefix}{term.key}"
        if term.operator in ("In", "NotIn"):
            values = ", ".join(f'"{value}"' for value in sorted(set(term.values)))
            yield f"{key} {'in' if term.operator == 'In' else 'not in'} {{{values}}}"
        else:
            yield f"{'' if term.operator == 'Exists' else '!'}has({key})"
