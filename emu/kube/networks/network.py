"""What a pod network is, and the networks that come along: one folder each, found by name.

A network is a value for each node: the CNI configuration list, what the node needs beside it, the routes that it wants
from the underlay, and the node agents that it brings. A network may have options of its own. A user's .conflist makes
a network too, with the same template words. Must not know pods or the cluster's objects: it gets prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from emu.errors import InputError
from emu.kube.api.meta import field_name
from emu.kube.cni import links
from emu.kube.cni.config import NetworkConfigList, expand
from emu.kube.cni.spec import Host
from emu.kube.networks import host_gw
from emu.kube.underlay.shape import Machine
from emu.registry import Shelf
from emu.wire.addr import Prefix, ip4_text

SUFFIXES = (".conflist", ".conf", ".json")
Words = Mapping[str, str | tuple[str, ...]]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename=field_name):
    """Base of a network's own options: the key with the network's name in a scenario's `cluster`. Unknown keys are errors, and
    each option has a default."""

    def check(self, pod_subnet: Prefix) -> None:  # most options need no more than their types
        """Raises InputError for options that fit neither each other nor the cluster, with a path below the options."""


O = TypeVar("O", bound=Options)


class NodeSettings(NamedTuple):
    """What a network is made from, for one node. `mtu` is in bytes, that of the interface with the InternalIP; `hairpin` is that
    of the bridge's ports; `options` are those of the network, None for its defaults; `machine` has the node's name and
    interfaces (None: a node without an underlay)."""

    pod_cidr: Prefix
    pod_subnet: Prefix
    mtu: int = 1500
    hairpin: bool = False
    options: Options | None = None
    machine: Machine | None = None

    def of(self, kind: type[O]) -> O:
        """The network's options, of type `kind`."""
        return self.options if isinstance(self.options, kind) else kind()

    def words(self) -> Words:
        """What a template may name: containerd's words (PodCIDR, PodCIDRRanges, Routes), and those that ours need."""
        return {
            "PodCIDR": str(self.pod_cidr),
            "PodCIDRRanges": (str(self.pod_cidr),),
            "Routes": ("0.0.0.0/0",),
            "PodSubnet": str(self.pod_subnet),
            "PodCIDRFirst": ip4_text(self.pod_cidr.net + 1),
            "PodCIDRLast": ip4_text(self.pod_cidr.broadcast - 1),
            "PodCIDRLength": str(self.pod_cidr.length),
            "Mtu": str(self.mtu),
            "HairpinMode": str(self.hairpin).lower(),
        }


@dataclass(frozen=True)
class NodeBridge:
    """A bridge that the node itself numbers: `address` as "10.244.1.1/24", and the bridge's own sysctls."""

    name: str
    address: str
    sysctls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A node's pod network.

    `config` is for the CNI runtime; `rules` are iptables-restore text for the node ("" for none); `bridges` are made
    before the first pod; `routes` are the prefixes that the underlay routes to the node; `agents` are the
    names of the node agents that the network brings. `pods_outside`: pods have addresses of the underlay, and none of the
    node's pod CIDR. `policy` names the dataplane that enforces NetworkPolicies where the cluster names none: `none`, or "" for one
    that is not modelled.
    """

    config: NetworkConfigList
    rules: str = ""
    bridges: tuple[NodeBridge, ...] = ()
    routes: tuple[Prefix, ...] = ()
    agents: tuple[str, ...] = ()
    pods_outside: bool = False
    policy: str = "none"

    def prepare(self, host: Host) -> None:
        """Do to the node what no plugin of the list does. Idempotent."""
        for each in self.bridges:
            bridge = links.ensure_bridge(host, each.name, 0, promisc=False)
            links.ensure_address(host, bridge, each.address, bridge.mac, force=False)
            links.enable_forwarding(host.netns)
            for variable, value in each.sysctls.items():
                host.netns.sysctl[f"net.ipv4.conf.{each.name}.{variable}"] = value


networks: Shelf[Callable[[NodeSettings], Network]] = Shelf("network", "emu.kube.networks", file="network", named=True)
# a network's name by the plugin that works with its agents only: a user's list that begins with it gets them
network_plugins: Shelf[str] = Shelf("plugin of a network", "emu.kube.networks", file="network")
network_options: Shelf[type[Options]] = Shelf("network with options", "emu.kube.networks", file="network", named=True)
network_underlays: Shelf[str] = Shelf(
    "network with an underlay of its own", "emu.kube.networks", file="network", named=True
)


def usual_underlay(network: str) -> str:
    """The underlay of a cluster that names none: the network's own, or `routed`. A wrong .conflist is an error later."""
    if network not in networks:
        with suppress(InputError):
            network = _owner(_conflist(network, _ANY.words())) or network
    return network_underlays.get(network, "routed")


def load_network(
    name: str,
    pod_cidr: Prefix,
    pod_subnet: Prefix,
    *,
    mtu: int = 1500,
    hairpin: bool = False,
    options: Options | None = None,
    machine: Machine | None = None,
) -> Network:
    """A built-in network by `name`, or that of a .conflist (its path, or its text), for the node with `pod_cidr`.

    A .conflist brings no rules: `ipMasq` is its own business. Pods of other nodes are reached as by the built-in
    networks, or as by the network whose own plugin its first one is. Raises InputError: no such network or file, or the
    configuration is wrong, or the options are another network's.
    """
    if options is not None:
        if name not in network_options or not isinstance(options, network_options[name]):
            raise InputError(f"{type(options).__name__} are no options of network {name!r}")
        options.check(pod_subnet)
    node = NodeSettings(pod_cidr, pod_subnet, mtu, hairpin, options, machine)
    if name in networks:
        return networks[name](node)
    config = _conflist(name, node.words())
    owner = _owner(config)
    if owner:
        return replace(networks[owner](node), config=config)
    return Network(config, routes=(pod_cidr,), agents=(host_gw.NAME,))


_ANY = NodeSettings(Prefix.parse("10.244.1.0/24"), Prefix.parse("10.244.0.0/16"))


def _conflist(name: str, words: Words) -> NetworkConfigList:
    """A .conflist's path or text. Raises InputError."""
    if name.lstrip().startswith("{"):
        return NetworkConfigList.parse(expand(name, words))
    if Path(name).suffix in SUFFIXES:
        return NetworkConfigList.load(Path(name), words)
    raise InputError(
        f"no network is called {name!r}", expected=f"{', '.join(sorted(networks))}, or the path of a .conflist file"
    )


def _owner(config: NetworkConfigList) -> str:
    """The network whose own plugin comes first in a list; "" for none."""
    first = str(config.plugins[0]["type"])
    return network_plugins.get(first, "")
