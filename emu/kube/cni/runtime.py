"""libcni: lists of plugins run in order and in reverse, each with what the one before it left; results are kept.

`add`, `check` and `delete` are one network's; `set_up` and `tear_down` a sandbox's, as containerd's go-cni
does it: loopback first, then the network. Must not know what a plugin wires.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from emu.errors import EmuError
from emu.kube.cni import invoke
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.spec import (
    INCOMPATIBLE_VERSION,
    VERSIONS,
    Attachment,
    CniError,
    Config,
    Result,
    check_container_id,
    check_ifname,
    check_network_name,
)  # fmt: skip

LOOPBACK = NetworkConfigList("cni-loopback", "0.3.1", ({"type": "loopback"},))

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Cached:
    """What an ADD needed, for the CHECK and DEL after it; `text` is its result as JSON in the network's version."""

    attachment: Attachment
    capability_args: Config
    text: bytes

    @property
    def result(self) -> Config:
        found: Config = msgspec.json.decode(self.text)
        return found


NOTHING: Config = {}


class Runtime:
    """The CNI runtime of one machine. `cache` holds every attachment that is there."""

    def __init__(self) -> None:
        self.cache: dict[Key, Cached] = {}

    def add(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config = NOTHING) -> Result:
        """ADD by every plugin of the network in order. Raises CniError, and then DEL has been run on the whole list:
        nothing is left, unless the attachment was there before, which stays as it is."""
        check_container_id(attachment.container_id)
        check_network_name(network.name)
        check_ifname(attachment.ifname)
        key = _key(network, attachment)
        previous = NOTHING
        result = Result()
        try:
            for plugin in network.plugins:
                config = execution_config(network, plugin, capability_args, previous)
                with _described("add", plugin):
                    result = invoke.add(plugin["type"], config, attachment)
                previous = result.to_json(network.version)
        except EmuError:
            if key not in self.cache:
                self._forget_failed(network, attachment, capability_args)
            raise
        self.cache[key] = Cached(attachment, capability_args, msgspec.json.encode(previous))
        return result

    def check(self, network: NetworkConfigList, attachment: Attachment) -> None:
        """CHECK by every plugin in order, each with the final result. Raises CniError: the first plugin's that finds a difference."""
        if not _since(network, "0.4.0"):
            text = f'configuration version "{network.version}" does not support the CHECK command'
            raise CniError(INCOMPATIBLE_VERSION, text)
        if network.disable_check:
            return
        # without a cached result the plugins run all the same, and report that it is missing
        cached = self.cache.get(_key(network, attachment))
        for plugin in network.plugins:
            with _described("check", plugin):
                invoke.check(plugin["type"], _config_after(network, plugin, cached), attachment)

    def delete(self, network: NetworkConfigList, attachment: Attachment) -> None:
        """DEL by every plugin in reverse; an attachment whose `netns` is None has lost its namespace. What is gone
        already is no error. Raises CniError: the first plugin's that failed; the result stays in the cache then."""
        key = _key(network, attachment)
        self._delete(network, attachment, self.cache.get(key))
        self.cache.pop(key, None)

    def set_up(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config = NOTHING) -> Result:
        """A sandbox's networks: lo, then `network`, whose result comes back. Raises CniError, and nothing is left."""
        lo = replace(attachment, ifname="lo")
        self.add(LOOPBACK, lo)
        try:
            return self.add(network, attachment, capability_args)
        except EmuError:
            self.delete(LOOPBACK, lo)
            raise

    def tear_down(self, network: NetworkConfigList, attachment: Attachment) -> None:
        """Take a sandbox out of its networks. Raises CniError."""
        self.delete(network, attachment)
        self.delete(LOOPBACK, replace(attachment, ifname="lo"))

    def _delete(self, network: NetworkConfigList, attachment: Attachment, cached: Cached | None) -> None:
        for plugin in reversed(network.plugins):
            config = _config_after(network, plugin, cached)
            if not _since(network, "0.4.0"):
                config.pop("prevResult", None)
            with _described("delete", plugin):
                invoke.delete(plugin["type"], config, attachment)

    def _forget_failed(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config) -> None:
        """Every ADD is followed by a DEL, also one that failed; the error raised is the ADD's."""
        with suppress(EmuError):
            self._delete(network, attachment, Cached(attachment, capability_args, b"{}"))


def _key(network: NetworkConfigList, attachment: Attachment) -> Key:
    return network.name, attachment.container_id, attachment.ifname


def _since(network: NetworkConfigList, version: str) -> bool:
    return VERSIONS.index(network.version) >= VERSIONS.index(version)


def execution_config(
    network: NetworkConfigList, plugin: Config, capability_args: Config, previous: Config
) -> dict[str, Any]:
    """One plugin's configuration: its object and the network's name and version, the capability arguments that it
    declares, the result before it. Unknown keys go through unchanged."""
    config = {**plugin, "name": network.name, "cniVersion": network.version}
    capabilities = plugin.get("capabilities") or {}
    given = {key: value for key, value in capability_args.items() if capabilities.get(key)}
    if given:
        config["runtimeConfig"] = given
    if previous:
        config["prevResult"] = previous
    return config


def _config_after(network: NetworkConfigList, plugin: Config, cached: Cached | None) -> dict[str, Any]:
    if cached is None:
        return execution_config(network, plugin, NOTHING, NOTHING)
    return execution_config(network, plugin, cached.capability_args, cached.result)


@contextmanager
def _described(word: str, plugin: Config) -> Iterator[None]:
    """One plugin's operation; its error names the plugin."""
    try:
        yield
    except CniError as error:
        name = f' name="{plugin["name"]}"' if plugin.get("name") else ""
        text = f'plugin type="{plugin["type"]}"{name} failed ({word}): {error.msg}'
        raise CniError(error.code, text, error.details) from None
