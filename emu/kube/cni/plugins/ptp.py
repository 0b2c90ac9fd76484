"""`ptp`: a veth pair between a container and its machine, which routes (plugins/main/ptp).

The container reaches its own subnet through the gateway, too: the host's end of each pair bears the gateway's address as a
/32, and the container's routes name it. Must not know pods or nodes.
"""

from __future__ import annotations

import msgspec

from emu.errors import EmuError, InputError
from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, invoke, ip_masq, links
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import FORWARDING, Leaves
from emu.kube.cni.spec import IP, Attachment, Config, Dns, Host, Interface, Result, failure, plugins, read, unmodelled
from emu.modelled import used
from emu.wire.addr import ip4_text, mac_text

_NO_GATEWAY = (
    "failed to add IP addr (&net.IPNet{IP:net.IP(nil), Mask:net.IPMask{0xff, 0xff, 0xff, 0xff}}) to veth: "
    "numerical result out of range"
)


class PtpConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the kernel's."""

    name: str
    ip_masq: bool = False
    ip_masq_backend: str | None = None
    mtu: int = 0
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    dns: Dns | None = None


@plugins.add("ptp")
class PtpPlugin:
    """A routed veth pair. An IPAM is necessary, and it gives each address a gateway."""

    keys: Keys = dict.fromkeys(
        (field.encode_name for field in msgspec.structs.fields(PtpConf)), used("kube/cni/plugins/ptp")
    )

    def leaves(self, config: Config) -> Leaves:
        return FORWARDING

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config)
        kind = container.ipam_type(conf.ipam)
        ipam = invoke.add(kind, config, attachment)
        try:
            return self._wire(conf, attachment, ipam)
        except EmuError:
            invoke.delete(kind, config, attachment)
            raise

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        """Not where an ADD writes rules, too."""
        conf = _load(config)
        return None if conf.ip_masq else invoke.lease(container.ipam_type(conf.ipam), config, attachment)

    def _wire(self, conf: PtpConf, attachment: Attachment, ipam: Result) -> Result:
        """A failure leaves what is there by then, the pair among it."""
        host = attachment.host.netns
        result = container.with_interfaces(ipam, (), 1)
        links.enable_forwarding(host)
        netns = links.open_netns(attachment)
        inside, outside = links.make_veth(host, netns, attachment.ifname, conf.mtu, "")
        pair = (
            Interface(outside.name, mac_text(outside.mac)),
            Interface(inside.name, mac_text(inside.mac), sandbox=attachment.sandbox),
        )
        result = msgspec.structs.replace(result, interfaces=pair)
        links.configure(netns, inside.name, result)
        for ip in result.ips:
            _through_gateway(netns, inside, ip)
        for ip in result.ips:
            _host_side(host, outside, ip)
        if conf.ip_masq:
            ip_masq.set_up(host, ip_masq.masquerade_rules(conf.name, attachment.container_id, result.ips))
        return msgspec.structs.replace(result, dns=conf.dns) if conf.dns not in (None, Dns()) else result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        netns = links.open_netns(attachment)
        invoke.check(container.ipam_type(conf.ipam), config, attachment)
        result = container.previous(config, "ptp: Required prevResult missing")
        known = container.known_interface(result, attachment)
        container.check_interface(netns, known, Veth, "veth/p2p", prefix="ptp: ")
        links.check_addresses(netns, attachment.ifname, result.ips)
        links.check_routes(netns, result.routes)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        invoke.delete(container.ipam_type(conf.ipam), config, attachment)
        if attachment.netns is None:
            return
        # only what was still on the link is known here: without it the chain stays behind
        addresses = links.delete_veth(attachment.host, attachment.netns, attachment.ifname)
        if conf.ip_masq and addresses:
            ip_masq.tear_down(attachment.host.netns, conf.name, attachment.container_id, addresses)

    def status(self, config: Config, host: Host) -> None:
        """Ready when its IPAM is."""
        conf: PtpConf = read(config, PtpConf)
        invoke.status(conf.ipam.type, config, host)


def _load(config: Config) -> PtpConf:
    """The plugin's keys. Raises CniError, or Undecided for a key that is not modelled."""
    conf: PtpConf = read(config, PtpConf)
    if conf.ip_masq and conf.ip_masq_backend not in (None, "", "iptables"):
        raise unmodelled("ptp", f"ipMasqBackend: {conf.ip_masq_backend}")
    return conf


def _through_gateway(netns: Netns, inside: Veth, ip: IP) -> None:
    """In place of the connected route: the gateway is on the link, and the subnet is behind the gateway."""
    subnet, source = ip.prefix, ip4_text(ip.addr)
    old = next((each for each in netns.ipv4.fib.main.of(subnet) if each.device is inside), None)
    if old is None:
        raise failure(f"failed to delete route {_shown(inside, str(subnet))}: no such process")
    netns.ipv4.fib.remove(old)
    # without a gateway the first one's destination is no address, which the kernel takes for all of them
    via = f"via {ip.gateway} " if ip.gateway else ""
    _add_route(netns, inside, f"{ip.gateway}/32" if ip.gateway else "", f"scope link src {source}", ip)
    _add_route(netns, inside, str(subnet), f"{via}scope global src {source}", ip)


def _add_route(netns: Netns, inside: Veth, dst: str, words: str, ip: IP) -> None:
    try:
        boot.route(netns, f"{dst or 'default'} dev {inside.name} {words}")
    except InputError as error:
        why = "file exists" if "File exists" in error.what else "network is unreachable"
        gateway = ip.gateway if " via " in f" {words}" else ""
        shown = _shown(inside, dst, ip4_text(ip.addr), gateway)
        raise failure(f"failed to add route {shown}: {why}") from None


def _shown(device: Veth, dst: str, source: str = "", gateway: str = "") -> str:
    """A route as the plugin prints one in its errors."""
    dst, source, gateway = (each or "<nil>" for each in (dst, source, gateway))
    return f"{{Ifindex: {device.ifindex} Dst: {dst} Src: {source} Gw: {gateway} Flags: [] Table: 0 Realm: 0}}"


def _host_side(host: Netns, outside: Veth, ip: IP) -> None:
    """The gateway's address on the host's end, and the route to the container."""
    if not ip.gateway:
        raise failure(_NO_GATEWAY)
    boot.address(host, outside, f"{ip.gateway}/32")
    # another container's address is not there twice: a route that exists is as good
    try:
        boot.route(host, f"{ip4_text(ip.addr)}/32 dev {outside.name} scope host")
    except InputError as error:
        if "File exists" not in error.what:
            raise failure(f"failed to add route on host: {error}") from None
