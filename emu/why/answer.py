"""The answer to a question, in four parts: the verdict, the cause, what would change it, how sure it is. Must not know causes' rules."""

from __future__ import annotations

from typing import Any

from emu.capture.reasons import REASONS
from emu.kube.api.core import Pod
from emu.kube.flow.flow import Flow
from emu.report import Report
from emu.why.ask import REFUSED
from emu.why.case import Because, Case
from emu.why.policies import remarks
from emu.wire.addr import ip4_text


def answer(case: Case, because: Because | None) -> Report:
    """Text with the verdict in its first line and the cause in its second; data with the keys of the README."""
    verdict = sentence_of(case)
    assumed = [*(because.assumed if because is not None else ()), *_assumed(case)]
    lines = [verdict]
    if because is not None:
        lines += [f"cause: {because.sentence} [{because.cause}]"]
        if case.rule and case.rule not in because.sentence and case.word != "error":
            lines.append(f"{'rule' if case.rule.startswith('-') else 'entry'}: {case.rule}")
        lines += [f"change: {because.remedy}"]
    elif case.word == "delivered":
        lines.append(f"path: {case.flow.nat or 'no address is translated'}")
    else:
        lines.append(f"cause: none of the causes that emu knows shows; {_fact(case.flow)}")
    found = remarks(case)
    lines += [f"policy: {each}" for each in found]
    lines += [f"assumed: {each}" for each in assumed] or ["assumed: nothing besides the objects"]
    outcome = case.flow.outcome
    data: dict[str, Any] = {
        "outcome": outcome.word,
        "detail": outcome.detail,
        "cause": because.cause if because is not None else None,
        "object": because.object if because is not None else None,
        "verdict": verdict,
        "sentence": because.sentence if because is not None else verdict,
        "remedy": because.remedy if because is not None else None,
        "rule": case.rule or None,
        "policies": list(found),
        "assumed": assumed,
        "flow": {
            "protocol": "icmp" if case.flow.kind == "ping" else case.flow.kind,
            "source": case.source,
            "target": case.target,
            "address": str(case.flow.target),
            "at": case.flow.at,
            "place": outcome.place,
            "nat": case.flow.nat,
            "tries": len(case.flows),
            "delivered": sum(each.delivered for each in case.flows),
        },
    }
    return Report(data, "\n".join(lines))


def head(case: Case, because: Because | None) -> Report:
    """The verdict and the cause alone, in front of a road that shows the rest."""
    whole = answer(case, because)
    lines = [each for each in whole.text.splitlines() if not each.startswith(("assumed: ", "path: "))]
    keys = ("verdict", "cause", "object", "sentence", "remedy")
    return Report({key: whole.data[key] for key in keys}, "\n".join(lines))


def idle(pod: Pod, because: Because, source: str, target: str, sends: bool) -> Report:
    """The answer where one end does not run, so that nothing is sent."""
    name = f"{pod.namespace}/{pod.name}"
    what = "has finished" if pod.finished else "does not run"
    verdict = f"{source} does not reach {target}: pod {name} {what}" + (", it sends nothing." if sends else ".")
    lines = [
        verdict,
        f"cause: {because.sentence} [{because.cause}]",
        f"change: {because.remedy}",
        "assumed: nothing besides the objects",
    ]
    data: dict[str, Any] = {
        "outcome": "error", "detail": "", "cause": because.cause, "object": because.object, "verdict": verdict, "sentence": because.sentence,
        "remedy": because.remedy, "rule": None, "assumed": [],
        "flow": {"source": source, "target": target, "tries": 0, "delivered": 0},
    }  # fmt: skip
    return Report(data, "\n".join(lines))


def sentence_of(case: Case) -> str:
    """The verdict: whether the client reaches the target, and what ends it."""
    good = sum(each.delivered for each in case.flows)
    source, target, flow = case.source, case.target, case.flow
    if case.word == "undecided":
        return f"It is undecided whether {source} reaches {target}: {_fact(flow)}."
    if good == len(case.flows):
        where = sorted({each.at for each in case.flows if each.at})
        who = ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        return f"{source} reaches {target}: {who or 'it'} answer{'s' if len(where) < 2 else ''}."
    if good:
        return f"{source} reaches {target} by {_parts(case)}: {_fact(flow)}."
    return f"{source} does not reach {target}: {_fact(flow)}."


def _parts(case: Case) -> str:
    """`1 of 2 endpoints`, or of the tries where endpoints are not known."""
    met = {_to(each): each.delivered for each in case.flows}
    if len(met) > 1:
        return f"{sum(met.values())} of {len(met)} endpoints only"
    return f"{sum(each.delivered for each in case.flows)} of {len(case.flows)} tries only"


def _to(flow: Flow) -> str:
    after = [each.after for each in flow.translations if each.kind == "DNAT"]
    return f"{ip4_text(after[-1][0])}:{after[-1][1]}" if after else str(flow.target)


def _fact(flow: Flow) -> str:
    """What ended the flow."""
    outcome = flow.outcome
    place = outcome.place or flow.at
    to = _to(flow)
    through = f", on its way to {to}" if to != str(flow.target) else ""
    if outcome.word == "refused":
        return f"{flow.at or place} refuses the connection (RST){through}"
    if outcome.word == "rejected":
        return f"{place or 'the network'} rejects it (ICMP {outcome.detail}){through}"
    if outcome.word == "dropped":
        if outcome.detail == "NETFILTER_DROP":
            what = "the policy of a chain" if outcome.by.startswith("-P ") else "a rule"
            return f"{what} at {place} drops it{through}"
        reason = REASONS.get(outcome.detail, outcome.detail).partition(" (")[0]
        return f"{place} drops it{through}: {reason} ({outcome.detail})"
    if outcome.word == "timeout":
        return f"nothing answers{through}, and no drop is known"
    if outcome.word == "error" and flow.resolved is not None and flow.resolved.error:
        error = (
            "NXDOMAIN" if flow.resolved.error == REFUSED else flow.resolved.error
        )  # that of outside is asked for last
        return f"the name {flow.resolved.name} has no address ({error})"
    if outcome.word == "error":
        return f"the client's call fails with {outcome.detail}"
    return outcome.detail or outcome.by or outcome.word


def _assumed(case: Case) -> list[str]:
    """What was assumed of the cluster, and what of this question is not seen in an export."""
    found = [each.removeprefix("export: ") for each in case.places.warnings if each.startswith("export: ")]
    asked = f"{case.service.namespace}/{case.service.name}" if case.service is not None else "-"
    found = [each for each in found if not each.startswith("an endpoint of ") or asked in each]
    pod = case.receiver
    if case.word == "delivered" and pod is not None and not pod.ready:
        found.insert(0, f"pod {pod.namespace}/{pod.name} is not Ready, and is taken to listen")
    looked_up = case.flow.resolved
    if case.word == "delivered" and looked_up is not None and any(each.result == REFUSED for each in looked_up.asked):
        found.insert(0, f'"{looked_up.name}" is asked for outside first (ndots), and is taken not to exist there')
    _, port = case.reached
    protocol = "UDP" if case.flow.kind == "udp" else "TCP"
    if case.word == "delivered" and pod is not None and case.flow.kind in ("tcp", "udp"):
        if not any((each.container_port, each.protocol) == (port, protocol) for each in pod.spec.ports):
            what = f"port {port} is declared by no container of pod {pod.namespace}/{pod.name}, and is taken to listen"
            found.insert(0, what)
    return found
