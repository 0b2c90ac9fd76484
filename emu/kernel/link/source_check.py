"""Which source MAC a bridge's port may send from: the nftables rules of the CNI plugin bridge (`macspoofchk`), and their effect.

The rules are a table `bridge nat` with a chain at PREROUTING, before br_netfilter, which jumps by the name of the port to
chains that let one MAC pass. emu has no other rules of nftables at bridges. Must not know CNI.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.wire.addr import mac_text
from emu.wire.frame import Frame


class OneSource(NamedTuple):
    """What decided that a frame does not come in: a chain lets one source MAC pass."""

    chain: str
    mac: bytes

    def __str__(self) -> str:
        return f"table bridge nat, chain {self.chain}-mac: only {mac_text(self.mac)} may send here"


class SourceChecks:
    """The rules of one namespace. `rules` are those of PREROUTING, in order: a device's name, and which chains it jumps to;
    `chains` the MAC that these let pass. A rule whose chains are gone is gone with them."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, str]] = []
        self.chains: dict[str, bytes] = {}

    def add(self, device: str, mac: bytes, reference: str) -> None:
        """One more rule for `device`. The chains of `reference` are written anew."""
        self.chains[reference] = mac
        self.rules.append((device, reference))

    def remove(self, reference: str) -> None:
        """Remove what bears the reference. What is gone is no error."""
        self.rules = [rule for rule in self.rules if rule[1] != reference]
        self.chains.pop(reference, None)

    def refusal(self, frame: Frame, device: str) -> OneSource | None:
        """The rule that drops a frame which came in on the port; None: it may pass."""
        for name, reference in self.rules:
            if name == device and frame.smac != self.chains[reference]:
                return OneSource(_chain(reference), self.chains[reference])
        return None

    def lines(self) -> Iterator[str]:
        """As `nft list table bridge nat` prints it, without indentation. The table and PREROUTING stay when rules go."""
        yield "table bridge nat {"
        yield "chain PREROUTING {"
        yield "type filter hook prerouting priority dstnat; policy accept;"
        for device, reference in self.rules:
            yield f'iifname "{device}" jump {_chain(reference)} comment "macspoofchk-{reference}"'
        yield "}"
        for reference, mac in self.chains.items():
            comment = f'comment "macspoofchk-{reference}"'
            yield from (f"chain {_chain(reference)} {{", f"jump {_chain(reference)}-mac {comment}", "}")
            yield from (
                f"chain {_chain(reference)}-mac {{",
                f"ether saddr {mac_text(mac)} return {comment}",
                f"drop {comment}",
                "}",
            )
        yield "}"


def _chain(reference: str) -> str:
    return f"cni-br-iface-{reference}"
