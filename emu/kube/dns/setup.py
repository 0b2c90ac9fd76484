"""DNS in a cluster: CoreDNS and the outside's resolver set up, and each namespace's resolv.conf and hosts file.

Must not know how names are answered (`zone.py`) or looked up (`resolver.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from emu.apps.dns import DnsServer
from emu.clock import EPOCH_NS, SECOND, Clock
from emu.kernel.net.netns import Netns
from emu.kube.api.core import Pod, Service
from emu.kube.api.meta import Object
from emu.kube.dns.resolv_conf import ResolvConf, of_pod
from emu.kube.dns.zone import Directory, DnsConfig, manifests, outside
from emu.kube.store import Store
from emu.wire.addr import Prefix, ip4_text
from emu.wire.dns import PORT

CLUSTER_DNS = 10
LOCALHOST = "127.0.0.1"


class RunningPod(Protocol):
    """What the files in a running pod's /etc depend on."""

    @property
    def namespace(self) -> str: ...
    @property
    def pod(self) -> str: ...
    @property
    def ip(self) -> int: ...


class ClusterDns:
    """The names of one cluster, and the servers that answer for them. `pods` are the running ones by "namespace/name".

    `config` None: no DNS is built in, and no server outside answers; a user's own CoreDNS pods (`emu/app: dns@53`)
    still answer for the cluster. `start` runs the outside's resolver.
    """

    def __init__(
        self,
        config: DnsConfig | None,
        clock: Clock,
        store: Store,
        pods: Mapping[str, RunningPod],
        service_subnet: Prefix,
        upstream: str,
    ) -> None:
        self.config = config or DnsConfig()
        self.clock, self.store, self.pods = clock, store, pods
        self.directory = Directory(store, self.config, self._serial)
        self.upstreams = () if config is None or not config.built_in else (upstream,)
        # kubeadm's kube-dns has the tenth address of the Service subnet
        self._default = ip4_text(service_subnet.net + CLUSTER_DNS)

    def start(self, external: Netns) -> None:
        """Run the outside's resolver in its namespace, if DNS is built in."""
        if self.built_in:
            for protocol in ("UDP", "TCP"):
                server = DnsServer(external, PORT, protocol, "external")
                server.authority = outside(self.config)

    def _serial(self) -> int:
        return (EPOCH_NS + self.clock.now) // SECOND

    @property
    def built_in(self) -> bool:
        return bool(self.upstreams)

    def with_coredns(self, objects: Iterable[Object]) -> list[Object]:
        """The objects, and before them those objects of CoreDNS that they lack, if DNS is built in."""
        given = list(objects)
        if not self.built_in:
            return given
        known = {each.key for each in given}
        return [*(each for each in manifests(self._default) if each.key not in known), *given]

    def configure(self, app: Any) -> None:
        """An app was started in a pod: a DNS server answers for the cluster, and forwards other names to the node's nameservers."""
        if isinstance(app, DnsServer):
            app.authority, app.upstreams = self.directory.answer, self.upstreams

    @property
    def cluster_dns(self) -> str:
        """The kubelets' clusterDNS: kube-dns's own address, or the address that kubeadm would give it."""
        service = self.store.get(Service, "kube-system", "kube-dns")
        own = service.spec.cluster_ip if service is not None else ""
        return own if own not in ("", "None") else self._default

    def _pod(self, display: str) -> Pod | None:
        found = self.pods.get(display)
        return None if found is None else self.store.get(Pod, found.namespace, found.pod)

    def resolv_conf(self, display: str) -> ResolvConf:
        """/etc/resolv.conf of a pod ("ns/name"), a node or the outside. Raises InputError."""
        node, pod = ResolvConf(self.upstreams), self._pod(display)
        return node if pod is None else of_pod(pod, node, self.cluster_dns, self.config.domain)

    def hosts(self, display: str) -> dict[str, str]:
        """/etc/hosts of a pod ("ns/name"), a node or the outside: addresses by name."""
        found, pod = {"localhost": LOCALHOST}, self._pod(display)
        if pod is not None and not pod.spec.host_network:
            host = pod.spec.hostname or pod.name
            names = [host]
            if pod.spec.subdomain:
                names.append(f"{host}.{pod.spec.subdomain}.{pod.namespace}.svc.{self.config.domain}")
            found.update(dict.fromkeys(names, ip4_text(self.pods[display].ip)))
        return found
