"""What a node has otherwise than kube-proxy, the CNI or an agent would have it: one value, with both sides.

`IDS` is the closed list; `emu lint` lists them, too. Must not know how a difference is found, or what flows it decides.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from emu.modelled import Finding
from emu.wire.addr import Prefix

Severity = Literal["error", "warning"]
ERROR: Severity = "error"
WARNING: Severity = "warning"

IDS: dict[str, tuple[Severity, str]] = {
    "node-proxy-rules-missing": (ERROR, "a chain of kube-proxy is empty or not there"),
    "node-proxy-rule-missing": (ERROR, "a rule of kube-proxy is not there"),
    "node-proxy-jump-missing": (ERROR, "no rule jumps to kube-proxy's chain"),
    "node-stale-endpoint": (ERROR, "kube-proxy's rules send to an endpoint that no slice lists"),
    "node-masquerade-missing": (ERROR, "a rule that marks or masquerades is not there"),
    "node-chain-policy": (WARNING, "the policy of a built-in chain is DROP"),
    "node-foreign-drop": (WARNING, "a rule drops or rejects that nothing of the cluster writes"),
    "node-ipset-member-missing": (ERROR, "a set lacks a member"),
    "node-route-missing": (ERROR, "a route is not there"),
    "node-route-differs": (ERROR, "a route has another next hop"),
    "node-ip-rule-missing": (ERROR, "a rule of ip rule is not there"),
    "node-neighbour-missing": (ERROR, "a permanent neighbour of the pod network is not there"),
    "node-neighbour-wrong": (ERROR, "a neighbour has another MAC than the host with its address"),
    "node-neighbour-failed": (WARNING, "a neighbour did not answer ARP"),
    "node-fdb-missing": (ERROR, "a tunnel does not know where a MAC is"),
    "node-fdb-wrong": (ERROR, "a tunnel sends a MAC to another node"),
    "node-link-down": (ERROR, "an interface is down"),
    "node-link-missing": (ERROR, "an interface of a pod or of the pod network is not there"),
    "node-address-missing": (ERROR, "an interface lacks an address"),
    "node-mtu": (WARNING, "an interface has an MTU that does not fit the others"),
    "node-sysctl": (ERROR, "a sysctl has a value that breaks the node's part"),
    "node-conntrack-stale": (WARNING, "a connection is translated to an address that nothing has"),
    "node-conntrack-full": (ERROR, "the table of connections is full"),
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
    def severity(self) -> Severity:
        return IDS[self.id][0]

    @property
    def kind(self) -> str:
        """The id without `node-`."""
        return self.id.removeprefix("node-")

    @property
    def finding(self) -> Finding:
        """As `emu lint` lists it."""
        sides = f"expected: {self.expected or 'nothing'}; found: {self.found or 'nothing'}"
        return Finding(self.place, f"node/{self.node}", f"{self.what} [{self.id}]; {sides}", self.id)

    def __str__(self) -> str:
        return str(self.finding)
