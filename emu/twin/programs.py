"""The programs on the kernel's side: the apps of the emulated cluster's containers and of the outside, by the same code.

Must not know what they send to each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from emu.apps import Running, apps
from emu.apps.dns import DnsServer
from emu.kernel.net.netns import Netns
from emu.kube.api import core
from emu.kube.dns.setup import ClusterDns
from emu.kube.dns.zone import outside
from emu.kube.node.node import Node
from emu.kube.node.undeclared import open_ports
from emu.kube.node.wanted import Wanted, apps_of
from emu.kube.store import Store
from emu.kube.underlay.underlay import Underlay
from emu.twin.sockets import RealNet
from emu.wire.dns import PORT

OUTSIDE = "external"


class Emulated(Protocol):
    """The emulated cluster that the programs belong to."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def store(self) -> Store: ...
    @property
    def dns(self) -> ClusterDns: ...
    @property
    def underlay(self) -> Underlay: ...
    @property
    def outside_apps(self) -> Mapping[str, list[Wanted]]: ...


class Program(NamedTuple):
    """The programs of a pod (or of the outside): the emulated namespace, the name, and the apps."""

    net: Netns
    name: str
    apps: list[Wanted]


class Programs:
    """`stop` and `start` follow the programs of the emulated cluster. `notes` gets a sentence for each program that cannot
    listen."""

    def __init__(self, cluster: Emulated, nets: Mapping[Netns, RealNet], notes: list[str]) -> None:
        self.cluster, self.nets, self.notes = cluster, nets, notes
        self._known: dict[str, Program] = {}
        self._running: dict[str, list[Running]] = {}

    def running(self) -> frozenset[str]:
        """The keys of the programs that the emulated cluster runs now."""
        wanted = dict(self._wanted())
        for key, program in wanted.items():
            self._known.setdefault(key, program)
        return frozenset(wanted)

    def stop(self, wanted: Collection[str]) -> None:
        """End the programs that are not wanted: as when a process ends, its sockets close."""
        for name in [name for name in self._running if name not in wanted]:
            for running in self._running.pop(name):
                running.stop()

    def start(self, wanted: Collection[str]) -> None:
        """Start those that do not run yet, in the order in which they became known."""
        for key, program in self._known.items():
            if key in wanted and key not in self._running:
                self._running[key] = list(self._start(program))

    def _wanted(self) -> Iterator[tuple[str, Program]]:
        """Every program by a key; a pod that is made again has another key than before."""
        for host, net in self.cluster.underlay.hosts.items():
            yield host, Program(net, host, [*self.cluster.outside_apps[host], *self._resolver(host)])
        for node in self.cluster.nodes.values():
            for name, sandbox in node.sandboxes.items():
                if sandbox.ended:
                    continue
                pod = self.cluster.store.get(core.Pod, sandbox.namespace, sandbox.pod)
                known = open_ports(self.cluster.store, pod) if pod is not None else {}
                chosen = [app for _container, some in apps_of(pod, known) for app in some] if pod is not None else []
                yield f"{name} {sandbox.uid}", Program(sandbox.net, name, chosen)

    def _resolver(self, host: str) -> list[Wanted]:
        return [("dns", PORT, "UDP"), ("dns", PORT, "TCP")] if host == OUTSIDE and self.cluster.dns.built_in else []

    def _start(self, program: Program) -> Iterator[Running]:
        dns = self.cluster.dns
        for app, port, protocol in program.apps:
            try:
                running = apps[app](self.nets[program.net], port, protocol, program.name)
            except OSError as error:
                self.notes.append(f"kernel: {program.name} cannot listen on {port}/{protocol}: {error}")
                continue
            if program.name != OUTSIDE:
                dns.configure(running)
            elif isinstance(running, DnsServer):
                running.authority = outside(dns.config)
            yield running
