"""The tables of both sides at a flow's end, as comparable lines: neighbours, learned MACs, connections, rules' counters.

The kernel's tables are read by its ordinary tools, and connections from /proc. Must not know frames.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emu.kernel.link import tbf
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.ifb import Ifb
from emu.kernel.link.ipvlan import Ipvlan
from emu.kernel.link.macvlan import Macvlan
from emu.kernel.link.vlan import Vlan
from emu.kernel.link.vrf import Vrf
from emu.kernel.link.vxlan import LEARNED, Vxlan
from emu.kernel.net.fib_rules import TABLE_NAMES
from emu.kernel.net.neighbour import VALID
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.conn import Tuple5
from emu.kernel.netfilter.conntrack_list import render
from emu.twin.space import CHANGING, Space
from emu.wire.addr import ip4, ip4_text, mac_text
from emu.wire.frame import AF_INET, UDP

Tables = dict[str, list[str]]  # what -> lines
Counters = dict[tuple[str, str, int], tuple[int, int]]  # table, chain, number -> packets, bytes
_COUNTED = re.compile(r"\[(\d+):(\d+)\] -A (\S+)")
_ENDS = re.compile(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)")
_MAPPED = re.compile(r"-A CNI-DN-\S+ .*-p udp -m udp --dport (\d+) -j DNAT ")
_HEAD = re.compile(r"(\S+) +\d+ (\S+) +(\d+) (\d+) (.*)")
CONNECTIONS = Path("/proc/thread-self/net/nf_conntrack")
_LISTED_TOO = re.compile(r" zone=0\b| timeout=\d+, stream_timeout=\d+")  # what `conntrack -L` does not print
STACKED = ("macvlan", "ipvlan", "vlan", "vrf")
ROUTES = "route show table all"
AGEING = ("REACHABLE", "STALE", "DELAY", "PROBE")
# Entries that the kernel makes by itself and never resolves
_UNSEEN = ("NOARP", "NONE")
_TABLE_NUMBERS = {name: str(number) for number, name in TABLE_NAMES.items()}


def kernel_tables(space: Space, net: Netns) -> Tables:
    """The kernel's tables of one namespace. The emulated `net` decides which are read."""
    neighbours, routes = space.show("neigh show", ROUTES)
    tables: Tables = {"neighbours": sorted(_kernel_neighbours(neighbours)), "routes": sorted(_kernel_routes(routes))}
    if any(isinstance(device, Bridge | Vxlan) for device in net.devices.values()):
        tables["fdb"] = sorted(_kernel_fdb(space))
    if net.conntrack is not None:
        tables["conntrack"] = sorted(_connection(line) for line in kernel_connections(space))
    return tables


def kernel_setup(space: Space) -> Tables:
    """What the kernel's side was built as: its devices and addresses. They are compared after each change, not after each
    flow."""
    (found,) = space.show("addr show", options=CHANGING)  # with details it shows the links whole
    numbers = {each["ifname"]: each for each in found}
    return {
        "links": sorted(_kernel_link(each) for each in numbers.values()),
        "addresses": sorted(_kernel_addresses(found)),
    }


def emulated_setup(net: Netns) -> Tables:
    """The emulator's devices and addresses."""
    addresses = [
        f"{each} dev {each.device.name} scope {each.scope}" for each in net.ipv4.addresses if each.device.name != "lo"
    ]
    return {"links": sorted(_link(net, each) for each in net.devices.values()), "addresses": sorted(addresses)}


def _kernel_link(each: dict[str, Any]) -> str:
    details = each.get("linkinfo", {})
    kind = "loopback" if each["link_type"] == "loopback" else details.get("info_kind", each["link_type"])
    flags = each["flags"]
    words = [f"{each['ifname']} {kind} mtu {each['mtu']} address {each['address']}"]
    words += [word for flag, word in (("UP", "up"), ("LOWER_UP", "carrier"), ("PROMISC", "promisc")) if flag in flags]
    data = details.get("info_data", {})
    if kind == "bridge":
        words.append(f"ageing {data['ageing_time']}")
    words += [f"{key} {data[key]}" for key in ("mode", "id", "table") if kind in STACKED and key in data]
    if "master" in each:
        port = details.get("info_slave_data", {})
        words.append(f"master {each['master']}")
        words += [word for word in ("hairpin", "isolated") if port.get(word)]
    return " ".join(words)


def _link(net: Netns, device: Device) -> str:
    words = [f"{device.name} {device.kind} mtu {device.mtu} address {mac_text(device.mac)}"]
    flags = (device.up, "up"), (device.up and _carrier(device), "carrier"), (device.promisc, "promisc")
    words += [word for on, word in flags if on]
    if isinstance(device, Bridge):
        words.append(f"ageing {device.ageing_ns // 10_000_000}")
    elif isinstance(device, Vrf):
        words.append(f"table {device.table}")
    elif isinstance(device, Macvlan):
        words.append(f"mode {device.mode}")
    elif isinstance(device, Ipvlan):
        words.append(f"mode {device.port.mode}")
    elif isinstance(device, Vlan):
        words.append(f"id {device.vid}")
    if device.l3_master is not None:
        words.append(f"master {device.l3_master.name}")
    for bridge in net.devices.values():
        for port in bridge.ports if isinstance(bridge, Bridge) else ():
            if port.device is device:
                words.append(f"master {bridge.name}")
                words += [word for on, word in ((port.hairpin, "hairpin"), (port.isolated, "isolated")) if on]
    return " ".join(words)


def _carrier(device: Device) -> bool:
    """A bridge has carrier while a port that is up has it (br_port_carrier_check)."""
    if isinstance(device, Bridge):
        return any(port.device.up and _carrier(port.device) for port in device.ports)
    peer = getattr(device, "peer", None)
    return device.carrier and (peer is None or peer.up)


def _kernel_addresses(links: Iterable[dict[str, Any]]) -> Iterator[str]:
    for link in links:
        for each in link["addr_info"]:
            if link["ifname"] != "lo" and each["family"] == "inet":
                yield f"{each['local']}/{each['prefixlen']} dev {link['ifname']} scope {each['scope']}"


def kernel_connections(space: Space) -> list[str]:
    """The lines of `conntrack -L`; where the kernel lists the same in /proc, from there, which takes no process. What the kernel
    calls unknown the tool may know."""
    with space.inside(), suppress(FileNotFoundError):
        text = CONNECTIONS.read_text()
        if " unknown " not in text:
            return [_LISTED_TOO.sub("", line) for line in text.splitlines()]
    return space.run("conntrack", "-L", "-o", "extended").splitlines()


@dataclass(frozen=True, slots=True)
class Entry:
    """A connection as `emu.kube.proxy.cleanup.Entry`: protocol, addresses and ports of its first packet, and of the answer."""

    family: int
    orig: Tuple5
    reply: Tuple5


def udp_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The UDP connections among the lines of `conntrack -L`."""
    for line in lines:
        ends = _ENDS.findall(line)
        if len(ends) == 2 and " udp " in line:
            orig, reply = ((UDP, ip4(src), ip4(dst), int(sport), int(dport)) for src, dst, sport, dport in ends)
            yield Entry(AF_INET, orig, reply)


def kernel_qdiscs(space: Space) -> Iterator[str]:
    """The token buckets and ingress filters of a namespace."""
    for each in json.loads(space.run("tc", "-j", "qdisc", "show") or "[]"):
        if each["kind"] == "tbf":
            words = " ".join(f"{key} {each['options'][key]}" for key in ("rate", "burst", "lat"))
            yield f"{each['dev']} {each['handle']} tbf {words}"
        elif each["kind"] == "ingress":
            found = space.run("tc", "filter", "show", "dev", each["dev"], "parent", "ffff:")
            target = re.search(r"Egress Redirect to device (\S+?)\)", found)
            yield f"{each['dev']} ffff: redirects to {target[1] if target is not None else 'nothing'}"


def emulated_qdiscs(net: Netns) -> Iterator[str]:
    """The same of the emulator."""
    for device in net.devices.values():
        if isinstance(device.qdisc, tbf.Tbf):
            yield f"{device.name} 1: {tbf.text(device.qdisc)}"
        target = getattr(device.ingress, "__self__", None)
        if isinstance(target, Ifb):
            yield f"{device.name} ffff: redirects to {target.name if target.attached else '*'}"


def kernel_vlans(space: Space) -> Iterator[str]:
    """The VLANs of the ports of bridges with filtering, and of these bridges."""
    links = space.links()
    filtering = {
        each["ifname"] for each in links if each.get("linkinfo", {}).get("info_data", {}).get("vlan_filtering")
    }
    masters = {each["ifname"]: each.get("master", each["ifname"]) for each in links}
    for each in json.loads(space.run("bridge", "-j", "vlan", "show") or "[]") if filtering else ():
        if masters.get(each["ifname"]) in filtering:
            for vlan in each["vlans"]:
                for vid in range(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]) + 1):
                    yield " ".join([each["ifname"], "vlan", str(vid), *vlan.get("flags", ())])


def emulated_vlans(net: Netns) -> Iterator[str]:
    """The same of the emulator."""
    for bridge in net.devices.values():
        if isinstance(bridge, Bridge) and bridge.vlan_filtering:
            for name, group in (
                (bridge.name, bridge.vlan_group),
                *((port.device.name, port.vlans) for port in bridge.ports),
            ):
                for line in group.lines():
                    yield f"{name} vlan {line}"


def emulated_tables(net: Netns) -> Tables:
    """The emulator's tables of one namespace."""
    tables: Tables = {"neighbours": sorted(_neighbours(net)), "routes": sorted(emulated_routes(net))}
    if any(isinstance(device, Bridge | Vxlan) for device in net.devices.values()):
        tables["fdb"] = sorted(_fdb(net))
    if net.conntrack is not None:
        tables["conntrack"] = sorted(_connection(render(conn, net.clock.now)) for conn in net.conntrack)
    return tables


def _kernel_neighbours(shown: Iterable[dict[str, Any]]) -> Iterator[str]:
    for each in shown:
        state = each["state"][0]
        if state not in _UNSEEN:
            yield _neighbour(each["dst"], each["dev"], each.get("lladdr", ""), state)


def _neighbours(net: Netns) -> Iterator[str]:
    for each in net.neighbours:
        if each.state not in _UNSEEN:
            lladdr = mac_text(each.lladdr) if each.state in VALID else ""
            yield _neighbour(ip4_text(each.addr), each.device.name, lladdr, each.state)


def _neighbour(addr: str, device: str, lladdr: str, state: str) -> str:
    return f"{addr} dev {device} lladdr {lladdr or '-'} {state}"


def reachable_ms(space: Space) -> dict[str, int]:
    """How long each device's neighbours stay REACHABLE: the kernel draws it for each device, and again every 300 s."""
    (shown,) = space.show("ntable show name arp_cache")
    return {each["dev"]: int(each["reachable"]) for each in shown if "dev" in each}


def _kernel_fdb(space: Space) -> Iterator[str]:
    """What bridges have learned, and all that VXLAN devices know."""
    for each in json.loads(space.run("bridge", "-j", "fdb", "show") or "[]"):
        state = each.get("state", "")
        if each.get("dst"):
            where = f"port {each.get('port', 0)} vni {each.get('vni', 0)} via {each.get('viaIf', '-')}"
            yield f"{each['mac']} behind {each['dst']} of {each['ifname']} {where} {state or LEARNED}"
        elif each.get("master") and state not in ("permanent", "static"):
            yield f"{each['mac']} behind {each['ifname']} of {each['master']}"


def _fdb(net: Netns) -> Iterator[str]:
    for device in net.devices.values():
        if isinstance(device, Bridge):
            for known in device.learned():
                if known.port is not None:
                    yield f"{mac_text(known.mac)} behind {known.port.device.name} of {device.name}"
        elif isinstance(device, Vxlan):
            config = device.config
            for entry, remote in device.entries():
                port = 0 if remote.port == config.dstport else remote.port
                vni = 0 if remote.vni == config.vni else remote.vni
                via = remote.device.name if remote.device is not None else "-"
                where = f"port {port} vni {vni} via {via}"
                yield f"{mac_text(entry.mac)} behind {ip4_text(remote.addr)} of {device.name} {where} {entry.state}"


def kernel_routes(space: Space) -> Iterator[str]:
    (shown,) = space.show(ROUTES)
    return _kernel_routes(shown)


def _kernel_routes(shown: Iterable[dict[str, Any]]) -> Iterator[str]:
    for each in shown:
        if "cache" in each.get("flags", ()):
            continue
        table = str(each.get("table", "254"))
        mtu = next((metric["mtu"] for metric in each.get("metrics", ()) if "mtu" in metric), 0)
        kind = _KINDS.get(str(each.get("type", "unicast")), str(each.get("type", "unicast")))
        yield _route(
            _TABLE_NUMBERS.get(table, table), kind, each["dst"], each.get("gateway", ""), each.get("dev", ""),
            each.get("prefsrc", ""), int(each.get("metric", 0)), int(mtu),
        )  # fmt: skip


_KINDS = {
    "1": "unicast", "2": "local", "3": "broadcast", "5": "multicast", "6": "blackhole", "7": "unreachable",
    "8": "prohibit", "9": "throw",
}  # fmt: skip  # RTN_*


def emulated_routes(net: Netns) -> Iterator[str]:
    for table in net.ipv4.fib.tables.values():
        for each in table:
            dst = "default" if each.prefix.length == 0 else str(each.prefix).removesuffix("/32")
            yield _route(
                str(each.table), each.kind, dst, ip4_text(each.gateway) if each.gateway else "",
                each.device.name if each.device is not None else "", ip4_text(each.prefsrc) if each.prefsrc else "",
                each.metric, each.mtu,
            )  # fmt: skip


def _route(table: str, kind: str, dst: str, via: str, dev: str, src: str, metric: int, mtu: int) -> str:
    words = [f"table {table} {kind} {dst}"]
    words += [f"via {via}"] if via else []
    words += [f"dev {dev}"] if dev else []
    words += [f"src {src}"] if src else []
    words += [f"metric {metric}"] if metric else []
    words += [f"mtu {mtu}"] if mtu else []
    return " ".join(words)


def _connection(line: str) -> str:
    """One entry; the seconds are moved to the end, and the use count is left out."""
    head = _HEAD.match(line.strip())
    if head is None:
        return line
    rest = re.sub(r" (use|secctx)=\S+", "", head[5])
    return f"{head[2]} {rest} seconds={head[4]}"


def aged(net: Netns) -> set[str]:
    """The neighbours whose state may differ, because they were confirmed long ago: REACHABLE ends after a random time between
    half and one and a half times base_reachable_time, and a timer that runs late notices it."""
    found = set()
    for each in net.neighbours:
        device = each.device.name
        shortest_ns = net.sysctl.neigh(device, "base_reachable_time_ms") * 400_000
        if each.state in AGEING and net.clock.now - each.confirmed_ns > shortest_ns:
            found.add(_neighbour(ip4_text(each.addr), device, mac_text(each.lladdr), "").rstrip())
    return found


def ageing_alike(one: str, other: str, old: set[str]) -> bool:
    """Are these lines the same `old` neighbour in two states of ageing?"""
    first, _, left = one.rpartition(" ")
    second, _, right = other.rpartition(" ")
    return first == second and first in old and left in AGEING and right in AGEING


def seconds_alike(one: str, other: str) -> bool:
    """Equal to within one second: the kernel's run took real time, and the seconds left are rounded down."""
    first, _, left = one.rpartition(" seconds=")
    second, _, right = other.rpartition(" seconds=")
    return bool(first) and first == second and abs(int(left) - int(right)) <= 1


# -- rules --------------------------------------------------------------------------------------


def newly_mapped(before: str, after: str) -> set[int]:
    """The UDP ports of a node that a container got by the change from one text of rules to the other: the portmap plugin
    deletes their connections."""
    new = set(after.splitlines()) - set(before.splitlines())
    found = (_MAPPED.match(line) for line in new)
    return {int(each[1]) for each in found if each is not None}


def rules(text: str) -> list[str]:
    """An iptables-save's text without comments and chains' counters."""
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in text.splitlines() if line and not line.startswith("#")]


def counters(text: str) -> Counters:
    """Each rule's counters from `iptables-save -c`."""
    found: Counters = {}
    table, number, last = "", 0, ""
    for line in text.splitlines():
        if line.startswith("*"):
            table, last = line[1:], ""
        elif match := _COUNTED.match(line):
            number = number + 1 if match[3] == last else 1
            last = match[3]
            found[table, last, number] = int(match[1]), int(match[2])
    return found


def counter_lines(counted: Counters) -> list[str]:
    return [f"{table} {chain} rule {number}: {packets} packets, {size} bytes"
            for (table, chain, number), (packets, size) in sorted(counted.items())]  # fmt: skip


def counted(before: Mapping[tuple[str, str, int], tuple[int, int]], after: Counters) -> Counters:
    """The increase of each counter. A rule that counts less than before is another one, which counts from 0."""
    grown: Counters = {}
    for key, (packets, size) in after.items():
        old_packets, old_size = before.get(key, (0, 0))
        if packets < old_packets:
            old_packets = old_size = 0
        if packets != old_packets:
            grown[key] = packets - old_packets, size - old_size
    return grown


def forget(space: Space, chosen: Callable[[Iterator[Entry]], Iterable[Entry]]) -> None:
    """What kube-proxy does after a sync, and portmap after an ADD: look through the connections of UDP, and delete
    some."""
    for entry in list(chosen(udp_entries(kernel_connections(space)))):
        _udp, src, dst, sport, dport = entry.orig
        ends = ["--src", ip4_text(src), "--dst", ip4_text(dst), "--sport", str(sport), "--dport", str(dport)]
        space.run("conntrack", "-D", "-p", "udp", *ends)
