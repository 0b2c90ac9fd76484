"""`vrf`: a container's interface joins a VRF, which has a routing table of its own (plugins/meta/vrf, v1.9).

It is chained. The first interface makes the VRF, the last one to leave deletes it. The interface's addresses stay, and its
routes are in the VRF's table then. Must not know which plugin made the interface.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.vrf import Vrf
from emu.kernel.net import vrf_links
from emu.kernel.net.netns import Netns
from emu.kube.cni import container, links
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves
from emu.kube.cni.spec import Attachment, Config, Result, failure, plugins, read
from emu.modelled import used


class VrfConf(msgspec.Struct):
    """The plugin's keys. `table` 0: the first that no VRF of the container has."""

    vrfname: str = ""
    table: int = 0


@plugins.add("vrf")
class VrfPlugin:
    """Chained: the result is the one before."""

    since = "0.3.1"
    keys: Keys = dict.fromkeys(("vrfname", "table"), used("kube/cni/plugins/vrf"))

    def leaves(self, config: Config) -> Leaves:
        return {r"rule 1000: from all lookup \[l3mdev-table\]": "the kernel keeps the rule of the first VRF"}

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config)
        result = container.previous(config, "missing prevResult from earlier plugin")
        netns, words = links.open_netns(attachment), "cmdAdd failed: "
        found = netns.devices.get(conf.vrfname)
        if found is not None and not isinstance(found, Vrf):
            raise failure(f"{words}Netlink {conf.vrfname} is not a VRF")
        if found is not None and conf.table not in (0, found.table):
            raise failure(f"{words}VRF {conf.vrfname} already exist with different routing table {found.table}")
        _join(netns, found or _create(netns, conf, words), attachment.ifname, words)
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config)
        container.previous(config, "missing prevResult from earlier plugin")
        netns, name = links.open_netns(attachment), attachment.ifname
        found = netns.devices.get(conf.vrfname)
        if found is None:
            raise failure("Link not found")
        if not isinstance(found, Vrf):
            raise failure(f"Netlink {conf.vrfname} is not a VRF")
        if all(each.name != name for each in found.slaves):
            raise failure(f"failed to find {name} associated to vrf {conf.vrfname}")

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf, netns, name = _load(config), attachment.netns, attachment.ifname
        found = None if netns is None else netns.devices.get(conf.vrfname)
        if netns is None or found is None:
            return
        if not isinstance(found, Vrf):
            raise failure(f"Netlink {conf.vrfname} is not a VRF")
        if name not in netns.devices:
            raise failure(f"resetMaster: could not get link by name {name}")
        vrf_links.release(netns, netns.devices[name])
        if not found.slaves:
            vrf_links.delete(netns, found)


def _load(config: Config) -> VrfConf:
    conf: VrfConf = read(config, VrfConf)
    if not conf.vrfname:
        raise failure("configuration is expected to have a valid vrf name")
    return conf


def _create(netns: Netns, conf: VrfConf, words: str) -> Vrf:
    """createVRF, and up. Raises CniError."""
    taken = {each.table for each in netns.devices.values() if isinstance(each, Vrf)}
    table = conf.table or next(number for number in range(1, len(taken) + 2) if number not in taken)
    try:
        made = vrf_links.vrf(netns, conf.vrfname, links.random_mac(netns.clock, f"mac/{netns.name}"), table)
    except InputError as error:
        why = error.what if error.what in ("file exists", "invalid argument") else "numerical result out of range"
        raise failure(f"{words}could not add VRF {conf.vrfname}: {why}") from None
    netns.set_link(made.name, up=True)
    return made


def _join(netns: Netns, vrf: Vrf, name: str, words: str) -> None:
    """addInterface: the routes of global scope are saved, and put into the VRF's table. Raises CniError."""
    device = netns.devices.get(name)
    if device is None:
        raise failure(f"{words}could not get link by name {name}")
    above: Device | None = device.l3_master or (device.master.bridge if device.master is not None else None)
    if above is not None:
        raise failure(f"{words}interface {name} has already a master set: {above.name}")
    saved = [each for each in netns.ipv4.fib.main if each.uses(device) and each.scope == "global"]
    try:
        vrf_links.enslave(netns, vrf, device)
    except InputError as error:
        raise failure(f"{words}could not set vrf {vrf.name} as master of {name}: {error.what}") from None
    fib = netns.ipv4.fib
    for route in saved:
        moved = replace(route, table=vrf.table)
        for old in list(fib.table(vrf.table).of(moved.prefix)):
            if (old.tos, old.metric) == (moved.tos, moved.metric):
                fib.remove(old)
                break
        fib.add(moved)
