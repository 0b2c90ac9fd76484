"""What plugins that make a container's interface have in common: the IPAM's part in it, and the comparison that CHECK makes.

Raises CniError in the reference plugins' words. Must not know configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net.netns import Netns
from emu.kube.cni import links
from emu.kube.cni.spec import Attachment, Config, Interface, Result, failure
from emu.wire.addr import mac as to_mac


class Ipam(msgspec.Struct):
    """The `ipam` object, as far as the plugin that delegates reads it."""

    type: str = ""


def with_interfaces(ipam: Result, interfaces: tuple[Interface, ...], index: int) -> Result:
    """The IPAM's result with `interfaces`, all addresses on the one at `index`. Raises CniError if it has no address."""
    if not ipam.ips:
        raise failure("IPAM plugin returned missing IP config")
    ips = tuple(msgspec.structs.replace(ip, interface=index) for ip in ipam.ips)
    return msgspec.structs.replace(ipam, interfaces=interfaces, ips=ips)


def ipam_type(ipam: Ipam) -> str:
    """The IPAM plugin's name, where there must be one. Raises CniError."""
    if not ipam.type:
        raise failure("no plugin name provided")
    return ipam.type


def previous(config: Config, words: str = "Required prevResult missing") -> Result:
    """The result in the configuration. Raises CniError."""
    if not config.get("prevResult"):
        raise failure(words)
    return Result.from_json(config["prevResult"])


def known_interface(result: Result, attachment: Attachment, word: str = "Sandbox") -> Interface:
    """The result's interface of that name in this container. Raises CniError, whose message `word` begins."""
    for each in result.interfaces:
        if (each.name, each.sandbox) == (attachment.ifname, attachment.sandbox):
            return each
    raise failure(f"{word} in prevResult  doesn't match configured netns: {attachment.sandbox}")


def check_interface(
    netns: Netns, known: Interface, kind: type[Device] = Device, words: str = "", *, prefix: str = "", mac: bool = True
) -> Device:
    """The container's device, of `kind` (`words` for it) and with the MAC of the result (`mac` False: whatever it is). Raises
    CniError; `prefix` begins the messages of some plugins."""
    device = netns.devices.get(known.name)
    if device is None:
        raise failure(f"{prefix}Container Interface name in prevResult: {known.name} not found")
    if not isinstance(device, kind):
        raise failure(f"Error: Container interface {known.name} not of type {words}")
    if mac:
        links.check_mac("container", device, known.mac, prefix=prefix)
    return device


def link(netns: Netns, name: str, words: str) -> Device:
    """A device of the container. Raises CniError, whose message `words` begin."""
    device = netns.devices.get(name)
    if device is None:
        raise failure(f"{words}: Link not found")
    return device


def parse_mac(text: str, words: str = "") -> bytes:
    """A MAC as text. Raises CniError; `words` begin its message."""
    try:
        return to_mac(text)
    except InputError:
        raise failure(f"{words}address {text}: invalid MAC address") from None


def objects(config: Config, *path: str) -> Mapping[str, Any]:
    """An object inside a configuration, empty if it is not there."""
    found: Any = config
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
