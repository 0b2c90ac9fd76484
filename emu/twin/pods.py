"""The real CNI plugins wire the pods that the flows run on: ADD in the kernel's namespaces, for the pods of the beginning.

What the emulator's plugins wired is left out of the pictures until the real ones have run. The names and MACs that these
draw are changed to the emulator's, so that both sides' lines can be compared. A pod that comes later is wired as ever: a
plugin takes a tenth of a second, in which timers go on. Must not know flows.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from emu.kernel.net.netns import Netns
from emu.kube.networks.network import Network
from emu.kube.node.node import Node, Sandbox
from emu.twin import sysctls
from emu.twin.cni import LOOPBACK, Binaries, absent
from emu.twin.picture import Picture
from emu.twin.space import Space

IFNAME = "eth0"
ANNOUNCES = f"net.ipv4.conf.{IFNAME}.arp_notify"


class Kubelet(Protocol):
    """Whose pods are wired."""

    @property
    def node(self) -> Node: ...
    @property
    def network(self) -> Network: ...


class Pod(NamedTuple):
    """A pod that a real plugin can wire: a veth pair between its eth0 and its node. `host` is the name of the node's end."""

    sandbox: Sandbox
    network: Network
    host: str

    @property
    def net(self) -> Netns:
        return self.sandbox.net

    @property
    def container_id(self) -> str:
        return self.sandbox.uid.replace("-", "")


class RealPods:
    """`without` are the devices, as (namespace's name, device), whose pods are not wired by plugins: their cables are pulled, and a
    plugin lays none that can be. `wired` counts the pods."""

    def __init__(self, kubelets: Callable[[], Iterable[Kubelet]], without: Iterable[tuple[str, str]] = ()) -> None:
        self._kubelets, self._without = kubelets, frozenset(without)
        self._folder = tempfile.TemporaryDirectory(prefix="emu-cni-")
        self.wired = 0

    def close(self) -> None:
        self._folder.cleanup()

    # -- what the mirror asks, in this order ------------------------------------------------------

    def coming(self, come: Collection[Netns], wanted: Mapping[Netns, Picture]) -> list[Pod]:
        """The pods among the first namespaces, in the order in which their nodes wired them."""
        found: list[Pod] = []
        if self.wired or not come:
            return found
        for kubelet in self._kubelets():
            if absent(kubelet.network.config):
                continue
            for sandbox in kubelet.node.sandboxes.values():
                if sandbox.net in come and (sandbox.net.name, IFNAME) not in self._without:
                    link = wanted[sandbox.net].links.get(IFNAME)
                    if link is not None and link.peer is not None and link.peer[0] is kubelet.node.net:
                        found.append(Pod(sandbox, kubelet.network, link.peer[1]))
        return found

    def before(
        self, wanted: Mapping[Netns, Picture], old: Mapping[Netns, Picture], pods: Collection[Pod]
    ) -> dict[Netns, Picture]:
        """The pictures without what the plugins are to wire."""
        found = dict(wanted)
        for pod in pods:
            found[pod.net] = Picture({"lo": wanted[pod.net].links["lo"]._replace(up=False)})
        for node in {pod.sandbox.node.net for pod in pods}:
            own = [pod for pod in pods if pod.sandbox.node.net is node]
            was = old.get(node, Picture())
            found[node] = _without(wanted[node], {*_made(own, wanted[node], was)}, was.iptables)
        return found

    def after(
        self, wanted: Mapping[Netns, Picture], before: Mapping[Netns, Picture], pods: Collection[Pod]
    ) -> dict[Netns, Picture]:
        """The pictures as the plugins should have left the kernel's side. What they did otherwise is a difference."""
        return {
            net: replace(
                before[net],
                links={name: link._replace(lose=()) for name, link in wanted[net].links.items()},
                ports=wanted[net].ports,
                addresses=wanted[net].addresses,
                routes=wanted[net].routes,
                own=wanted[net].own,
                withdrawn=wanted[net].withdrawn,
            )
            for pod in pods
            for net in (pod.net, pod.sandbox.node.net)
        }

    def add(self, pod: Pod, host: Space, space: Space, wanted: Mapping[Netns, Picture]) -> Iterator[tuple[Space, str]]:
        """Wire a pod; gives the devices that were made. Raises TwinError with the plugin's own message."""
        disk = Path(self._folder.name) / pod.sandbox.node.name
        disk.mkdir(exist_ok=True)
        binaries, had = Binaries(host, disk, pod.sandbox.node.files), devices(host)
        binaries.add(LOOPBACK, space, pod.container_id, "lo")
        args = pod.sandbox.capability_args
        result = binaries.add(pod.network.config, space, pod.container_id, IFNAME, capability_args=args)
        self.wired += 1
        node = wanted[pod.sandbox.node.net]
        macs = {name: link.mac for name, link in node.links.items()}
        yield from renamed(result, host, space, had, pod.host, wanted[pod.net].links[IFNAME].mac, macs)


def renamed(
    result: Mapping[str, Any],
    host: Space,
    space: Space,
    had: Collection[str],
    veth: str,
    own: str,
    macs: Mapping[str, str],
) -> Iterator[tuple[Space, str]]:
    """After an ADD: the names and MACs that the plugin drew become the emulator's draws; gives the devices that were made. `had` are the
    devices that the node had before; `veth` is to be the name of the node's end, `own` the pod's MAC; `macs` are by the node's devices."""
    # the plugin has announced the pod under the MAC that it drew; another announcement would be seen
    with space.inside():
        before = sysctls.read(ANNOUNCES)
    sysctls.write(space, {ANNOUNCES: "0"})
    space.ip([["link", "set", "dev", IFNAME, "address", own]])
    sysctls.write(space, {ANNOUNCES: before or "0"})
    made = [each for each in result["interfaces"] if not each.get("sandbox") and each["name"] not in had]
    drawn = [each["mac"] for each in made if each["name"] not in macs]
    for each in made:
        name = each["name"]
        if name not in macs:  # a name that the plugin has drawn
            host.ip([["link", "set", "dev", name, "name", veth], ["link", "set", "dev", veth, "address", macs[veth]]])
            # a port has taken its first MAC into the bridge's database; what is no port has none
            host.ip([["link", "set", "dev", veth, "type", "bridge_slave", "fdb_flush"]], tolerant=True)
            name = veth
        elif each["mac"] not in drawn:  # a bridge with a MAC of its own; another one follows its ports
            host.ip([["link", "set", "dev", name, "address", macs[name]]])
        yield host, name
    yield space, IFNAME


def _made(pods: Collection[Pod], new: Picture, old: Picture) -> Iterator[str]:
    """The devices of a node that the plugins are to make: the pods' ends, and the bridge that these join."""
    bridges = {port.device: port.bridge for port in new.ports}
    for pod in pods:
        yield pod.host
        bridge = bridges.get(pod.host)
        if bridge and bridge not in old.links and bridge not in {each.name for each in pod.network.bridges}:
            yield bridge


def _without(picture: Picture, devices: Collection[str], iptables: str) -> Picture:
    def others(texts: Iterable[str]) -> list[str]:
        return [text for text in texts if not any(f" dev {name} " in f"{text} " for name in devices)]

    return replace(
        picture,
        links={name: link for name, link in picture.links.items() if name not in devices},
        ports=[port for port in picture.ports if port.device not in devices],
        addresses=others(picture.addresses),
        routes=others(picture.routes),
        own=others(picture.own),
        withdrawn=others(picture.withdrawn),
        neighbours=others(picture.neighbours),
        fdb=others(picture.fdb),
        sysctls={
            name: value
            for name, value in picture.sysctls.items()
            if not any(f".{device}." in name for device in devices)
        },
        iptables=iptables,
    )


def devices(space: Space) -> set[str]:
    with space.inside():
        return {name for _, name in socket.if_nameindex()}
