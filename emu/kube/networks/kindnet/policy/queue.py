"""The table `inet kindnet-network-policies` of a node, and the program behind its queue: a packet is judged once for its connection.

The chains are literal: what a rule asks and does stands beside its text, as `nft list table` has it. A packet from or to a pod that a
policy selects goes to queue 101; the program answers with the policies as they are, and marks a connection that it accepts with a label.
Queries to port 53 over UDP are judged in prerouting, each of them. Source: pkg/dataplane/controller.go of
kubernetes-sigs/kube-network-policies 5f81cc3, with the configuration of kind's kindnetd. Must not know agents or objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.conn import IP_CT_NEW, IP_CT_UNTRACKED
from emu.kernel.netfilter.hooks import (
    LOCAL_IN,
    POST_ROUTING,
    PRE_ROUTING,
    PRI_DSTNAT,
    PRI_SRCNAT,
    Drop,
    HookState,
    Verdict,
)
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.verdict import Packet
from emu.rule import AnyRule
from emu.wire.frame import SCTP, TCP, UDP, Frame

TABLE = "kindnet-network-policies"
QUEUE = 101
LABEL = 100  # the bit of a connection's labels
DNS = 53
PROTOCOLS = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
_QUEUED = f"queue flags bypass to {QUEUE}"


@dataclass(frozen=True, slots=True)
class NftRule(AnyRule):
    """Rule `number` of a chain of nftables: what it asks (`match`), and what it does."""

    table: str
    chain: str
    number: int
    match: str
    does: str
    line: int = 0
    comment: str = ""

    @property
    def spec(self) -> str:
        return f"{self.match} {self.does}".strip()

    @property
    def act(self) -> str:
        return self.does

    @property
    def jump(self) -> str:
        return ""

    @property
    def based(self) -> bool:
        return True

    @property
    def rejects(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"inet {self.table} {self.chain} {self.spec}"


def _chain(name: str, *rules: tuple[str, str]) -> tuple[NftRule, ...]:
    return tuple(NftRule(TABLE, name, number, match, does) for number, (match, does) in enumerate(rules, 1))


# the types of ICMPv6 are router and neighbour discovery, which IPv4 has not
CHAINS: Mapping[str, tuple[NftRule, ...]] = {
    "postrouting": _chain(
        "postrouting",
        ("udp dport 53", "accept"),
        *((f"icmpv6 type {kind}", "accept") for kind in (133, 134, 135, 136, 137)),
        ("meta skuid 0", "counter accept"),
        (f"ct label {LABEL} ct state established,related", "counter accept"),
        ("ip saddr @podips-v4", _QUEUED),
        ("ip daddr @podips-v4", _QUEUED),
        ("ip6 saddr @podips-v6", _QUEUED),
        ("ip6 daddr @podips-v6", _QUEUED),
        ("", f"ct label set {LABEL}"),
    ),
    "input": _chain(
        "input",
        ('iifname "lo"', "accept"),
        ("ip saddr @podips-v4 ct state new", _QUEUED),
        ("ip6 saddr @podips-v6 ct state new", _QUEUED),
    ),
    "prerouting": _chain(
        "prerouting",
        ("meta l4proto != udp", "accept"),
        ("udp dport != 53", "accept"),
        ("ip saddr @podips-v4", _QUEUED),
        ("ip daddr @podips-v4", _QUEUED),
        ("ip6 saddr @podips-v6", _QUEUED),
        ("ip6 daddr @podips-v6", _QUEUED),
    ),
}
HOOKS = (
    ("postrouting", POST_ROUTING, PRI_SRCNAT - 5),
    ("input", LOCAL_IN, PRI_SRCNAT + 1),
    ("prerouting", PRE_ROUTING, PRI_DSTNAT + 5),
)
_POST, _IN, _PRE = (CHAINS[name] for name, _, _ in HOOKS)


class QueuedPolicies:
    """One node's table and program. `selected` are the addresses of the set podips-v4; `index` gives the policies as they are."""

    def __init__(self, net: Netns, index: Callable[[], PolicyIndex]) -> None:
        self.net, self._index = net, index
        self.selected: frozenset[int] = frozenset()
        boot.netfilter(net)
        for name, hook, priority in HOOKS:
            net.ipv4.hooks.register(hook, priority, getattr(self, name))

    def postrouting(self, frame: Frame, state: HookState) -> Verdict:
        if frame.proto == UDP and frame.dport == DNS:
            return self._accepted(frame, _POST[0])
        if frame.sock is not None:  # the node's own programs are root's
            return self._accepted(frame, _POST[6])
        conn = frame.ct
        if conn is not None and conn.labels >> LABEL & 1 and frame.ctinfo not in (IP_CT_NEW, IP_CT_UNTRACKED):
            return self._accepted(frame, _POST[7])
        if frame.src in self.selected:
            return self._queued(frame, _POST[8])
        if frame.dst in self.selected:
            return self._queued(frame, _POST[9])
        _label(frame)
        return None

    def input(self, frame: Frame, state: HookState) -> Verdict:
        if frame.indev is not None and frame.indev.loopback:
            return None
        if frame.src in self.selected and frame.ct is not None and frame.ctinfo == IP_CT_NEW:
            return self._queued(frame, _IN[1])
        return None

    def prerouting(self, frame: Frame, state: HookState) -> Verdict:
        if frame.proto != UDP or frame.dport != DNS:
            return None
        if frame.src in self.selected:
            return self._queued(frame, _PRE[2])
        if frame.dst in self.selected:
            return self._queued(frame, _PRE[3])
        return None

    def _accepted(self, frame: Frame, rule: NftRule) -> Verdict:
        """A rule lets the packet pass. While no pod is selected every packet passes, and none of the rules is worth a word."""
        if frame.trail is not None and self.selected:
            frame.trail.append(rule)
        return None

    def _queued(self, frame: Frame, rule: NftRule) -> Verdict:
        """The program's answer: both sides are judged, whether their pods are on this node or not."""
        index = self._index()
        protocol = PROTOCOLS.get(frame.proto, "ICMP")
        port = frame.dport if frame.proto in PROTOCOLS else 0
        packet = Packet(index.end(frame.src), index.end(frame.dst), protocol, port)
        if not index.sides(packet).allowed:
            return Drop("NETFILTER_DROP", rule)
        _label(frame)
        return self._accepted(frame, rule)


def _label(frame: Frame) -> None:
    if frame.ct is not None:
        frame.ct.labels |= 1 << LABEL
