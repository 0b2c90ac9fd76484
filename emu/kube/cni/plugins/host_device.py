"""`host-device`: a device of the machine moves into a container, under IFNAME, and back (plugins/main/host-device, v1.1).

The device's former name is kept while it is away (the kernel keeps it in the device's alias). A device that came back is down
and without addresses. Must not know what the device is.
"""

from __future__ import annotations

import re

import msgspec

from emu.errors import EmuError, InputError
from emu.kernel.link.device import Device
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, invoke, links
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves, device
from emu.kube.cni.spec import Attachment, Config, Dns, Host, Interface, Result, failure, plugins, read
from emu.modelled import used
from emu.wire.addr import mac_text

_HERE = used("kube/cni/plugins/host_device")
_ALIASES = "aliases of devices"


class _DeviceId(msgspec.Struct, rename="camel"):
    device_id: str = msgspec.field(default="", name="deviceID")


class HostDeviceConf(msgspec.Struct):
    """The plugin's keys: one of the first four states which device."""

    device: str = ""
    hwaddr: str = ""
    kernelpath: str = ""
    pci: str = msgspec.field(default="", name="pciBusID")
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    dns: Dns | None = None
    runtime: _DeviceId = msgspec.field(default_factory=_DeviceId, name="runtimeConfig")


@plugins.add("host-device")
class HostDevicePlugin:
    """One device. With `ipam` it gets addresses in the container."""

    keys: Keys = dict.fromkeys(("device", "hwaddr", "kernelpath", "pciBusID", "dns"), _HERE)

    def leaves(self, config: Config) -> Leaves:
        """The device is back, and down: its routes are gone."""
        name = re.escape(str(config.get("device") or r""))
        return device(name, "the device is down") if name else {}

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config)
        netns, host = links.open_netns(attachment), attachment.host
        device = _find(host.netns, conf)
        try:
            _move_in(host, device, netns, attachment.ifname)
        except InputError as error:
            raise failure(f"failed to move link {error.what}") from None
        interface = Interface(device.name, mac_text(device.mac), sandbox=attachment.sandbox)
        if not conf.ipam.type:
            return Result((interface,))
        ipam = invoke.add(conf.ipam.type, config, attachment)
        result = container.with_interfaces(ipam, (interface,), 0)
        try:
            links.configure(netns, attachment.ifname, result)
        except EmuError:
            invoke.delete(conf.ipam.type, config, attachment)
            raise
        return msgspec.structs.replace(result, dns=conf.dns or Result().dns)  # not the IPAM's

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        netns = links.open_netns(attachment)
        if conf.ipam.type:
            invoke.check(conf.ipam.type, config, attachment)
        result = container.previous(config)
        container.check_interface(netns, container.known_interface(result, attachment))
        links.check_addresses(netns, attachment.ifname, result.ips)
        links.check_routes(netns, result.routes)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        if attachment.netns is None:
            return
        if conf.ipam.type:
            invoke.delete(conf.ipam.type, config, attachment)
        _move_out(attachment.host, attachment.netns, attachment.ifname)

    def status(self, config: Config, host: Host) -> None:
        """Ready when its IPAM is. Which device is meant is not read."""
        conf: HostDeviceConf = read(config, HostDeviceConf)
        if conf.ipam.type:
            invoke.status(conf.ipam.type, config, host)


def _load(config: Config) -> HostDeviceConf:
    """The plugin's keys. Raises CniError; no device of emu is on a PCI bus."""
    conf: HostDeviceConf = read(config, HostDeviceConf)
    pci = conf.runtime.device_id or conf.pci
    if not (conf.device or conf.hwaddr or conf.kernelpath or pci):
        raise failure('specify either "device", "hwaddr", "kernelpath" or "pciBusID"')
    if pci:
        raise failure(f"error with host device: lstat /sys/bus/pci/devices/{pci}: no such file or directory")
    return conf


def _find(host: Netns, conf: HostDeviceConf) -> Device:
    """The device, by the first key that is given. Raises CniError; no device of emu has a path below /sys/devices."""
    words = "failed to find host device: "
    if conf.device:
        if conf.device not in host.devices:
            raise failure(f"{words}Link not found")
        return host.devices[conf.device]
    if conf.hwaddr:
        mac = container.parse_mac(conf.hwaddr, f'{words}failed to parse MAC address "{conf.hwaddr}": ')
        found = next((each for each in host.devices.values() if each.mac == mac), None)
        if found is None:
            raise failure(f"{words}failed to find physical interface")
        return found
    if not conf.kernelpath.startswith("/sys/devices/"):
        raise failure(f'{words}kernel device path "{conf.kernelpath}" must be absolute and begin with /sys/devices/')
    raise failure(f'{words}failed to find network devices at "{conf.kernelpath.rstrip("/")}/net"')


def _move_in(host: Host, device: Device, netns: Netns, name: str) -> None:
    """Into the container, renamed, and up. Raises InputError; a device whose new name is taken is in the container then,
    under its old one, and down."""
    former, bridge = device.name, device.master.bridge if device.master is not None else None
    if device.kind == "loopback":
        raise InputError("invalid argument", expected="a device that can leave its namespace")
    if former in netns.devices:
        raise InputError("file exists", expected="a name that no device bears")
    taken = name in netns.devices
    link_change.move(device, host.netns, netns, former if taken else name)
    host.disk.setdefault(_ALIASES, {})[device] = former
    if bridge is not None:
        links.ports_changed(host, bridge)
    if taken:
        raise InputError(f'failed to rename device "{former}" to "{name}": file exists')
    netns.set_link(name, up=True)


def _move_out(host: Host, netns: Netns, name: str) -> None:
    """Back to the machine under the former name, and down. Raises CniError; a device that cannot go has its name in the
    container again, and is up if it was."""
    device = container.link(netns, name, f'failed to find "{name}"')
    former: str = host.disk.get(_ALIASES, {}).get(device, "")
    was_up = device.up
    netns.set_link(name, up=False)
    wrong = ""
    if not former:
        wrong = f'failed to restore "{name}" to original name "": numerical result out of range'
    elif netns.devices.get(former, device) is not device:
        wrong = f'failed to restore "{name}" to original name "{former}": file exists'
    elif former in host.netns.devices:
        wrong = f'failed to move "{former}" to host netns: file exists'
    if wrong:
        netns.set_link(name, up=was_up)
        raise failure(wrong)
    link_change.move(device, netns, host.netns, former)
