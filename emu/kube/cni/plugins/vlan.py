"""`vlan`: a VLAN of a device of the machine, in a container (plugins/main/vlan, v1.9).

An IPAM is necessary. What a failed ADD leaves is what the real one leaves: the device. Must not know pods or nodes.
"""

from __future__ import annotations

import msgspec

from emu.errors import EmuError
from emu.kernel.link.vlan import LAST_VID, Vlan
from emu.kernel.net import stacked_links
from emu.kube.cni import container, invoke, links, stacked
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, CniError, Config, Dns, Host, Result, failure, plugins, read
from emu.modelled import used


class VlanConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the device's below."""

    name: str
    master: str = ""
    vlan_id: int = 0
    mtu: int = 0
    link_in_container: bool = False
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    dns: Dns = Dns()


@plugins.add("vlan")
class VlanPlugin:
    """A VLAN device with addresses."""

    keys: Keys = dict.fromkeys(
        (field.encode_name for field in msgspec.structs.fields(VlanConf)), used("kube/cni/plugins/vlan")
    )

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config, attachment)
        netns, name = links.open_netns(attachment), attachment.ifname
        lower = stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        mtu = conf.mtu if conf.mtu > 0 else None
        _, interface = stacked.create(
            attachment,
            "vlan",
            lambda inside, drawn: stacked_links.vlan(inside, drawn, lower, conf.vlan_id, None, mtu),
            keep_unnamed=True,
        )
        try:
            ipam = invoke.add(conf.ipam.type, config, attachment)
        except CniError as error:
            raise CniError(error.code, f"failed to execute IPAM delegate: {error.msg}", error.details) from None
        result = container.with_interfaces(ipam, (interface,), 0)
        try:
            links.configure(netns, name, result)
        except EmuError:
            invoke.delete(conf.ipam.type, config, attachment)
            raise
        return msgspec.structs.replace(result, dns=conf.dns)

    def check(self, config: Config, attachment: Attachment) -> None:
        conf: VlanConf = read(config, VlanConf)
        netns = links.open_netns(attachment)
        invoke.check(conf.ipam.type, config, attachment)
        result = container.previous(config, "vlan: Required prevResult missing")
        known = container.known_interface(result, attachment)
        stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        device = netns.devices.get(known.name)
        if device is None:
            raise failure(f"vlan: Container Interface name in prevResult: {known.name} not found")
        if not isinstance(device, Vlan):
            raise failure(f"Error: Container interface {known.name} not of type vlan")
        links.check_mac("container", device, known.mac, prefix="vlan: ")
        if device.vid != conf.vlan_id:  # the plugin's own words
            words = f"configured promisc is {conf.vlan_id}, current value is {device.vid}"
            raise failure(f"Error: Tuning link {known.name} {words}")
        if conf.mtu and conf.mtu != device.mtu:
            words = f"configured MTU of {known.name} is {conf.mtu}, current value is {device.mtu}"
            raise failure(f"Error: Tuning {words}")
        stacked.check_there(netns, attachment, result)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config, attachment)
        invoke.delete(conf.ipam.type, config, attachment)
        stacked.remove(attachment)

    def status(self, config: Config, host: Host) -> None:
        conf: VlanConf = read(config, VlanConf)
        invoke.status(conf.ipam.type, config, host)


def _load(config: Config, attachment: Attachment) -> VlanConf:
    """The plugin's keys. Raises CniError."""
    conf: VlanConf = read(config, VlanConf)
    if not conf.master:
        raise failure('"master" field is required. It specifies the host interface name to create the VLAN for.')
    if not 0 <= conf.vlan_id <= LAST_VID:
        raise failure(f"invalid VLAN ID {conf.vlan_id} (must be between 0 and 4095 inclusive)")
    stacked.check_mtu(stacked.place(attachment, in_container=conf.link_in_container), conf.master, conf.mtu)
    return conf
