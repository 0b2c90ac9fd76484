"""`tuning`: sysctls, MAC, MTU and promiscuous mode of a container's interface that is there (plugins/meta/tuning).

It is chained. DEL gives the interface its former MAC, MTU and mode back, out of what ADD wrote down; sysctls stay. Must not
know which plugin made the interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net import link_change
from emu.kernel.net.netns import Netns
from emu.kernel.sysctl_table import Value
from emu.kube.cni import container, links
from emu.kube.cni.keys import Keys
from emu.kube.cni.spec import Attachment, Config, Result, failure, plugins, read
from emu.modelled import WithoutEffect, used
from emu.wire.addr import mac_text

_HERE = used("kube/cni/plugins/tuning")


class TuningConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `mtu` in bytes, 0: as it is."""

    sysctl: dict[str, str] = {}
    mac: str = ""
    promisc: bool = False
    mtu: int = 0
    data_dir: str = "/run/cni/tuning"


@dataclass(frozen=True, slots=True)
class Former:
    """What an interface was before; None: it was not changed."""

    mac: bytes | None
    promisc: bool | None
    mtu: int | None


@plugins.add("tuning")
class TuningPlugin:
    """Chained: the result is the one before, with the new MAC."""

    keys: Keys = {
        **dict.fromkeys(("sysctl", "mac", "promisc", "mtu", "dataDir"), _HERE),
        "allmulti": WithoutEffect("no device of emu filters groups"),
        "txQLen": WithoutEffect("these devices have no queue (noqueue)"),
    }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf = _load(config, attachment)
        result = container.previous(config)
        netns, name = links.open_netns(attachment), attachment.ifname
        for key in sorted(conf.sysctl):
            _write(netns, key, key.replace(".", "/").replace("IFNAME", name, 1), conf.sysctl[key])
        if conf.mac or conf.mtu or conf.promisc:
            device = container.link(netns, name, f'failed to get "{name}"')
            attachment.host.disk[_place(conf, attachment)] = Former(
                device.mac if conf.mac else None,
                device.promisc if conf.promisc else None,
                device.mtu if conf.mtu else None,
            )
            _change(netns, device, conf)
        if conf.mac:
            interfaces = tuple(
                msgspec.structs.replace(each, mac=conf.mac) if each.name == name else each for each in result.interfaces
            )
            result = msgspec.structs.replace(result, interfaces=interfaces)
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config, attachment)
        container.previous(config)
        netns, name = links.open_netns(attachment), attachment.ifname
        for key in sorted(conf.sysctl):
            path = key.replace(".", "/")
            value = _text(netns.sysctl[_known(netns, path)])
            if value != conf.sysctl[key]:
                raise failure(
                    f"Error: Tuning configured value of /proc/sys/{path} is {conf.sysctl[key]}, current value is {value}"
                )
        device = netns.devices.get(name)
        if device is None:
            raise failure(f"Cannot find container link {name}")
        if conf.mac and conf.mac != mac_text(device.mac):
            words = f"configured Ethernet of {name} is {conf.mac}, current value is {mac_text(device.mac)}"
            raise failure(f"Error: Tuning {words}")
        if conf.promisc is not device.promisc:
            words = f"configured promisc is {str(conf.promisc).lower()}, current value is {int(device.promisc)}"
            raise failure(f"Error: Tuning link {name} {words}")
        if conf.mtu and conf.mtu != device.mtu:
            raise failure(f"Error: Tuning configured MTU of {name} is {conf.mtu}, current value is {device.mtu}")

    def delete(self, config: Config, attachment: Attachment) -> None:
        conf = _load(config, attachment)
        netns, disk, place = attachment.netns, attachment.host.disk, _place(conf, attachment)
        device = netns.devices.get(attachment.ifname) if netns is not None else None
        former: Former | None = disk.get(place)
        if netns is None or device is None or former is None:
            return
        del disk[place]
        if former.mtu is not None:
            link_change.set_mtu(device, former.mtu)
        if former.mac is not None:
            link_change.set_mac(netns, device, former.mac)
        if former.promisc is not None:
            link_change.set_promisc(device, on=former.promisc)


def _load(config: Config, attachment: Attachment) -> TuningConf:
    """The keys, and what goes before them: the MAC of CNI_ARGS, of the capability `mac`, and everything of `args.cni`."""
    given = container.objects(config, "args", "cni")
    mac = container.objects(config, "runtimeConfig").get("mac") or attachment.known_args("MAC").get("MAC")
    changed: dict[str, Any] = {"mac": mac} if mac else {}
    for key in ("mac", "promisc", "mtu"):
        if given.get(key) is not None:
            changed[key] = given[key]
    conf: TuningConf = read({**config, **changed}, TuningConf)
    conf.sysctl = {**conf.sysctl, **(given.get("sysctl") or {})}
    return conf


def _place(conf: TuningConf, attachment: Attachment) -> tuple[str, ...]:
    """Where on the machine's disk the former state is."""
    return ("tuning", conf.data_dir, attachment.container_id, attachment.ifname)


def _known(netns: Netns, path: str) -> str:
    """The variable at a path below /proc/sys. Raises CniError if there is none."""
    if path not in netns.sysctl:
        raise failure(f"open /proc/sys/{path}: no such file or directory")
    return path


def _write(netns: Netns, key: str, path: str, value: str) -> None:
    if not path.startswith("net/"):
        raise failure(f'invalid net sysctl key: "{key}"')
    try:
        netns.sysctl[_known(netns, path)] = value
    except InputError:
        raise failure(f"write /proc/sys/{path}: invalid argument") from None


def _text(value: Value) -> str:
    """As /proc prints it."""
    return "\t".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _change(netns: Netns, device: Device, conf: TuningConf) -> None:
    """MAC, mode and MTU, in this order. What comes before a failure stays."""
    try:
        if conf.mac:
            link_change.set_mac(netns, device, container.parse_mac(conf.mac, f"invalid args {conf.mac} for MAC addr: "))
        if conf.promisc:
            link_change.set_promisc(device, on=True)
        if conf.mtu:
            link_change.set_mtu(device, conf.mtu)
    except InputError as error:
        raise failure(error.what) from None
