"""A node of AWS wired in this machine's kernel by `ip` and `iptables`, from the objects alone: Node, Pods and the interfaces.

The commands are those of amazon-vpc-cni-k8s (setupENINetwork, SetupPodNetwork, updateHostIptablesRules), written down here
once more, so that a wrong step of the emulator's does not reach both sides. The emulator's MACs are taken over: they are draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from emu.twin.space import Space

VPC = "10.0.0.0/16"


class Interface(NamedTuple):
    """An ENI: device number, MAC, primary address with its length, the router, and what pods may have of it."""

    number: int
    mac: str
    address: str
    router: str
    secondary: Sequence[str]


class Pod(NamedTuple):
    """A pod by its namespace and name, with its address, and the MACs of both ends of its pair."""

    namespace: str
    name: str
    address: str
    mac: str
    host_mac: str

    @property
    def veth(self) -> str:
        return "eni" + hashlib.sha1(f"{self.namespace}.{self.name}".encode(), usedforsecurity=False).hexdigest()[:11]


def wire(stack: ExitStack, interfaces: Sequence[Interface], pods: Sequence[Pod]) -> tuple[Space, dict[str, Space]]:
    """The node's namespace, and each pod's by "namespace/name"."""
    node, cloud = _space(stack, "node"), _space(stack, "cloud")
    spaces = {f"{pod.namespace}/{pod.name}": _space(stack, pod.name) for pod in pods}
    cable(node, cloud, interfaces, {each.number: f"p{each.number}" for each in interfaces})
    network(node, spaces, interfaces, pods)
    return node, spaces


def network(node: Space, spaces: Mapping[str, Space], interfaces: Sequence[Interface], pods: Sequence[Pod]) -> None:
    """What ipamd and the plugin do on a node that has its interfaces, and in its pods."""
    _node(node, interfaces)
    for pod in pods:
        number = next(each.number for each in interfaces if pod.address in each.secondary)
        _pod(node, spaces[f"{pod.namespace}/{pod.name}"], pod, number)
    _rules(node, interfaces[0].address.partition("/")[0])


def _space(stack: ExitStack, name: str) -> Space:
    space = Space(name)
    stack.callback(space.close)
    with space.inside():
        for key in ("all", "default"):
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
    space.ip([["link", "set", "lo", "up"]])
    return space


def cable(
    node: Space,
    cloud: Space,
    interfaces: Sequence[Interface],
    ports: Mapping[int, str],
    macs: Mapping[str, str] | None = None,
) -> None:
    """The cloud attaches the interfaces; `ports` are its own ends by device number, `macs` theirs."""
    for each in interfaces:
        port = ports[each.number]
        bears = f"address {macs[port]} " if macs else ""
        pair = f"link add eth{each.number} address {each.mac} mtu 9001 type veth peer name {port} {bears}mtu 9001"
        node.ip([[*pair.split(), "netns", cloud.path]])
        cloud.ip([["link", "set", port, "up"]])


def _node(node: Space, interfaces: Sequence[Interface]) -> None:
    for each in interfaces:
        name, number = f"eth{each.number}", each.number
        words = [f"link set {name} up", f"addr add {each.address} dev {name}"]
        if not number:
            words += [f"route add default via {each.router} dev {name}"]
        else:
            table, subnet = number + 1, str(_network(each.address))
            words += [
                f"route add {each.router} dev {name} scope link table {table}",
                f"route add default via {each.router} dev {name} table {table}",
                f"route del {subnet} dev {name} scope link table main",
            ]
        node.ip([line.split() for line in words])
    with node.inside():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv4/conf/eth0/rp_filter").write_text("2")
    node.ip([["rule", "add", "fwmark", "0x80/0x80", "lookup", "main", "priority", "1024"]])


def _network(address: str) -> str:
    host, _, length = address.partition("/")
    value = int.from_bytes(bytes(int(part) for part in host.split(".")))
    net = value >> 32 - int(length) << 32 - int(length)
    return ".".join(map(str, net.to_bytes(4))) + f"/{length}"


def _pod(node: Space, space: Space, pod: Pod, number: int) -> None:
    inside = [
        f"link add eth0 address {pod.mac} mtu 9001 type veth peer name {pod.veth} address {pod.host_mac} mtu 9001",
        f"link set {pod.veth} up",
        "link set eth0 up",
        "route replace 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
        f"addr add {pod.address}/32 dev eth0",
        f"neigh add 169.254.1.1 lladdr {pod.host_mac} dev eth0 nud permanent",
        f"link set {pod.veth} netns {node.path}",
    ]
    space.ip([line.split() for line in inside])
    outside = [
        f"link set {pod.veth} up",
        f"route replace {pod.address} dev {pod.veth} scope link table main",
        f"rule add to {pod.address} lookup main priority 512",
    ]
    if number:
        outside.append(f"rule add from {pod.address} lookup {number + 1} priority 1536")
    node.ip([line.split() for line in outside])


def _rules(node: Space, primary: str) -> None:
    """The chains and rules of AWS alone, one `iptables` after the other."""
    snat, mark = "AWS-SNAT-CHAIN-0", "AWS-CONNMARK-CHAIN-0"

    def iptables(table: str, *words: str) -> None:
        node.run("iptables", "-w", "-t", table, *words)

    def comment(text: str) -> tuple[str, ...]:
        return "-m", "comment", "--comment", text

    local = ("-m", "addrtype", "!", "--dst-type", "LOCAL")
    here = ("-m", "addrtype", "--dst-type", "LOCAL", "--limit-iface-in")
    restore = ("-j", "CONNMARK", "--restore-mark", "--mask", "0x80")
    iptables("nat", "-N", snat)
    iptables("nat", "-A", "POSTROUTING", *comment("AWS SNAT CHAIN"), "-j", snat)
    iptables("nat", "-I", snat, "1", "-d", VPC, *comment("AWS SNAT CHAIN"), "-j", "RETURN")
    target = ("-j", "SNAT", "--to-source", primary, "--random-fully")
    iptables("nat", "-A", snat, "!", "-o", "vlan+", *comment("AWS, SNAT"), *local, *target)
    first = ("-i", "eth0", *here, "-j", "CONNMARK", "--set-mark", "0x80/0x80")
    iptables("mangle", "-A", "PREROUTING", *comment("AWS, primary ENI"), *first)
    for device in ("eni+", "vlan+"):
        iptables("mangle", "-A", "PREROUTING", *comment("AWS, primary ENI"), "-i", device, *restore)
    iptables("nat", "-N", mark)
    iptables("nat", "-A", "PREROUTING", "-i", "eni+", *comment("AWS, outbound connections"), "-j", mark)
    iptables("nat", "-I", mark, "1", "-d", VPC, *comment("AWS CONNMARK CHAIN, VPC CIDR"), "-j", "RETURN")
    iptables("nat", "-A", "PREROUTING", *comment("AWS, CONNMARK"), *restore)
    iptables("nat", "-A", mark, *comment("AWS, CONNMARK"), "-j", "CONNMARK", "--set-xmark", "0x80/0x80")
