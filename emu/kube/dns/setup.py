"""DNS in a cluster: CoreDNS and the outside's resolver set up, each namespace's resolv.conf, a flow's name looked up.

Must not know how names are answered (`zone.py`) or asked for (`resolver.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emu.apps.dns import DnsServer
from emu.clock import EPOCH_NS, SECOND
from emu.kube.api.core import Pod, Service
from emu.kube.api.meta import Object
from emu.kube.dns.resolv_conf import ResolvConf, of_pod
from emu.kube.dns.resolver import BOTH, Lookup, look_up
from emu.kube.dns.zone import Directory, DnsConfig, manifests, outside
from emu.kube.underlay.underlay import EXTERNAL_HOST
from emu.wire.addr import ip4, ip4_text
from emu.wire.dns import PORT

if TYPE_CHECKING:
    from emu.kube.cluster import Cluster
    from emu.kube.flow.flow import Flow

CLUSTER_DNS = 10  # kubeadm's kube-dns has the tenth address of the Service subnet
LOCALHOST = "127.0.0.1"


class Names:
    """`config` None: no DNS is built in, and nobody outside answers names; a user's own CoreDNS pods (`emu/app: dns@53`)
    answer for the cluster all the same."""

    def __init__(self, cluster: Cluster, config: DnsConfig | None) -> None:
        self.cluster, self.config = cluster, config or DnsConfig()
        self.directory = Directory(cluster.store, self.config, self._serial)
        self.upstreams = () if config is None else (EXTERNAL_HOST,)
        if config is not None:
            for protocol in ("UDP", "TCP"):
                server = DnsServer(cluster.underlay.external, PORT, protocol, "external")
                server.authority = outside(config)

    def _serial(self) -> int:
        return (EPOCH_NS + self.cluster.clock.now) // SECOND

    @property
    def built_in(self) -> bool:
        return bool(self.upstreams)

    def without_own_port(self, apps: Iterable[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
        """The outside's other apps (name, port, protocol): those that are not in the way of its resolver."""
        return [each for each in apps if not (self.built_in and each[1] == PORT)]

    def with_coredns(self, objects: Iterable[Object]) -> list[Object]:
        """The objects, and before them what is missing of CoreDNS, if it is wanted."""
        given = list(objects)
        if not self.built_in:
            return given
        known = {each.key for each in given}
        address = ip4_text(self.cluster.service_subnet.net + CLUSTER_DNS)
        return [*(each for each in manifests(address) if each.key not in known), *given]

    def employ(self, app: Any) -> None:
        """An app was started in a pod: a DNS server answers for the cluster, and asks the node's nameservers else."""
        if isinstance(app, DnsServer):
            app.authority, app.upstreams = self.directory.answer, self.upstreams

    @property
    def cluster_dns(self) -> str:
        """The kubelets' clusterDNS: kube-dns's own address, or the one that kubeadm would give it."""
        service = self.cluster.store.get(Service, "kube-system", "kube-dns")
        own = service.spec.cluster_ip if service is not None else ""
        return own if own not in ("", "None") else ip4_text(self.cluster.service_subnet.net + CLUSTER_DNS)

    def _pod(self, display: str) -> Pod | None:
        namespace, _, name = display.partition("/")
        return self.cluster.store.get(Pod, namespace, name) if display in self.cluster.pods else None

    def resolv_conf(self, display: str) -> ResolvConf:
        """/etc/resolv.conf of a pod ("ns/name"), a node or the outside. Raises InputError."""
        node, pod = ResolvConf(self.upstreams), self._pod(display)
        return node if pod is None else of_pod(pod, node, self.cluster_dns, self.config.domain)

    def hosts(self, display: str) -> dict[str, str]:
        """/etc/hosts of the same: addresses by name."""
        found, pod = {"localhost": LOCALHOST}, self._pod(display)
        if pod is not None and not pod.spec.host_network:
            host = pod.spec.hostname or pod.name
            names = [host]
            if pod.spec.subdomain:
                names.append(f"{host}.{pod.spec.subdomain}.{pod.namespace}.svc.{self.config.domain}")
            found.update(dict.fromkeys(names, ip4_text(self.cluster.pods[display].ip)))
        return found

    def look_up(self, flow: Flow, name: str, kinds: tuple[str, ...] = BOTH) -> Lookup:
        """Look a name up as the flow's client does: its hosts file first, then DNS."""
        known = self.hosts(flow.source).get(name.removesuffix(".").lower()) if "A" in kinds else None
        if known is not None:
            return Lookup(name, (known,))
        found = look_up(flow.client, self.resolv_conf(flow.source), name, flow=flow.number, kinds=kinds)
        if not found.error and "A" in kinds and not found.addresses:
            return replace(found, error="NODATA")
        return found

    def resolve(self, flow: Flow) -> bool:
        """Look up the name of the flow's target, if it has one; whether there is now an address to talk to."""
        if not flow.target.host:
            return True
        found = self.look_up(flow, flow.target.host)
        flow.looked_up(found)
        if found.addresses:
            flow.target = replace(flow.target, addr=ip4(found.addresses[0]))
        return bool(found.addresses)
