"""`ipvlan`: a container behind a device of the machine and its MAC (plugins/main/ipvlan, v1.9).

It may be chained: without `ipam` it takes the addresses of the result before it. What a failed ADD leaves is what the real one
leaves: the device, and the IPAM's addresses. Must not know pods or nodes.
"""

from __future__ import annotations

import msgspec

from emu.kernel.link.ipvlan import L2, MODES, Ipvlan
from emu.kernel.net import stacked_links
from emu.kube.cni import container, invoke, links, stacked
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Dns, Host, Result, failure, plugins, read
from emu.modelled import used


class IpvlanConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: the device's below."""

    name: str
    master: str = ""
    mode: str = ""
    mtu: int = 0
    link_in_container: bool = False
    ipam: Ipam = msgspec.field(default_factory=Ipam)
    dns: Dns = Dns()


@plugins.add("ipvlan")
class IpvlanPlugin:
    """An ipvlan device, in mode l2, l3 or l3s."""

    keys: Keys = dict.fromkeys(
        (field.encode_name for field in msgspec.structs.fields(IpvlanConf)), used("kube/cni/plugins/ipvlan")
    )

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, previous = _load(config, attachment)
        netns, name = links.open_netns(attachment), attachment.ifname
        mode = _mode(conf.mode)
        lower = stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        mtu = conf.mtu if conf.mtu > 0 else None
        _, interface = stacked.create(
            attachment,
            "ipvlan",
            lambda inside, drawn: stacked_links.ipvlan(inside, drawn, lower, mode, mtu),
            keep_unnamed=True,
        )
        chained = not conf.ipam.type and previous is not None and previous.ips
        given = previous if chained and previous is not None else invoke.add(conf.ipam.type, config, attachment)
        result = container.with_interfaces(given, (interface,), 0)
        stacked.announce(netns, name)
        links.configure(netns, name, result)  # a failure here leaves the device, and what the IPAM gave
        return msgspec.structs.replace(result, dns=conf.dns)

    def check(self, config: Config, attachment: Attachment) -> None:
        conf: IpvlanConf = read(config, IpvlanConf)
        netns = links.open_netns(attachment)
        if conf.ipam.type:
            invoke.check(conf.ipam.type, config, attachment)
        result = container.previous(config)
        known = container.known_interface(result, attachment)
        stacked.find_master(stacked.place(attachment, in_container=conf.link_in_container), conf.master)
        device = container.check_interface(netns, known, Ipvlan, "ipvlan", mac=False)
        assert isinstance(device, Ipvlan)
        mode = _mode(conf.mode)
        if device.port.mode != mode:
            raise failure(f"Container IPVlan mode {device.port.mode} does not match expected value: {mode}")
        links.check_mac("container", device, known.mac)
        stacked.check_there(netns, attachment, result)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf, _ = _load(config, attachment)
        if conf.ipam.type:
            invoke.delete(conf.ipam.type, config, attachment)
        stacked.remove(attachment)

    def status(self, config: Config, host: Host) -> None:
        conf: IpvlanConf = read(config, IpvlanConf)
        stacked.status(conf.ipam.type, config, host)


def _load(config: Config, attachment: Attachment) -> tuple[IpvlanConf, Result | None]:
    """The plugin's keys and the result before it. Without a master it is that result's only interface, or the default route's
    device. Raises CniError."""
    conf: IpvlanConf = read(config, IpvlanConf)
    previous = Result.from_json(config["prevResult"]) if config.get("prevResult") else None
    if conf.master:
        return conf, previous
    if previous is None:
        conf.master = stacked.default_master(stacked.place(attachment, in_container=conf.link_in_container))
    elif len(previous.interfaces) == 1 and previous.interfaces[0].name:
        conf.master = previous.interfaces[0].name
    else:
        raise failure("chained master failure. PrevResult lacks a single named interface")
    return conf, previous


def _mode(text: str) -> str:
    if text and text not in MODES:
        raise failure(f'unknown ipvlan mode: "{text}"')
    return text or L2
