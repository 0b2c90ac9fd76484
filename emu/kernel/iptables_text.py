"""Rules of a namespace from one text: commands of iptables, or what iptables-save prints. Must not know who writes it."""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel import commands
from emu.kernel.net.netns import Netns


def iptables_text(net: Netns, text: str) -> None:
    """Commands of iptables, one a line, or a text of iptables-save, as `iptables-restore --noflush` reads it. Empty lines and
    comments are left out. Raises InputError."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    if not lines:
        raise InputError("no rule is changed", expected="-A CHAIN ..., or the text of iptables-save")
    if lines[0].startswith("*"):
        commands.iptables_restore(net, text, noflush=True)
        return
    for line in lines:
        commands.check_iptables(line)
    for line in lines:
        commands.iptables(net, line)
