"""The host's network forbidden: what may reach it by Python or by Scapy raises.

`HostAskedError` is no Exception, so that nothing takes it for wrong input.
"""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest
import scapy.layers.l2
import scapy.sendrecv
import scapy.utils
from scapy.config import conf

from emu import craft

SENDING = ("send", "sendp", "sr", "sr1", "srp", "srp1", "srloop", "srploop", "sniff", "sndrcv")
ASKING = ("socket", "getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn", "create_connection")


class HostAskedError(BaseException):
    """Something asked the host."""


def forbid(patch: pytest.MonkeyPatch) -> None:
    """Everything by which Python or Scapy may reach the host's network raises."""
    craft._layers()  # imports Scapy: as a module it reads the interfaces, once

    def refuse(*args: Any, **rest: Any) -> NoReturn:
        raise HostAskedError(args)

    for name in ASKING:
        patch.setattr(socket, name, refuse)
    for name in SENDING:
        for module in (scapy.sendrecv, scapy.layers.l2, scapy.utils):
            if hasattr(module, name):
                patch.setattr(module, name, refuse)
    for kind in (type(conf.route), type(conf.route6)):
        patch.setattr(kind, "route", refuse)
    patch.setattr(scapy.layers.l2, "getmacbyip", refuse)
    patch.setattr(scapy.layers.l2, "resolve_iface", refuse)
    for name in ("L2socket", "L3socket", "L2listen"):
        patch.setattr(conf, name, refuse)
