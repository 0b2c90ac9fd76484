"""What would allow a flow that policies forbid: the suggestion for its packet, as manifests and in one sentence. Must not know a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from emu.kube.api.core import Service
from emu.kube.policy.suggest import Suggestion, suggest
from emu.report import Report
from emu.why.case import Case, backends_of
from emu.why.policies import Judged, judged, of_flow
from emu.wire.addr import ip4

DNS = ("kube-system", "kube-dns")


class Suggested(NamedTuple):
    """The packet that is forbidden, or else the flow's, and what would allow it. `look_up`: it is the question to the cluster's DNS."""

    judged: Judged
    suggestion: Suggestion
    look_up: bool = False


def suggested(case: Case) -> Suggested | None:
    """The suggestion for a flow; None where nothing was sent that a policy could be about."""
    found, resolved = of_flow(case), case.flow.resolved
    if resolved is None or not resolved.error:
        return None if found is None else Suggested(found, suggest(found.known, found.packet))
    service = case.store.get(Service, *DNS)
    for each in backends_of(case.store, service, None) if service is not None else ():
        asked = judged(case, ip4(each.address), "UDP", each.port)
        if each.ready and each.port and not asked.verdict.allowed:
            return Suggested(asked, suggest(asked.known, asked.packet, ("UDP", "TCP")), look_up=True)
    return None


def report(case: Case) -> Report:
    """The policies as YAML, under comments that state what forbids the flow; data is a list of manifests. Without any, why."""
    found = suggested(case)
    if found is None:
        return Report([], f"# {case.source} sends {case.target} no packet that a policy could be about")
    packet, (policies, obstacles) = found.judged.packet, found.suggestion
    what = f"{packet.source} -> {packet.destination} {packet.protocol}/{packet.port}"
    if found.look_up:
        what += ", the question to the cluster's DNS"
    verdict = found.judged.verdict
    if verdict.allowed:
        other = "" if case.word == "delivered" else f"; it is {case.word} for another reason: emu why"
        return Report([], f"# {what}: policies allow it{other}")
    closed = [each for each in (verdict.egress, verdict.ingress) if not each.allowed]
    lines = [f"# {what}", *(f"# {each.way}: {each}" for each in closed), *(f"# {each}" for each in obstacles)]
    text = "---\n".join(yaml.safe_dump(each, sort_keys=False) for each in policies).rstrip("\n")
    return Report([*policies], "\n".join([*lines, *([text] if text else [])]))


def remedy(suggestion: Suggestion) -> str:
    """What would change the outcome, in one sentence; "" where nothing is suggested."""
    if suggestion.obstacles:
        return "; ".join(suggestion.obstacles)
    return ", and ".join(_words(each) for each in suggestion.policies)


def _words(manifest: Mapping[str, Any]) -> str:
    spec, space = manifest["spec"], manifest["metadata"]["namespace"]
    way = "ingress" if "ingress" in spec else "egress"
    (rule,), side = spec[way], "from" if way == "ingress" else "to"
    (peer,) = rule[side]
    ports = " and ".join(f"{each.get('protocol', 'TCP')} {each['port']}" for each in rule["ports"])
    return f"a NetworkPolicy in {space} for the {way} of {_selected(spec['podSelector'])} that allows {ports} {side} {_peer(peer)}"


def _peer(peer: Mapping[str, Any]) -> str:
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    space = peer.get("namespaceSelector")
    return _selected(peer["podSelector"]) + (
        f" in namespace {next(iter(space['matchLabels'].values()))}" if space else ""
    )


def _selected(selector: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()) or "all pods"
