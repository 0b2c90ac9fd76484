"""The sockets of a namespace that wait for what comes in, as `ss -tuln` lists them. Must not know programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from emu.wire.addr import ip4_text

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def listening(net: Netns) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each socket with its values: UDP sockets without a peer, then TCP's listeners, by port."""
    for netid, state, ports in (
        ("udp", "UNCONN", net.sockets.udp_table.ports),
        ("tcp", "LISTEN", net.sockets.tcp_table.ports),
    ):
        for port in sorted(ports.bound):
            for addr, socket in ports.bound[port]:
                if netid == "tcp" and socket.backlog is None:
                    continue
                if socket.remote is None:
                    yield socket, {"netid": netid, "state": state, "local": ip4_text(addr), "port": port}


def text(values: dict[str, Any]) -> str:
    """One line: protocol, state, address and port."""
    return f"{values['netid']} {values['state']} {values['local']}:{values['port']}"
