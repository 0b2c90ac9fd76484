"""A cable that can be pulled: the ends of a veth pair lose their carrier together, both of them up, as a real link's do.

A veth end has carrier while its peer is up. A pullable cable therefore is two pairs whose inner ends are in a namespace of
their own, where nftables passes on what one receives through the other; to pull the cable takes both inner ends down.
Must not know what the ends belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from emu.twin.space import Space

ENDS = ("one", "other")
LARGEST = 65535
_FORWARD = """table netdev cable {
  chain one { type filter hook ingress device "one" priority 0; fwd to "other"; }
  chain other { type filter hook ingress device "other" priority 0; fwd to "one"; }
}
"""


class Cable:
    """The two ends are made by `words`; `complete` joins them once both are there."""

    def __init__(self, name: str) -> None:
        self.space = Space(f"cable of {name}")

    def words(self, end: int) -> list[str]:
        """The words of `ip link add` for the inner end, after `peer`."""
        return ["name", ENDS[end], "mtu", str(LARGEST), "netns", self.space.path]

    def complete(self, without_offloads: Callable[[Space, Iterable[str]], None]) -> None:
        without_offloads(self.space, ENDS)
        self.space.run("nft", "-f", "-", text=_FORWARD)
        self.set(on=True)

    def set(self, *, on: bool) -> None:
        """Plug the cable in, or pull it."""
        self.space.ip([["link", "set", "dev", end, "up" if on else "down"] for end in ENDS])

    def close(self) -> None:
        self.space.close()
