"""The sysctls of the kernel's namespaces: what they are before anything is written, and what is written.

Only what a scenario or a cluster's own parts set is written, so that a default of the emulator meets the kernel's own.
Must not know devices or flows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kernel.sysctl import Sysctls, row_of
from emu.kernel.sysctl_table import Value
from emu.modelled import Used
from emu.twin.space import Space

# Defaults that depend on the machine, and are not judged. The table's are those of a machine with plenty of memory.
MACHINE: dict[str, str] = {
    "net.ipv4.tcp_mem": "a part of the machine's memory, in pages (tcp_init_mem)",
    "net.ipv4.tcp_max_orphans": "by the size of the table of connections, which is a part of the memory (tcp_init)",
    "net.ipv4.tcp_allowed_congestion_control": "the congestion controls that this kernel was built with",
    "net.ipv4.tcp_congestion_control": "the kernel's configuration chooses it; the emulator models reno alone",
}
# On a machine with less memory than PLENTY_BYTES these, too
MEMORY: dict[str, str] = {
    "net.ipv4.tcp_rmem": "its largest value is at most a 128th of the memory (tcp_init)",
    "net.ipv4.tcp_wmem": "its largest value is at most a 128th of the memory (tcp_init)",
    "net.ipv4.tcp_max_syn_backlog": "by the size of the table of connections (tcp_init)",
    "net.ipv4.tcp_max_tw_buckets": "by the size of the table of connections (tcp_init)",
    "net.netfilter.nf_conntrack_max": "by the number of buckets (nf_conntrack_init_start)",
    "net.netfilter.nf_conntrack_buckets": "a part of the machine's memory (nf_conntrack_init_start)",
}
PLENTY_BYTES = 8 << 30
# Variables of the first namespace alone (neigh_sysctl_register, ip_rt_do_proc_init): no other one has them
FIRST_NAMESPACE = ("net.ipv4.neigh.default.", "net.ipv4.route.", "net.core.default_qdisc", "net.core.netdev_max_backlog",
                   "net.ipv4.tcp_mem", "net.ipv4.tcp_max_orphans")  # fmt: skip


class Unset(NamedTuple):
    """A variable that could not be set. `matters`: the emulator reads it, so that flows may differ because of it."""

    space: str
    name: str
    wanted: str
    found: str
    why: str
    matters: bool

    def __str__(self) -> str:
        have = f"the kernel has {self.found!r} there" if self.found else "the kernel has none there"
        return f"{self.space}: {self.name} cannot be set to {self.wanted!r} ({self.why}); {have}"


def text(value: Value) -> str:
    """A value as /proc prints it."""
    return "\t".join(map(str, value)) if isinstance(value, tuple) else str(value)


@lru_cache(maxsize=1 << 14)
def sysctl_path(name: str) -> str:
    """The path of a sysctl under /proc/sys: a device's name may hold dots."""
    words = name.split(".")
    if words[:2] in (["net", "ipv4"], ["net", "ipv6"]) and words[2:3] in (["conf"], ["neigh"]):
        words = [*words[:3], ".".join(words[3:-1]), words[-1]]
    if any(word in ("", ".", "..") or "/" in word or "\0" in word for word in words):
        raise InputError(f"{name!r} is not a sysctl", expected="words with dots between them")
    return "/".join(words)


def read(name: str) -> str | None:
    """A variable of the namespace that this thread is in; None without it."""
    try:
        with FileIO(f"/proc/sys/{sysctl_path(name)}") as file:  # thousands are read in a run
            return file.readall().decode().rstrip("\n")
    except OSError:
        return None


def plenty() -> bool:
    """Whether this machine's memory bounds no default."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 >= PLENTY_BYTES
    return False


def unjudged(name: str, rich: bool) -> str:
    """Why a default is not compared on this machine; "" where it is."""
    return MACHINE.get(name, "") or ("" if rich else MEMORY.get(name, ""))


def write(space: Space, values: Mapping[str, str]) -> list[Unset]:
    """Write what differs; gives what could not be written."""
    failed: dict[str, Unset] = {}
    with space.inside():
        for _ in range(3):  # to write one may change others (ip_forward does)
            wrote = False
            for name, wanted in values.items():
                found = read(name)
                if found == wanted or name in failed:
                    continue
                if found is None and any(name.startswith(each) for each in FIRST_NAMESPACE):
                    failed[name] = _unset(space, name, wanted, "", "only the machine's first namespace has it")
                    continue
                try:
                    (Path("/proc/sys") / sysctl_path(name)).write_text(wanted)
                    wrote = True
                except OSError as error:
                    why = (error.strerror or str(error)).lower()
                    failed[name] = _unset(space, name, wanted, found or "", why)
            if not wrote:
                break
    return list(failed.values())


def _unset(space: Space, name: str, wanted: str, found: str, why: str) -> Unset:
    # a new device copies `neigh.default`, and each device's own value is written, so that nothing else reads it
    matters = isinstance(row_of(name).treatment, Used) and not name.startswith("net.ipv4.neigh.default.")
    return Unset(space.name, name, wanted, found, why, matters)


def differences(space: Space, net: Netns, apart: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The variables in which the two sides differ, as lines of the kernel and of the emulator. `apart` are the names that are
    not compared. IPv6 is off on the kernel's side."""
    kernel, emulated = [], []
    rich = plenty()
    with space.inside():
        for name in net.sysctl:
            if name.startswith("net.ipv6.") or name in apart or unjudged(name, rich):
                continue
            found, ours = read(name), text(net.sysctl[name])
            if found is not None and found != ours:
                kernel.append(f"{name} = {found}")
                emulated.append(f"{name} = {ours}")
    return kernel, emulated


def defaults(space: Space, values: Sysctls) -> list[tuple[str, str | None, str]]:
    """Each variable of a namespace that nothing was written to: name, the kernel's value (None: it has none), emu's."""
    with space.inside():
        return [(name, read(name), text(values[name])) for name in values]
