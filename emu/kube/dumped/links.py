"""Interfaces of a dump: state, carrier, MTU and addresses, compared and put in place; those that the node has not are made.

Must not know routes or rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from emu.errors import InputError
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device, check_name
from emu.kernel.link.dummy import Dummy
from emu.kernel.link.veth import Veth
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.family import Address
from emu.kube.dumped.dump import Link
from emu.kube.dumped.site import Site
from emu.wire.addr import mac

VXLAN_OVERHEAD = (
    50  # outer Ethernet, IPv4, UDP and VXLAN headers, of which the outer MTU counts 36 and the inner frame 14
)
TUNNELS = (
    "tunl",
    "wg",
    "wireguard",
    "cilium",
    "lxc",
    "sit",
    "gre",
    "ip6tnl",
    "vxlan",
    "flannel",
    "geneve",
    "genev",
    "ovn",
    "antrea",
)


def links(site: Site) -> None:
    """Compare, and put in place."""
    given = site.dump.links
    if given is None:
        return
    _missing(site, given)
    common = _common_mtu(site, given)
    ports_first = sorted(given.items(), key=lambda each: isinstance(site.devices.get(each[0]), Bridge))
    for name, link in ports_first:  # a bridge takes the smallest MTU of its ports, unless it was set
        device = site.devices.get(name)
        if device is None:
            _make(site, link)
        elif not device.loopback:
            _state(site, link, device)
            _mtu(site, link, device, common)
    for name, link in given.items():
        device = site.devices.get(name)
        if device is not None and link.addresses is not None and not device.loopback:
            _addresses(site, link.addresses, device)


def _where(site: Site) -> str:
    return "ip-link" if "ip-link" in site.dump.texts else "ip-addr"


def learn_macs(site: Site) -> None:
    """The MACs of the dump's own interfaces stand for emu's."""
    for name, link in (site.dump.links or {}).items():
        device = site.devices.get(name)
        if device is not None and link.mac and link.mac != "00:00:00:00:00:00":
            site.macs.setdefault(mac(link.mac), device.mac)


def _missing(site: Site, given: dict[str, Link]) -> None:
    """Interfaces that the pod network made, and the dump has not. Unknown ports may be any pod's: then none is missed."""
    found = {id(each) for each in site.devices.values()}
    spare = [name for name, link in given.items() if name not in site.devices and link.master]
    pods = {id(device): addr for addr, device in site.pod_devices().items()}
    for device in list(site.net.devices.values()):
        addr = pods.get(id(device), 0)
        wanted = (addr and not spare) or (device.kind in ("bridge", "vxlan") and not addr)
        if id(device) in found or not wanted or device.loopback:
            continue
        whose = f"of {site.owner(addr)} " if addr else ""
        what = f"the interface {device.name} {whose}is not there"
        expected = f"{device.name}: {device.kind}, mtu {device.mtu}, UP"
        site.differs("link-missing", what, site.dump.texts.file(_where(site)), expected, addr=addr, device=device.name)
        site.net.set_link(device.name, up=False)


def _state(site: Site, link: Link, device: Device) -> None:
    place = _place(site, device.name) or site.dump.texts.file(_where(site))
    down, unplugged = link.up is False, link.up is not False and link.carrier is False
    if device.up and device.carrier and (down or unplugged) and not _may_be_down(device):
        state = "is down" if down else "has no carrier"
        what = f"the interface {device.name}{_of(site, device)} {state}"
        found = f"{device.name}: <{'NO-CARRIER,' if unplugged else ''}...> state DOWN"
        site.differs(
            "link-down", what, place, f"{device.name}: state UP", found, device=device.name, addr=_addr(site, device)
        )
    if down and device.up:
        site.net.set_link(device.name, up=False)
    elif unplugged and device.carrier:
        site.net.set_carrier(device.name, on=False)


def _may_be_down(device: Device) -> bool:
    """A bridge without a port that is up has no carrier."""
    return isinstance(device, Bridge) and not any(port.device.up for port in device.ports)


def _place(site: Site, name: str) -> str:
    """The line where an interface begins."""
    where = _where(site)
    for number, line in enumerate(site.dump.texts.text(where).splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[1].rstrip(":").partition("@")[0] == name and words[0].rstrip(":").isdigit():
            return f"{site.dump.texts.file(where)}:{number}"
    return ""


def _addr(site: Site, device: Device) -> int:
    return next((addr for addr, each in site.pod_devices().items() if each is device), 0)


def _of(site: Site, device: Device) -> str:
    addr = _addr(site, device)
    return f" of {site.owner(addr)}" if addr else ""


def _common_mtu(site: Site, given: dict[str, Link]) -> int:
    """The MTU that the CNI plugin gave to most pods' interfaces; 0 where none is stated."""
    pods = {id(each) for each in site.pod_devices().values()}
    known = [link.mtu for name, link in given.items() if link.mtu and id(site.devices.get(name)) in pods]
    return Counter(known).most_common(1)[0][0] if known else 0


def _mtu(site: Site, link: Link, device: Device, common: int) -> None:
    if not link.mtu:
        return
    pods = site.pod_devices()
    is_pod = any(each is device for each in pods.values())
    uplink = min((x.mtu for n, x in (site.dump.links or {}).items() if _is_uplink(site, n) and x.mtu), default=0)
    what, expected = "", ""
    if isinstance(device, Vxlan) and uplink and link.mtu + VXLAN_OVERHEAD > uplink:
        what = f"{device.name} has an MTU of {link.mtu}, and with {VXLAN_OVERHEAD} bytes of VXLAN its packets are longer than the {uplink} of the interface below"
        expected = f"mtu {uplink - VXLAN_OVERHEAD}"
    elif is_pod and common and link.mtu < common:
        what = f"{device.name}{_of(site, device)} has an MTU of {link.mtu}, other pods' interfaces {common}"
        expected = f"mtu {common}"
    elif (common and not is_pod and link.mtu < common and not isinstance(device, Veth | Bridge)) or (
        common and _is_uplink(site, device.name) and link.mtu < common
    ):
        what, expected = f"{device.name} has an MTU of {link.mtu}, and the pods' interfaces {common}", f"mtu {common}"
    if what:
        site.differs(
            "mtu", what, _place(site, device.name) or site.dump.texts.file(_where(site)), expected, f"mtu {link.mtu}",
            device=device.name, addr=_addr(site, device),
        )  # fmt: skip
    ends: Iterable[Device | None] = (device,)
    if is_pod and isinstance(device, Veth) and link.mtu == common:  # the plugin gives it to both ends
        ends = (device, device.peer)
    for end in ends:
        if end is not None and end.mtu != link.mtu:
            try:
                end.set_mtu(link.mtu)
            except InputError as error:
                site.notes.append(f"{_place(site, device.name)}: {error.what}: {end.name} keeps {end.mtu}")


def _is_uplink(site: Site, name: str) -> bool:
    device = site.devices.get(name)
    return device is not None and any(
        each.device is device and each.addr == site.node.ip for each in site.net.ipv4.addresses
    )


def _addresses(site: Site, given: list[tuple[int, int, str]], device: Device) -> None:
    """Those of the node and of its bridges. Further interfaces of a cloud's machine keep what emu gave them."""
    own: list[Address] = [each for each in site.net.ipv4.addresses if each.device is device]
    stated = {addr for addr, _, _ in given}
    kept = isinstance(device, Bridge | Vxlan) or any(each.addr == site.node.ip for each in own)
    if not kept:
        return
    for each in own:
        if each.addr not in stated and (each.addr == site.node.ip or isinstance(device, Bridge)):
            what = f"{device.name} lacks the address {each}"
            place = _place(site, device.name) or site.dump.texts.file("ip-addr")
            site.differs("address-missing", what, place, f"inet {each}", addr=each.addr, device=device.name)
            site.net.ipv4.remove_address(each)
    for addr, length, scope in given:
        if not any(each.addr == addr for each in site.net.ipv4.addresses) and not site.owner(addr):
            site.net.ipv4.add_address(device, addr, length, scope)


def is_tunnel(name: str) -> bool:
    """Whether a name is that of a tunnel or of a pod network's own device, which a plain interface cannot stand for."""
    return name.startswith(TUNNELS)


def _make(site: Site, link: Link) -> None:
    """An interface that the node has not: one without a cable stands for it, where it has an address."""
    if not link.addresses or is_tunnel(link.name) or link.name == "lo":
        return
    make(site, link.name, mac(link.mac) if link.mac else b"\x02\xed\0\0\0\x01", link.mtu or 1500)
    device = site.devices[link.name]
    if link.up is False:
        site.net.set_link(link.name, up=False)
    elif link.carrier is False:
        site.net.set_carrier(link.name, on=False)
    for addr, length, scope in link.addresses:
        if not any(each.addr == addr for each in site.net.ipv4.addresses) and not site.owner(addr):
            site.net.ipv4.add_address(device, addr, length, scope)


def make(site: Site, name: str, address: bytes = b"\x02\xed\0\0\0\x01", mtu: int = 1500) -> None:
    """An interface without a cable. Raises InputError for a name that Linux refuses."""
    check_name(name)
    site.devices[name] = site.net.attach(Dummy(site.net.clock, name, address, mtu))
    site.notes.append(
        f"{site.dump.texts.source}: {name} is no interface that the export shows: a dummy stands for it, and what leaves by it is lost"
    )
