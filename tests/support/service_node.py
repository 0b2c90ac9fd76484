"""A node as kube-proxy's cases have it: a namespace with conntrack, NAT and kube-proxy, and first packets through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emu.clock import Clock
from emu.kernel.boot import address, namespace, netfilter, route, veth
from emu.kernel.netfilter.hooks import FORWARD, LOCAL_IN, LOCAL_OUT, POST_ROUTING, PRE_ROUTING, Verdict
from emu.kube.agent import Node as AgentNode
from emu.kube.agent import Objects, Settings
from emu.kube.agents import Rounds
from emu.kube.api.core import Node, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object, ObjectMeta
from emu.kube.node.node import NODE_SYSCTLS
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.kube_proxy import KubeProxy, View
from emu.kube.proxy.proxier import Proxier
from emu.wire.addr import Prefix, ip4
from emu.wire.frame import Frame
from rules import packet

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
SYN, SYN_ACK, NULL = 0x02, 0x12, 0x00


class ServiceNode:
    """eth0 with the node's addresses, cbr0 with the pods behind it; `update` changes the objects that kube-proxy knows."""

    def __init__(
        self,
        config: ProxyConfig,
        addresses: Iterable[str],
        sysctls: Mapping[str, int | str] | None = None,
        seed: int = 1,
    ) -> None:
        self.clock = Clock(seed)
        self.name, self.ip = config.node_name, ip4(config.node_ip) if config.node_ip else 0
        self.pod_cidr: Prefix | None = None
        self.disk: dict[Any, Any] = {}
        self.net = self.root = namespace(self.clock, "test-node", {**NODE_SYSCTLS, **(sysctls or {})})
        netfilter(self.net)
        wire = namespace(self.clock, "wire")
        veth(self.net, "eth0", wire, "port", "02:00:00:00:00:01", "02:00:00:00:00:02")
        veth(self.net, "cbr0", wire, "pods", "02:00:00:00:00:03", "02:00:00:00:00:04")
        for each in addresses:
            address(self.net, "eth0", f"{each}/24")
        address(self.net, "cbr0", "10.180.2.254/24")
        route(self.net, "10.0.0.0/24 dev cbr0")
        route(self.net, "default via 192.168.0.1 dev eth0 onlink")
        self.view: View | None = None
        self.config = config
        self.agent = KubeProxy(Settings(Prefix.parse("10.0.0.0/8"), (config,)))
        self.rounds = Rounds(self.clock, self.agent, [self], self._run, set())
        self._ports = 20000

    @property
    def proxier(self) -> Proxier:
        return self.agent.proxiers[self.name]

    def _run(self, nodes: Sequence[AgentNode]) -> Sequence[AgentNode]:
        assert self.view is not None
        done = self.agent.apply(self, self.agent.compile(self.view, self.config))
        return [] if done else nodes

    def learn(self, objects: Iterable[Object]) -> None:
        """What kube-proxy knows from now on, without waiting for what follows from it."""
        found = list(objects)
        first = self.view is None
        kinds: tuple[type[Object], ...] = (Service, EndpointSlice, Node)
        by_kind = {kind: [each for each in found if isinstance(each, kind)] for kind in kinds}
        self.view = self.agent.view(Objects(by_kind), self.view)
        if first:
            self.agent.start(self, Node(metadata=ObjectMeta(name=self.name, namespace="")))
            self.rounds.run_all()
        else:
            self.rounds.request()

    def update(self, objects: Iterable[Object]) -> None:
        """What is there from now on; the proxy has synced when this returns."""
        first = self.view is None
        self.learn(objects)
        if not first:
            self.clock.run_until(self.clock.now + self.config.min_sync_period_ns)

    def send(
        self,
        src: str,
        dst: str,
        dport: int,
        protocol: str = "TCP",
        *,
        indev: str | None = "eth0",
        sport: int = 0,
        flags: int = SYN,
    ) -> tuple[Verdict, Frame]:
        """A packet through every hook on its way; `indev` None: a process of the node sends it. Its source port is
        a new one, if none is given."""
        net, devices = self.net, self.net.devices
        if not sport:
            self._ports += 1
        frame = packet(src, dst, PROTOCOLS[protocol], sport or self._ports, dport, flags=flags)
        if indev is None:
            assert not net.ipv4.reroute(frame)
            verdict = net.ipv4.hooks.run(LOCAL_OUT, frame)
        else:
            frame.indev = devices[indev]
            verdict = net.ipv4.hooks.run(PRE_ROUTING, frame)
            if verdict is None and not net.ipv4.is_local(frame.dst):
                frame.outdev = self._way(frame)
                verdict = net.ipv4.hooks.run(FORWARD, frame)
        if verdict is None and (indev is None or not net.ipv4.is_local(frame.dst)):
            frame.indev, frame.outdev = None, self._way(frame)
            verdict = net.ipv4.hooks.run(POST_ROUTING, frame)
        if verdict is None and net.ipv4.is_local(frame.dst):
            frame.indev, frame.outdev = devices["lo"] if indev is None else devices[indev], None
            verdict = net.ipv4.hooks.run(LOCAL_IN, frame)
        return verdict, frame

    def _way(self, frame: Frame) -> object:
        found = self.net.ipv4.fib.lookup(frame.dst)
        assert found is not None
        return self.net.devices["lo"] if found.kind == "local" else found.device
