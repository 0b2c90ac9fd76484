"""A cluster's kernel side wired from the cluster's objects: a `Wiring` takes the place of the mirror's account.

The wiring makes the devices, addresses, routes, rules, neighbours, forwarding databases, sysctls, sets and chains of every namespace.
From the emulated side it gets what was drawn there, and kube-proxy's own chains, which are compiled from Services and judged
by kube-proxy's own cases (`tests/kube/proxy`). All else that the emulator wired is only compared with. Must not know flows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from emu.kernel.net.netns import Netns
from emu.twin import tables
from emu.twin.picture import Picture
from emu.twin.pods import IFNAME, Kubelet
from emu.twin.space import Space

Lines = tuple[list[str], list[str]]  # the kernel's, the emulator's
_KUBE = re.compile(r"-A (KUBE-\S+)|-A ([A-Z]+) .*-j KUBE-\S+$")


class Draws:
    """What the emulated side drew, by the name of a namespace: MACs, the names of plugins' veths, the ids of containers; and
    the text of kube-proxy's chains."""

    def __init__(self, pictures: Mapping[Netns, Picture], kubelets: Iterable[Kubelet]) -> None:
        self._pictures = {net.name: picture for net, picture in pictures.items()}
        sandboxes = [each for kubelet in kubelets for each in kubelet.node.sandboxes.values()]
        self._containers = {each.name: each.uid.replace("-", "") for each in sandboxes}

    def mac(self, where: str, device: str) -> str:
        return self._pictures[where].links[device].mac

    def macs(self, where: str) -> dict[str, str]:
        return {name: link.mac for name, link in self._pictures[where].links.items()}

    def veth(self, pod: str) -> str:
        """The node's end of the pair of a pod's eth0."""
        peer = self._pictures[pod].links[IFNAME].peer
        assert peer is not None
        return peer[1]

    def container(self, pod: str) -> str:
        return self._containers[pod]

    def kube_proxy(self, node: str) -> str:
        """For `iptables-restore --noflush`: its chains, and its jumps to them before all rules that are there."""
        return kube_proxy(self._pictures[node].iptables)


class Wiring(Protocol):
    """`unread` is what of a rule's text is not compared: a mark that an agent computes for itself, and no packet meets."""

    unread: re.Pattern[str] | None

    def wire(self, spaces: Mapping[str, Space], draws: Draws) -> None:
        """Wire the empty namespaces, by name: nodes, pods ("namespace/name") and what is between the nodes. Raises TwinError."""
        ...


class Wired:
    """A wiring, and the cluster whose `kubelets` run the pods."""

    def __init__(self, wiring: Wiring, kubelets: Callable[[], Iterable[Kubelet]]) -> None:
        self._wiring, self._kubelets = wiring, kubelets

    def wire(self, spaces: Mapping[Netns, Space], pictures: Mapping[Netns, Picture]) -> None:
        self._wiring.wire({net.name: space for net, space in spaces.items()}, Draws(pictures, self._kubelets()))

    def rules(self, lines: Sequence[str]) -> list[str]:
        unread = self._wiring.unread
        return [unread.sub("", line) if unread is not None else line for line in lines]

    @staticmethod
    def besides(net: Netns, space: Space) -> dict[str, Lines]:
        """What no table of a namespace shows: routing rules, permanent neighbours and sets with their members."""
        neighbours = space.run("ip", "-4", "neigh", "show", "nud", "permanent").splitlines()
        return {
            "routing rules": (
                [" ".join(line.split()) for line in space.run("ip", "-4", "rule", "show").splitlines()],
                [" ".join(each.text().split()) for each in net.ipv4.fib.rules],
            ),
            "permanent neighbours": (
                sorted(" ".join(line.split()) for line in neighbours),
                sorted(each.text() for each in net.neighbours if each.state == "PERMANENT"),
            ),
            "sets": (
                sorted(_members(space.run("ipset", "save"))),
                sorted(_members(net.ipv4.tables.ipsets.save())),
            ),
            "qdiscs": (sorted(tables.kernel_qdiscs(space)), sorted(tables.emulated_qdiscs(net))),
        }


def _members(saved: str) -> Iterator[str]:
    """Names, types and members: the other words of `create` are what each side's tool prints."""
    return (" ".join(line.split()[:3]) for line in saved.splitlines())


def kube_proxy(saved: str) -> str:
    """kube-proxy's and kubelet's part of an iptables-save text, for `iptables-restore --noflush`."""
    made: list[str] = []
    jumps: dict[str, int] = {}
    for line in saved.splitlines():
        found = _KUBE.match(line)
        if line.startswith("*"):
            jumps.clear()
        if line.startswith(("*", ":KUBE-", "COMMIT")) or (found is not None and found[1]):
            made.append(line)
        elif found is not None:
            jumps[found[2]] = jumps.get(found[2], 0) + 1
            made.append(line.replace(f"-A {found[2]}", f"-I {found[2]} {jumps[found[2]]}", 1))
    return "\n".join([*made, ""])
