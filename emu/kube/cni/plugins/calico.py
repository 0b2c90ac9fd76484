"""`calico`: a veth pair between a pod and its node, which routes and answers every ARP of the pod (cni-plugin of projectcalico/calico).

The pod's gateway is 169.254.1.1, an address that no host has. Policy is the node agent's. Must not know nodes or the IPAM's rules.
"""

from __future__ import annotations

from hashlib import sha1

import msgspec

from emu.errors import EmuError, InputError
from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, invoke, links
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Interface, Result, failure, plugins, read
from emu.modelled import NotModelled, WithoutEffect, used
from emu.wire.addr import Prefix, ip4_text, mac, mac_text

GATEWAY = "169.254.1.1"
HOST_MAC = mac("ee:ee:ee:ee:ee:ee")  # of every pair's end on the host
_HERE = used("kube/cni/plugins/calico")
_DATASTORE = WithoutEffect("plugins reach the cluster's own datastore")
_POD = ("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")


def host_name(namespace: str, pod: str) -> str:
    """The device on the host: `cali` and 11 digits of the pod's name's SHA-1 (VethNameForWorkload)."""
    return f"cali{sha1(f'{namespace}.{pod}'.encode(), usedforsecurity=False).hexdigest()[:11]}"


class _ContainerSettings(msgspec.Struct):
    allow_ip_forwarding: bool = False


class CalicoConf(msgspec.Struct):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the kernel's."""

    name: str
    mtu: int = 0
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    container_settings: _ContainerSettings = msgspec.field(default_factory=_ContainerSettings)


@plugins.add("calico")
class CalicoPlugin:
    """A routed veth pair. An IPAM is necessary. CHECK finds nothing, as Calico's."""

    keys: Keys = {
        "mtu": _HERE,
        "container_settings": {"allow_ip_forwarding": _HERE},
        "policy": {"type": WithoutEffect("policy is the node agent's")},
        "kubernetes": {"kubeconfig": _DATASTORE, "k8s_api_root": _DATASTORE},
        **dict.fromkeys(("datastore_type", "etcd_endpoints", "nodename", "nodename_file_optional"), _DATASTORE),
        **dict.fromkeys(("log_level", "log_file_path"), WithoutEffect("it concerns no packet")),
        "include_default_routes": NotModelled("routes of the IPAM's result in the pod"),
        "feature_control": NotModelled("annotations of pods that ask for addresses"),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf: CalicoConf = read(config, CalicoConf)
        kind = container.ipam_type(conf.ipam)
        ipam = invoke.add(kind, config, attachment)
        try:
            return _wire(conf, attachment, ipam)
        except EmuError:
            invoke.delete(kind, config, attachment)
            raise

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        conf: CalicoConf = read(config, CalicoConf)
        return invoke.lease(container.ipam_type(conf.ipam), config, attachment)

    def check(self, config: Config, attachment: Attachment) -> None:
        """cmdDummyCheck: always content."""

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf: CalicoConf = read(config, CalicoConf)
        if attachment.netns is not None:
            links.delete_veth(attachment.host, attachment.netns, attachment.ifname)
        invoke.delete(container.ipam_type(conf.ipam), config, attachment)


def _wire(conf: CalicoConf, attachment: Attachment, ipam: Result) -> Result:
    """DoNetworking. Raises CniError; a failure leaves what is there by then."""
    host, ifname, netns = attachment.host.netns, attachment.ifname, links.open_netns(attachment)
    outside = _host_name_of(attachment)
    result = _single(container.with_interfaces(ipam, (), 1))
    if outside in host.devices:
        links.delete_veth(attachment.host, host, outside)
    if ifname in netns.devices:
        raise failure("error adding veth: file exists")
    inside = _make_pair(netns, ifname, host, outside, conf.mtu)
    _host_sysctls(host, outside)
    host.set_link(outside, up=True)
    netns.set_link(ifname, up=True)
    boot.route(netns, f"{GATEWAY} dev {ifname} scope link")
    boot.route(netns, f"default via {GATEWAY} dev {ifname}")
    for ip in result.ips:
        boot.address(netns, ifname, ip.address)
    netns.sysctl["net.ipv4.ip_forward"] = int(conf.container_settings.allow_ip_forwarding)
    for ip in result.ips:
        _host_route(host, outside, ip.address)
    pair = (Interface(outside), Interface(ifname, mac_text(inside.mac), conf.mtu, attachment.sandbox))
    return msgspec.structs.replace(result, interfaces=pair)


def _single(result: Result) -> Result:
    """Each address stands for itself, whatever subnet the IPAM has it from."""
    ips = tuple(msgspec.structs.replace(ip, address=f"{ip4_text(ip.addr)}/32") for ip in result.ips)
    return msgspec.structs.replace(result, ips=ips)


def _host_name_of(attachment: Attachment) -> str:
    """Without Kubernetes' words the workload is `cni`, and its name the container's (GetIdentifiers)."""
    known = attachment.known_args(*_POD)
    if "K8S_POD_NAME" in known:
        return host_name(known.get("K8S_POD_NAMESPACE", ""), known["K8S_POD_NAME"])
    return f"cali{attachment.container_id[:11]}"


def _make_pair(netns: Netns, ifname: str, host: Netns, outside: str, mtu: int) -> Veth:
    """The pair, both ends down; the host's has its MAC."""
    address = links.random_mac(netns.clock, f"mac/{netns.name}")
    inside, _far = boot.veth(netns, ifname, host, outside, address, HOST_MAC, mtu or 1500)
    netns.set_link(ifname, up=False)
    host.set_link(outside, up=False)
    return inside


def _host_sysctls(host: Netns, name: str) -> None:
    """The node answers the pod's requests for any address that it has a route to, at once, and forwards its packets."""
    sysctl = host.sysctl
    sysctl[f"net.ipv4.conf.{name}.route_localnet"] = 1
    sysctl[f"net.ipv4.neigh.{name}.proxy_delay"] = 0
    sysctl[f"net.ipv4.conf.{name}.proxy_arp"] = 1
    sysctl[f"net.ipv4.conf.{name}.forwarding"] = 1


def _host_route(host: Netns, name: str, address: str) -> None:
    """Raises CniError if another interface has the route."""
    try:
        boot.route(host, f"{address} dev {name} scope link")
    except InputError as error:
        if "File exists" not in error.what:
            raise failure(f"error adding host side routes for interface: {name}, error: {error}") from None
        there = next(iter(host.ipv4.fib.main.of(Prefix.parse(address))), None)
        if there is None or there.device is None or there.device.name != name:
            raise failure(
                f"error adding host side routes for interface: {name}, error: the route already exists"
            ) from None
