"""What `ip route`, `ip rule`, `ip addr` and `ip neigh` print as text, as the objects that `ip -j` prints.

`route -n`, `netstat -rn`, `ip -br addr` and `ip -o addr` are read as well. IPv6's lines are left out. Raises InputError with
file and line for a line of another form. Must not know what is made of the objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from emu.errors import InputError
from emu.pasted.lines import Line, blocks

Objects = list[dict[str, Any]]
TYPES = (
    "unicast",
    "local",
    "broadcast",
    "multicast",
    "anycast",
    "throw",
    "unreachable",
    "prohibit",
    "blackhole",
    "nat",
)
FLAGS = ("onlink", "linkdown", "dead", "pervasive", "offload", "trap", "notify", "unresolved")
METRICS = (
    "mtu",
    "advmss",
    "window",
    "rtt",
    "hoplimit",
    "initcwnd",
    "initrwnd",
    "cwnd",
    "ssthresh",
    "quickack",
    "rto_min",
    "features",
)
# how the lines below an interface begin, those of `ip -d` besides
BELOW_LINK = frozenset((
    "valid_lft", "altname", "link-netns", "alias", "vlan", "veth", "bridge", "bridge_slave", "vxlan", "dummy", "ipip", "tun", "macvlan",
    "ipvlan", "bond", "bond_slave", "vrf", "vrf_slave", "wireguard", "geneve", "gre", "sit", "ip6tnl", "openvswitch", "ifb", "prog/xdp",
))  # fmt: skip
ENDS = ("blackhole", "unreachable", "prohibit", "nop")
KERNEL_TABLE = "Kernel IP routing table"
ADDR = re.compile(r"^\d+: ([^:@\s]+)(?:@(\S+?))?:? +<?(.*)$")
CIDR = re.compile(r"\d+(?:\.\d+){3}(?:/\d+)?$|default$")


def objects(kind: str, text: str, file: str | None = None) -> Objects:
    """The objects of a text. `kind`: route, rule, addr, link or neigh. Raises InputError."""
    read: dict[str, Callable[[list[Line]], Iterator[dict[str, Any]]]] = {
        "route": _routes, "rule": _rules, "addr": _addresses, "link": _addresses, "neigh": _neighbours,
    }  # fmt: skip
    found: Objects = []
    try:
        for block in blocks(text):
            if not block.command or _is_about(block.command, kind):
                found += read[kind](block.lines)
    except InputError as error:
        raise error.at(file=file) from None
    except (ValueError, IndexError):  # a word that is no number, or a line that ends too early
        raise InputError(
            f"a line is not what `ip {kind}` prints", file=file, expected=f"the text of `ip {kind}`, or its JSON"
        ) from None
    return found


def _is_about(command: str, kind: str) -> bool:
    """Does a command print what is asked for? `ip -6` does not."""
    words = command.split()
    if "-6" in words or words[0] == "ip6tables":
        return False
    if words[0] in ("route", "netstat"):
        return kind == "route"
    nouns = [word for word in words[1:] if not word.startswith("-")]
    return words[0] != "ip" or (
        bool(nouns)
        and (
            kind.startswith(nouns[0][:4])
            or (nouns[0] in ("a", "l", "r", "ru", "n", "address") and nouns[0][0] == kind[0])
        )
    )


def _other(line: Line, expected: str) -> InputError:
    return InputError(f"{line.text.strip()[:80]!r} is not read", line=line.number, expected=expected)


# -- routes -------------------------------------------------------------------------------------


def _routes(lines: list[Line]) -> Iterator[dict[str, Any]]:
    if any(line.text.strip() == KERNEL_TABLE or line.text.split()[:2] == ["Destination", "Gateway"] for line in lines):
        yield from _route_n(lines)
        return
    route: dict[str, Any] | None = None
    for line in lines:
        words = line.text.split()
        if words[0] == "nexthop":
            if route is None:
                raise _other(line, "a route before its next hops")
            route.setdefault("nexthops", []).append(_words(words[1:], line))
            continue
        if route is not None:
            yield route
            route = None
        kind = words.pop(0) if words[0] in TYPES else ""
        if not words or ":" in words[0]:  # IPv6's
            continue
        if not CIDR.match(words[0]):
            raise _other(line, "what `ip route` or `ip -j route` prints")
        route = {"type": kind} if kind else {}
        route["dst"] = words[0]
        hops = " ".join(words[1:]).split(" nexthop ")
        route |= _words(hops[0].split(), line)
        if len(hops) > 1:
            route["nexthops"] = [_words(hop.split(), line) for hop in hops[1:]]
    if route is not None:
        yield route


def _words(words: list[str], line: Line) -> dict[str, Any]:
    """The words of a route, or of a next hop, behind its destination."""
    found: dict[str, Any] = {"flags": []}
    metrics: dict[str, int | str] = {}
    rest = iter(words)
    named = {"proto": "protocol", "src": "prefsrc", "realm": "realms"}
    for word in rest:
        if word in FLAGS:
            found["flags"].append(word)
            continue
        value = next(rest, "")
        if not value:
            raise _other(line, f"a value behind {word}")
        if word == "via" and value in ("inet6", "inet"):
            host = next(rest, "")
            found |= {"via": {"family": value, "host": host}} if value == "inet6" else {"gateway": host}
        elif word == "via":
            found["gateway"] = value
        elif word in METRICS:
            value = next(rest, "") if value == "lock" else value
            metrics[word] = int(value) if value.isdigit() else value
        elif word == "encap":
            found["encap"] = value
            break  # its own words are not read: the route is not modelled in any case
        elif word in ("metric", "weight", "nhid"):
            found[word] = int(value) if value.isdigit() else value
        elif word in (
            "dev",
            "proto",
            "scope",
            "src",
            "table",
            "tos",
            "dsfield",
            "pref",
            "realm",
            "realms",
            "error",
            "expires",
        ):
            found[{"dsfield": "tos", **named}.get(word, word)] = value
        elif word == "cache":
            break
        else:
            raise _other(line, f"a word of `ip route` in place of {word!r}")
    if metrics:
        found["metrics"] = [metrics]
    return found


def _route_n(lines: list[Line]) -> Iterator[dict[str, Any]]:
    """`route -n`: Destination Gateway Genmask Flags Metric Ref Use Iface."""
    for line in lines:
        words = line.text.split()
        if line.text.strip() == KERNEL_TABLE or words[0] == "Destination":
            continue
        if len(words) != 8 or not CIDR.match(words[0]):
            raise _other(line, "what `route -n` or `ip route` prints; names need `-n`")
        dst, gateway, mask, flags, metric, _ref, _use, device = words
        length = int.from_bytes(bytes(int(part) for part in mask.split("."))).bit_count()
        route: dict[str, Any] = {"dst": "default" if not length else f"{dst}/{length}", "flags": []}
        if "!" in flags:
            yield {"type": "unreachable", **route}
            continue
        route |= {"gateway": gateway} if "G" in flags else {"scope": "link"}
        yield route | {"dev": device, "metric": int(metric) if metric.isdigit() else 0}


# -- rules --------------------------------------------------------------------------------------


def _rules(lines: list[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        found = re.match(r"^\s*(\d+):\s+(.*)$", line.text)
        if found is None:
            raise _other(line, "what `ip rule` or `ip -j rule` prints")
        yield {"priority": int(found[1]), **_rule(found[2].split(), line)}


def _rule(words: list[str], line: Line) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if words[0] == "not":
        rule["not"] = None
        words = words[1:]
    rest = iter(words)
    for word in rest:
        if word in ENDS:
            rule |= {"nop": None} if word == "nop" else {"action": word}
            continue
        if word in ("[detached]", "[unresolved]"):
            continue
        value = next(rest, "")
        if word in ("from", "to"):
            key = "src" if word == "from" else "dst"
            addr, slash, length = value.partition("/")
            rule[key] = addr
            rule |= {f"{key}len": int(length)} if slash else {}
        elif word == "fwmark":
            mark, slash, mask = value.partition("/")
            rule |= {"fwmark": mark} | ({"fwmask": mask} if slash else {})
        elif word == "lookup":
            rule["table"] = value
        elif word == "uidrange":
            low, _dash, high = value.partition("-")
            rule |= {"uid_start": int(low), "uid_end": int(high or low)}
        elif word in ("sport", "dport"):
            low, dash, high = value.partition("-")
            rule |= {f"{word}_start": int(low), f"{word}_end": int(high)} if dash else {word: int(low)}
        elif word in ("iif", "oif", "ipproto", "tos", "dsfield"):
            rule[{"dsfield": "tos"}.get(word, word)] = value
        elif word == "goto":
            rule["goto"] = int(value) if value.isdigit() else value
        elif word in ("suppress_prefixlength", "suppress_prefixlen"):
            rule["suppress_prefixlen"] = int(value)
        elif word in ("proto", "protocol"):
            rule["protocol"] = value
        else:
            rule[word] = value
    return rule


# -- addresses and neighbours -------------------------------------------------------------------


def _addresses(lines: list[Line]) -> Iterator[dict[str, Any]]:
    link: dict[str, Any] | None = None
    for line in lines:
        text = line.text.strip()
        words = text.split()
        head = ADDR.match(text)
        if head is not None and not head[2] and re.match(r"^\d+: \S+ +inet6? ", text):  # ip -o addr
            if link is None or link["ifname"] != head[1]:
                if link is not None:
                    yield link
                link = {"ifname": head[1], "addr_info": []}
            _inet(words[2:], link)
        elif head is not None:
            if link is not None:
                yield link
            mtu = re.search(r"\bmtu (\d+)", text)
            state = re.search(r"\bstate (\w+)", text)
            link = {"ifname": head[1], "flags": head[3].partition(">")[0].split(","), "addr_info": []}
            master = re.search(r"\bmaster (\S+)", text)
            link |= ({"mtu": int(mtu[1])} if mtu else {}) | ({"operstate": state[1]} if state else {})
            link |= {"master": master[1]} if master else {}
        elif len(words) > 1 and words[1] in ("UP", "DOWN", "UNKNOWN", "LOWERLAYERDOWN", "DORMANT"):  # ip -br addr
            if link is not None:
                yield link
            link = {"ifname": words[0].partition("@")[0], "operstate": words[1], "addr_info": []}
            rest = " ".join(words[2:])
            for local, peer in re.findall(r"(\d[\d.]+(?:/\d+)?)(?: peer (\S+))?", re.sub(r"\S*:\S*", "", rest)):
                _inet(["inet", local, *(["peer", peer] if peer else [])], link)
        elif link is not None and words[0].startswith("link/"):
            link |= {"address": words[1]} if len(words) > 1 else {}
        elif link is not None and words[0] in ("inet", "inet6"):
            _inet(words, link)
        elif link is None or words[0] not in BELOW_LINK:
            raise _other(line, "what `ip addr` or `ip -j addr` prints")
    if link is not None:
        yield link


def _inet(words: list[str], link: dict[str, Any]) -> None:
    if words[0] != "inet":
        return
    local, _slash, length = words[1].partition("/")
    info: dict[str, Any] = {"family": "inet", "local": local, "prefixlen": int(length or 32), "scope": "global"}
    if "peer" in words:
        peer, _slash, length = words[words.index("peer") + 1].partition("/")
        info |= {"address": peer, "prefixlen": int(length or 32)}
    if "scope" in words:
        info["scope"] = words[words.index("scope") + 1]
    link["addr_info"].append(info)


def _neighbours(lines: list[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        words = line.text.split()
        if ":" in words[0]:  # IPv6's
            continue
        if not CIDR.match(words[0]) or "dev" not in words:
            raise _other(line, "what `ip neigh` or `ip -j neigh` prints")
        entry: dict[str, Any] = {"dst": words[0], "dev": words[words.index("dev") + 1], "state": [words[-1]]}
        yield entry | ({"lladdr": words[words.index("lladdr") + 1]} if "lladdr" in words else {})
