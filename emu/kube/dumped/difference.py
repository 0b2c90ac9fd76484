"""What a node has otherwise than kube-proxy, the CNI or an agent would have it: one value, with both sides.

`IDS` is the closed list. Must not know how a difference is found, or what flows it decides.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.wire.addr import Prefix

ERROR, WARNING, NOTE = "error", "warning", "note"

IDS: dict[str, tuple[str, str]] = {
    "proxy-rules-missing": (ERROR, "a chain of kube-proxy is empty or not there"),
    "proxy-rule-missing": (ERROR, "a rule of kube-proxy is not there"),
    "proxy-jump-missing": (ERROR, "no rule jumps to kube-proxy's chain"),
    "stale-endpoint": (ERROR, "kube-proxy's rules send to an endpoint that no slice lists"),
    "masquerade-missing": (ERROR, "a rule that marks or masquerades is not there"),
    "chain-policy": (WARNING, "the policy of a built-in chain is DROP"),
    "foreign-drop": (WARNING, "a rule drops or rejects that nothing of the cluster writes"),
    "ipset-member-missing": (ERROR, "a set lacks a member"),
    "route-missing": (ERROR, "a route is not there"),
    "route-differs": (ERROR, "a route has another next hop"),
    "ip-rule-missing": (ERROR, "a rule of ip rule is not there"),
    "neighbour-missing": (ERROR, "a permanent neighbour of the pod network is not there"),
    "neighbour-wrong": (ERROR, "a neighbour has another MAC than the host with its address"),
    "neighbour-failed": (WARNING, "a neighbour did not answer ARP"),
    "fdb-missing": (ERROR, "a tunnel does not know where a MAC is"),
    "fdb-wrong": (ERROR, "a tunnel sends a MAC to another node"),
    "link-down": (ERROR, "an interface is down"),
    "link-missing": (ERROR, "an interface of a pod or of the pod network is not there"),
    "address-missing": (ERROR, "an interface lacks an address"),
    "mtu": (WARNING, "an interface has an MTU that does not fit the others"),
    "sysctl": (ERROR, "a sysctl has a value that breaks the node's part"),
    "conntrack-stale": (WARNING, "a connection is translated to an address that nothing has"),
    "conntrack-full": (ERROR, "the table of connections is full"),
}
"""Every difference that is named: its severity, and what it is."""


class Difference(NamedTuple):
    """`place` is the dump's file, with the line where one shows it. `expected` and `found` are as the commands print them, "" for nothing.
    `addr`, `port`, `device`, `chain`, `service` ("ns/name:port") and `prefix` are what it is about, 0, "" or None where it is about none."""

    id: str
    node: str
    what: str
    place: str
    expected: str = ""
    found: str = ""
    addr: int = 0
    port: int = 0
    device: str = ""
    chain: str = ""
    service: str = ""
    prefix: Prefix | None = None

    @property
    def severity(self) -> str:
        return IDS[self.id][0]

    def __str__(self) -> str:
        sides = f"expected: {self.expected or 'nothing'}; found: {self.found or 'nothing'}"
        return f"{self.place}: node/{self.node}: {self.what} [{self.id}]; {sides}"
