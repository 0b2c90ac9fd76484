"""Builds the emulated namespaces in this machine's kernel, and keeps them equal: `sync` applies each change.

It configures the kernel from the pictures that `picture.py` makes. Must not know flows or captures.
"""

from __future__ import annotations

import ctypes
import fcntl
import re
import shutil
import socket
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from emu.errors import Undecided
from emu.kernel.net.netns import Netns
from emu.twin import sysctls
from emu.twin.cable import Cable
from emu.twin.carriers import await_links
from emu.twin.picture import Link, Picture, take
from emu.twin.pods import RealPods
from emu.twin.settings import SYSCTLS
from emu.twin.space import Space, TwinError, check_name
from emu.twin.sysctls import Unset
from emu.twin.wired import Wired

SIOCETHTOOL, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8946, 0x8913, 0x8914, 1
# With offloads a veth passes on partial checksums and large segments: ETHTOOL_S{TXCSUM,SG,TSO,GSO,GRO}
OFFLOADS = (0x17, 0x19, 0x1F, 0x24, 0x2C)
AGEING_CS = 30000  # a bridge's own default
LO_MTU = 65536  # of a new namespace
SET_FREE_S = 5.0
_NFT_NAME = re.compile(r"[\w.@+-]+", re.ASCII)


class Mirror:
    """`spaces` maps each emulated namespace to its twin. `unset` has the sysctls that could not be set on this kernel, by
    namespace and name. `without` names the settings that are left out. `pullable` are the devices whose cables may be
    pulled later, as (namespace's name, device). `pods` wires pods by the real CNI plugins, `wired` all that is there at the beginning."""

    def __init__(
        self,
        without: Collection[str] = (),
        pullable: Iterable[tuple[str, str]] = (),
        pods: RealPods | None = None,
        wired: Wired | None = None,
    ) -> None:
        self.pods, self.wired = pods, wired
        self.pullable = frozenset(pullable)
        self.cables: dict[tuple[Netns, str], Cable] = {}  # by either end
        self.spaces: dict[Netns, Space] = {}
        self.pictures: dict[Netns, Picture] = {}
        self.unset: dict[tuple[str, str], Unset] = {}
        self.without = frozenset(without)
        self._rich = sysctls.plenty()

    def sync(
        self, namespaces: Mapping[str, Netns], pictures: Mapping[Netns, Picture] | None = None
    ) -> tuple[list[Netns], list[Netns]]:
        """Make the kernel's side equal to the emulator's, as it is now or as `pictures` show it; gives the new namespaces and
        those that the caller is to `remove`. Raises TwinError, Undecided, and InputError for a device's name that Linux
        refuses."""
        wanted = {net: take(net) for net in namespaces.values()} if pictures is None else dict(pictures)
        for picture in wanted.values():
            for name in picture.links:
                check_name(name)
        if self.wired is not None and not self.spaces:
            self._wire(self.wired, namespaces, wanted)
            return [*wanted], []
        pods = self.pods.coming({net for net in wanted if net not in self.spaces}, wanted) if self.pods else []
        if self.pods is None or not pods:
            return self._sync(namespaces, wanted)
        before = self.pods.before(wanted, self.pictures, pods)
        come, gone = self._sync(namespaces, before)
        for pod in pods:
            host, space = self.spaces[pod.sandbox.node.net], self.spaces[pod.net]
            with self._silent(host):
                for where, name in self.pods.add(pod, host, space, wanted):
                    self._set_up(where, name, wanted[pod.net if where is space else pod.sandbox.node.net].links[name])
        self.pictures.update(self.pods.after(wanted, before, pods))
        self._sync(namespaces, wanted)
        return come, gone

    def _wire(self, wired: Wired, namespaces: Mapping[str, Netns], wanted: Mapping[Netns, Picture]) -> None:
        """Let the whole kernel's side be wired. Only the settings are applied here."""
        for name, net in namespaces.items():
            self.spaces[net] = Space(name)
            self._begin(self.spaces[net])
            sysctls.write(self.spaces[net], self.beside(wanted[net]))
        with ExitStack() as stack:
            for space in self.spaces.values():
                stack.enter_context(self._silent(space))
            wired.wire(self.spaces, wanted)
            for space in self.spaces.values():
                for each in space.links():
                    kind = each.get("linkinfo", {}).get("info_kind", "")
                    self._set_up(space, each["ifname"], Link(each["ifname"], kind, "", 0, True))
        for net, picture in wanted.items():
            with suppress(TwinError):  # what has no carrier is a difference
                await_links(self.spaces[net], picture, wanted)
        self.pictures.update(wanted)

    @contextmanager
    def _silent(self, host: Space) -> Iterator[None]:
        """While the block runs, a bridge that snoops from the start, as a plugin makes it, reports no group."""
        name = "net.ipv4.igmp_link_local_mcast_reports"
        with host.inside():
            before = None if "snooping" in self.without else sysctls.read(name)
        if before is not None:
            sysctls.write(host, {name: "0"})
        yield
        if before is not None:
            sysctls.write(host, {name: before})

    def _set_up(self, space: Space, name: str, link: Link) -> None:
        """What is set on the devices that the twin makes, on one that a plugin has made."""
        if "offloads" not in self.without and not link.offloads:
            self._offloads(space, [name])
        if link.kind == "bridge" and "snooping" not in self.without:
            space.ip([["link", "set", "dev", name, "type", "bridge", "mcast_snooping", "0"]])

    def _sync(
        self, namespaces: Mapping[str, Netns], wanted: Mapping[Netns, Picture]
    ) -> tuple[list[Netns], list[Netns]]:
        come = [net for net in wanted if net not in self.spaces]
        gone = [net for net in self.spaces if net not in wanted]
        for name, net in namespaces.items():
            if net in come:
                self.spaces[net] = Space(name)
                self._begin(self.spaces[net])
        old = {net: self.pictures.get(net, Picture()) for net in wanted}
        changed = [net for net in wanted if wanted[net] != old[net]]
        for net in gone:
            self._unplug(self.spaces[net], self.pictures[net].links, ())
        for net in changed:
            self._unplug(self.spaces[net], old[net].links, wanted[net].links)
        self._plug(wanted, old)
        for net in changed:
            self._links(self.spaces[net], old[net], wanted[net])
            self._pull(net, old[net], wanted[net])
        if any(wanted[net].links != old[net].links or wanted[net].ports != old[net].ports for net in changed):
            for net in {*changed, *_far_ends(changed, old, wanted)}:
                await_links(self.spaces[net], wanted[net], wanted)
        for net in changed:
            self._lose(self.spaces[net], old[net], wanted[net])
            self._routes(self.spaces[net], old[net], wanted[net])
            left = self._sets(self.spaces[net], old[net].ipsets, wanted[net].ipsets)
            if wanted[net].iptables != old[net].iptables:
                self.spaces[net].run("iptables-restore", text=wanted[net].iptables or _empty(old[net].iptables))
            for each in left:
                self._destroy(self.spaces[net], each)
        self.pictures.update(wanted)
        return come, gone

    def behind(self, namespaces: Mapping[str, Netns]) -> bool:
        """Has the emulator's configuration changed since the last `sync`? Raises Undecided."""
        return {net: take(net) for net in namespaces.values()} != self.pictures

    def remove(self, net: Netns) -> None:
        """Delete a namespace that the emulator has deleted."""
        self.spaces.pop(net).close()
        del self.pictures[net]

    def close(self) -> None:
        for space in self.spaces.values():
            space.close()
        for cable in self.cables.values():
            cable.close()
        if self.pods is not None:
            self.pods.close()
        self.spaces.clear()
        self.cables.clear()

    def flush(self) -> None:
        """Flush neighbours, learned MACs, route exceptions and connections in all namespaces."""
        for net, space in self.spaces.items():
            space.ip([["neigh", "flush", "all"], ["route", "flush", "cache"]], tolerant=True)
            for link in self.pictures[net].links.values():
                if link.kind == "bridge":
                    space.ip([["link", "set", "dev", link.name, "type", "bridge", "fdb_flush"]])
                elif link.kind == "vxlan":
                    space.run("bridge", "fdb", "flush", "dev", link.name, "dynamic")
            if self.pictures[net].iptables:
                space.run("conntrack", "-F")

    def _begin(self, space: Space) -> None:
        if "ipv6" in self.without:
            return
        with space.inside():
            for key in ("all", "default"):
                with suppress(FileNotFoundError):  # a kernel without IPv6 has nothing to flush
                    Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")

    # -- links ----------------------------------------------------------------------------------

    @staticmethod
    def _unplug(space: Space, old: Mapping[str, Link], new: Iterable[str]) -> None:
        kept = set(new)
        _take_down(space, [name for name in old if name not in kept and name != "lo"])
        # to delete one end of a veth pair deletes the other, too
        gone = [["link", "del", "dev", name] for name in old if name not in kept and name != "lo"]
        space.ip(gone, tolerant=True)

    def _plug(self, wanted: Mapping[Netns, Picture], old: Mapping[Netns, Picture]) -> None:
        done: set[tuple[Netns, str]] = set()
        above: dict[Netns, list[list[str]]] = {}  # what may need a device that is made in this pass
        for net, picture in wanted.items():
            lines: list[list[str]] = []
            for link in picture.links.values():
                if link.name in old[net].links or (net, link.name) in done:
                    continue
                made = ["link", "add", "name", link.name, *f"mtu {link.mtu} address {link.mac} type".split()]
                if link.kind == "bridge":
                    quiet = [] if "snooping" in self.without else ["mcast_snooping", "0"]
                    ageing = [] if link.ageing_cs == AGEING_CS else ["ageing_time", str(link.ageing_cs)]
                    lines.append([*made, "bridge", *quiet, *ageing])
                elif link.kind == "vxlan":
                    above.setdefault(net, []).append([*made, "vxlan", *link.words.split()])
                elif link.peer is not None:
                    far, name = link.peer
                    other = wanted[far].links[name]
                    done.add((far, name))
                    peer = ["peer", "name", name, *f"mtu {other.mtu} address {other.mac}".split()]
                    if {(net.name, link.name), (far.name, name)} & self.pullable:
                        self._lay((net, link), (far, other))
                        continue
                    place = [] if far is net else ["netns", self.spaces[far].path]
                    lines.append([*made, "veth", *peer, *place])
            self.spaces[net].ip(lines)
        for net, lines in above.items():
            self.spaces[net].ip(lines)

    def _lay(self, *ends: tuple[Netns, Link]) -> None:
        """Connect two devices by a cable that can be pulled."""
        cable = Cable(" and ".join(f"{net.name}/{link.name}" for net, link in ends))
        self._begin(cable.space)
        for end, (net, link) in enumerate(ends):
            made = ["link", "add", "name", link.name, *f"mtu {link.mtu} address {link.mac} type veth peer".split()]
            self.spaces[net].ip([[*made, *cable.words(end)]])
            self.cables[net, link.name] = cable
        cable.complete(self._offloads)

    def _pull(self, net: Netns, old: Picture, new: Picture) -> None:
        """Pull the cables whose devices lose their carrier, and plug in those whose devices have it again."""
        for name, link in new.links.items():
            if link.carrier != (name not in old.links or old.links[name].carrier):
                cable = self.cables.get((net, name))
                if cable is None:
                    raise Undecided(f"{net.name}: the cable of {name} is pulled, which was not known when it was laid")
                cable.set(on=link.carrier)

    def _links(self, space: Space, old: Picture, new: Picture) -> None:
        lines: list[list[str]] = []
        fresh = [name for name in new.links if name not in old.links and name != "lo"]
        for name, link in new.links.items():
            before = old.links.get(name)
            made = LO_MTU if name == "lo" else link.mtu
            if link.mtu != (made if before is None else before.mtu) and link.kind != "bridge":  # which takes its ports'
                lines.append(["link", "set", "dev", name, "mtu", str(link.mtu)])
            if before is not None and name != "lo":
                lines += [["link", "set", "dev", name, "address", link.mac]] if link.mac != before.mac else []
            if link.promisc != (before is not None and before.promisc):
                lines.append(["link", "set", "dev", name, "promisc", _switch(link.promisc)])
        known = {port.device: port for port in old.ports if port.device not in fresh}
        for port in new.ports:
            was = known.get(port.device)
            if was is None or was.bridge != port.bridge:
                lines.append(["link", "set", "dev", port.device, "master", port.bridge])
            if was != port:
                switches = ["hairpin", _switch(port.hairpin), "isolated", _switch(port.isolated)]
                lines.append(["link", "set", "dev", port.device, "type", "bridge_slave", *switches])
        free = known.keys() - {p.device for p in new.ports} & new.links.keys()
        lines += [["link", "set", "dev", name, "nomaster"] for name in free]
        space.ip(lines)
        if "offloads" not in self.without:
            self._offloads(space, [name for name in fresh if not new.links[name].offloads])
        for entry in [entry for entry in old.fdb if entry not in new.fdb and _dev(entry) in new.links]:
            space.run("bridge", "fdb", "del", *entry.split(" "))
        for entry in [entry for entry in new.fdb if entry not in old.fdb]:
            space.run("bridge", "fdb", "append", *entry.split(" "))
        gone = [["addr", "del", *_until(each, "scope")] for each in old.addresses if each not in new.addresses]
        space.ip(gone, tolerant=True)
        ups = [["addr", "add", *each.split(" ")] for each in new.addresses if each not in old.addresses]
        for name, link in new.links.items():
            if link.up != (name in old.links and old.links[name].up):
                ups.append(["link", "set", "dev", name, "up" if link.up else "down"])
            elif name == "lo" and name not in old.links and any(_dev(each) == name for each in new.own):
                # taken down again, as after a failed ADD: its local routes stay
                ups += [["link", "set", "dev", name, state] for state in ("up", "down")]
        space.ip(ups)
        for each in sysctls.write(space, {**new.sysctls, **self.beside(new)}):
            self.unset[each.space, each.name] = each

    def apart(self, space: Space) -> set[str]:
        """The sysctls that are not to be compared in a namespace: what could not be set, and what the settings set."""
        names = {name for where, name in self.unset if where == space.name}
        return names | {name for each, (name, _) in SYSCTLS.items() if each not in self.without}

    def beside(self, picture: Picture) -> dict[str, str]:
        """The sysctls that are set though no scenario asks for it: the settings', and the defaults that this machine's memory
        bounds."""
        values = {name: value for each, (name, value) in SYSCTLS.items() if each not in self.without}
        return values if self._rich else {**values, **picture.bounded}

    @staticmethod
    def _offloads(space: Space, names: Iterable[str]) -> None:
        with space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for name in names:
                for command in OFFLOADS:
                    value = ctypes.create_string_buffer(struct.pack("II", command, 0))
                    request = struct.pack("16sP", name.encode(), ctypes.addressof(value))
                    with suppress(OSError):  # a bridge does not have all of them
                        fcntl.ioctl(any_socket, SIOCETHTOOL, request)

    @staticmethod
    def _lose(space: Space, old: Picture, new: Picture) -> None:
        """Drop the chosen frames where netem would: before the tap (nftables' egress hook counts frames)."""
        for name, link in new.links.items():
            before = old.links[name].lose if name in old.links else ()
            if link.lose == before:
                continue
            if shutil.which("nft") is None:
                raise Undecided("to lose chosen frames the twin needs nft, which is not here")
            if not _NFT_NAME.fullmatch(name):
                raise Undecided(f"nft cannot name the device {name!r}, whose frames are to be lost")
            table = f"table netdev emu-{name.encode().hex()}"
            text = f"{table}\ndelete {table}\n"
            if link.lose:
                numbers = ", ".join(map(str, link.lose))
                text += (
                    f'{table} {{ chain lose {{ type filter hook egress device "{name}" priority 0; '
                    f"numgen inc mod 4294967295 {{ {numbers} }} drop; }}; }}\n"
                )
            space.run("nft", "-f", "-", text=text)

    # -- routes ---------------------------------------------------------------------------------

    @staticmethod
    def _routes(space: Space, old: Picture, new: Picture) -> None:
        # before others take their place; they come with a link that comes up, and go again
        space.ip([["route", "del", *each.split(" ")] for each in new.withdrawn], tolerant=True)
        lines = [["rule", "del", *each.split(" ")] for each in old.rules if each not in new.rules]
        space.ip([*lines, *(["rule", "add", *each.split(" ")] for each in new.rules if each not in old.rules)])
        # the kernel removes the routes and neighbours of a link that goes down, or goes
        gone = [each for each in old.routes if each not in new.routes] + [
            each for each in old.own if each not in new.own
        ]
        lines = [["route", "del", *each.split(" ")] for each in gone]
        gone = [each for each in old.neighbours if each not in new.neighbours]
        lines += [["neigh", "del", *_until(each, "lladdr"), "dev", _dev(each)] for each in gone]
        space.ip(lines, tolerant=True)
        add = [["route", "add", *each.split(" ")] for each in new.routes if each not in old.routes]
        add.sort(key=lambda words: "via" in words)  # gateways must be on a link first
        add += [["neigh", "replace", *each.split(" ")] for each in new.neighbours if each not in old.neighbours]
        space.ip(add)

    # -- sets -----------------------------------------------------------------------------------

    @classmethod
    def _sets(cls, space: Space, old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> list[str]:
        """Sets come before the rules that look them up, and go behind them: the names of those that are still to go. Lists hold other sets: the
        last made go first. A set that comes again with another type goes at once, and before it the lists that may hold it."""
        if old == new:
            return []
        if shutil.which("ipset") is None:
            raise Undecided("to make sets the twin needs ipset, which is not here")
        kept = {name for name in old if name in new and new[name][0] == old[name][0]}
        going = [name for name in reversed([*old]) if name not in kept]
        left = [name for name in going if name not in new]
        if len(left) < len(going):
            for name in going:
                if name in new:
                    cls._destroy(space, name)
                else:
                    with suppress(TwinError):
                        space.run("ipset", "destroy", name)
                        left.remove(name)
        text = []
        for name, lines in new.items():
            if name in kept and lines == old[name]:
                continue
            text += [f"flush {name}", *lines[1:]] if name in kept else lines
        space.run("ipset", "-exist", "restore", text="\n".join([*text, ""]))
        return left

    @staticmethod
    def _destroy(space: Space, name: str) -> None:
        """nf_tables frees the rules that are gone in work of its own: their sets may be in use for a while."""
        until = time.monotonic() + SET_FREE_S
        while True:
            try:
                space.run("ipset", "destroy", name)
                return
            except TwinError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)


def _take_down(space: Space, names: Iterable[str]) -> None:
    """Take devices down without a tool's delay: nothing that is due soon may pass them any more."""
    with space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for name in names:
            request = bytearray(struct.pack("16sh", name.encode(errors="surrogateescape"), 0).ljust(40, b"\0"))
            with suppress(OSError):  # gone with its other end
                fcntl.ioctl(any_socket, SIOCGIFFLAGS, request)
                (flags,) = struct.unpack_from("H", request, 16)
                struct.pack_into("H", request, 16, flags & ~IFF_UP)
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def _until(text: str, word: str) -> list[str]:
    """The words of a text before one of them. Names have no white space (`check_name`), so that each is one word."""
    words = text.split(" ")
    return words[: words.index(word)]


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _dev(text: str) -> str:
    words = text.split(" ")
    return words[words.index("dev") + 1]


def _far_ends(
    changed: Iterable[Netns], old: Mapping[Netns, Picture], wanted: Mapping[Netns, Picture]
) -> Iterator[Netns]:
    """Where the other ends are of links that have changed: those follow, whatever else changes there."""
    for net in changed:
        for name, link in wanted[net].links.items():
            if link.peer is not None and link.peer[0] in wanted and link != old[net].links.get(name):
                yield link.peer[0]


def _empty(text: str) -> str:
    """The iptables-restore text that removes everything that `text` added."""
    return "".join(f"{line}\nCOMMIT\n" for line in text.splitlines() if line.startswith("*"))
