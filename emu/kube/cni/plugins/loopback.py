"""`loopback`: a container's lo comes up and goes down (plugins/main/loopback). IFNAME is not read.

Must not know the container's other interfaces.
"""

from __future__ import annotations

from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves
from emu.kube.cni.links import open_netns
from emu.kube.cni.spec import IP, Attachment, Config, Interface, Result, failure, plugins
from emu.wire.addr import mac_text


@plugins.add("loopback")
class LoopbackPlugin:
    """lo, with any IFNAME. A previous result is handed on unchanged."""

    keys: Keys = {}

    def leaves(self, config: Config) -> Leaves:
        return {r"(link|address|route) .*\blo\b.*": "lo is down in the container"}

    def add(self, config: Config, attachment: Attachment) -> Result:
        netns = open_netns(attachment)
        netns.set_link("lo", up=True)
        if config.get("prevResult"):
            return Result.from_json(config["prevResult"])
        lo = netns.device("lo")
        ips = tuple(IP(str(address), interface=0) for address in netns.ipv4.addresses if address.device is lo)
        return Result((Interface("lo", mac_text(lo.mac), sandbox=attachment.sandbox),), ips)

    def check(self, config: Config, attachment: Attachment) -> None:
        if not open_netns(attachment).device("lo").up:
            raise failure("loopback interface is down")

    def delete(self, config: Config, attachment: Attachment) -> None:
        if attachment.netns is not None:
            attachment.netns.set_link("lo", up=False)
