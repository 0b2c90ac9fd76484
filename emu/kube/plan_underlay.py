"""From a cluster's configuration to its underlay: the layout, the router's own routes, what listens outside, and what to report.

Pure; mistakes are found here, before anything is booted. Must not know namespaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emu.apps.words import chosen
from emu.errors import InputError
from emu.kube.api import core
from emu.kube.plan import ClusterConfig, NodeConfig
from emu.kube.underlay.layout import EXTERNAL
from emu.kube.underlay.shape import INTERNAL_IP, Layout, MachineSettings
from emu.kube.underlay.underlay import underlays
from emu.modelled import Finding, nearest
from emu.wire.addr import Prefix, ip4, ip4_text

# What listens on `external` if nothing else is stated: app, port, protocol
EXTERNAL_APPS = (("http", 80, "TCP"), ("echo", 7, "TCP"), ("echo", 53, "UDP"))
DNS_PORT = 53
App = tuple[str, int, str]


def plan_underlay(config: ClusterConfig, nodes: Sequence[core.Node]) -> Layout:
    """Which interfaces the nodes and the hosts outside have, and on which LANs. A node that a manifest declares has the interfaces that
    the config states for its name; else, if the config has LANs, the InternalIP of its own status. Raises InputError."""
    written = {node.name: (number, node) for number, node in enumerate(config.nodes)}
    machines = []
    for node in nodes:
        number, stated = written.get(node.name, (-1, NodeConfig(node.name)))
        interfaces, addresses = stated.interfaces, stated.addresses
        path = f"cluster.nodes[{number}]"
        if not interfaces and not addresses and config.lans:
            addresses = node.status.addresses
            path = f"node/{node.name} status" if addresses else path
        pairs = tuple((each.type, each.address) for each in addresses if ":" not in each.address)
        machines.append(MachineSettings(node.name, path, interfaces, pairs))
    hosts = [
        MachineSettings(host.name, f"cluster.external[{number}]", (host.interface,))
        for number, host in enumerate(config.external)
    ]
    return underlays[config.underlay].lay_out(machines, config.lans, hosts)


def router_routes(config: ClusterConfig, layout: Layout) -> list[str]:
    """The config's own routes of the router, with addresses in place of nodes' names. Raises InputError."""
    by_name = {each.name: each for each in (*layout.nodes, *layout.hosts.values())}
    found = []
    for number, text in enumerate(config.routes):
        words = text.split()
        if "via" in words[:-1]:
            at = words.index("via") + 1
            machine = by_name.get(words[at])
            if machine is not None:
                words[at] = ip4_text(machine.ip)
            elif words[at][:1].isalpha():
                near = nearest(words[at], by_name)
                raise InputError(
                    f'no node or host is called "{words[at]}"',
                    path=f"cluster.routes[{number}]",
                    expected=f'"{near}"?' if near else ", ".join([*by_name][:6]),
                )
        found.append(" ".join(words))
    return found


def outside_apps(config: ClusterConfig, resolver: bool) -> dict[str, list[App]]:
    """What listens on the hosts outside: app, port and protocol. With a `resolver` of its own, nothing else has its port on
    `external`. Raises InputError."""
    found: dict[str, list[App]] = {EXTERNAL: [*EXTERNAL_APPS]}
    for number, host in enumerate(config.external):
        if host.apps is not None or host.name != EXTERNAL:
            words = chosen(host.apps or (), f"cluster.external[{number}].apps")
            found[host.name] = [(app, port, protocol) for (port, protocol), app in words.items()]
    if resolver:
        found[EXTERNAL] = [each for each in found[EXTERNAL] if each[1] != DNS_PORT]
    return found


def notes(config: ClusterConfig, layout: Layout, nodes: Sequence[core.Node]) -> Iterator[Finding]:
    """What of the underlay is not as people may think."""
    subnets = {"podSubnet": Prefix.parse(config.pod_subnet), "serviceSubnet": Prefix.parse(config.service_subnet)}
    for key, subnet in subnets.items():
        lans = [lan for lan in layout.lans.values() if lan.subnet.overlaps(subnet)]
        if lans:
            more = f" and {len(lans) - 1} more" if len(lans) > 1 else ""
            what = f"{subnet} overlaps the LAN {lans[0].name} {lans[0].subnet}{more}: the longer prefix decides the way"
            yield Finding("", f"cluster.{key}", what, "subnet-overlap")
    lost = []
    for node, machine in zip(nodes, layout.nodes, strict=True):
        for text in () if underlays[config.underlay].translates else machine.external_ips:
            if not any(nic.address == ip4(text) for nic in machine.nics):
                lost.append((node.name, text))
        stated = [
            each.address for each in node.status.addresses if each.type == INTERNAL_IP and ":" not in each.address
        ]
        if stated and ip4_text(machine.ip) not in stated:
            what = f"its InternalIP {stated[0]} is in no LAN of the scenario: it gets {ip4_text(machine.ip)}"
            yield Finding("", f"node/{node.name}", what, "node-address")
    for name, text in lost[:1] if config.live else lost:
        more = f", nor one of {len(lost) - 1} more nodes," if config.live and len(lost) > 1 else ","
        what = f"no interface has the ExternalIP {text}{more} and nothing translates it: no packet for it arrives"
        yield Finding("", f"node/{name}", what, "external-ip-unreachable")
