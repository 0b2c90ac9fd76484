"""Dumps of nodes, those in tests/data/iptables-dumps and in the folder that EMU_DUMPS names: a node for the emulator,
and the packets to try on it.

Packets are those of NAME.packets; where there is no such file they are drawn from what the rules speak of.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random

from emu.cli.dumps import packet
from emu.errors import InputError
from emu.report.node import Node, read_node
from emu.report.outcomes import Probe
from emu.report.packet import complete
from emu.wire.addr import Prefix, ip4_text

DATA = Path(__file__).parents[1] / "data" / "iptables-dumps"
FOLDERS = [DATA, *(Path(each) for each in os.environ.get("EMU_DUMPS", "").split(os.pathsep) if each)]
PATHS = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.rules"))}
NAMES = sorted(PATHS)
# packets for a dump that brings none of its own
MEMBERS = [f"198.19.0.{number}" for number in range(1, 9)]  # RFC 2544: hosts that are in sets
DRAWN = int(40 * float(os.environ.get("EMU_EXAMPLES") or 1))
STRANGER = "198.51.100.9"  # RFC 5737: a host outside
UNNAMED = "198.18"  # RFC 2544: hosts that no rule names


@dataclass(frozen=True)
class Dump:
    """`addresses`, `ip_rules` and `ipset` are "" where the node has none."""

    name: str
    rules: str
    routes: str
    ipset: str
    ip_rules: str
    addresses: str
    probes: tuple[Probe, ...]

    def node(self) -> Node:
        # a redirect for each packet would be counted, and the kernel limits their rate
        quiet = {f"net.ipv4.conf.{name}.send_redirects": 0 for name in ("all", "default")}
        node = read_node(
            self.rules,
            ipset=self.ipset,
            routes=self.routes,
            policy=self.ip_rules,
            addresses=self.addresses,
            sysctls=quiet,
        )
        for probe in self.probes:  # interfaces and routes that only a packet probes for
            complete(node, probe)
        return node


def read(name: str) -> Dump:
    def text(ending: str) -> str:
        path = PATHS[name].with_name(f"{name}.{ending}")
        return path.read_text() if path.exists() else ""

    lines = [line.split() for line in text("packets").splitlines() if line and not line.startswith("#")]
    probes = []
    for number, (source, device, target, *uid) in enumerate(lines):
        word = "" if device == "-" else device
        port = 40000 + number
        probes.append(packet(f"{source}:{port}", target, device=word, uid=int(uid[0]) if uid else 0))
    dump = Dump(
        name,
        text("rules"),
        text("routes.json"),
        text("ipset") or drawn_sets(name, text("rules")),
        text("ip-rules.json"),
        text("addresses.json"),
        tuple(probes),
    )
    return dump if probes else replace(dump, probes=drawn(dump))


def drawn_sets(name: str, rules: str) -> str:
    """The sets that the rules name, with members drawn from a few hosts: for dumps that come without their sets."""
    random = Random(f"{name} sets")
    lines: list[str] = []
    for each, flags in sorted(set(re.findall(r"--(?:match|add|del)-set (\S+) (\S+)", rules))):
        if each in {line.split()[1] for line in lines}:
            continue
        ported = "," in flags
        lines.append(f"create {each} {'hash:ip,port' if ported else 'hash:net'}")
        members = random.sample(MEMBERS, random.randint(1, len(MEMBERS) - 1))
        lines += [f"add {each} {member}{',tcp:80' if ported else ''}" for member in sorted(members)]
    return "".join(f"{line}\n" for line in lines)


def drawn(dump: Dump) -> tuple[Probe, ...]:
    """Packets for a dump's rules: to every address and port that they name, from the sources and on the interfaces that they
    name, and from a host outside; the same in each run. A sender keeps its interface."""
    random = Random(dump.name)
    rules = [line for line in dump.rules.splitlines() if line.startswith("-A")]
    targets: dict[str, None] = {}
    sources: dict[str, None] = {STRANGER: None}
    devices: dict[str, None] = {"eth0": None}
    for line in rules:
        where = _hosts(re.findall(r"(?:^|[^!]) -d (\S+)|--to-destination ([\d.]+)", line))
        proto = next(iter(re.findall(r" -p (tcp|udp|icmp)", line)), "tcp")
        ports = re.findall(r"--dports? (\d+)|--to-destination [\d.]+:(\d+)", line) or [("80", "")]
        for host, port in product(where or [STRANGER], ports):
            if where or " --dport" in line:
                number = "" if proto == "icmp" else f":{port[0] or port[1]}"
                targets[f"{host}{number}/{proto}"] = None
        sources.update(dict.fromkeys(_hosts(re.findall(r" -s (\S+)", line))))
        devices.update(dict.fromkeys(name.replace("+", "0") for name in re.findall(r" -i (\S+)", line)))
    if dump.ipset and not (DATA / f"{dump.name}.ipset").exists():
        sources.update(dict.fromkeys(MEMBERS))
        targets.update(dict.fromkeys(f"{member}:80/tcp" for member in MEMBERS))
    devices.pop("lo", None)
    sources.update(dict.fromkeys(_host(target) for target in targets))
    behind = {source: random.choice(list(devices)) for source in sources}
    for place, device in enumerate(devices):  # and a host behind each interface whose address no rule names
        host = f"{UNNAMED}.{place}.9"
        behind[host] = device
        sources[host] = targets[f"{host}:80/tcp"] = targets[f"{host}/icmp"] = None
    pairs = [(source, target) for source, target in product(sources, targets) if _host(target) != source]
    node, probes = dump.node(), []
    for place, (source, target) in enumerate(random.sample(pairs, min(DRAWN, len(pairs)))):
        probe = packet(f"{source}:{40000 + place}", target, device=behind[source])
        try:
            probes.append(complete(node, probe))
        except InputError:
            continue  # no route to it
    return tuple(probes)


def _host(target: str) -> str:
    return target.partition("/")[0].partition(":")[0]


def _hosts(found: list[str] | list[tuple[str, ...]]) -> list[str]:
    """An address of each network that is a pod's, a node's or a Service's: no loopback, no multicast."""
    hosts = []
    for each in found:
        prefix = Prefix.parse(each if isinstance(each, str) else next(part for part in each if part))
        if 0 < prefix.net >> 24 < 224 and prefix.net >> 24 != 127:
            hosts.append(ip4_text(prefix.net if prefix.length == 32 else prefix.net + 9))
    return hosts
