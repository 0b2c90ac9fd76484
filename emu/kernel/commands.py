"""What an administrator types on a host: `iptables`, `ipset`, `ip` (link, address, neigh, route, rule) and `bridge fdb`, in their own
words, on one namespace.

A command changes rules, sets and routes as the tool and the kernel do; what they refuse is an InputError with the kernel's
words, and then nothing is changed. Must not know who gives the command, or scenarios.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.vxlan_text import parse_fdb
from emu.kernel.net import link_change
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.iproute import parse_route, parse_rule, select_route, select_rule
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ipset_text import add, parse_ipset, remove
from emu.kernel.netfilter.matches import quote, unsigned
from emu.kernel.netfilter.rule_reader import parse_rules
from emu.kernel.netfilter.ruleset import BUILT_IN
from emu.kernel.netfilter.save import parse_restore, split
from emu.wire.addr import Prefix, decimal, ip4
from emu.wire.addr import mac as to_mac

Command = Callable[[Netns, str], None]

# -- iptables ----------------------------------------------------------------------------------

# the parts of rules that switch connection tracking on in their namespace (nf_ct_netns_get)
_TRACKING = re.compile(
    r"-m (conntrack|state|connmark|connlimit|connbytes|connlabel|helper) "
    r"|-j (DNAT|SNAT|MASQUERADE|REDIRECT|NETMAP|CT|NOTRACK|CONNMARK|CONNSECMARK|SYNPROXY)\b"
)
_LONG = {
    "--append": "-A", "--insert": "-I", "--delete": "-D", "--replace": "-R", "--flush": "-F", "--new-chain": "-N",
    "--new": "-N", "--delete-chain": "-X", "--policy": "-P",
}  # fmt: skip
_WITH_RULE, _WITH_CHAIN, _WITHOUT = ("-A", "-I", "-D", "-R"), ("-N", "-P"), ("-F", "-X")
_COMMANDS = (*_WITH_RULE, *_WITH_CHAIN, *_WITHOUT)


class _Line(NamedTuple):
    """One call of iptables: `rest` is what follows the chain's name, "" if there is none."""

    table: str
    command: str
    chain: str
    rest: list[str]

    def text(self) -> str:
        words = [self.command, self.chain, *self.rest]
        return " ".join(quote(word) for word in words if word)


class _EveryName:
    """The chains of a rule that is read before its namespace is there."""

    def __contains__(self, name: object) -> bool:
        return True


def _read(line: str) -> _Line:
    words = split(line.strip())
    table = "filter"
    for option in ("-t", "--table"):
        if option in words:
            at = words.index(option)
            table = "".join(words[at + 1 : at + 2])
            del words[at : at + 2]
    if table not in BUILT_IN:
        raise InputError(f"unknown table {table!r}", expected=", ".join(BUILT_IN))
    command = _LONG.get(words[0], words[0]) if words else ""
    if command not in _COMMANDS:
        raise InputError(
            f"{line.strip()!r} is no command of iptables", expected="[-t TABLE] -A, -I, -D, -R, -N, -F, -X or -P"
        )
    chain = words[1] if len(words) > 1 else ""
    if not chain and command not in _WITHOUT:
        raise InputError(f"{command} of which chain?", expected=f"{command} CHAIN ...")
    return _Line(table, command, chain, words[2:])


def check_iptables(line: str) -> None:
    """What can be known of an iptables command without the namespace. Raises InputError."""
    found = _read(line)
    words = list(found.rest)
    if found.command in _WITH_RULE:
        numbered = bool(words) and found.command != "-A" and unsigned(words[0]) is not None
        if numbered:
            del words[0]
        if words or not (numbered and found.command == "-D"):
            every: Container[str] = _EveryName()
            parse_rules(words, found.table, found.chain, 0, every)


def check_restore(text: str) -> None:
    """What can be known of an iptables-restore text that names whole tables. Raises InputError with the line."""
    parse_restore(text)


def iptables(net: Netns, line: str) -> None:
    """One command of iptables: `[-t TABLE] -A CHAIN RULE`, and so for -I, -D, -R, -N, -F, -X and -P. Raises InputError."""
    found = _read(line)
    lines = [found.text()]
    if found.command == "-X" and not found.chain:
        lines = [f"-X {name}" for name in _user_chains(net, found.table)]
    _restore(net, f"*{found.table}\n" + "".join(f"{each}\n" for each in lines) + "COMMIT\n", noflush=True)


def iptables_restore(net: Netns, text: str, *, noflush: bool = False) -> None:
    """`iptables-restore`, with `--noflush` if asked for. Raises InputError with the line of the text."""
    _restore(net, text, noflush=noflush)


def iptables_flush(net: Netns, tables: Iterable[str] = ()) -> None:
    """`iptables -F` and `iptables -X` in these tables, in all that are there by default. Policies stay."""
    for table in tables or list(net.ipv4.tables.ruleset.tables):
        gone = "".join(f"-X {name}\n" for name in _user_chains(net, table))
        _restore(net, f"*{table}\n-F\n{gone}COMMIT\n", noflush=True)


def _restore(net: Netns, text: str, *, noflush: bool) -> None:
    tables = net.ipv4.tables
    tables.restore(text, noflush=noflush)
    if net.conntrack is None and any(_TRACKING.search(f"{rule} ") for rule in tables.ruleset.rules()):
        boot.netfilter(net)


def _user_chains(net: Netns, table: str) -> list[str]:
    return [name for name in net.ipv4.tables.ruleset.tables.get(table, {}) if name not in BUILT_IN[table]]


# -- ipset -------------------------------------------------------------------------------------

_IN_USE = "Set cannot be destroyed: it is in use by a kernel component"
_QUOTES = re.compile(r"['\"\\]|[^ -~\s]")  # without them a line's words are apart by blanks alone
_SET_WORDS = {"create": 3, "add": 3, "del": 3, "flush": 1, "destroy": 1}


def check_ipset(line: str) -> None:
    """What can be known of an ipset command without the namespace. Raises InputError."""
    _set_words(line)


def ipset(net: Netns, line: str) -> None:
    """One line of `ipset restore`, or one command of ipset: create, add, del, flush, destroy; `-exist` last ignores what is
    there, or is not. Raises InputError."""
    words, exist = _set_words(line)
    sets, now_ns = net.ipv4.tables.ipsets, net.clock.now
    command, names = words[0], words[1:2] or list(sets)
    if command == "create":
        if words[1] not in sets:
            sets[words[1]] = parse_ipset(line.removesuffix("-exist"), now_ns=now_ns)[words[1]]
        elif not exist:
            raise InputError(f"set {words[1]!r}: Set cannot be created: set with the same name already exists")
        return
    for name in names:
        if name not in sets:
            raise InputError(f"set {name!r}: The set with the given name does not exist", expected=_names(sets))
    if command == "flush":
        for name in names:
            sets[name].elements.clear()
            sets[name].levels.clear()
    elif command == "destroy":
        used = _used(net, names)
        if used:
            raise InputError(f"set {used!r}: {_IN_USE}", expected="no rule and no list with it")
        for name in names:
            del sets[name]
    elif "inet6" in sets[names[0]].options:
        return  # no IPv4 packet is in it
    elif command == "add":
        add(sets, names[0], words[2], words[3:], now_ns, exist=exist)
    elif not remove(sets[names[0]], words[2]) and not exist:
        raise InputError(f"{words[2]!r}: Element cannot be deleted from the set: it's not added")


def _set_words(line: str) -> tuple[list[str], bool]:
    try:
        words = shlex.split(line) if _QUOTES.search(line) else line.split()
    except ValueError as error:
        raise InputError(f"cannot read {line.strip()!r}: {error}") from None
    exist = words[-1:] == ["-exist"]
    if exist:
        del words[-1]
    if not words or len(words) < _SET_WORDS.get(words[0], len(words) + 1):
        raise InputError(
            f"{line.strip()!r} is no command of ipset",
            expected="create NAME TYPE, add NAME ELEMENT, del NAME ELEMENT, flush [NAME] or destroy [NAME]",
        )
    return words, exist


def _used(net: Netns, names: Sequence[str]) -> str:
    """The first of these sets that a rule, or a list that stays, holds; "" for none."""
    sets, text = net.ipv4.tables.ipsets, net.ipv4.tables.save()
    for name in names:
        if re.search(rf"--(match|add|del|map)-set {re.escape(name)} ", text):
            return name
        lists = (each for each in sets.values() if each.kind == "list:set" and each.name not in names)
        if any((name,) in each.elements for each in lists):
            return name
    return ""


def _names(sets: IpSets) -> str:
    return ", ".join(sets) or "ipset create before it"


# -- ip route, ip rule -------------------------------------------------------------------------


def route_add(net: Netns, text: str) -> None:
    """`ip route add TEXT`. Raises InputError."""
    boot.route(net, text)


def route_del(net: Netns, text: str) -> None:
    """`ip route del TEXT`: the first route that has what the text states (fib_table_delete). Raises InputError."""
    number, prefix, means = select_route(text, net.device)
    fib = net.ipv4.fib
    table = fib.tables.get(number)
    found = next((each for each in table.of(prefix) if means(each)), None) if table is not None else None
    if found is None:
        known = [each.text() for each in table or ()]
        raise InputError(f"route {text!r}: No such process", expected=f"one of {', '.join(known)}" if known else None)
    fib.remove(found)


def route_replace(net: Netns, text: str) -> None:
    """`ip route replace TEXT`: the first route of the same prefix, TOS and metric gives way to it. Raises InputError."""
    replace_route(net, parse_route(text, net.device), text)


def replace_route(net: Netns, new: Route, text: str) -> None:
    """The same with a route that was read before; `text` is for messages. Raises InputError."""
    fib = net.ipv4.fib
    there = fib.tables[new.table].of(new.prefix) if new.table in fib.tables else []
    old = next((each for each in there if (each.tos, each.metric) == (new.tos, new.metric)), None)
    if old is None:
        boot.put_route(net, new, text)
        return
    fib.remove(old)
    try:
        boot.put_route(net, new, text)
    except InputError:
        fib.add(old)
        raise


def rule_add(net: Netns, text: str) -> None:
    """`ip rule add TEXT`. Raises InputError."""
    boot.rule(net, text)


def rule_del(net: Netns, text: str) -> None:
    """`ip rule del TEXT`: the first rule that has what the text states. Raises InputError."""
    means = select_rule(text)
    fib = net.ipv4.fib
    found = next((each for each in fib.rules if means(each)), None)
    if found is None:
        known = ", ".join(each.text() for each in fib.rules)
        raise InputError(f"rule {text!r}: No such file or directory", expected=f"one of {known}" if known else None)
    fib.remove_rule(found)


# -- ip link -----------------------------------------------------------------------------------

_SWITCHES = {"up": True, "down": False}
_WITH_VALUE = ("mtu", "address", "promisc")


class _LinkSet(NamedTuple):
    """One `ip link set`: the device, and what is set, in the order written."""

    device: str
    changes: list[tuple[str, str]]


def _link_set(text: str) -> _LinkSet:
    words = text.split()
    if words[:1] == ["dev"]:
        del words[0]
    if not words:
        raise InputError(
            "ip link set of which device?", expected="DEVICE up, down, mtu N, address MAC or promisc on|off"
        )
    device, rest, changes = words[0], iter(words[1:]), list[tuple[str, str]]()
    for word in rest:
        value = next(rest, "") if word in _WITH_VALUE else ""
        if word not in _SWITCHES and word not in _WITH_VALUE:
            raise InputError(
                f"link {text!r}: cannot read {word!r}", expected="up, down, mtu N, address MAC or promisc on|off"
            )
        if word == "mtu" and decimal(value) is None:
            raise InputError(f"link {text!r}: {value!r} is no MTU", expected="a number of bytes")
        if word == "address":
            to_mac(value)
        if word == "promisc" and value not in ("on", "off"):
            raise InputError(f"link {text!r}: promisc {value!r}", expected="on or off")
        changes.append((word, value))
    if not changes:
        raise InputError(f"link {text!r}: nothing is set", expected="up, down, mtu N, address MAC or promisc on|off")
    return _LinkSet(device, changes)


def link_set(net: Netns, text: str) -> None:
    """`ip link set TEXT`: `[dev] DEVICE`, then up, down, mtu N, address MAC, promisc on|off. Up and down come last, as
    do_setlink has them. Raises InputError."""
    found = _link_set(text)
    device = net.device(found.device)
    try:
        for word, value in sorted(found.changes, key=lambda change: change[0] in _SWITCHES):
            if word == "mtu":
                link_change.set_mtu(device, int(value))
            elif word == "address":
                link_change.set_mac(net, device, to_mac(value))
            elif word == "promisc":
                link_change.set_promisc(device, on=value == "on")
            else:
                net.set_link(device.name, up=_SWITCHES[word])
    except InputError as error:
        raise InputError(f"link {text!r}: {error.what}", expected=error.expected) from None


def link_del(net: Netns, text: str) -> None:
    """`ip link del DEVICE`. Raises InputError."""
    device = net.device(_deleted(text))
    if device.kind == "loopback":
        raise InputError(f"link {text!r}: operation not supported", expected="another device than lo")
    link_change.delete(device)


class _LinkAdd(NamedTuple):
    """One `ip link add`: `mac` None is drawn, `mtu` None the kernel's; `words` are those behind `type vxlan`."""

    name: str
    mac: bytes | None
    mtu: int | None
    words: str


def _link_add(text: str) -> _LinkAdd:
    head, _, words = text.partition(" type ")
    kind, _, rest = words.strip().partition(" ")
    if kind != "vxlan":
        raise InputError(
            f"link {text!r}: a device of type {kind!r} is not made here", expected="NAME type vxlan id VNI ..."
        )
    given = head.split()
    names = [word for word in given[:2] if word not in ("name", "dev")]
    options = given[given.index(names[0]) + 1 :] if names else []
    found = dict(zip(options[::2], options[1::2], strict=False))
    if not names or len(options) % 2 or found.keys() - {"mtu", "address"}:
        raise InputError(f"link {text!r}: cannot read {head!r}", expected="NAME [mtu N] [address MAC] type vxlan ...")
    mtu = decimal(found["mtu"]) if "mtu" in found else None
    if "mtu" in found and mtu is None:
        raise InputError(f"link {text!r}: {found['mtu']!r} is no MTU", expected="a number of bytes")
    return _LinkAdd(names[0], to_mac(found["address"]) if "address" in found else None, mtu, rest)


def link_add(net: Netns, text: str) -> None:
    """`ip link add TEXT`: `[name] NAME [mtu N] [address MAC] type vxlan ...`. The device is down. Raises InputError."""
    found = _link_add(text)
    octets = bytearray(net.clock.random(f"mac/{net.name}").randbytes_once(6))
    octets[0] = octets[0] & 0xFE | 0x02  # eth_random_addr
    device = boot.vxlan(net, found.name, found.mac or bytes(octets), found.words, found.mtu)
    net.set_link(device.name, up=False)


def _deleted(text: str) -> str:
    words = text.split()
    if words[:1] == ["dev"]:
        del words[0]
    if len(words) != 1:
        raise InputError(f"ip link del of {text!r}", expected="the name of a device")
    return words[0]


def check_link(verb: str, text: str) -> None:
    """What can be known of `ip link VERB TEXT` without the namespace. Raises InputError."""
    {"del": _deleted, "set": _link_set, "add": _link_add}[verb](text)


# -- ip address, ip neigh, bridge fdb ------------------------------------------------------------


def _address(text: str) -> tuple[str, str]:
    """A CIDR and a device."""
    words = text.split()
    if len(words) != 3 or words[1] != "dev":
        raise InputError(f"address {text!r}: cannot read it", expected="ADDRESS/LENGTH dev DEVICE")
    Prefix.parse(words[0])
    return words[0], words[2]


def address_add(net: Netns, text: str) -> None:
    """`ip address add CIDR dev DEVICE`. Raises InputError."""
    cidr, device = _address(text)
    boot.address(net, device, cidr if "/" in cidr else f"{cidr}/32")


def address_del(net: Netns, text: str) -> None:
    """`ip address del CIDR dev DEVICE`. Raises InputError."""
    cidr, name = _address(text)
    wanted, device = cidr if "/" in cidr else f"{cidr}/32", net.device(name)
    found = next((each for each in net.ipv4.addresses if each.device is device and str(each) == wanted), None)
    if found is None:
        raise InputError(f"address {text!r}: Cannot assign requested address")
    net.ipv4.remove_address(found)


class _Neigh(NamedTuple):
    addr: int
    device: str
    lladdr: bytes


def _neigh(verb: str, text: str) -> _Neigh:
    words = text.split()
    found = dict(zip(words[1::2], words[2::2], strict=False))
    needed = {"dev"} if verb == "del" else {"dev", "lladdr"}
    if len(words) % 2 == 0 or not needed <= found.keys() <= {"dev", "lladdr", "nud"}:
        raise InputError(f"neigh {text!r}: cannot read it", expected="ADDRESS lladdr MAC dev DEVICE [nud permanent]")
    if found.get("nud", "permanent") != "permanent":
        raise InputError(f"neigh {text!r}: nud {found['nud']} is not modelled", expected="nud permanent")
    return _Neigh(ip4(words[0]), found["dev"], to_mac(found["lladdr"]) if "lladdr" in found else b"")


def neigh_add(net: Netns, text: str) -> None:
    """`ip neigh add ADDRESS lladdr MAC dev DEVICE nud permanent`. Raises InputError."""
    if _neigh("add", text).addr in net.device(_neigh("add", text).device).neigh[net.ipv4.number]:
        raise InputError(f"neigh {text!r}: File exists", expected="replace")
    neigh_replace(net, text)


def neigh_replace(net: Netns, text: str) -> None:
    """`ip neigh replace`, of a permanent entry. Raises InputError."""
    found = _neigh("replace", text)
    boot.neigh(net, found.device, found.addr, found.lladdr)


def neigh_del(net: Netns, text: str) -> None:
    """`ip neigh del ADDRESS dev DEVICE`. Raises InputError."""
    found = _neigh("del", text)
    entry = net.device(found.device).neigh[net.ipv4.number].get(found.addr)
    if entry is None:
        raise InputError(f"neigh {text!r}: No such file or directory")
    entry.delete()


def check_neigh(verb: str, text: str) -> None:
    """What can be known of `ip neigh VERB TEXT` without the namespace. Raises InputError."""
    _neigh(verb, text)


def check_address(verb: str, text: str) -> None:
    """What can be known of `ip address VERB TEXT` without the namespace. Raises InputError."""
    _address(text)


def fdb(verb: str, net: Netns, text: str) -> None:
    """`bridge fdb VERB TEXT` of a VXLAN device. Raises InputError."""
    boot.fdb(net, f"{verb} {text}")


def check_fdb(verb: str, text: str) -> None:
    """What can be known of `bridge fdb VERB TEXT` without the namespace. Raises InputError."""
    parse_fdb(f"{verb} {text}", str)


LINK: Mapping[str, Command] = {"add": link_add, "set": link_set, "del": link_del}
ADDRESS: Mapping[str, Command] = {"del": address_del, "add": address_add}
NEIGH: Mapping[str, Command] = {"del": neigh_del, "replace": neigh_replace, "add": neigh_add}
FDB: Mapping[str, Command] = {verb: partial(fdb, verb) for verb in ("del", "replace", "append", "add")}
ROUTE: Mapping[str, Command] = {"del": route_del, "replace": route_replace, "add": route_add}
RULE: Mapping[str, Command] = {"del": rule_del, "add": rule_add}


def check_route(verb: str, text: str) -> None:
    """What can be known of `ip route VERB TEXT` without the namespace. Raises InputError."""
    if verb == "del":
        select_route(text, str)
    else:
        parse_route(text, str)


def check_rule(verb: str, text: str) -> None:
    """What can be known of `ip rule VERB TEXT` without the namespace. Raises InputError."""
    if verb == "del":
        select_rule(text)
    else:
        parse_rule(text, ())
