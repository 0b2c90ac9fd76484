"""What plugins do to a machine by netlink and /proc/sys: bridges, veth pairs, addresses, routes, as lines to be read.

Each function applies one thing to emulated namespaces and raises CniError in the reference plugins' words.
Must not know configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge, Port
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net import link_change
from emu.kernel.net.family import Address
from emu.kernel.net.netns import Netns
from emu.kube.cni.spec import IP, Attachment, CniError, Host, Result, Route, failure
from emu.wire.addr import ZERO_MAC, Prefix, ip4_text, mac, mac_text

_TRIES = 10
_FLOATING = "bridges without a set address"


def random_mac(clock: Clock, purpose: str) -> bytes:
    """eth_random_addr: unicast, locally administered."""
    octets = bytearray(clock.random(purpose).randbytes_once(6))
    octets[0] = octets[0] & 0xFE | 0x02
    return bytes(octets)


def ensure_bridge(host: Host, name: str, mtu: int, promisc: bool, *, vlan_filtering: bool = False) -> Bridge:
    """The bridge called `name`, made if it is not there, with or without `vlan_filtering`. `mtu` 0: the kernel's."""
    found = host.netns.devices.get(name)
    if found is None:
        address = random_mac(host.netns.clock, f"mac/{host.netns.name}")
        found = boot.bridge(host.netns, name, address, mtu or 1500)
        found.vlan_filtering = vlan_filtering
        host.disk.setdefault(_FLOATING, set()).add(name)
    if not isinstance(found, Bridge):
        raise failure(f'failed to create bridge "{name}": "{name}" already exists but is not a bridge')
    if promisc and not found.promisc:
        found.set_promisc(True)
    host.netns.set_link(name, up=True)
    return found


def pin_mac(host: Host, bridge: Bridge, address: bytes) -> None:
    """Set the bridge's address, so that it stays when ports come and go."""
    host.disk.get(_FLOATING, set()).discard(bridge.name)
    bridge.set_mac(address)


def ports_changed(host: Host, bridge: Bridge) -> None:
    """br_stp_recalculate_bridge_id and br_mtu_auto_adjust: without a set address a bridge bears its lowest port's."""
    if bridge.name in host.disk.get(_FLOATING, ()):
        bridge.set_mac(min((port.device.mac for port in bridge.ports), default=ZERO_MAC))
    bridge.adjust_mtu()


def make_veth(host: Netns, netns: Netns, name: str, mtu: int, address: str) -> tuple[Veth, Veth]:
    """A pair: `name` in the container `netns`, still down, and `veth` with 8 hex digits on the host, up."""
    clock = netns.clock
    for _ in range(_TRIES):
        peer = f"veth{clock.random(f'veth/{host.name}').getrandbits(32):08x}"
        if name in netns.devices:
            raise failure(f'container veth name ("{name}") peer provided ("{peer}") already exists')
        if peer not in host.devices:
            break
    else:
        raise failure(f"failed to find a unique veth name for {name}")
    inside = _mac(address) if address else random_mac(clock, f"mac/{netns.name}")
    link, far = boot.veth(netns, name, host, peer, inside, random_mac(clock, f"mac/{host.name}"), mtu or 1500)
    link.up = False  # the far end keeps its carrier here: its port forwards when `wait_forwarding` returns
    return link, far


def _mac(text: str) -> bytes:
    try:
        return mac(text)
    except InputError:
        raise failure(f"failed to make veth pair: address {text}: invalid MAC address") from None


def enslave(host: Host, bridge: Bridge, device: Device, *, hairpin: bool, isolated: bool) -> Port:
    """Make `device` a port. It forwards nothing before its carrier is up (see `wait_forwarding`)."""
    port = bridge.add_port(device, hairpin=hairpin, forwarding=False)
    port.isolated = isolated
    ports_changed(host, bridge)
    return port


def set_vlans(port: Port, vlan: int, trunk: Sequence[int], *, keep_default: bool) -> None:
    """The VLANs of a new port: `vlan` without a tag, those of `trunk` with one (without `vlan` VLAN 1 has none). 0 and an empty
    one: as it is."""
    if (vlan or trunk) and not keep_default:
        for vid in list(port.vlans.vids):
            port.vlans.remove(vid)
    if vlan:
        port.vlans.add(vlan, pvid=True, untagged=True)
    for vid in trunk:
        port.vlans.add(vid)
    if trunk and not vlan:
        port.vlans.add(1, pvid=True, untagged=True)


def wait_forwarding(port: Port) -> None:
    """Wait until the port forwards. The work that makes it do so runs behind what is in flight, such as the
    announcement of a link that came up, which is why that one is lost here (linkwatch, br_port_carrier_check)."""
    port.bridge.clock.drain()
    port.carrier_check()


def delete_veth(host: Host, netns: Netns, name: str) -> list[Address] | None:
    """Delete a link of the container, its peer with it: the addresses it had, or None if there is no such link."""
    link = netns.devices.get(name)
    if link is None:
        return None
    addresses = [each for each in netns.ipv4.addresses if each.device is link]
    delete_device(host, link)
    return addresses


def delete_device(host: Host, link: Device) -> None:
    """`ip link del`: with the other end of a pair, and what is stacked on it."""
    peer = link.peer if isinstance(link, Veth) else None
    bridges = {each.master.bridge for each in (link, peer) if each is not None and each.master is not None}
    link_change.delete(link)
    for bridge in bridges:
        ports_changed(host, bridge)


def configure(netns: Netns, name: str, result: Result) -> None:
    """ConfigureIface: addresses, link up (and the announcement that arp_notify asks for), routes."""
    _link(netns, name)
    for ip in result.ips:
        _claim(netns, name, ip, result)
    set_up(netns, name)
    gateway = next((ip.gateway for ip in result.ips if ip.gateway), "")
    for route in result.routes:
        _add_route(netns, name, route, route.gw or gateway)


def set_up(netns: Netns, name: str) -> None:
    """`ip link set NAME up`. Raises CniError."""
    try:
        netns.set_link(name, up=True)
    except InputError as error:
        raise failure(f'failed to set "{name}" UP: {error.what}') from None


def _link(netns: Netns, name: str) -> Device:
    if name not in netns.devices:
        raise failure(f'failed to lookup "{name}": Link not found')
    return netns.devices[name]


def _claim(netns: Netns, name: str, ip: IP, result: Result) -> None:
    if ip.interface is None:
        return
    if not 0 <= ip.interface < len(result.interfaces) or result.interfaces[ip.interface].name != name:
        raise failure(f'failed to add IP addr {ip.address} to "{name}": invalid interface index')
    try:
        boot.address(netns, name, ip.address)
    except InputError as error:
        raise failure(f'failed to add IP addr {ip.address} to "{name}": {error}') from None


def _add_route(netns: Netns, name: str, route: Route, gateway: str) -> None:
    words = [str(Prefix.parse(route.dst))]
    words += ["via", gateway] if gateway else []
    words += ["dev", name]
    words += ["mtu", str(route.mtu)] if route.mtu else []
    words += ["metric", str(route.priority)] if route.priority else []
    words += ["table", str(route.table)] if route.table is not None else []
    words += ["scope", {253: "link", 254: "host"}.get(route.scope or 0, "global")]
    try:
        boot.route(netns, " ".join(words), prepend=True)  # NLM_F_CREATE alone: before others of its prefix
    except InputError as error:
        why = "file exists" if "File exists" in error.what else "network is unreachable"
        raise failure(f"failed to add route '{route} via {gateway or '<nil>'} dev {name}': {why}") from None


def ensure_address(host: Host, device: Device, cidr: str, fetched: bytes, *, force: bool) -> None:
    """The one IPv4 address of a bridge, or of its VLAN's gateway, is `cidr`. Another one is an error, or goes, with `force`. A
    bridge that gets the address keeps `fetched`, the MAC that the plugin saw before a port came: the bridge's own of its
    creation, as a rule."""
    netns = host.netns
    for address in [each for each in netns.ipv4.addresses if each.device is device]:
        if str(address) == cidr:
            return
        if not force:
            raise failure(f'"{device.name}" already has an IP address different from {cidr}')
        netns.ipv4.remove_address(address)
    boot.address(netns, device, cidr)
    if isinstance(device, Bridge):
        pin_mac(host, device, fetched)


def enable_forwarding(netns: Netns) -> None:
    """The machine routes between its interfaces."""
    if not netns.sysctl.number("net.ipv4.ip_forward"):
        netns.sysctl["net.ipv4.ip_forward"] = 1


def check_addresses(netns: Netns, name: str, ips: tuple[IP, ...]) -> None:
    """ValidateExpectedInterfaceIPs: each address is on the interface, and its subnet has a route."""
    link = netns.devices.get(name)
    if link is None:
        raise failure(f"Cannot find container link {name}")
    own = {str(address): address for address in netns.ipv4.addresses if address.device is link}
    for ip in ips:
        address = own.get(ip.address)
        if address is None:
            raise failure(f"Failed to match addr {ip.address} on interface {name}")
        if all(route.prefix != address.prefix for route in netns.ipv4.fib.main):
            raise failure(f"Failed to find Gateway {ip.gateway} for interface {name}")


def check_routes(netns: Netns, routes: tuple[Route, ...]) -> None:
    """ValidateExpectedRoute: each route of a result is there, by destination and, if it names one, gateway."""
    there = {(route.prefix, ip4_text(route.gateway)) for route in netns.ipv4.fib.main}
    prefixes = {prefix for prefix, _ in there}
    for route in routes:
        prefix = Prefix.parse(route.dst)
        if (prefix, route.gw) not in there if route.gw else prefix not in prefixes:
            raise failure(f"Expected Route {route} not found in routing table")


def check_mac(what: str, device: Device, expected: str, *, prefix: str = "", word: str = "Interface") -> None:
    """A device has the address that the result gives it, if it gives one. `prefix` begins the messages of some plugins."""
    if expected and mac_text(device.mac) != expected:
        words = f"{word} {device.name} Mac {expected} doesn't match {what} Mac: {mac_text(device.mac)}"
        raise failure(prefix + words)


def open_netns(attachment: Attachment) -> Netns:
    """The container's namespace. Raises CniError."""
    if attachment.netns is None:
        raise CniError(999, f'failed to open netns "{attachment.sandbox}"')
    return attachment.netns
