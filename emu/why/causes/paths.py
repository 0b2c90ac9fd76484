"""Causes that the road of the packet shows: policy, hairpin, masquerade, routes, rp_filter, MTU, a rule, a neighbour.

Must not know what an object states.
"""

from __future__ import annotations

from emu.kernel.link.device import Device
from emu.kube.api.core import Pod
from emu.kube.api.meta import Key
from emu.kube.policy.suggest import suggest
from emu.trail import Probed
from emu.why.case import Because, Case, name_of
from emu.why.policies import judged
from emu.why.suggested import remedy
from emu.wire.addr import ip4, ip4_text

_BY_TC = ("TC_INGRESS", "TC_EGRESS")
_BY_POLICY = ("NETFILTER_DROP", *_BY_TC, "UNDECIDED")
_NO_ROUTE = ("IP_OUTNOROUTES", "IP_INNOROUTES", "NO_VPC_ROUTE", "NO_INTERFACE")


def policy(case: Case) -> Because | None:
    """A NetworkPolicy does not allow it, or what enforces it is not modelled."""
    if case.word == "delivered":
        return None
    text, _, _ = case.flow.outcome.detail.partition(" ")
    if case.word == "undecided" and "policy/" in text:
        kind, _, rest = text.rstrip(":").partition("/")
        namespace, slash, name = rest.partition("/")
        key = Key(kind, namespace if slash else "default", name if slash else namespace)
        sentence = f"{name_of(key)}{case.at(key, 'spec')}: {case.flow.outcome.detail}"
        return Because("network-policy", name_of(key), sentence, "a policy that allows it by both ends' labels")
    losses = [loss for reason in _BY_POLICY for loss in case.losses(reason)]
    if case.word not in ("dropped", "rejected", "undecided", "timeout") or not losses:
        return None
    address, port = case.reached
    return denied(case, ip4(address), case.flow.kind.upper(), port) or _by_program(case)


def _by_program(case: Case) -> Because | None:
    """A program at a pod's interface drops what the policies allow: the pod has none yet, or it knows them otherwise."""
    loss = next((loss for reason in _BY_TC for loss in case.losses(reason) if isinstance(loss.by, Probed)), None)
    if loss is None:
        return None
    sentence = f"the program {loss.by.program} at {loss.place} drops it: {loss.by.by}"
    return Because(
        "network-policy", loss.place, sentence, "policies of both pods that allow it, once they are attached"
    )


def denied(case: Case, addr: int, protocol: str, port: int) -> Because | None:
    """The policy that does not allow the client to send to an address and port; None where all allow it, or none is enforced."""
    if not case.policed:
        return None
    found = judged(case, addr, protocol, port)
    _, packet, verdict, _ = found
    if verdict.allowed:
        return None
    name, sender, reason = packet.protocol, packet.source.addr, verdict.deciding
    first = reason.policies[0]
    key = Key(first.kind.lower(), first.namespace, first.name)
    chosen = verdict_end(case, ip4_text(sender if reason.way == "egress" else addr))
    at = case.at(key, "spec", *((reason.way, reason.rule.number) if reason.rule is not None else (reason.way,)))
    if reason.rule is not None:
        sentence = f"{reason.place} of {name_of(key)}{at} denies {chosen} {_WAYS[reason.way]} {name}/{port}"
    else:
        more = f" and {len(reason.policies) - 1} more" if len(reason.policies) > 1 else ""
        sentence = f"{name_of(key)}{at}{more} selects {chosen} for {reason.way}, and no rule allows {name}/{port} {_OTHERS[reason.way]} {verdict_end(case, ip4_text(addr if reason.way == 'egress' else sender))}"
    return Because(
        "network-policy",
        name_of(key),
        sentence,
        remedy(suggest(found.known, packet, ("UDP", "TCP") if (name, port) == ("UDP", 53) else ())),
    )


_WAYS = {"egress": "to send to", "ingress": "to receive"}
_OTHERS = {"egress": "to", "ingress": "from"}


def verdict_end(case: Case, address: str) -> str:
    """The pod with an address, else the address."""
    pods = (each for each in case.store.list(Pod) if each.status.pod_ip == address and not each.spec.host_network)
    return next((name_of(each.key) for each in pods if not each.finished), address)


def hairpin(case: Case) -> Because | None:
    """The pod is its own endpoint, and the bridge does not send a frame back by the port that it came in by."""
    loss = next(case.losses("NO_TX_TARGET"), None)
    if loss is None or case.word == "delivered":
        return None
    pod = case.client
    if pod is None or case.reached[0] != pod.status.pod_ip:
        return None
    sentence = f"{name_of(pod.key)} is its own endpoint, and hairpin mode is off at {loss.place}: the bridge sends no frame back by the port that it came in by"
    return Because(
        "hairpin",
        name_of(pod.key),
        sentence,
        "hairpinMode: true in the CNI configuration (kubelet's --hairpin-mode)",
        ("the CNI plugin has its default, hairpin off",),
    )


def mtu(case: Case) -> Because | None:
    """The packet is longer than a link on its road."""
    loss = next(case.losses("PKT_TOO_BIG"), None)
    if case.word == "delivered" or (loss is None and "frag" not in case.flow.outcome.detail):
        return None
    place = loss.place if loss is not None else case.flow.outcome.place
    device = _device(case, place)
    size = f" of {device.mtu} bytes" if device is not None else ""
    sentence = f"the packet is longer than the MTU{size} at {place}, and its DF bit is set"
    return Because(
        "mtu",
        place,
        sentence,
        "an MTU of the pods that fits the narrowest link, and ICMP fragmentation-needed that arrives",
    )


def _device(case: Case, place: str) -> Device | None:
    """The device of `node-1/eth0`, where names have slashes of their own."""
    name, _, device = place.rpartition("/")
    net = case.places.namespaces.get(name)
    return net.devices.get(device) if net is not None else None


def rp_filter(case: Case) -> Because | None:
    """Strict reverse path filtering."""
    loss = next(case.losses("IP_RPFILTER"), None)
    if loss is None or case.word == "delivered":
        return None
    sentence = f"net.ipv4.conf.{loss.device or 'all'}.rp_filter of {loss.netns} drops it: the route back to its source leaves by another interface"
    return Because(
        "rp-filter",
        loss.place,
        sentence,
        f"rp_filter 2 or 0 for {loss.device or 'the interface'}, or a route back by it",
    )


def masquerade(case: Case) -> Because | None:
    """The endpoint answers past the node that translated: nothing masqueraded the packet there."""
    flow = case.flow
    if case.word not in ("dropped", "timeout") or not flow.dnat or flow.snat:
        return None
    pod = case.receiver
    if pod is None or not any(name == f"{pod.namespace}/{pod.name}" for name, _ in flow.arrivals):
        return None
    client = next((each.addr for each in flow.client.addresses if each.device.name != "lo"), 0)
    sentence = f"the packet arrives at {name_of(pod.key)} with the source {ip4_text(client)}, and its answer does not pass the node that translated it: no rule masquerades it there"
    return Because(
        "masquerade-missing",
        name_of(pod.key),
        sentence,
        "kube-proxy's rule that marks the packet (KUBE-MARK-MASQ), or a clusterCIDR that does not hold the source",
    )


def route(case: Case) -> Because | None:
    """There is no route."""
    loss = next(case.losses(*_NO_ROUTE), None)
    if loss is None or case.word == "delivered":
        return None
    address, _ = case.reached
    sentence = f"{loss.netns} has no route to {address}"
    assumed = ("routes are those that the pod network makes",)
    return Because("route-missing", loss.netns, sentence, f"a route to {address} there", assumed)


def neighbour(case: Case) -> Because | None:
    """No host answers for the address on its link."""
    loss = next(case.losses("NEIGH_FAILED"), None)
    if case.word == "delivered" or (loss is None and case.flow.outcome.detail != "host-unreachable"):
        return None
    address, _ = case.reached
    place = loss.place if loss is not None else case.flow.outcome.place
    hop = case.rule.split(" ")[0]  # the neighbour's entry: its address, device and state
    hop = hop if hop.replace(".", "").isdigit() else address
    far = f", the next hop to {address}" if hop != address else ""
    device = _device(case, place)
    if device is not None and not device.carrier:
        sentence = f"{place} has no carrier: the interface is down, and {hop}{far} cannot be asked for"
        return Because("link-down", place, sentence, "the interface up")
    sentence = f"no host answers ARP for {hop}{far} at {place}: no pod or node there has the address"
    return Because("no-such-host", place, sentence, "an address that a pod or node has")


def rule(case: Case) -> Because | None:
    """A rule or the policy of a chain drops it."""
    if case.word not in ("dropped", "rejected") or not case.rule:
        return None
    place = case.flow.outcome.place.partition("/")[0]
    if case.rule.startswith("-P "):
        sentence = f"no rule of the chain accepts it, and the policy of {place} drops it: {case.rule}"
        return Because("rule", place, sentence, "a rule that accepts it, or the policy ACCEPT")
    sentence = f"a rule of {place} {'rejects' if case.word == 'rejected' else 'drops'} it: {case.rule}"
    return Because("rule", place, sentence, "another rule before it, or none")


def forwarding(case: Case) -> Because | None:
    """A node does not forward."""
    loss = next(case.losses("IP_INADDRERRORS"), None)
    if loss is None or case.word == "delivered":
        return None
    sentence = f"net.ipv4.ip_forward of {loss.netns} is 0: it forwards no packet"
    return Because("forwarding-off", loss.netns, sentence, "net.ipv4.ip_forward: 1")


def link(case: Case) -> Because | None:
    """An interface is down, or the link loses it."""
    loss = next(case.losses("DEV_READY", "QDISC_DROP"), None)
    if loss is None or case.word == "delivered":
        return None
    sentence = f"{loss.place} does not carry it: " + (
        "the interface is down" if loss.reason == "DEV_READY" else "the link loses it"
    )
    return Because("link-down", loss.place, sentence, "the interface up")


def no_answer(case: Case) -> Because | None:
    """It arrives, and nothing comes back."""
    if case.word not in ("timeout", "dropped") or not case.flow.at:
        return None
    sentence = f"the packet arrives at {case.flow.at}, and no answer comes back"
    return Because("no-answer", case.flow.at, sentence, "a program that answers")


def undecided(case: Case) -> Because | None:
    """Something that is not modelled decides."""
    if case.word != "undecided":
        return None
    outcome = case.flow.outcome
    what = outcome.detail or outcome.by
    return Because(
        "not-modelled", outcome.place, f"what emu does not model decides: {what}", "the setting that is named"
    )
