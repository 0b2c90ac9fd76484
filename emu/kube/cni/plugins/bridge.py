"""`bridge`: a veth pair between a container and a bridge of the machine (plugins/main/bridge, v1.9).

Values that follow from the configuration and the addresses are computed first (`layer3`, `trunk_vlans`); then come the
plugin's steps in its order, one line each. A VLAN's gateway is a veth pair of the machine, `BRIDGE.VLAN`. Masquerading by
nftables is not modelled: a configuration with it is undecided. Must not know pods or nodes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from emu.errors import EmuError
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import IFNAMSIZ, Device
from emu.kernel.link.source_check import SourceChecks
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke, ip_masq, links
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import FORWARDING, Leaves, device
from emu.kube.cni.spec import (
    IP,
    Attachment,
    CniError,
    Config,
    Dns,
    Host,
    Interface,
    Result,
    Route,
    failure,
    plugins,
    read,
    unmodelled,
)  # fmt: skip
from emu.modelled import WithoutEffect, used
from emu.wire.addr import Prefix, ip4_text, mac_text

_DEFAULT = Prefix(0, 0)
_LAST_VID = 4094


class VlanTrunk(msgspec.Struct, rename={"min_id": "minID", "max_id": "maxID"}):
    """VLANs of a trunk: `id` alone, from `minID` to `maxID`, or both."""

    id: int | None = None
    min_id: int | None = None
    max_id: int | None = None


class _Ipam(msgspec.Struct):
    type: str = ""


class _Mac(msgspec.Struct):
    mac: str = ""


class _Args(msgspec.Struct):
    cni: _Mac = msgspec.field(default_factory=_Mac)


class BridgeConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the kernel's."""

    name: str
    bridge: str = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    force_address: bool = False
    ip_masq: bool = False
    ip_masq_backend: str | None = None
    mtu: int = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    port_isolation: bool = False
    disable_container_interface: bool = False
    vlan: int = 0
    vlan_trunk: list[VlanTrunk] | None = None
    preserve_default_vlan: bool = False
    macspoofchk: bool = False
    ipam: _Ipam = msgspec.field(default_factory=_Ipam)
    dns: Dns = Dns()
    args: _Args = msgspec.field(default_factory=_Args)
    runtime_config: _Mac = msgspec.field(default_factory=_Mac)


def trunk_vlans(trunk: list[VlanTrunk] | None) -> list[int]:
    """collectVlanTrunk: the VLANs in order. Raises CniError."""
    found: set[int] = set()
    for each in trunk or ():
        low, high = each.min_id, each.max_id
        if low is None and high is not None:
            raise failure("minID and maxID should be configured simultaneously, minID is missing")
        if low is not None and high is None:
            raise failure("minID and maxID should be configured simultaneously, maxID is missing")
        if low is not None and high is not None:
            if not 0 < low <= _LAST_VID:
                raise failure("incorrect trunk minID parameter")
            if not 0 < high <= _LAST_VID:
                raise failure("incorrect trunk maxID parameter")
            if high < low:
                raise failure("minID is greater than maxID in trunk parameter")
            found |= {*range(low, high + 1)}
        if each.id is not None:
            if not 0 < each.id <= _LAST_VID:
                raise failure("incorrect trunk id parameter")
            found.add(each.id)
    return sorted(found)


class Layer3(NamedTuple):
    """What the addresses make of the container and of the bridge: `gateways` are the bridge's own, with length."""

    ips: tuple[IP, ...]
    routes: tuple[Route, ...]
    gateways: tuple[str, ...]


def layer3(conf: BridgeConf, ipam: Result) -> Layer3:
    """calcGateways: the first address of a subnet is the gateway, if none is given; a default route with `isDefaultGateway`.

    Pure. A default route of the IPAM's without a gateway does not count as one, so that both are added, and clash.
    """
    ips, gateways, routes = [], [], list(ipam.routes)
    found = not conf.is_default_gateway
    for ip in ipam.ips:
        gateway = ip.gateway
        if not gateway and conf.is_gateway:
            gateway = ip4_text(ip.prefix.net + 1)
        ips.append(IP(ip.address, gateway, 2))
        if not found:
            if not any(route.gw and Prefix.parse(route.dst) == _DEFAULT for route in routes):
                routes.append(Route(str(_DEFAULT), gateway))
            found = True
        if conf.is_gateway:
            gateways.append(f"{gateway}/{ip.prefix.length}")
    return Layer3(tuple(ips), tuple(routes), tuple(gateways))


@plugins.add("bridge")
class BridgePlugin:
    """A veth pair from a container to a bridge; with `ipam` the container gets addresses, without it is layer 2 only."""

    keys: Keys = {
        **dict.fromkeys(
            (field.encode_name for field in msgspec.structs.fields(BridgeConf)), used("kube/cni/plugins/bridge")
        ),
        "enabledad": WithoutEffect("it concerns IPv6 addresses"),
    }

    def leaves(self, config: Config) -> Leaves:
        name, vlan = re.escape(str(config.get("bridge") or "cni0")), config.get("vlan")
        found = {**device(name, "the bridge stays"), **FORWARDING}
        if vlan:
            pair = r"veth[0-9a-f]{8}"
            found |= {
                **device(rf"{name}\.{vlan}", "the gateway of a VLAN stays"),
                rf"(link|port|taken) {pair}( .*)?": "and its port",
            }
        if config.get("macspoofchk"):
            found[r"nftables (table bridge nat \{|chain PREROUTING \{|type filter hook .*|\})"] = (
                "the table stays, and its chain"
            )
        return found

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config)
        host = attachment.host
        if conf.hairpin_mode and conf.promisc_mode:
            raise failure("cannot set hairpin mode and promiscuous mode at the same time")
        if conf.ipam.type and conf.disable_container_interface:
            raise failure("cannot use IPAM when DisableContainerInterface flag is set")
        address = _mac(conf, attachment)
        filtering = bool(conf.vlan) or conf.vlan_trunk is not None
        bridge = links.ensure_bridge(host, conf.bridge, conf.mtu, conf.promisc_mode, vlan_filtering=filtering)
        fetched = bridge.mac
        netns = links.open_netns(attachment)
        inside, outside = links.make_veth(host.netns, netns, attachment.ifname, conf.mtu, address)
        port = links.enslave(host, bridge, outside, hairpin=conf.hairpin_mode, isolated=conf.port_isolation)
        links.set_vlans(port, conf.vlan, trunk_vlans(conf.vlan_trunk), keep_default=conf.preserve_default_vlan)
        interfaces = _interfaces(attachment, bridge, outside, inside)
        result = Result(interfaces, dns=conf.dns)
        if conf.macspoofchk:
            _sources(host.netns).add(outside.name, inside.mac, _reference(attachment))
        try:
            if conf.ipam.type:
                result = self._layer3(conf, config, attachment, netns, bridge, fetched, result)
            elif not conf.disable_container_interface:
                links.set_up(netns, inside.name)
        except EmuError:
            if conf.macspoofchk:
                _sources(host.netns).remove(_reference(attachment))
            raise
        if inside.up:
            links.wait_forwarding(port)
        # the bridge's address may have changed with its first port, or with its own address
        interfaces = (*_interfaces(attachment, bridge, outside, inside), *result.interfaces[3:])
        return msgspec.structs.replace(result, interfaces=interfaces)

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        """Not where an ADD does more than to give the bridge a port: VLANs, rules."""
        conf = _load(config)
        if conf.vlan or conf.vlan_trunk is not None or conf.macspoofchk or conf.ip_masq or conf.promisc_mode:
            return None
        return invoke.lease(conf.ipam.type, config, attachment) if conf.ipam.type else None

    def _layer3(
        self,
        conf: BridgeConf,
        config: Config,
        attachment: Attachment,
        netns: Netns,
        bridge: Bridge,
        fetched: bytes,
        result: Result,
    ) -> Result:
        """Addresses, on both sides. When something fails after the IPAM gave them, they go back. `fetched` is the MAC that
        the bridge had before the container's port came."""
        host = attachment.host
        ipam = invoke.add(conf.ipam.type, config, attachment)
        try:
            if not ipam.ips:
                raise failure("IPAM plugin returned missing IP config")
            wiring = layer3(conf, ipam)
            dns = conf.dns if conf.dns != Dns() else ipam.dns
            result = Result(result.interfaces, wiring.ips, wiring.routes, dns)
            netns.sysctl[f"net.ipv4.conf.{attachment.ifname}.arp_notify"] = 1
            links.configure(netns, attachment.ifname, result)
            for gateway in wiring.gateways:
                device: Device = bridge
                if conf.vlan:
                    device, interfaces = _vlan_gateway(conf, host, bridge), result.interfaces[:3]
                    interfaces = (*interfaces, Interface(device.name, mac_text(device.mac)))
                    result = msgspec.structs.replace(result, interfaces=interfaces)
                try:
                    links.ensure_address(host, device, gateway, fetched, force=conf.force_address)
                except CniError as error:
                    place = "vlan interface for bridge with" if conf.vlan else "bridge"
                    raise failure(f"failed to set {place} addr: {error.msg}") from None
            if wiring.gateways:
                links.enable_forwarding(host.netns)
            if conf.ip_masq:
                rules = ip_masq.masquerade_rules(conf.name, attachment.container_id, wiring.ips)
                ip_masq.set_up(host.netns, rules)
        except EmuError:
            invoke.delete(conf.ipam.type, config, attachment)
            raise
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        netns = links.open_netns(attachment)
        # always, so that the CHECK of a bridge without IPAM fails
        invoke.check(conf.ipam.type, config, attachment)
        if not config.get("prevResult"):
            raise failure("Required prevResult missing")
        result = Result.from_json(config["prevResult"])
        by_name = {(each.name, bool(each.sandbox)): each for each in result.interfaces}
        bridge = _check_bridge(attachment.host.netns, conf, result)
        known_inside = by_name.get((attachment.ifname, True))
        if known_inside is None or known_inside.sandbox != attachment.sandbox:
            raise failure(f"Sandbox in prevResult  doesn't match configured netns: {attachment.sandbox}")
        inside = netns.devices.get(attachment.ifname)
        if inside is None:
            raise failure(f"Interface name {attachment.ifname} not found")
        if not isinstance(inside, Veth):
            raise failure(f"Error: Container interface {attachment.ifname} not of type veth")
        links.check_mac("container", inside, known_inside.mac)
        others = [each for each in result.interfaces if each.name not in (conf.bridge, attachment.ifname)]
        if not any(_is_port_of(each, attachment.host.netns, bridge, inside) for each in others):
            raise failure(f"CNI veth created for bridge {conf.bridge} was not found")
        links.check_addresses(netns, attachment.ifname, result.ips)
        links.check_routes(netns, result.routes)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        netns, addresses = attachment.netns, None
        if netns is not None:
            addresses = links.delete_veth(attachment.host, netns, attachment.ifname)
        if conf.ipam.type:
            invoke.delete(conf.ipam.type, config, attachment)
        if conf.macspoofchk and netns is not None:
            _sources(attachment.host.netns).remove(_reference(attachment))
        # only what was still on the link is known here: without it the chain stays behind
        if conf.ip_masq and addresses:
            ip_masq.tear_down(attachment.host.netns, conf.name, attachment.container_id, addresses)

    def status(self, config: Config, host: Host) -> None:
        """Ready when its IPAM is."""
        conf = _load(config)
        if conf.ipam.type:
            invoke.status(conf.ipam.type, config, host)


def _load(config: Config) -> BridgeConf:
    """The plugin's keys. Raises CniError, or Undecided for a key that is not modelled."""
    conf: BridgeConf = read(config, BridgeConf)
    if not 0 <= conf.vlan <= _LAST_VID:
        raise failure(f"invalid VLAN ID {conf.vlan} (must be between 0 and {_LAST_VID})")
    trunk_vlans(conf.vlan_trunk)
    if conf.ip_masq and conf.ip_masq_backend not in (None, "", "iptables"):
        raise unmodelled("bridge", f"ipMasqBackend: {conf.ip_masq_backend}")
    if conf.is_default_gateway:
        conf.is_gateway = True
    return conf


def _vlan_gateway(conf: BridgeConf, host: Host, bridge: Bridge) -> Device:
    """ensureVlanInterface: the end of a veth pair of the machine whose other end is a port in the VLAN. It stays for ever."""
    netns, name = host.netns, f"{bridge.name}.{conf.vlan}"
    found = netns.devices.get(name)
    if found is not None:
        return found
    if len(name) >= IFNAMSIZ:
        raise failure(
            f'failed to create vlan interface: failed to find interface "{name}": numerical result out of range'
        )
    inside, outside = links.make_veth(netns, netns, name, bridge.mtu, "")
    port = links.enslave(host, bridge, outside, hairpin=False, isolated=False)
    links.set_vlans(port, conf.vlan, (), keep_default=conf.preserve_default_vlan)
    netns.set_link(name, up=True)
    links.wait_forwarding(port)
    return inside


def _sources(host: Netns) -> SourceChecks:
    """The rules for source MACs of the machine's bridges."""
    if host.bridge_hooks.sources is None:
        host.bridge_hooks.sources = SourceChecks()
    return host.bridge_hooks.sources


def _reference(attachment: Attachment) -> str:
    return f"{attachment.container_id}-{attachment.ifname}"


def _check_bridge(host: Netns, conf: BridgeConf, result: Result) -> Bridge:
    """validateCniBrInterface: the bridge of the result is there as the configuration has it. Raises CniError."""
    known = next((each for each in reversed(result.interfaces) if each.name == conf.bridge), None)
    if known is None:
        raise failure("Interface name missing ")
    bridge = _on_host(known, host)
    if not isinstance(bridge, Bridge):
        raise failure(f"Interface {known.name} does not have link type of bridge")
    if known.mac and known.mac != mac_text(bridge.mac):
        raise failure(f"Bridge interface {known.name} Mac doesn't match: {known.mac}")
    if bridge.promisc is not conf.promisc_mode:
        wanted, found = str(conf.promisc_mode).lower(), str(bridge.promisc).lower()
        words = f"configured Promisc Mode {wanted} doesn't match current state: {found} "
        raise failure(f"Bridge interface {known.name} {words}")
    return bridge


def _is_port_of(known: Interface, host: Netns, bridge: Bridge, inside: Veth) -> bool:
    """validateCniVethInterface: is it the bridge's port towards the container? Raises CniError if it is not as it was."""
    device = _on_host(known, host)
    if device is not inside.peer or device.master is None or device.master.bridge is not bridge:
        return False
    if known.mac and known.mac != mac_text(device.mac):
        raise failure(f"Interface {known.name} Mac doesn't match: {known.mac} not found")
    return True


def _on_host(known: Interface, host: Netns) -> Device:
    device = host.devices.get(known.name)
    if device is None:
        raise failure(f"Interface name {known.name} not found")
    if known.sandbox:
        raise failure(f"Interface {known.name} should not be in sandbox")
    return device


def _mac(conf: BridgeConf, attachment: Attachment) -> str:
    """The container's MAC, if one is given: the capability before `args.cni` before CNI_ARGS."""
    args = attachment.known_args("MAC")
    return conf.runtime_config.mac or conf.args.cni.mac or args.get("MAC", "")


def _interfaces(attachment: Attachment, bridge: Bridge, outside: Veth, inside: Veth) -> tuple[Interface, ...]:
    return (
        Interface(bridge.name, mac_text(bridge.mac)),
        Interface(outside.name, mac_text(outside.mac)),
        Interface(inside.name, mac_text(inside.mac), sandbox=attachment.sandbox),
    )
