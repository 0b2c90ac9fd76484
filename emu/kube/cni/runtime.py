"""libcni: lists of plugins run in order and in reverse, each with what the one before it left; results are kept.

`add`, `check`, `delete`, `gc`, `status` and `version` are one network's; `set_up` and `tear_down` a sandbox's, as
containerd's go-cni does it: loopback first, then the network. Must not know what a plugin wires.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

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
    Host,
    Result,
    check_container_id,
    check_ifname,
    check_network_name,
)  # fmt: skip

LOOPBACK = NetworkConfigList("cni-loopback", "0.3.1", ({"type": "loopback"},))

Key = tuple[str, str, str]


class Cached(NamedTuple):
    """What an ADD needed, for the CHECK and DEL after it; `text` is its result as JSON in the version of `network`."""

    network: NetworkConfigList
    attachment: Attachment
    capability_args: Config
    text: bytes

    @property
    def result(self) -> Config:
        found: Config = msgspec.json.decode(self.text)
        return found

    def previous(self, version: str) -> Config:
        """The result in the form of `version`, if the network's has changed since. Raises CniError (6)."""
        return Result.from_text(self.text).to_json(version)

    @property
    def file_name(self) -> str:
        """libcni's name of the file that holds it, in /var/lib/cni/results."""
        return "-".join(_key(self.network, self.attachment))

    def to_json(self) -> dict[str, Any]:
        """libcni's file (cniCacheV1): `config` is the network's list as JSON in base64."""
        attachment = self.attachment
        made: dict[str, Any] = {
            "kind": "cniCacheV1",
            "containerId": attachment.container_id,
            "config": base64.b64encode(msgspec.json.encode(self.network.to_json())).decode(),
            "ifName": attachment.ifname,
            "networkName": self.network.name,
            "netns": attachment.sandbox,
            "cniArgs": [list(pair.partition("=")[::2]) for pair in attachment.args.split(";") if pair],
            "capabilityArgs": dict(self.capability_args),
            "result": self.result,
        }
        optional = ("netns", "cniArgs", "capabilityArgs", "result")
        return {key: value for key, value in made.items() if value or key not in optional}


NOTHING: Config = {}
IDLE = ("portmap",)  # without capability arguments these hand on what the plugin before them gave


class Runtime:
    """The CNI runtime of one machine. `cache` holds every attachment that is there."""

    def __init__(self) -> None:
        self.cache: dict[Key, Cached] = {}

    def add(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config = NOTHING) -> Result:
        """ADD by every plugin of the network in order. Raises CniError, and then DEL has been run on the whole list:
        nothing is left, unless that DEL failed, too, or the attachment was there before, which stays as it is."""
        key = _key(network, attachment)
        previous = NOTHING
        result = Result()
        try:
            for plugin in network.plugins:
                config = execution_config(network, plugin, capability_args, previous)
                with _described("add", plugin):
                    invoke.find(plugin["type"], attachment.host)
                    check_container_id(attachment.container_id)
                    check_network_name(network.name)
                    check_ifname(attachment.ifname)
                    result = invoke.add(plugin["type"], config, attachment)
                    previous = result.to_json(network.version)
        except EmuError:
            if key not in self.cache:
                self._forget_failed(network, attachment, capability_args)
            raise
        self.cache[key] = Cached(network, attachment, capability_args, msgspec.json.encode(previous))
        return result

    def lease(self, network: NetworkConfigList, attachment: Attachment) -> Result | None:
        """The addresses that an ADD without capability arguments will give, kept for it. None: the network's plugins do not know them
        before they do their work. Raises CniError."""
        first, *others = network.plugins
        if any(each["type"] not in IDLE or "runtimeConfig" in each for each in others):
            return None
        return invoke.lease(first["type"], execution_config(network, first, NOTHING, NOTHING), attachment)

    def check(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config = NOTHING) -> None:
        """CHECK by every plugin in order, each with the final result. Raises CniError: the first plugin's that finds a
        difference, in its own words."""
        if not _since(network, "0.4.0"):
            text = f'configuration version "{network.version}" does not support the CHECK command'
            raise CniError(INCOMPATIBLE_VERSION, text)
        if network.disable_check:
            return
        # without a cached result the plugins run all the same, and report that it is missing
        cached = self.cache.get(_key(network, attachment))
        try:
            previous = cached.previous(network.version) if cached is not None else NOTHING
        except CniError as error:
            text = f'failed to get network "{network.name}" cached result: {error.msg}'
            raise CniError(error.code, text, error.details) from None
        for plugin in network.plugins:
            config = execution_config(network, plugin, _args(cached, capability_args), previous)
            invoke.check(plugin["type"], config, attachment)

    def delete(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config = NOTHING) -> None:
        """DEL by every plugin in reverse; an attachment whose `netns` is None has lost its namespace. What is gone
        already is no error. Raises CniError: the first plugin's that failed; the result stays in the cache then, unless
        it cannot be read."""
        key = _key(network, attachment)
        cached, previous = self.cache.get(key), NOTHING
        if cached is not None and _since(network, "0.4.0"):
            try:
                previous = cached.previous(network.version)
            except CniError:
                del self.cache[key]
        self._delete(network, attachment, _args(cached, capability_args), previous)
        self.cache.pop(key, None)

    def gc(self, network: NetworkConfigList, valid: Collection[tuple[str, str]], host: Host) -> None:
        """DEL of every attachment in the cache that is not among `valid`, (container, interface) each; then GC by every
        plugin, from version 1.1.0 on. Goes on after an error. Raises CniError: all errors, a line each, with the number
        of the first."""
        if network.disable_gc:
            return
        errors: list[CniError] = []
        for _, cached in sorted(self.cache.items()):
            attachment = cached.attachment
            pair = (attachment.container_id, attachment.ifname)
            if cached.network.name == network.name and pair not in valid:
                with _collected(errors, f"failed to delete stale attachment {pair[0]} {pair[1]}"):
                    self.delete(network, attachment)
        if _since(network, "1.1.0"):
            listed = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in valid]
            for plugin in network.plugins:
                config = execution_config(network, plugin, NOTHING, NOTHING)
                # the second key is the name that the specification had at first
                config |= {invoke.ATTACHMENTS_KEY: listed, "cni.dev/attachments": listed}
                with _collected(errors, f"failed to GC plugin {plugin['type']}"):
                    invoke.gc(plugin["type"], config, host)
        if errors:
            details = "; ".join(error.details for error in errors if error.details)
            raise CniError(errors[0].code, "\n".join(error.msg for error in errors), details)

    def status(self, network: NetworkConfigList, host: Host) -> None:
        """STATUS of every plugin in order, from version 1.1.0 on. Raises CniError: that of the first that is not ready."""
        if _since(network, "1.1.0"):
            for plugin in network.plugins:
                invoke.status(plugin["type"], execution_config(network, plugin, NOTHING, NOTHING), host)

    def version(self, network: NetworkConfigList, host: Host) -> dict[str, Any]:
        """VERSION: what every plugin of the network supports. Raises CniError (999) for one that the machine lacks."""
        answers = [invoke.version(plugin["type"], host) for plugin in network.plugins]
        known = [each for each in VERSIONS if all(each in answer["supportedVersions"] for answer in answers)]
        return {"cniVersion": known[-1], "supportedVersions": known}

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

    def _delete(
        self, network: NetworkConfigList, attachment: Attachment, capability_args: Config, previous: Config
    ) -> None:
        for plugin in reversed(network.plugins):
            config = execution_config(network, plugin, capability_args, previous)
            with _described("delete", plugin):
                invoke.delete(plugin["type"], config, attachment)

    def _forget_failed(self, network: NetworkConfigList, attachment: Attachment, capability_args: Config) -> None:
        """Every ADD is followed by a DEL, also one that failed; the error raised is the ADD's."""
        with suppress(EmuError):
            self._delete(network, attachment, capability_args, NOTHING)


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


def _args(cached: Cached | None, given: Config) -> Config:
    """The capability arguments of a CHECK or DEL: those of the ADD, if it is known."""
    return cached.capability_args if cached is not None else given


@contextmanager
def _described(word: str, plugin: Config) -> Iterator[None]:
    """One plugin's operation; its error names the plugin."""
    try:
        yield
    except CniError as error:
        name = f' name="{plugin["name"]}"' if plugin.get("name") else ""
        text = f'plugin type="{plugin["type"]}"{name} failed ({word}): {error.msg}'
        raise type(error)(error.code, text, error.details) from None


@contextmanager
def _collected(errors: list[CniError], what: str) -> Iterator[None]:
    """One step of several that all run: its error joins `errors`, after `what`."""
    try:
        yield
    except CniError as error:
        errors.append(CniError(error.code, f"{what}: {error.msg}", error.details))
