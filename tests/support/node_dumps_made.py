"""A node's dump as tools/collect writes it, made of a node of emu: each file as its command prints it on a real node.

`foreign` gives it what a real node has: names of the pods' interfaces and MACs that are not emu's, another uplink, neighbours and bridge
entries that were learnt.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.listed import fdb, neighbours
from emu.kernel.net.listed import routes as listed_routes
from emu.kernel.netfilter.conntrack_list import render
from emu.kube.cluster import Cluster
from emu.wire.addr import ip4_text, mac_text

Dumped = dict[str, str]
SYSCTLS = (
    "net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter",
    "net.ipv4.conf.all.route_localnet", "net.netfilter.nf_conntrack_max", "net.ipv4.ip_default_ttl", "net.ipv4.tcp_syn_retries",
    "net.ipv4.neigh.default.gc_thresh3",
)  # fmt: skip
# causes that only a node's dump shows: test_planted_dumps.py
CAUSES = (
    "forward-drop", "proxy-rules-missing", "stale-endpoint", "conntrack-stale", "conntrack-full", "ipset-member-missing", "route-wrong",
    "ip-rule-missing", "neighbour-missing", "neighbour-wrong", "neighbour-failed", "fdb-missing", "address-missing", "bridge-netfilter-off",
    "route-localnet-off",
)  # fmt: skip
OTHERS = "kernel.hostname = {}\nkernel.pid_max = 4194304\nnet.netfilter.nf_conntrack_count = 812\nvm.swappiness = 60\n"


def dump_of(cluster: Cluster, name: str, *, foreign: bool = False) -> Dumped:
    """The text of each file."""
    net = cluster.nodes[name].net
    made: Dumped = {"iptables-save": net.ipv4.tables.save(), "ipset-save": net.ipv4.tables.ipsets.save()}
    made["ip-link"] = "".join(_link(device) for device in net.devices.values())
    made["ip-addr"] = "".join(
        _link(device)
        + "".join(
            f"    inet {each} scope {each.scope} {device.name}\n       valid_lft forever preferred_lft forever\n"
            for each in net.ipv4.addresses
            if each.device is device
        )
        for device in net.devices.values()
    )
    made["ip-route"] = "".join(f"{line}\n" for _, _, line in listed_routes(net.ipv4.fib))
    made["ip-rule"] = "".join(each.text().replace(": ", ":\t", 1) + "\n" for each in net.ipv4.fib.rules)
    ports = {
        pod: device.peer
        for pod in cluster.nodes[name].sandboxes.values()
        for device in pod.net.devices.values()
        if not pod.host_network and isinstance(device, Veth) and device.peer is not None
    }
    learnt, behind = "", ""
    for pod, port in ports.items():
        inside = mac_text(pod.net.devices["eth0"].mac)
        by = port.master.bridge.name if port.master is not None else port.name
        learnt += f"{ip4_text(pod.ip)} dev {by} lladdr {inside} REACHABLE\n"
        behind += f"{inside} dev {port.name} master {by}\n" if port.master is not None else ""
    made["ip-neigh"] = "".join(f"{text}\n" for text in neighbours(net).values()) + learnt
    made["bridge-fdb"] = (
        "".join(f"{text}\n" for text in fdb(net).values()) + "33:33:00:00:00:01 dev eth0 self permanent\n" + behind
    )
    made["conntrack"] = "".join(f"{render(each, cluster.clock.now)}\n" for each in net.conntrack)
    names = [*SYSCTLS, *(f"net.ipv4.conf.{each}.rp_filter" for each in net.devices)]
    made["sysctl"] = OTHERS.format(name) + "".join(f"{each} = {net.sysctl[each]}\n" for each in names)
    return _foreign(made, {port.name for port in ports.values() if port.name.startswith("veth")}) if foreign else made


def _link(device: Device) -> str:
    flags = ["LOOPBACK" if device.loopback else "BROADCAST,MULTICAST"]
    flags = [*(["NO-CARRIER"] if device.up and not device.carrier else []), *flags, *(["UP"] if device.up else [])]
    flags += ["LOWER_UP"] if device.up and device.carrier else []
    state = "UNKNOWN" if device.loopback else "UP" if device.up and device.carrier else "DOWN"
    peer = "@if3" if device.kind == "veth" and device.name.startswith(("veth", "cali", "eni")) else ""
    master = f"master {device.master.bridge.name} " if device.master is not None else ""
    kind = "loopback" if device.loopback else "ether"
    every = "00:00:00:00:00:00" if device.loopback else "ff:ff:ff:ff:ff:ff"
    return (
        f"{device.ifindex}: {device.name}{peer}: <{','.join(flags)}> mtu {device.mtu} qdisc noqueue {master}state {state} group default qlen 1000\n"
        f"    link/{kind} {mac_text(device.mac)} brd {every}\n"
    )


def _foreign(made: Dumped, ports: set[str]) -> Dumped:
    """Other names of veths and of the uplink, other MACs."""
    names = {each: f"veth{zlib.crc32(each.encode()):08x}"[:12] for each in ports} | {"eth0": "ens192"}
    known = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
    keep = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "ee:ee:ee:ee:ee:ee")

    def other(found: re.Match[str]) -> str:
        text = found[0]
        if text in keep or text.startswith(
            ("33:33", "5e:11", "66:")
        ):  # those of tunnels stand in the nodes' annotations
            return text
        return "02:" + ":".join(f"{zlib.crc32(text.encode()):08x}"[at : at + 2] for at in range(0, 8, 2)) + ":77"

    def named(text: str) -> str:
        return re.sub(
            r"(?<![\w-])(" + "|".join(map(re.escape, names)) + r")(?![\w-])", lambda found: names[found[1]], text
        )

    return {file: named(known.sub(other, text)) for file, text in made.items()}


def write(made: Dumped, folder: Path) -> Path:
    """The files of a dump."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text)
    return folder
