"""`dummy`: a device in a container with addresses and nothing behind it (plugins/main/dummy, v1.9).

What a container sends out of it is gone; its addresses answer inside the container. Must not know pods or nodes.
"""

from __future__ import annotations

import msgspec

from emu.errors import EmuError
from emu.kernel.link.dummy import Dummy
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, invoke, links
from emu.kube.cni.container import Ipam
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Host, Interface, Result, failure, plugins, read
from emu.wire.addr import mac_text

_NEEDS_IPAM = "dummy interface requires an IPAM configuration"


class _Conf(msgspec.Struct):
    ipam: Ipam = msgspec.field(default_factory=Ipam)


@plugins.add("dummy")
class DummyPlugin:
    """A dummy device. An IPAM is necessary."""

    keys: Keys = {}

    def add(self, config: Config, attachment: Attachment) -> Result:
        kind = _ipam(config)
        netns, name = links.open_netns(attachment), attachment.ifname
        if name in netns.devices:
            raise failure("failed to create dummy: file exists")
        device = Dummy(netns.clock, name, links.random_mac(netns.clock, f"mac/{netns.name}"))
        device.up = False
        netns.attach(device)
        interface = Interface(name, mac_text(device.mac), sandbox=attachment.sandbox)
        try:
            ipam = invoke.add(kind, config, attachment)
        except EmuError:
            _remove(netns, name)
            raise
        result = container.with_interfaces(ipam, (interface,), 0)  # a failure here leaves the device
        try:
            links.configure(netns, name, result)
        except EmuError:
            invoke.delete(kind, config, attachment)
            _remove(netns, name)
            raise
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        kind = _ipam(config)
        netns = links.open_netns(attachment)
        invoke.check(kind, config, attachment)
        result = container.previous(config, "dummy: Required prevResult missing")
        known = container.known_interface(result, attachment)
        device = container.check_interface(netns, known, Dummy, "dummy")
        if not device.up:
            raise failure(f"Interface {known.name} is down")
        links.check_addresses(netns, attachment.ifname, result.ips)

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf: _Conf = read(config, _Conf)
        invoke.delete(container.ipam_type(conf.ipam), config, attachment)
        if attachment.netns is not None and attachment.ifname in attachment.netns.devices:
            _remove(attachment.netns, attachment.ifname)

    def status(self, config: Config, host: Host) -> None:
        """Ready when its IPAM is."""
        conf: _Conf = read(config, _Conf)
        invoke.status(conf.ipam.type, config, host)


def _ipam(config: Config) -> str:
    conf: _Conf = read(config, _Conf)
    if not conf.ipam.type:
        raise failure(_NEEDS_IPAM)
    return conf.ipam.type


def _remove(netns: Netns, name: str) -> None:
    link_change.delete(netns.device(name))
