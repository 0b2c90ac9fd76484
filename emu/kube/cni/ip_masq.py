"""`ipMasq`: what a container sends out of its subnet leaves with the node's address (plugins' pkg/ip, iptables backend).

The rules are text (`masquerade_rules`); applying them is a second step. Must not know which plugin uses them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha512

from emu.kernel import boot
from emu.kernel.net.family import Address
from emu.kernel.net.netns import Netns
from emu.kube.cni.spec import IP
from emu.wire.addr import ip4_text

_CHAIN_LENGTH = 28


def chain_name(network: str, container_id: str, prefix: str = "CNI-") -> str:
    """The prefix and as much of the hash as a chain's name has room for."""
    return (prefix + sha512((network + container_id).encode()).hexdigest())[:_CHAIN_LENGTH]


def masquerade_rules(network: str, container_id: str, ips: Iterable[IP]) -> str:
    """iptables-restore text, to be loaded with `noflush`."""
    chain = chain_name(network, container_id)
    comment = f'-m comment --comment "name: \\"{network}\\" id: \\"{container_id}\\""'
    inside, jumps = [], []
    for ip in ips:
        inside += [
            f"-A {chain} -d {ip.prefix} {comment} -j ACCEPT",
            f"-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE",
        ]
        jumps.append(f"-A POSTROUTING -s {ip4_text(ip.addr)}/32 {comment} -j {chain}")
    return "\n".join(["*nat", f":{chain} - [0:0]", *inside, *jumps, "COMMIT", ""])


def set_up(node: Netns, rules: str) -> None:
    """Append the rules to the node's nat table, conntrack and NAT switched on."""
    boot.netfilter(node)
    node.ipv4.tables.restore(rules, noflush=True)


def tear_down(node: Netns, network: str, container_id: str, addresses: Iterable[Address]) -> None:
    """Delete the jumps of `addresses`, and the chain once no rule jumps to it. What is gone already is no error."""
    chain = chain_name(network, container_id)
    ruleset = node.ipv4.tables.ruleset
    postrouting = ruleset.chain("nat", "POSTROUTING")
    if ruleset.chain("nat", chain) is None or postrouting is None:
        return
    sources = tuple(f"-s {ip4_text(address.addr)}/32 " for address in addresses)
    jumps = [rule for rule in postrouting.rules if rule.jump == chain]
    going = [rule for rule in jumps if rule.spec.startswith(sources)]
    lines = [f"-D POSTROUTING {rule.number}" for rule in reversed(going)] + [f"-F {chain}"]
    if len(going) == len(jumps):
        lines.append(f"-X {chain}")
    node.ipv4.tables.restore("\n".join(["*nat", *lines, "COMMIT", ""]), noflush=True)
