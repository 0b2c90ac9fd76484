"""Rules from `iptables -L`: each row's columns and remarks as the options that they were printed from.

The remarks are those that iptables 1.8 prints (the `print` functions of its extensions); one that is not known makes its
rule undecided, as `-m remark TEXT`. Must not know tables or how rules are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from emu.errors import InputError
from emu.pasted.lines import Line

CHAIN = re.compile(r"^Chain (\S+) \((?:policy (\w+).*|\d+ references?)\)$")
HEAD = re.compile(r"^(?:num\s+)?(?:pkts\s+bytes\s+)?target\s+prot\s+opt\s")
OPT = ("--", "-f", "!f")
ANYWHERE = ("0.0.0.0/0", "anywhere", "*", "any", "::/0")
NOT_NAMES = re.compile(r"[\d./]+")
PROTOCOLS = {
    "0": "",
    "all": "",
    "1": "icmp",
    "6": "tcp",
    "17": "udp",
    "33": "dccp",
    "58": "ipv6-icmp",
    "132": "sctp",
    "136": "udplite",
}
FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
TO = "--to"  # NETMAP's option; DNAT and SNAT print the same remark for theirs
Row = tuple[int, str]


def chains(lines: list[Line], note: Callable[[str], None]) -> Iterator[tuple[str, str, list[Row]]]:
    """(chain, policy or "", its rules as (line, options)) of a listing, in its order. Raises InputError."""
    name, policy, head = "", "", ""
    rows: list[Row] = []
    for number, raw in lines:
        text = raw.strip()
        if found := CHAIN.match(text):
            if name:
                yield name, policy, rows
            name, policy, head, rows = found[1], found[2] or "", "", []
        elif HEAD.match(text):
            head = text
        elif name and head:
            rows.append((number, row(text, head, number, note)))
        else:
            raise InputError(
                f"{text.split()[0]!r} stands outside a chain's list", line=number, expected="Chain NAME (...)"
            )
    if name:
        yield name, policy, rows


def row(text: str, head: str, number: int, note: Callable[[str], None]) -> str:
    """The options of one row below the line of headings. Raises InputError for a row of another form."""
    ahead = head.split().index("target")
    wide = " in " in f" {head} "
    words = text.split()
    place = next((at for at, word in enumerate(words) if word in OPT and at in (ahead + 1, ahead + 2)), -1)
    if place < 0 or len(words) < place + (5 if wide else 3):
        raise InputError(f"{text!r} is no row of a list of rules", line=number, expected=head)
    target = words[ahead] if place == ahead + 2 else ""
    proto, fragment = words[place - 1], words[place]
    shown = words[place + 1 : place + (5 if wide else 3)]
    devices, ends = (shown[:2], shown[2:]) if wide else ([], shown)
    # the remarks keep their own blanks: what follows the last column, found from its left end
    rest = re.match(rf"\s*(?:\S+\s+){{{place + len(shown)}}}\S+(.*)$", text)
    matches, target_words, goto = remarks(rest[1] if rest else "", number, note)
    options: list[str] = []
    for flag, value in zip(("-s", "-d"), ends, strict=True):
        if value.lstrip("!") not in ANYWHERE or value.startswith("!"):
            if not NOT_NAMES.fullmatch(value.lstrip("!")):
                note(
                    f"line {number}: {value} is a name: list with `iptables -n`; a packet that comes to this rule is undecided"
                )
                matches += ["-m", "remark", "--text", f'"{value}"']
                continue
            options += [*(["!"] if value.startswith("!") else []), flag, value.lstrip("!")]
    for flag, value in zip(("-i", "-o"), devices, strict=False):
        if value not in ("*", "any"):
            options += [*(["!"] if value.startswith("!") else []), flag, value.lstrip("!")]
    if PROTOCOLS.get(proto, proto):
        name = proto.lstrip("!")
        options += [*(["!"] if proto.startswith("!") else []), "-p", PROTOCOLS.get(name, name)]
    if fragment != "--":
        options += ["-f"] if fragment == "-f" else ["!", "-f"]
    if target:
        to = {"DNAT": "--to-destination", "SNAT": "--to-source"}.get(target, TO)
        target_words = ["-g" if goto else "-j", target, *(to if word == TO else word for word in target_words)]
    return " ".join([*options, *matches, *target_words])


def remarks(text: str, number: int, note: Callable[[str], None]) -> tuple[list[str], list[str], bool]:
    """What stands behind a row's columns: (words of matches, words of the target, is it a goto?)."""
    matches: list[str] = []
    target: list[str] = []
    goto = False
    rest = text.strip()
    while rest:
        if rest.startswith("[goto]"):
            goto, rest = True, rest[6:].lstrip()
            continue
        for pattern, is_target, made in KNOWN:
            found = pattern.match(rest)
            if found:
                (target if is_target else matches).extend(made(found))
                rest = rest[found.end() :].lstrip()
                break
        else:
            note(
                f"line {number}: {rest!r} is not read in a list of rules; a packet that comes to this rule is undecided"
            )
            matches += ["-m", "remark", "--text", '"' + rest.replace('"', "'") + '"']
            break
    return matches, target, goto


def _not(sign: str | None) -> list[str]:
    return ["!"] if sign and "!" in sign else []


def _ports(found: re.Match[str]) -> list[str]:
    """`tcp spts:1:2 dpt:!80 flags:0x17/0x02 option=5`, of tcp, udp, sctp and dccp."""
    name = found[1]
    words = ["-m", name]
    for word in found[2].split():
        key, _sign, value = re.split("([:=])", word, maxsplit=1)
        negated, value = _not(value), value.lstrip("!")
        if key in ("spt", "spts"):
            words += [*negated, "--sport", value]
        elif key in ("dpt", "dpts"):
            words += [*negated, "--dport", value]
        elif key == "option":
            words += [*negated, "--tcp-option", value]
        else:
            mask, _slash, wanted = value.partition("/")
            words += [*negated, "--tcp-flags", _flags(mask), _flags(wanted)]
    return words


def _flags(text: str) -> str:
    if not text.startswith("0x"):
        return text
    bits = int(text, 16)
    return ",".join(name for bit, name in enumerate(FLAGS) if bits >> bit & 1) or "NONE"


def _addrtype(found: re.Match[str]) -> list[str]:
    words = ["-m", "addrtype"]
    for key, sign, value in re.findall(r"(src-type|dst-type) (!?)(\S+)", found[1]):
        words += [*_not(sign), f"--{key}", value]
    return words + [f"--{word}" for word in re.findall(r"limit-(?:in|out)", found[1])]


def _conntrack(found: re.Match[str]) -> list[str]:
    words = ["-m", "conntrack"]
    for sign, key, value in re.findall(r"(! )?(ct\w+) (\S+)", found[0]):
        words += [*_not(sign), f"--{key}", value]
    return words


def _icmp(found: re.Match[str]) -> list[str]:
    sign, kind, code = found.groups()
    return ["-m", "icmp", *_not(sign), "--icmp-type", "any" if kind == "255" else f"{kind}/{code}" if code else kind]


def _recent(found: re.Match[str]) -> list[str]:
    sign, action, rest = found.groups()
    words = ["-m", "recent", *_not(sign), {"CHECK": "--rcheck"}.get(action, f"--{action.lower()}")]
    given = dict(re.findall(r"(seconds|hit_count|name|mask|side): (\S+)", rest))
    words += ["--seconds", given["seconds"]] if "seconds" in given else []
    words += ["--reap"] if re.search(r"\breap\b", rest) else []
    words += ["--hitcount", given["hit_count"]] if "hit_count" in given else []
    words += ["--rttl"] if "TTL-Match" in rest else []
    words += ["--name", given["name"]] if "name" in given else []
    words += ["--mask", given["mask"]] if "mask" in given else []
    return [*words, "--rdest" if given.get("side") == "dest" else "--rsource"]


def _owner(found: re.Match[str]) -> list[str]:
    words = ["-m", "owner"]
    for sign, kind, value in re.findall(r"(! )?owner (UID|GID) match (\S+)", found[0]):
        words += [*_not(sign), f"--{kind.lower()}-owner", value]
    return words


def _ranges(found: re.Match[str]) -> list[str]:
    words = ["-m", "iprange"]
    for side, sign, value in re.findall(r"(source|destination) IP range (! )?(\S+)", found[0]):
        words += [*_not(sign), "--src-range" if side == "source" else "--dst-range", value]
    return words


def _mark(found: re.Match[str]) -> list[str]:
    action, value = found.groups()
    return [
        {"or": "--or-mark", "and": "--and-mark", "xor": "--xor-mark", "set": "--set-xmark", "xset": "--set-xmark"}[
            action
        ],
        value,
    ]


def _connmark(found: re.Match[str]) -> list[str]:
    action, mask = found.groups()
    word = {"save": "--save-mark", "restore": "--restore-mark"}[action]
    return [word, "--mask", mask] if mask else [word]


def _to(found: re.Match[str]) -> list[str]:
    place, flags = found.groups()
    return [TO, place, *(f"--{word}" for word in flags.split())]


def _log(found: re.Match[str]) -> list[str]:
    flags, level, prefix = found.groups()
    names = ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid")
    words = ["--log-prefix", f'"{prefix}"'] if prefix else []
    words += ["--log-level", level] if level else []
    return words + [name for bit, name in enumerate(names) if int(flags) >> bit & 1]


def _nflog(found: re.Match[str]) -> list[str]:
    prefix = re.search(r'nflog-prefix\s+"?([^"]*)"?', found[0])
    group = re.search(r"nflog-group (\d+)", found[0])
    words = ["--nflog-prefix", f'"{prefix[1]}"'] if prefix else []
    return words + (["--nflog-group", group[1]] if group else [])


def _as(*words: str) -> Callable[[re.Match[str]], list[str]]:
    """The words, `{1}` replaced by the first group and so on; an empty group takes the word before it along."""

    def made(found: re.Match[str]) -> list[str]:
        texts = ["", *(group or "" for group in found.groups())]
        return [text for word in words if (text := word.format(*texts).strip())]

    return made


MATCH, TARGET = False, True
KNOWN: tuple[tuple[re.Pattern[str], bool, Callable[[re.Match[str]], list[str]]], ...] = tuple(
    (re.compile(pattern), kind, made)
    for pattern, kind, made in (
        (r"/\* (.*?) \*/", MATCH, lambda f: ["-m", "comment", "--comment", '"' + f[1].replace("\\", "\\\\").replace('"', '\\"') + '"']),
        (r"(tcp|udp|sctp|dccp|udplite)((?: (?:spts?|dpts?|flags|option)[:=]\S+)+)", MATCH, _ports),
        (r"multiport (sports|dports|ports) +(!?)\s*(\S+)", MATCH, lambda f: ["-m", "multiport", *_not(f[2]), f"--{f[1]}", f[3]]),
        (r"(?:! )?ct(?:state|proto|origsrc|origdst|replsrc|repldst|origsrcport|origdstport|status|dir|expire) \S+(?: (?:! )?ct\w+ \S+)*", MATCH, _conntrack),
        (r"(! )?state (\S+)", MATCH, lambda f: ["-m", "state", *_not(f[1]), "--state", f[2]]),
        (r"mark match (! )?(\S+)", MATCH, lambda f: ["-m", "mark", *_not(f[1]), "--mark", f[2]]),
        (r"connmark match +(! )?(\S+)", MATCH, lambda f: ["-m", "connmark", *_not(f[1]), "--mark", f[2]]),
        (r"ADDRTYPE match((?: (?:src-type|dst-type) !?\S+)+(?: limit-\w+)*)", MATCH, _addrtype),
        (r"statistic mode random (! )?probability (\S+)", MATCH, lambda f: ["-m", "statistic", "--mode", "random", *_not(f[1]), "--probability", f[2]]),
        (r"statistic mode nth (! )?every (\d+)(?: packet (\d+))?", MATCH, lambda f: ["-m", "statistic", "--mode", "nth", *_not(f[1]), "--every", f[2], "--packet", f[3] or "0"]),
        (r"(! )?match-set (\S+) (\S+)((?: return-nomatch| ! update-counters| ! update-subcounters)*)", MATCH, lambda f: ["-m", "set", *_not(f[1]), "--match-set", f[2], f[3], *re.sub(r"(\w[\w-]+)", r"--\1", f[4]).split()]),
        (r"(! )?recent: (SET|CHECK|UPDATE|REMOVE)((?: (?:seconds: \d+|hit_count: \d+|reap|TTL-Match|name: \S+|side: \w+|mask: \S+))*)", MATCH, _recent),
        (r"limit: (?:up to|avg) (\S+) burst (\d+)", MATCH, _as("-m", "limit", "--limit", "{1}", "--limit-burst", "{2}")),
        (r"icmp(?:type)? (!)?(?:type )?(\d+)(?: code (\d+))?", MATCH, _icmp),
        (r"(?:! )?owner (?:UID|GID) match \S+(?: (?:! )?owner (?:UID|GID) match \S+)*", MATCH, _owner),
        (r"(?:source|destination) IP range (?:! )?\S+(?: (?:source|destination) IP range (?:! )?\S+)?", MATCH, _ranges),
        (r"PHYSDEV match((?: !? ?--physdev-(?:(?:in|out) \S+|is-\w+))+)", MATCH, _as("-m", "physdev", "{1}")),
        (r"MAC +(!?)\s*([0-9A-Fa-f:]{17})", MATCH, lambda f: ["-m", "mac", *_not(f[1]), "--mac-source", f[2]]),
        (r"tcpmss match (!?)(\S+)", MATCH, lambda f: ["-m", "tcpmss", *_not(f[1]), "--mss", f[2]]),
        (r"length (!?)(\d\S*)", MATCH, lambda f: ["-m", "length", *_not(f[1]), "--length", f[2]]),
        (r"PKTTYPE (!?)= (\w+)", MATCH, lambda f: ["-m", "pkttype", *_not(f[1]), "--pkt-type", f[2]]),
        (r"rpfilter((?: (?:validmark|invert|loose|accept-local))*)", MATCH, lambda f: ["-m", "rpfilter", *(f"--{word}" for word in f[1].split())]),
        (r"TTL match TTL (==|!=|<|>) (\d+)", MATCH, lambda f: ["-m", "ttl", *(["!"] if f[1] == "!=" else []), {"<": "--ttl-lt", ">": "--ttl-gt"}.get(f[1], "--ttl-eq"), f[2]]),
        (r"DSCP match (!?)(0x\w+)", MATCH, lambda f: ["-m", "dscp", *_not(f[1]), "--dscp", f[2]]),
        (r"tos match ?(!?)(0x\S+)", MATCH, lambda f: ["-m", "tos", *_not(f[1]), "--tos", f[2]]),
        (r"MARK (or|and|xor|set|xset) (\S+)", TARGET, _mark),
        (r"CONNMARK (save|restore)(?: mask (0x\w+))?", TARGET, _connmark),
        (r"CONNMARK (or|and|xor|set|xset) (\S+)", TARGET, _mark),
        (r"to:(\S+)((?: (?:random-fully|random|persistent))*)", TARGET, _to),
        (r"redir ports (\S+)((?: random)?)", TARGET, lambda f: ["--to-ports", f[1], *(["--random"] if f[2] else [])]),
        (r"masq ports: (\S+)", TARGET, _as("--to-ports", "{1}")),
        (r"random-fully", TARGET, _as("--random-fully")),
        (r"random", TARGET, _as("--random")),
        (r"reject-with (\S+)", TARGET, _as("--reject-with", "{1}")),
        (r'LOG flags (\d+) level (\d+)(?: prefix "(.*?)")?(?=\s|$)', TARGET, _log),
        (r'nflog-prefix +(?:"[^"]*"|\S+)(?: nflog-group \d+)?(?: nflog-\w+ \d+)*|nflog-group \d+', TARGET, _nflog),
        (r"TCPMSS clamp to PMTU", TARGET, _as("--clamp-mss-to-pmtu")),
        (r"TCPMSS set (\d+)", TARGET, _as("--set-mss", "{1}")),
        (r"CT notrack|NOTRACK", TARGET, _as("--notrack")),
        (r"DSCP set (0x\w+)", TARGET, _as("--set-dscp", "{1}")),
        (r"TOS set (0x\S+)", TARGET, _as("--set-tos", "{1}")),
        (r"TTL set to (\d+)", TARGET, _as("--ttl-set", "{1}")),
        (r"TTL decrement by (\d+)", TARGET, _as("--ttl-dec", "{1}")),
        (r"TTL increment by (\d+)", TARGET, _as("--ttl-inc", "{1}")),
        (r"(add-set|del-set) (\S+) (\S+)(?: (exist))?(?: timeout (\d+))?", TARGET, lambda f: [f"--{f[1]}", f[2], f[3], *(["--exist"] if f[4] else []), *(["--timeout", f[5]] if f[5] else [])]),
        (r"(tcp|udp|sctp|dccp|udplite|icmp)(?=\s|$)", MATCH, _as("-m", "{1}")),
    )
)  # fmt: skip
