"""A node's dump as values: each text by its own reader, None for one that is not there. Must not know the node."""

from __future__ import annotations

from dataclasses import dataclass, field

from emu.kernel.dumped.ip_routes import Known, is_ip4, read_rule
from emu.kernel.dumped.rules import pasted_rules
from emu.kernel.net.fib_rules import IpRule
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.ruleset import RuleSet
from emu.pasted.connections import Connection, connections
from emu.pasted.fdb_text import FdbLine, fdb
from emu.pasted.ip_json import Item, read
from emu.pasted.node_texts import NodeTexts
from emu.pasted.sysctl_text import Setting, sysctls

UP, DOWN = "UP", "DOWN"


@dataclass
class Link:
    """An interface. `up` and `carrier` None, `mtu` 0 and `mac` "" where no text states them; `addresses` are (address, length, scope), None where
    none were asked for."""

    name: str
    up: bool | None = None
    carrier: bool | None = None
    mtu: int = 0
    mac: str = ""
    master: str = ""
    addresses: list[tuple[int, int, str]] | None = None


@dataclass
class Dump:
    """`notes` are what the texts are read with."""

    texts: NodeTexts
    ruleset: RuleSet | None = None
    ipsets: IpSets | None = None
    links: dict[str, Link] | None = None
    routes: list[Item] | None = None
    rules: list[IpRule] | None = None
    neighbours: list[Item] | None = None
    fdb: list[FdbLine] | None = None
    connections: list[Connection] | None = None
    sysctls: dict[str, Setting] | None = None
    notes: list[str] = field(default_factory=list)

    def place(self, name: str, shown: str = "", table: str = "") -> str:
        """The file of a text, with the first line that has all these words, where there is one; in iptables-save's text from a table on."""
        file, words = self.texts.file(name), shown.split()
        if words:
            lines = self.texts.text(name).splitlines()
            start = lines.index(f"*{table}") if f"*{table}" in lines else 0
            for number, line in enumerate(lines[start:], start + 1):
                if set(words) <= set(line.split()):
                    return f"{file}:{number}"
        return file


def read_dump(texts: NodeTexts) -> Dump:
    """The values of a dump. Raises InputError with file and line."""
    made = Dump(texts)
    if texts.unread:
        made.notes.append(f"{texts.source}: {', '.join(texts.unread)}: not read")
    if "iptables-save" in texts:
        made.ruleset, notes = pasted_rules(texts.text("iptables-save"), texts.file("iptables-save"))
        made.notes += [f"{texts.file('iptables-save')}: {each}" for each in notes]
    if "ipset-save" in texts:
        made.ipsets = parse_ipset(texts.text("ipset-save"), texts.file("ipset-save"))
    for name, kind in (("ip-link", "link"), ("ip-addr", "addr")):
        if name in texts:
            made.links = made.links or {}
            for item in read(texts.text(name), texts.file(name), kind):
                _add(made.links, item, addressed=name == "ip-addr")
    if "ip-route" in texts:
        made.routes = [each for each in read(texts.text("ip-route"), texts.file("ip-route"), "route") if is_ip4(each)]
    if "ip-rule" in texts:
        known = Known(vrfs=False)
        made.rules = [read_rule(each, known) for each in read(texts.text("ip-rule"), texts.file("ip-rule"), "rule")]
    if "ip-neigh" in texts:
        found = read(texts.text("ip-neigh"), texts.file("ip-neigh"), "neigh")
        made.neighbours = [each for each in found if ":" not in each.text("dst")]
    if "bridge-fdb" in texts:
        made.fdb = fdb(texts.text("bridge-fdb"), texts.file("bridge-fdb"))
    if "conntrack" in texts:
        found_connections = connections(texts.text("conntrack"), texts.file("conntrack"))
        made.connections = [each for each in found_connections if not each.zone]
    if "sysctl" in texts:
        made.sysctls = sysctls(texts.text("sysctl"), texts.file("sysctl"))
    return made


def _add(links: dict[str, Link], item: Item, *, addressed: bool) -> None:
    name = item.text("ifname")
    link = links.setdefault(name, Link(name))
    flags, state = item.words("flags"), item.text("operstate", "")
    if flags:
        link.up = UP in flags
        link.carrier = "NO-CARRIER" not in flags and state != DOWN if link.up else None
    elif state:
        link.up = state != DOWN
    link.mtu = item.number("mtu") or link.mtu
    address = item.text("address", "")
    link.mac = address if address.count(":") == 5 else link.mac
    link.master = item.text("master", link.master)
    if addressed:
        link.addresses = link.addresses or []
        for each in item.items("addr_info"):
            if each.text("family") == "inet":
                entry = each.address("local"), each.number("prefixlen", 32, 32), each.text("scope", "global")
                link.addresses.append(entry)
