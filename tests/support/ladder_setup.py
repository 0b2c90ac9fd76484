"""Reads a ladder's `.yaml`: namespaces, devices, addresses, ports in attach order, routes, rules, and who is who.

The cables are not in the file but follow from names (the ladders' README): `veth-pN` on a node and `eth0` of pod `pN`;
any other veth that is not an `eth0`, and `eth0` of the namespace that it is called after. Knows nothing of emu.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from ladder_lines import FOLDER


class Port(NamedTuple):
    namespace: str
    device: str


class Setup:
    """One scenario's file: `namespaces` as written there (devices, routes, sysctls, iptables_save ...)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offload = False  # leave checksums and segmentation to the devices, as a machine does by default
        document = yaml.load((FOLDER / f"{name}.yaml").read_text(), yaml.CSafeLoader)
        self.namespaces: dict[str, dict[str, Any]] = document["namespaces"]

    def devices(self) -> Iterator[tuple[Port, dict[str, Any]]]:
        for namespace, made in self.namespaces.items():
            for device in made["devices"]:
                yield Port(namespace, device["name"]), device

    def macs(self) -> dict[str, str]:
        """`p1.eth0` to its MAC's text. Loopback devices have none."""
        return {
            f"{port.namespace}.{port.device}": device["mac"]
            for port, device in self.devices()
            if device["kind"] != "loopback"
        }

    def roles(self) -> dict[bytes, str]:
        """A MAC to the role that a ladder's lines call it by. A bridge's MAC may be a port's too: the bridge has it."""
        roles: dict[bytes, str] = {}
        for role, mac in self.macs().items():
            roles.setdefault(bytes.fromhex(mac.replace(":", "")), role)
        return roles

    def routes(self, namespace: str) -> list[str]:
        """The routes that were added: the kernel's own come with the addresses."""
        routes: list[str] = self.namespaces[namespace].get("routes", [])
        return [route for route in routes if "proto kernel" not in route]

    def cable(self, end: Port) -> Port:
        """The other end of a veth. Raises KeyError when there is none."""
        return self._cables()[end]

    def _cables(self) -> Mapping[Port, Port]:
        cables: dict[Port, Port] = {}
        for port, device in self.devices():
            if device["kind"] == "veth" and port.device != "eth0":
                far = Port(re.sub(r"^veth-", "", port.device), "eth0")
                cables[port], cables[far] = far, port
        return cables
