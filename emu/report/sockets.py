"""A namespace's open ports: the sockets that wait for what comes in. Must not know programs."""

from __future__ import annotations

from emu.kernel.net.netns import Netns
from emu.kernel.transport.listening import listening, text
from emu.report import Report, views


@views.add("sockets")
def sockets(net: Netns) -> Report:
    """The ports that are open, as `ss -tuln` lists them, without its queues."""
    found = [values for _, values in listening(net)]
    return Report(found, "\n".join(map(text, found)))
