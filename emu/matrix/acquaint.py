"""Neighbours of a cluster that has run for a while: nodes and their LANs' routers know each other's MACs, switches and bridges know their ports.

A request for a MAC goes to every node of a LAN, a thousand of them in a large one, and shows nothing of a Service. Only interfaces that are up, in
the state in which they were laid out, are made known. Must not know flows.
"""

from __future__ import annotations

from emu.kernel import boot
from emu.kernel.link.bridge import Bridge, FdbEntry, Port
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.neighbour import Neighbour
from emu.kernel.net.netns import Netns
from emu.kube.underlay.shape import Machine, Nic
from emu.matrix.ends import Whole


class Acquaintance:
    """Makes machines known to each other, each pair once."""

    def __init__(self, places: Whole) -> None:
        self.places = places
        self.machines = {each.name: each for each in (*places.layout.nodes, *places.layout.hosts.values())}
        self._known: set[tuple[str, str]] = set()
        self._met: set[str] = set()
        self._routers = {
            address.addr: (net, address.device)
            for name, net in places.namespaces.items()
            if name not in places.pods and name not in self.machines
            for address in net.ipv4.addresses
        }

    def of(self, one: str, other: str) -> None:
        """Two nodes or hosts by name, and the routers of their LANs."""
        if (one, other) in self._known:
            return
        self._known |= {(one, other), (other, one)}
        for name in (one, other):
            if name not in self._met:
                self._met.add(name)
                for nic in self._nics(name):
                    _plugged(self.places.namespaces[name].devices[nic.name])
                    self._router(self.places.namespaces[name], nic)
        for nic in self._nics(one):
            for far in self._nics(other):
                if one != other and nic.lan == far.lan:
                    self._enter(self.places.namespaces[one], nic.name, far.address, far.mac)
                    self._enter(self.places.namespaces[other], far.name, nic.address, nic.mac)

    def of_pod(self, name: str) -> None:
        """A pod: the bridge of its node, if it is at one, knows its port, and the node its MAC."""
        sandbox = self.places.pods.get(name)
        if sandbox is not None and not sandbox.host_network and name not in self._met:
            self._met.add(name)
            for device in sandbox.net.devices.values():
                bridge = _plugged(device)
                if bridge is not None and bridge.net is sandbox.node.net:
                    self._enter(sandbox.node.net, bridge.name, sandbox.ip, device.mac)

    def _nics(self, name: str) -> list[Nic]:
        machine: Machine | None = self.machines.get(name)
        return [each for each in machine.nics if self._as_laid(name, each)] if machine is not None else []

    def _as_laid(self, name: str, nic: Nic) -> bool:
        device = self.places.namespaces[name].devices.get(nic.name)
        return device is not None and device.up and device.carrier and device.mac == nic.mac

    def _router(self, net: Netns, nic: Nic) -> None:
        lan = self.places.layout.lans.get(nic.lan)
        found = self._routers.get(lan.gateway) if lan is not None else None
        if lan is None or found is None:
            return
        router, device = found
        if device.up and device.carrier:
            _plugged(device)
            self._enter(net, nic.name, lan.gateway, device.mac)
            self._enter(router, device.name, nic.address, nic.mac)

    @staticmethod
    def _enter(net: Netns, device: str, addr: int, mac: bytes) -> None:
        """An entry as it is after a packet was sent by it."""
        boot.neigh(net, device, addr, mac)
        entry: Neighbour = net.devices[device].neigh[net.ipv4.number][addr]
        entry.hh_init()


def _plugged(device: Device) -> Bridge | None:
    """The switch or bridge at the other end of a cable knows at which port the device is. None: there is none."""
    port = device.peer.master if isinstance(device, Veth) and device.peer is not None else None
    if isinstance(port, Port) and device.up and device.carrier:
        bridge = port.bridge
        bridge.fdb[device.mac] = FdbEntry(device.mac, port, bridge.clock.now, static=True)
        return bridge
    return None
