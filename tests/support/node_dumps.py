"""The dumps in tests/data/iptables-dumps: a node for the emulator, and the packets to try on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emu.cli.dumps import packet
from emu.report.fate import Ask
from emu.report.node import Node, read_node

DATA = Path(__file__).parents[1] / "data" / "iptables-dumps"
NAMES = sorted(path.stem for path in DATA.glob("*.rules"))


@dataclass(frozen=True)
class Dump:
    """`addresses`, `ip_rules` and `ipset` are "" where the node has none."""

    name: str
    rules: str
    routes: str
    ipset: str
    ip_rules: str
    addresses: str
    asks: tuple[Ask, ...]

    def node(self) -> Node:
        return read_node(
            self.rules, ipset=self.ipset, routes=self.routes, policy=self.ip_rules, addresses=self.addresses
        )


def read(name: str) -> Dump:
    def text(ending: str) -> str:
        path = DATA / f"{name}.{ending}"
        return path.read_text() if path.exists() else ""

    lines = [line.split() for line in text("packets").splitlines() if line and not line.startswith("#")]
    asks = []
    for number, (source, device, target, *uid) in enumerate(lines):
        word = "" if device == "-" else device
        port = 40000 + number
        asks.append(packet(f"{source}:{port}", target, device=word, uid=int(uid[0]) if uid else 0))
    return Dump(
        name,
        text("rules"),
        text("routes.json"),
        text("ipset"),
        text("ip-rules.json"),
        text("addresses.json"),
        tuple(asks),
    )
