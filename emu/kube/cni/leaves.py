"""What a plugin's DEL leaves on the machine, declared beside the plugin: patterns of lines, each with the reason.

A line is what the contract test of all plugins writes of a namespace: `link cni0 bridge ...`, `address 10.244.1.1/24 dev cni0`,
`iptables nat -A ...`, `sysctl net.ipv4.ip_forward = 1`. Must not know any plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from emu.kube.cni.spec import Config

Leaves = Mapping[str, str]
"""Regular expressions of whole lines, and why they stay."""
FORWARDING: Leaves = {
    r"sysctl net\.ipv4\.ip_forward = 1": "the machine stays a router",
    r"sysctl net\.ipv4\.conf\.\S+\.(forwarding|accept_redirects|send_redirects) = \d": "which changes these, too",
}


@runtime_checkable
class Leaving(Protocol):
    """A plugin whose DEL does not undo all that its ADD did."""

    def leaves(self, config: Config) -> Leaves: ...


def leaves_of(plugin: object, config: Config) -> Leaves:
    """What a plugin leaves, by its configuration."""
    return plugin.leaves(config) if isinstance(plugin, Leaving) else {}


def device(name: str, why: str) -> Leaves:
    """A device that stays, with its entries."""
    return {
        rf"(link|taken|fdb) {name}\b.*": why,
        rf"(address|route|neighbour) .*dev {name}\b.*": f"with {name}",
        rf"sysctl net\.ipv[46]\.(conf|neigh)\.{name}\..*": f"with {name}",
    }
