"""Neighbours and forwarding databases of a dump, compared and put in place.

A dump has the MACs of real machines. Those of hosts whose MAC it states elsewhere, and those of neighbours that were learnt, stand for
emu's. Must not know routes.
"""

from __future__ import annotations

from dataclasses import replace

from emu.kernel import boot
from emu.kernel.link.bridge import Bridge, FdbEntry
from emu.kernel.link.device import Device
from emu.kernel.link.vxlan import PERMANENT, Remote, Vxlan
from emu.kernel.net.neighbour import Neighbour
from emu.kube.dumped.site import Site
from emu.pasted.fdb_text import FdbLine
from emu.pasted.ip_json import Item
from emu.wire.addr import ip4_text, mac, mac_text
from emu.wire.frame import Frame

LEARNT = ("REACHABLE", "STALE", "DELAY", "PROBE")


def learn(site: Site) -> None:
    """Note whose MACs the learnt neighbours show. A MAC that is known already stays what it is."""
    for entry in site.dump.neighbours or ():
        addr = entry.address("dst")
        if entry.has("lladdr") and set(entry.words("state")) & set(LEARNT):
            own = site.macs_by_address.get(addr, b"")
            if own and mac(entry.text("lladdr")) not in site.emu_macs:
                site.macs.setdefault(mac(entry.text("lladdr")), own)


def neighbours(site: Site) -> None:
    """Compare, and put in place."""
    given = site.dump.neighbours
    if given is None:
        return
    _permanent(site, given)
    failed = set()
    for entry in given:
        device, addr, states = site.devices.get(entry.text("dev")), entry.address("dst"), entry.words("state")
        if device is None:
            continue
        if "FAILED" in states and (site.owner(addr) or site.macs_by_address.get(addr, b"")):
            shown = _shown(entry)
            what = f"{site.owner(addr) or 'the host'} at {ip4_text(addr)} did not answer ARP on {device.name}"
            site.differs(
                "neighbour-failed", what, site.dump.place("ip-neigh", shown), f"{ip4_text(addr)} dev {device.name} REACHABLE", shown,
                addr=addr, device=device.name,
            )  # fmt: skip
            failed.add((device.name, addr))
        elif "PERMANENT" in states and entry.has("lladdr"):
            _put_permanent(site, entry, device, addr)
        elif entry.has("lladdr") and set(states) & set(LEARNT):
            _check_learnt(site, entry, device, addr)
    if failed:
        _silence(site, failed)


def _silence(site: Site, failed: set[tuple[str, int]]) -> None:
    """What did not answer then does not answer now: its requests are not sent on."""
    family = site.net.ipv4
    ask = family.ops.solicit

    def solicit(entry: Neighbour, waiting: Frame | None) -> None:
        if (entry.device.name, entry.addr) not in failed:
            ask(entry, waiting)

    family.ops = replace(family.ops, solicit=solicit)
    for name, addr in failed:
        old = site.net.device(name).neigh[family.number].get(addr)
        if old is not None and old.state != "PERMANENT":
            old.delete()


def _shown(entry: Item) -> str:
    words = [entry.text("dst"), "dev", entry.text("dev")]
    words += ["lladdr", entry.text("lladdr")] if entry.has("lladdr") else []
    return " ".join([*words, *entry.words("state")])


def _translated(site: Site, address: bytes) -> bytes:
    return site.macs.get(address, address)


def _permanent(site: Site, given: list[Item]) -> None:
    """The entries that the pod network's agent set."""
    there = {(entry.text("dev"), entry.address("dst")) for entry in given if "FAILED" not in entry.words("state")}
    for own in list(site.net.neighbours):
        if own.state != "PERMANENT" or own.family is not site.net.ipv4 or own.device.loopback:
            continue
        if (own.device.name, own.addr) in there:
            continue
        known = [entry for entry in given if entry.text("dev") == own.device.name]
        if not known and own.device.kind == "vxlan" and not _behind(site, own):
            continue
        what = f"{own.device.name} has no neighbour {ip4_text(own.addr)}{_whose(site, own)}"
        site.differs(
            "neighbour-missing", what, site.dump.texts.file("ip-neigh"), own.text(), addr=_node_behind(site, own), device=own.device.name
        )  # fmt: skip
        own.delete()


def _behind(site: Site, own: Neighbour) -> bool:
    return _node_behind(site, own) != 0


def _node_behind(site: Site, own: Neighbour) -> int:
    """The InternalIP of the node at the other end of a tunnel, by the MAC; 0 for none."""
    for node in site.nodes.values():
        if any(device.mac == own.lladdr and device.kind == own.device.kind for device in node.net.devices.values()):
            return node.ip
    return 0


def _is_stated(site: Site, address: bytes) -> bool:
    """Whether a node's object states the MAC of its tunnel's end, so that another one is wrong. Else the dump's stands for emu's."""
    return any(
        device.mac == address
        for name in site.tunnels
        if name in site.nodes
        for device in site.nodes[name].net.devices.values()
    )


def _whose(site: Site, own: Neighbour) -> str:
    addr = _node_behind(site, own)
    return f" for {site.owner(addr)}" if addr else ""


def _put_permanent(site: Site, entry: Item, device: Device, addr: int) -> None:
    address = mac(entry.text("lladdr"))
    own = device.neigh[site.net.ipv4.number].get(addr)
    expected = own.lladdr if own is not None and own.state == "PERMANENT" else site.macs_by_address.get(addr, b"")
    unknown = address not in site.macs and address not in site.emu_macs
    if expected and unknown and device.kind == "vxlan" and not _is_stated(site, expected):
        site.macs[address] = expected
    used = _translated(site, address)
    if expected and used != expected:
        shown = _shown(entry)
        whose = site.owner(addr) or (_whose(site, own).removeprefix(" for ") if own is not None else "") or "the host"
        what = f"{ip4_text(addr)} on {device.name} has the MAC {mac_text(address)}, which is not that of {whose}"
        right = f"{ip4_text(addr)} dev {device.name} lladdr {mac_text(expected)}"
        there = _node_behind(site, own) if own is not None else 0
        site.differs(
            "neighbour-wrong", what, site.dump.place("ip-neigh", shown), right, shown, addr=there or addr, device=device.name
        )  # fmt: skip
    boot.neigh(site.net, device.name, addr, used)


def _check_learnt(site: Site, entry: Item, device: Device, addr: int) -> None:
    """A learnt MAC that is known for another host's: two hosts have the address."""
    address, expected = mac(entry.text("lladdr")), site.macs_by_address.get(addr, b"")
    used = _translated(site, address)
    if expected and used != expected and used in site.emu_macs:
        shown = _shown(entry)
        what = f"{ip4_text(addr)} on {device.name} has the MAC {mac_text(address)}, which is another host's"
        right = f"{ip4_text(addr)} dev {device.name} lladdr {mac_text(expected)}"
        site.differs(
            "neighbour-wrong", what, site.dump.place("ip-neigh", shown), right, shown, addr=addr, device=device.name
        )
        boot.neigh(site.net, device.name, addr, used)


def fdb(site: Site) -> None:
    """The entries of tunnels, and those of bridges that people set."""
    given = site.dump.fdb
    if given is None:
        return
    for name, device in site.devices.items():
        if isinstance(device, Vxlan):
            _tunnel(site, device, [each for each in given if each.device == name and each.dst])
        elif isinstance(device, Bridge):
            _bridge(site, device, given)


def _tunnel(site: Site, device: Vxlan, given: list[FdbLine]) -> None:
    own = [(entry.mac, remote) for entry, remote in device.entries() if entry.state == PERMANENT]
    by_dst = {remote.addr: address for address, remote in own}
    known = site.emu_macs
    for line in given:  # a MAC that no object states is that of the tunnel at this node
        own_mac = by_dst.get(line.dst)
        if (
            line.mac not in site.macs
            and line.mac not in known
            and own_mac is not None
            and not _is_stated(site, own_mac)
        ):
            site.macs[line.mac] = own_mac
    there = {_translated(site, line.mac): line for line in given}
    file = site.dump.texts.file("bridge-fdb")
    for address, remote in own:
        found_line = there.get(address)
        shown = f"{mac_text(address)} dev {device.name} dst {ip4_text(remote.addr)} self permanent"
        if found_line is None:
            what = f"{device.name} does not know where the MAC of {site.owner(remote.addr) or ip4_text(remote.addr)} is"
            site.differs("fdb-missing", what, file, shown, addr=remote.addr, device=device.name)
            device.delete(address)
        elif found_line.dst != remote.addr:
            found = f"{mac_text(found_line.mac)} dev {device.name} dst {ip4_text(found_line.dst)}"
            what = f"{device.name} sends what is for {site.owner(remote.addr) or ip4_text(remote.addr)} to {site.owner(found_line.dst) or ip4_text(found_line.dst)}"
            place = f"{file}:{found_line.line}" if found_line.line else file
            site.differs("fdb-wrong", what, place, shown, found, addr=remote.addr, device=device.name)
    for address, line in there.items():
        device.replace(address, Remote(line.dst, device.config.dstport, device.config.vni))


def _bridge(site: Site, device: Bridge, given: list[FdbLine]) -> None:
    """Entries by hand. A host's MAC behind another port than the host's is a difference."""
    ports = {port.device.name: port for port in device.ports}
    cables = {each.name: addr for addr, each in site.pod_devices().items()}
    homes = {site.macs_by_address[addr]: name for name, addr in cables.items() if name in ports}
    for line in given:
        used = _translated(site, line.mac)
        if line.master != device.name or line.state != "static" or line.device not in ports:
            continue
        home = homes.get(used, line.device)
        if home != line.device:
            addr = cables[home]
            shown = f"{mac_text(line.mac)} dev {line.device} master {device.name} static"
            what = f"{device.name} sends what is for {site.owner(addr)} out of {line.device}"
            place = site.dump.place("bridge-fdb", shown)
            expected = f"{mac_text(line.mac)} dev {home} master {device.name}"
            site.differs("fdb-wrong", what, place, expected, shown, addr=addr, device=device.name)
        device.fdb[used] = FdbEntry(used, ports[line.device], site.net.clock.now, static=True)
