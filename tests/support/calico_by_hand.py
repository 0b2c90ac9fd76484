"""A node with Calico, wired in this machine's kernel by `ip`, `ipset`, `bridge` and `iptables-restore` from the cluster's objects.

Names, MACs, blocks and rules are computed here, after Calico's documents and the rules that felix wrote on a real node
(`tests/data/iptables-dumps/calico-felix.rules`), and not taken from what emu computed. Must not import emu's network or plugins.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from emu.twin.space import Space

DUMP = Path(__file__).parents[1] / "data" / "iptables-dumps" / "calico-felix.rules"
_HASH = re.compile(r'-m comment --comment "cali:[\w-]{16}" ')
_MARK = "-m mark --mark 0x10000/0x10000"


@dataclass(frozen=True)
class NodeFacts:
    """A node: its name, its address with the prefix length, its gateway, and its eth0's MAC."""

    name: str
    address: str
    gateway: str
    mac: str

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    def beside(self, other: NodeFacts) -> bool:
        return ipaddress.ip_address(other.ip) in ipaddress.ip_interface(self.address).network


@dataclass(frozen=True)
class Pool:
    """`mode` of VXLAN: Always, CrossSubnet or Never."""

    cidr: str
    mode: str
    length: int = 26
    masquerades: bool = True


Pods = Mapping[str, Sequence[str]]  # by node, in the order in which they came


def host_device(pod: str) -> str:
    """`cali` and 11 hex digits of SHA-1 of namespace.name."""
    return "cali" + hashlib.sha1(pod.replace("/", ".").encode(), usedforsecurity=False).hexdigest()[:11]


def tunnel_mac(node: str) -> str:
    digest = hashlib.sha1(node.encode(), usedforsecurity=False).digest()
    return ":".join(f"{octet:02x}" for octet in b"f" + digest[:5])


def blocks(pool: Pool, nodes: Sequence[NodeFacts]) -> dict[str, ipaddress.IPv4Network]:
    """The first block of each node: the search begins at the FNV-1 hash of the name."""
    every = list(ipaddress.IPv4Network(pool.cidr).subnets(new_prefix=pool.length))
    found: dict[str, ipaddress.IPv4Network] = {}
    for node in nodes:
        value = 2166136261
        for octet in node.name.encode():
            value = value * 16777619 % 2**32 ^ octet
        at = value % len(every)
        while every[at] in found.values():
            at = (at + 1) % len(every)
        found[node.name] = every[at]
    return found


def addresses(pool: Pool, nodes: Sequence[NodeFacts], pods: Pods) -> dict[str, str]:
    """Each pod's address, and each node's tunnel's, which is the first of its block."""
    given: dict[str, str] = {}
    for node, block in blocks(pool, nodes).items():
        owners = [*([node] if pool.mode != "Never" else []), *pods.get(node, ())]
        given |= {owner: str(block[number]) for number, owner in enumerate(owners)}
    return given


def wire(
    stack: ExitStack, own: NodeFacts, nodes: Sequence[NodeFacts], pool: Pool, pods: Pods
) -> tuple[Space, dict[str, Space]]:
    """The node, and its pods by name."""
    host, uplink = _space(stack, own.name), _space(stack, "uplink")
    host.ip(
        [
            f"link add name eth0 address {own.mac} type veth peer name port netns {uplink.path}".split(),
            ["link", "set", "dev", "eth0", "up"],
            f"addr add {own.address} dev eth0".split(),
        ]
    )
    uplink.ip([["link", "set", "dev", "port", "up"]])
    host.ip([f"route add default via {own.gateway} dev eth0".split()])
    _sysctl(host, "net/ipv4/ip_forward", 1)
    spaces = {pod: _space(stack, pod) for pod in pods.get(own.name, ())}
    network(host, spaces, own, nodes, pool, pods)
    host.run("iptables-restore", text=rules(pool, pods.get(own.name, ())))
    return host, spaces


def network(
    host: Space,
    spaces: Mapping[str, Space],
    own: NodeFacts,
    nodes: Sequence[NodeFacts],
    pool: Pool,
    pods: Pods,
    macs: Mapping[str, str] | None = None,
) -> None:
    """Calico's part of a node and its pods, all but the rules. `macs` are those of pods; others are drawn."""
    given = addresses(pool, nodes, pods)
    for pod in pods.get(own.name, ()):
        _pod(host, spaces[pod], pod, given[pod], 1500 if pool.mode == "Never" else 1450, (macs or {}).get(pod, ""))
    if pool.mode != "Never":
        _tunnel(host, own, nodes, given)
    _routes(host, own, nodes, pool, given)
    host.run("ipset", "restore", text="\n".join([*_sets(own, nodes, pool), ""]))


def first_and_last(text: str) -> tuple[str, str]:
    """The rules as felix writes them beside others': what it appends, and the jumps that it keeps at the top of the built-in
    chains. It appends in nat's POSTROUTING, as the hash of the real node's rule there shows, which is another than in mangle."""
    appended, inserted, table = list[str](), list[str](), ""
    for line in text.splitlines():
        table = line if line.startswith("*") else table
        jump = re.match(r"-A ([A-Z]+) (.*-j cali-\S+)$", line)
        if jump is not None and (table, jump[1]) != ("*nat", "POSTROUTING"):
            inserted.append(f"-I {jump[1]} 1 {jump[2]}")
        else:
            appended.append(line)
            inserted += [line] if line.startswith("*") or line == "COMMIT" else []
    return "\n".join([*appended, ""]), "\n".join([*inserted, ""])


def _space(stack: ExitStack, name: str) -> Space:
    space = Space(name)
    stack.callback(space.close)
    space.ip([["link", "set", "dev", "lo", "up"]])
    for key in ("all", "default"):
        _sysctl(space, f"net/ipv6/conf/{key}/disable_ipv6", 1)
    return space


def _sysctl(space: Space, path: str, value: int) -> None:
    with space.inside():
        Path("/proc/sys", path).write_text(str(value))


def _pod(host: Space, space: Space, pod: str, address: str, mtu: int, mac: str) -> None:
    outside, bears = host_device(pod), f"address {mac} " if mac else ""
    space.ip([f"link add name eth0 {bears}mtu {mtu} type veth peer name {outside} mtu {mtu} netns {host.path}".split()])
    host.ip([f"link set dev {outside} address ee:ee:ee:ee:ee:ee".split()])
    for variable in ("route_localnet", "proxy_arp", "forwarding"):
        _sysctl(host, f"net/ipv4/conf/{outside}/{variable}", 1)
    _sysctl(host, f"net/ipv4/neigh/{outside}/proxy_delay", 0)
    host.ip([f"link set dev {outside} up".split()])
    space.ip(
        [
            ["link", "set", "dev", "eth0", "up"],
            ["route", "add", "169.254.1.1", "dev", "eth0", "scope", "link"],
            ["route", "add", "default", "via", "169.254.1.1", "dev", "eth0"],
            f"addr add {address}/32 dev eth0".split(),
        ]
    )
    host.ip([f"route add {address} dev {outside} scope link".split()])


def _tunnel(host: Space, own: NodeFacts, nodes: Sequence[NodeFacts], given: Mapping[str, str]) -> None:
    made = f"link add name vxlan.calico address {tunnel_mac(own.name)} type vxlan id 4096 dstport 4789 local {own.ip}"
    host.ip(
        [
            f"{made} dev eth0 nolearning".split(),
            ["link", "set", "dev", "vxlan.calico", "mtu", "1450", "up"],
            f"addr add {given[own.name]}/32 dev vxlan.calico".split(),
        ]
    )
    for other in nodes:
        if other is not own:
            mac = tunnel_mac(other.name)
            host.ip([f"neigh add {given[other.name]} lladdr {mac} dev vxlan.calico nud permanent".split()])
            host.run(*f"bridge fdb add {mac} dev vxlan.calico dst {other.ip} self permanent".split())


def _routes(host: Space, own: NodeFacts, nodes: Sequence[NodeFacts], pool: Pool, given: Mapping[str, str]) -> None:
    """BIRD's without encapsulation, felix's with VXLAN."""
    cut, proto = blocks(pool, nodes), "bird" if pool.mode == "Never" else "80"
    lines = [f"route add blackhole {cut[own.name]} proto {proto}"]
    for other in nodes:
        if other is own:
            continue
        if pool.mode == "Always" or (pool.mode == "CrossSubnet" and not own.beside(other)):
            way = f"via {given[other.name]} dev vxlan.calico onlink"
        else:
            way = f"via {other.ip} dev eth0" + ("" if pool.mode == "Never" else " onlink")
        lines.append(f"route add {cut[other.name]} {way} proto {proto}")
    host.ip([line.split() for line in lines])


def _sets(own: NodeFacts, nodes: Sequence[NodeFacts], pool: Pool) -> Iterator[str]:
    """As felix creates them."""
    members = {
        "cali40masq-ipam-pools": [pool.cidr] if pool.masquerades else [],
        "cali40all-ipam-pools": [pool.cidr],
        "cali40all-hosts-net": [node.ip for node in nodes],
    }
    if pool.mode != "Never":
        members["cali40all-vxlan-net"] = [node.ip for node in nodes if node is not own]
    for name, found in members.items():
        yield f"create {name} hash:net family inet maxelem 1048576"
        yield from (f"add {name} {member}" for member in found)


# -- rules ----------------------------------------------------------------------------------------


def rules(pool: Pool, pods: Sequence[str]) -> str:
    """The real node's rules without their hashes, with those that name sets, which its dump lacks, and with this node's pods."""
    text = _HASH.sub("", DUMP.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    if pool.mode == "Never":
        lines = [line for line in lines if "4789" not in line and "vxlan.calico" not in line]
    else:
        host = (
            '-p udp -m comment --comment "{}" -m multiport --dports 4789 {} -j ACCEPT',
            "-m set --match-set cali40all-vxlan-net src -m addrtype --dst-type LOCAL",
            "-m addrtype --src-type LOCAL -m set --match-set cali40all-vxlan-net dst",
        )
        _before(lines, "-A cali-INPUT ", host[0].format("Allow IPv4 VXLAN packets from allowed hosts", host[1]))
        accepted = next(number for number, line in enumerate(lines) if line.startswith("-A cali-OUTPUT -o cali+"))
        lines.insert(
            accepted + 1, "-A cali-OUTPUT " + host[0].format("Allow IPv4 VXLAN packets to other allowed hosts", host[2])
        )
    if pool.masquerades:
        sets = "-m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst"
        nat = lines.index("*nat")
        lines.insert(lines.index("COMMIT", nat), f"-A cali-nat-outgoing {sets} -j MASQUERADE --random-fully")
    _before(lines, "-A cali-from-wl-dispatch ", *_dispatch("from", "i", "fw", pods))
    _before(lines, "-A cali-to-wl-dispatch ", *_dispatch("to", "o", "tw", pods))
    chains, more = _workloads(pods)
    table = lines.index("*filter")
    lines.insert(lines.index("COMMIT", table), "\n".join(more))
    lines.insert(table + 1, "\n".join(f":{name} - [0:0]" for name in chains))
    return "\n".join([line for line in lines if line] + [""])


def _before(lines: list[str], start: str, *new: str) -> None:
    """Before the first line of a chain. `new` may leave the chain out."""
    at = next(number for number, line in enumerate(lines) if line.startswith(start))
    lines[at:at] = [line if line.startswith("-A ") else start + line for line in new]


def _dispatch(way: str, option: str, prefix: str, pods: Sequence[str]) -> Iterator[str]:
    """Only for pods whose devices differ in the first letter after what they have in common."""
    names = sorted(map(host_device, pods))
    assert len({name[4] for name in names}) == len(names), "the tree of dispatch chains is another test's"
    for name in names:
        yield f"-A cali-{way}-wl-dispatch -{option} {name} -g cali-{prefix}-{name}"


def _workloads(pods: Sequence[str]) -> tuple[list[str], list[str]]:
    chains, lines = list[str](), list[str]()
    spaces = sorted({pod.partition("/")[0] for pod in pods})
    for space in spaces:
        for prefix, way in (("pri", "ingress"), ("pro", "egress")):
            chains += [f"cali-{prefix}-kns.{space}", f"cali-{prefix}-ksa.{space}.default"]
            about = f'-m comment --comment "Profile kns.{space} {way}"'
            lines.append(f"-A cali-{prefix}-kns.{space} {about} -j MARK --set-xmark 0x10000/0x10000")
            lines.append(
                f'-A cali-{prefix}-ksa.{space}.default -m comment --comment "Profile ksa.{space}.default {way}"'
            )
    drops = {
        "-p udp": ("VXLAN", "-m multiport --dports 4789 "),
        "-p 4": ("IPinIP", ""),
    }
    for pod in pods:
        name, space = host_device(pod), pod.partition("/")[0]
        for prefix, profile in (("tw", "pri"), ("fw", "pro")):
            chain = f"cali-{prefix}-{name}"
            chains.append(chain)
            lines.append(f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
            lines.append(f"-A {chain} -m conntrack --ctstate INVALID -j DROP")
            lines.append(f"-A {chain} -j MARK --set-xmark 0x0/0x30000")
            for match, (what, more) in drops.items() if prefix == "fw" else ():
                about = f'-m comment --comment "Drop {what} encapped packets originating in workloads"'
                lines.append(f"-A {chain} {match} {about} {more}-j DROP")
            for each in (f"kns.{space}", f"ksa.{space}.default"):
                lines.append(f"-A {chain} -j cali-{profile}-{each}")
                lines.append(f'-A {chain} -m comment --comment "Return if profile accepted" {_MARK} -j RETURN')
            lines.append(f'-A {chain} -m comment --comment "Drop if no profiles matched" -j DROP')
    return chains, lines


def unhashed(text: str) -> list[str]:
    """Calico's rules of an iptables-save text, without hashes and counters, table by table, in their order."""
    found, table = [], ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and ("cali" in line or "0x10000/0x10000" in line):
            found.append(f"{table} {_HASH.sub('', line)}")
    return sorted(found, key=lambda line: line.split()[:3])
