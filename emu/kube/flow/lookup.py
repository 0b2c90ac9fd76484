"""A flow's client looks a name up: in its hosts file first, then by DNS, over real sockets.

Must not know DNS servers, or how clients are configured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from emu.kube.dns.resolv_conf import ResolvConf
from emu.kube.dns.resolver import BOTH, Lookup
from emu.kube.dns.resolver import look_up as look_up_dns
from emu.kube.flow.flow import Flow, Talk
from emu.wire.addr import ip4


class NameFiles(Protocol):
    """The files of /etc that a namespace (by display name) uses to look names up. Both raise InputError."""

    def resolv_conf(self, display: str) -> ResolvConf: ...

    def hosts(self, display: str) -> dict[str, str]:
        """Addresses by name."""


def lookup(flow: Flow, files: NameFiles, name: str, kinds: tuple[str, ...], *, timeout_ns: int) -> None:
    """A flow that looks a name up. The client's resolv.conf sets the time limits; `timeout_ns` has no effect."""
    flow.looked_up(look_up(flow, files, name, kinds or BOTH))


def named(flow: Flow, files: NameFiles, talk: Talk, *, timeout_ns: int) -> None:
    """Look the name of the flow's target up, if it has one, and run the flow if there is an address."""
    if resolve(flow, files):
        talk(flow, timeout_ns=timeout_ns)


def look_up(flow: Flow, files: NameFiles, name: str, kinds: tuple[str, ...] = BOTH) -> Lookup:
    """Look a name up from the flow's client, for records of these kinds. A name without address has the error NODATA."""
    known = files.hosts(flow.source).get(name.removesuffix(".").lower()) if "A" in kinds else None
    if known is not None:
        return Lookup(name, (known,))
    found = look_up_dns(flow.client, files.resolv_conf(flow.source), name, flow=flow.number, kinds=kinds)
    if not found.error and "A" in kinds and not found.addresses:
        return found._replace(error="NODATA")
    return found


def resolve(flow: Flow, files: NameFiles) -> bool:
    """Look up the name of the flow's target, if it has one. Gives whether the target has an address."""
    if not flow.target.host:
        return True
    found = look_up(flow, files, flow.target.host)
    flow.looked_up(found)
    if found.addresses:
        flow.target = replace(flow.target, addr=ip4(found.addresses[0]))
    return bool(found.addresses)
