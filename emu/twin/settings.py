"""What the twin changes on the kernel's side beside the scenario's own settings: one literal list, each with its reason.

A setting can be left out (`emu twin --without NAME`), which shows what it is good for. FIDELITY.md prints the list.
Must not know how a setting is applied.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import NamedTuple

from emu.errors import InputError


class Setting(NamedTuple):
    """One setting: what is set on the kernel's side, and why the comparison needs it."""

    name: str
    what: str
    why: str


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "offloads",
        "TSO, GSO, GRO, scatter-gather and TX checksums are off on every veth and bridge, unless `cluster.offloads` is true, and on every VXLAN device",
        "the devices of an emulated cluster have none by default: a kernel's carry large segments and unfinished checksums",
    ),
    Setting(
        "ipv6",
        "`net.ipv6.conf.*.disable_ipv6` is 1",
        "the emulator has no IPv6: a kernel sends router solicitations, MLD and duplicate address detection",
    ),
    Setting(
        "reno",
        "`net.ipv4.tcp_congestion_control` is reno",
        "the emulator models reno; this kernel's default is another one",
    ),
    Setting(
        "metrics",
        "`net.ipv4.tcp_no_metrics_save` is 1",
        "the kernel remembers the metrics of closed connections, and the emulator does not",
    ),
    Setting(
        "snooping",
        "`mcast_snooping` is 0 on every bridge",
        "the emulator models no IGMP: a bridge that snoops sends reports at random times",
    ),
    Setting(
        "so-error",
        "a TCP client that is not `blocking` reads SO_ERROR right after `connect()`",
        "an ICMP error that comes inside the call is a soft error to Linux: a client that only waits sends a second SYN",
    ),
)
NAMES = tuple(each.name for each in SETTINGS)
# The sysctls among them: name of the setting -> variable and value
SYSCTLS = {
    "reno": ("net.ipv4.tcp_congestion_control", "reno"),
    "metrics": ("net.ipv4.tcp_no_metrics_save", "1"),
}


def check(without: Collection[str]) -> None:
    """Raise InputError for a name that is no setting."""
    for name in without:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            raise InputError(f"{name!r} is no setting of the twin", expected=near[0] if near else ", ".join(NAMES))
