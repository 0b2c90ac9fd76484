"""What kube-router writes on a node: the top-level chains, the common ones, and a chain for each pod of the node. Pure.

A pod's chain is entered for packets to it and from it, forwarded, bridged, or of the node itself. A packet that no policy marks is
refused; one that passes gets a second mark, by which the top-level chain accepts it. Source:
pkg/controllers/netpol/npc_iptables.go and pod.go of cloudnativelabs/kube-router 7c2c2779. Must not know how rules come into a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emu.kube.policy.ends import End
from emu.kube.policy.kube_router import names
from emu.kube.policy.kube_router.policies import MARKED, commented
from emu.wire.addr import Prefix, ip4_text

Lines = tuple[str, ...]  # rules as the words behind `-A CHAIN`
NODE_PORTS = "30000:32767"
_PASSED = "0x20000/0x20000"
_UNMARKED = f"-m mark ! --mark {MARKED}"
_ICMP = {
    "echo-request": "allow icmp echo requests",
    "destination-unreachable": "allow icmp destination unreachable messages",
    "time-exceeded": "allow icmp time exceeded messages",
}


class Jump(NamedTuple):
    """A pod's call of a policy's chain."""

    namespace: str
    name: str
    chain: str
    ingress: bool
    egress: bool


def comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _numbered(chain: str, words: Sequence[str]) -> str:
    """A rule that kube-router finds again by a hash of its own words in its comment."""
    at = words.index("--comment") + 1
    text = f'"{words[at]} - {names.hashed(chain, *words)}"'
    return " ".join([*words[:at], text, *words[at + 1 :]])


def first(chain: str) -> str:
    """The rule at the top of a built-in chain."""
    return _numbered(chain, ["-m", "comment", "--comment", "kube-router netpol", "-j", names.TOP[chain]])


def common() -> Mapping[str, Lines]:
    """The chains that every node has."""
    states = comment("rule to drop invalid state for pod"), comment("rule for stateful firewall for pod")
    return {
        names.COMMON: (
            f"{states[0]} -m conntrack --ctstate INVALID -j DROP",
            f"{states[1]} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            *(f"-p icmp {comment(text)} -m icmp --icmp-type {kind} -j ACCEPT" for kind, text in _ICMP.items()),
        ),
        names.DEFAULT: (f"{comment('rule to mark traffic matching a network policy')} -j MARK --set-xmark {MARKED}",),
        names.TAIL: (f"{comment('accept netpol-ok')} -m mark --mark {_PASSED} -j ACCEPT",),
    }


def _exceptions(services: Prefix) -> Lines:
    """What to the node itself is decided later, when it is clear which pod it is for."""
    text = "allow traffic to primary/secondary cluster IP range"
    found = [_numbered(names.INPUT, ["-m", "comment", "--comment", text, "-d", str(services), "-j", "RETURN"])]
    for protocol in ("tcp", "udp", "sctp"):
        text = f"allow LOCAL {protocol.upper()} traffic to node ports"
        words = ["-p", protocol, "-m", "comment", "--comment", text, "-m", "addrtype", "--dst-type", "LOCAL"]
        words += ["-m", "multiport", "--dports", NODE_PORTS, "-j", "RETURN"]
        found.append(_numbered(names.INPUT, words))
    return tuple(found)


def pod(end: End, jumps: Sequence[Jump]) -> Lines:
    """The chain of a pod: what binds both directions, then the defaults, then the policies, the last one first."""
    assert end.pod is not None
    addr, space, name = ip4_text(end.addr), end.pod.namespace, end.pod.name
    lines = [
        f"{comment('common netpol rules')} -j {names.COMMON}",
        f"-d {addr} {comment('from local node')} -m addrtype --src-type LOCAL -j ACCEPT",
    ]
    if not any(each.egress for each in jumps):
        lines.append(f"-s {addr} {comment('default egress')} -j {names.DEFAULT}")
    if not any(each.ingress for each in jumps):
        lines.append(f"-d {addr} {comment('default ingress')} -j {names.DEFAULT}")
    for each in reversed(jumps):
        side = "" if each.ingress and each.egress else f"-d {addr} " if each.ingress else f"-s {addr} "
        lines.append(f"{side}{commented(each.namespace, each.name, 'policy')} -j {each.chain}")
    limit = "-m limit --limit 10/minute --limit-burst 10"
    return (
        *lines,
        f"{commented(space, name, 'log-drop')} {_UNMARKED} {limit} -j NFLOG --nflog-group 100",
        f"{commented(space, name, 'reject')} {_UNMARKED} -j REJECT",
        "-j MARK --set-xmark 0x0/0x10000",
        f"{comment('set netpol-ok mark')} -j MARK --set-xmark {_PASSED}",
    )


def top(pods: Sequence[tuple[End, str]], services: Prefix) -> Mapping[str, Lines]:
    """The top-level chains: the calls of each pod's chain, then the verdict about what has passed."""
    found: dict[str, list[str]] = {names.INPUT: [*_exceptions(services)], names.FORWARD: [], names.OUTPUT: []}
    bridged = "-m physdev --physdev-is-bridged"
    for end, chain in pods:
        assert end.pod is not None
        addr = ip4_text(end.addr)
        into, out = (commented(end.pod.namespace, end.pod.name, kind) for kind in ("in", "out"))
        found[names.FORWARD].append(f"-d {addr} {into} -j {chain}")
        found[names.OUTPUT].append(f"-d {addr} {into} -j {chain}")
        found[names.FORWARD].append(f"-d {addr} {bridged} {into} -j {chain}")
        for each in found.values():
            each.append(f"-s {addr} {out} -j {chain}")
        found[names.FORWARD].append(f"-s {addr} {bridged} {out} -j {chain}")
    tail = comment("rule to explicitly handle traffic for network policies ACCEPT/REJECT decision")
    accept = comment("rule to explicitly ACCEPT traffic that comply to network policies")
    for each in found.values():
        each += [f"{tail} -j {names.TAIL}", f"{accept} -m mark --mark {_PASSED} -j ACCEPT"]
    return {name: tuple(lines) for name, lines in found.items()}
