"""`emu trace --rules`: the texts of a node's own commands, read from files, and the packet to try on them.

Must not know how packets walk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from emu.cli.console import Form, note, out, show
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.report.outcomes import Probe

CLIENT_PORT, SHOWN = 40000, 10
_LOOKS_LIKE_ADDRESS = re.compile(r"[\d.:]+(/|$)")


def trace_dump(
    rules: Path,
    source: str,
    destination: str,
    *,
    ipset: Path | None = None,
    routes: Path | None = None,
    addresses: Path | None = None,
    policy: Path | None = None,
    neighbours: Path | None = None,
    connections: Path | None = None,
    device: str = "",
    state: str = "new",
    mark: str = "0",
    uid: int = 0,
    gid: int = 0,
    sysctls: list[str] | None = None,
    detail: str = "detailed",
    form: Form = Form.text,
    dot: bool = False,
) -> int:
    """Show every possible outcome of the packet, with `dot` the rules that it visited as DOT. Gives the exit status: 3 if some of it is undecided. Raises InputError."""
    from emu.kube.api.documents import read_text
    from emu.report.node import read_node
    from emu.report.packet import trace
    from emu.report.rule_graph import graph

    given = {"rules": rules, "ipset": ipset, "routes": routes, "addresses": addresses, "policy": policy,
             "neighbours": neighbours, "connections": connections}  # fmt: skip
    files = {name: str(path) for name, path in given.items() if path is not None}
    texts = {name: read_text(path) for name, path in given.items() if path is not None}
    if "apiVersion" in texts["rules"][:200]:
        raise InputError(
            "these are manifests, no rules", file=files["rules"], expected="-f FILE, or what iptables-save prints"
        )
    settings = _sysctls(sysctls or [])
    node = read_node(texts.pop("rules"), **texts, files=files, sysctls=settings)
    probe = packet(source, destination, device=device, state=state, mark=mark, uid=uid, gid=gid)
    traced = trace(node, probe, detail)  # type: ignore[arg-type]  # the option parser takes the three words only
    for text in node.notes:
        note(f"{rules}: {text}")
    for text in node.assumed:
        note(f"assumed: {text}")
    undecided = _note_sysctls(settings, probe.proto) or traced.undecided
    unknown = node.unknown
    for each in unknown[:SHOWN]:
        note(f"{rules}:{each.rule.line}: {each.why}; a packet that comes to this rule is undecided")
    if len(unknown) > SHOWN:
        note(f"{rules}: {len(unknown) - SHOWN} more rules ask what is not modelled")
    if dot:
        out(graph(traced.head, traced.groups))
    else:
        show(traced.report, form)
    return 3 if undecided else 0


def packet(
    source: str, destination: str, *, device: str = "", state: str = "new", mark: str = "0", uid: int = 0, gid: int = 0
) -> Probe:
    """`ADDRESS[:PORT]` to `ADDRESS[:PORT][/tcp|udp|icmp]`. Raises InputError."""
    from emu.kernel.netfilter.matches import number
    from emu.report.outcomes import Probe
    from emu.wire.addr import ip4
    from emu.wire.frame import ICMP, TCP
    from emu.wire.proto import PROTOCOLS

    for end in (source, destination):
        if not _LOOKS_LIKE_ADDRESS.match(end):
            what = f"{end!r} is the name of an object, and rules know addresses alone"
            raise InputError(what, expected="ADDRESS, ADDRESS:PORT/tcp; or -f FILE of the cluster instead of --rules")
    place, slash, word = destination.partition("/")
    if slash and word not in ("tcp", "udp", "icmp"):
        raise InputError(f"{destination!r}: emu trace does not send {word!r}", expected="/tcp, /udp or /icmp")
    addr, colon, port = place.partition(":")
    proto = PROTOCOLS[word] if slash else (TCP if colon else ICMP)
    if proto != ICMP and not colon:
        raise InputError(f"{destination!r} has no port", expected="ADDRESS:PORT/tcp")
    from_addr, _colon, from_port = source.partition(":")
    return Probe(
        proto,
        ip4(from_addr),
        ip4(addr),
        number(from_port, "port", 0, 0xFFFF) if from_port else CLIENT_PORT,
        number(port, "port", 0, 0xFFFF) if proto != ICMP else 0,
        device,
        state,
        number(mark, "mark"),
        uid,
        gid,
    )


def _note_sysctls(settings: dict[str, int | str], proto: int) -> bool:
    """Note what is set and not modelled; whether what becomes of a packet of the protocol depends on it."""
    from emu.kernel.sysctl import fate_of, report
    from emu.wire.frame import TCP, UDP

    kind = {TCP: "tcp", UDP: "udp"}.get(proto, "ping")
    decides = False
    for name, value in settings.items():
        text, fate = report(name, value), fate_of(name)
        if text:
            note(text)
            decides = decides or (fate is not None and fate.concerns(kind, ""))
    return decides


def _sysctls(words: list[str]) -> dict[str, int | str]:
    from emu.wire.addr import decimal

    found: dict[str, int | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value.isascii():
            raise InputError(f"{word!r} is not a sysctl", expected="NAME=VALUE")
        number = decimal(value)
        found[name] = value if number is None else number
    return found
