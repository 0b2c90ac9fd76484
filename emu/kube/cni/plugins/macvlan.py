"""`macvlan`: a further MAC behind a device of the machine, in a container (plugins/main/macvlan, v1.9).

With `ipam` the container gets addresses, without it is layer 2 only. What a failed ADD leaves is what the real one leaves: an
IPAM that fails leaves the device. Must not know pods or nodes.
"""

from __future__ import annotations

import msgspec

from emu.errors import EmuError, InputError
from emu.kernel.link.macvlan import BRIDGE, MODES, PASSTHRU, Macvlan
from emu.kernel.net import stacked_links
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, invoke, links, stacked
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Dns, Host, Result, failure, plugins, read
from emu.modelled import WithoutEffect, used


class _Mac(msgspec.Struct):
    mac: str = ""


class MacvlanConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the device's below."""

    name: str
    master: str = ""
    mode: str = ""
    mtu: int = 0
    mac: str = ""
    link_in_container: bool = False
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    dns: Dns = Dns()
    runtime_config: _Mac = msgspec.field(default_factory=_Mac)


@plugins.add("macvlan")
class MacvlanPlugin:
    """A macvlan device, in mode bridge, private, vepa or passthru."""

    keys: Keys = {
        **dict.fromkeys(
            (field.encode_name for field in msgspec.structs.fields(MacvlanConf)), used("kube/cni/plugins/macvlan")
        ),
        "bcqueuelen": WithoutEffect("the queue of broadcasts has no limit"),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config, attachment)
        netns, name = links.open_netns(attachment), attachment.ifname
        mode = _mode(conf.mode)
        lower = stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        address = _address(conf, attachment)
        mtu = conf.mtu if conf.mtu > 0 else None

        def make(inside: Netns, drawn: str) -> Macvlan:
            if address[0] & 1 or not any(address):
                raise InputError("cannot assign requested address", expected="the address of one device")
            return stacked_links.macvlan(inside, drawn, lower, address, mode, mtu)

        device, interface = stacked.create(attachment, "macvlan", make, keep_unnamed=False)
        result = Result((interface,), dns=conf.dns)
        if not conf.ipam.type:
            try:
                links.set_up(netns, name)
            except EmuError:
                links.delete_device(attachment.host, device)
                raise
            return result
        ipam = invoke.add(conf.ipam.type, config, attachment)
        result = container.with_interfaces(ipam, (interface,), 0)
        try:
            stacked.announce(netns, name)
            links.configure(netns, name, result)
        except EmuError:
            invoke.delete(conf.ipam.type, config, attachment)
            raise
        return msgspec.structs.replace(result, dns=conf.dns)

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config, attachment)
        netns = links.open_netns(attachment)
        if conf.ipam.type:
            invoke.check(conf.ipam.type, config, attachment)
        result = container.previous(config, "required prevResult missing")
        known = container.known_interface(result, attachment, "sandbox")
        stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        device = netns.devices.get(known.name)
        if device is None:
            raise failure(f"container Interface name in prevResult: {known.name} not found")
        if not isinstance(device, Macvlan):
            raise failure(f"error: Container interface {known.name} not of type macvlan")
        mode = _mode(conf.mode)
        if device.mode != mode:
            raise failure(f"container macvlan mode {device.mode} does not match expected value: {mode}")
        links.check_mac("container", device, known.mac, word="interface")
        stacked.check_there(netns, attachment, result)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf: MacvlanConf = read(config, MacvlanConf, "failed to load netConf: ")
        if conf.ipam.type:
            invoke.delete(conf.ipam.type, config, attachment)
        stacked.remove(attachment)

    def status(self, config: Config, host: Host) -> None:
        conf: MacvlanConf = read(config, MacvlanConf)
        stacked.status(conf.ipam.type, config, host)


def _load(config: Config, attachment: Attachment) -> MacvlanConf:
    """The plugin's keys: the master is that of the default route, if none is given. Raises CniError."""
    conf: MacvlanConf = read(config, MacvlanConf)
    net = stacked.place(attachment, in_container=conf.link_in_container)
    conf.master = conf.master or stacked.default_master(net)
    stacked.check_mtu(net, conf.master, conf.mtu)
    conf.mac = conf.runtime_config.mac or attachment.known_args("MAC").get("MAC", "") or conf.mac
    return conf


def _mode(text: str) -> str:
    if text and text not in MODES:
        raise failure(f'unknown macvlan mode: "{text}"')
    return text or BRIDGE


def _address(conf: MacvlanConf, attachment: Attachment) -> bytes:
    """The MAC that is given, or one drawn. A passthru device bears that of the device below."""
    if conf.mac:
        return container.parse_mac(conf.mac, f"invalid args {conf.mac} for MAC addr: ")
    netns = links.open_netns(attachment)
    return bytes((2, 0, 0, 0, 0, 0)) if conf.mode == PASSTHRU else links.random_mac(netns.clock, f"mac/{netns.name}")
