"""Running one plugin: what `skel` checks before a plugin and `invoke` does around it, for the runtime and for delegates.

The order is that of pkg/skel: the environment, the network's name, the version, the plugin's own work. Must not know
lists of plugins or caches (`runtime.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from emu.kube.cni.spec import (
    DECODING,
    INCOMPATIBLE_VERSION,
    INVALID_ENV,
    INVALID_NETNS,
    VERSIONS,
    Attachment,
    CniError,
    Collecting,
    Config,
    Host,
    Leasing,
    Plugin,
    Reporting,
    Result,
    check_container_id,
    check_ifname,
    check_network_name,
    failure,
    versions_of,
)  # fmt: skip

ATTACHMENTS_KEY = "cni.dev/valid-attachments"


def find(kind: str, host: Host) -> Plugin:
    """The plugin called `kind`. Raises CniError (999) that names those the machine has."""
    if not kind:
        raise failure("no plugin name provided")
    if kind not in host.plugins:
        raise failure(f'failed to find plugin "{kind}": emu has {", ".join(sorted(host.plugins))}')
    return host.plugins[kind]()


def add(kind: str, config: Config, attachment: Attachment) -> Result:
    """ADD by the plugin called `kind`. Raises CniError; with 8 the plugin has done its work on its own namespace."""
    result = _ready("ADD", kind, config, attachment).add(config, attachment)
    _check_netns(attachment)
    return result


def lease(kind: str, config: Config, attachment: Attachment) -> Result | None:
    """The addresses of an ADD that comes later, by the plugin called `kind`; None where it does not know them before. Raises CniError."""
    plugin = find(kind, attachment.host)
    return cast(Leasing, plugin).lease(config, attachment) if _leases(type(plugin)) else None


@cache
def _leases(plugin: type[Plugin]) -> bool:
    """Asked for each pod, and the question is a slow one."""
    return issubclass(plugin, Leasing)


def check(kind: str, config: Config, attachment: Attachment) -> None:
    """CHECK. Raises CniError: the plugin's, or 1 below version 0.4.0."""
    _ready("CHECK", kind, config, attachment).check(config, attachment)


def delete(kind: str, config: Config, attachment: Attachment) -> None:
    """DEL. Raises CniError; with 8 the plugin has done its work on its own namespace."""
    _ready("DEL", kind, config, attachment).delete(config, attachment)
    _check_netns(attachment)


def gc(kind: str, config: Config, host: Host) -> None:
    """GC: the plugin removes what belongs to no attachment of `cni.dev/valid-attachments`. One without GC has nothing
    to do. Raises CniError: the plugin's, or 1 below version 1.1.0."""
    plugin = find(kind, host)
    _check_config("GC", config, plugin)
    if isinstance(plugin, Collecting):
        plugin.gc(config, host)


def status(kind: str, config: Config, host: Host) -> None:
    """STATUS: whether the plugin is ready for an ADD; one without STATUS is. Raises CniError: the plugin's (50, 51), or 1
    below version 1.1.0."""
    plugin = find(kind, host)
    _check_config("STATUS", config, plugin)
    if isinstance(plugin, Reporting):
        plugin.status(config, host)


def version(kind: str, host: Host) -> dict[str, Any]:
    """VERSION: the plugin's own newest version and all it knows, whatever the configuration. Raises CniError (999)."""
    return {"cniVersion": VERSIONS[-1], "supportedVersions": list(versions_of(find(kind, host)))}


def _ready(command: str, kind: str, config: Config, attachment: Attachment) -> Plugin:
    """The plugin, once environment and configuration hold."""
    plugin = find(kind, attachment.host)
    checks: tuple[tuple[str, str, Callable[[str], None]], ...] = (
        ("CNI_CONTAINERID", attachment.container_id, check_container_id),
        ("CNI_NETNS", attachment.sandbox, lambda path: None),
        ("CNI_IFNAME", attachment.ifname, check_ifname),
    )
    missing = []
    for name, value, check_value in checks:
        if value:
            check_value(value)
        elif name != "CNI_NETNS" or command != "DEL":
            missing.append(name)
    if missing:
        raise CniError(INVALID_ENV, f"required env variables [{','.join(missing)}] missing")
    _check_config(command, config, plugin)
    return plugin


def _check_config(command: str, config: Config, plugin: Plugin) -> None:
    """Name and version of an execution configuration. Raises CniError (6, 7, 1)."""
    for key, what in (
        ("name", "error unmarshall network config"),
        ("cniVersion", "decoding version from network config"),
    ):
        if not isinstance(config.get(key, ""), str):
            raise CniError(DECODING, f"{what}: {key} is {json.dumps(config[key])}")
    check_network_name(config.get("name") or "")
    given: str = config.get("cniVersion") or VERSIONS[0]
    first = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}.get(command)
    if first is not None:
        if _numbers(given) < _numbers(first):
            raise CniError(INCOMPATIBLE_VERSION, f"config version does not allow {command}")
        if _numbers(given) > _numbers(VERSIONS[-1]):
            raise CniError(INCOMPATIBLE_VERSION, f"plugin version does not allow {command}")
    supported = versions_of(plugin)
    if given not in supported:
        known = " ".join(f'"{each}"' for each in supported)
        details = f'config is "{given}", plugin supports [{known}]'
        raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI versions", details)


def _numbers(version: str) -> tuple[int, ...]:
    """A version's three parts; those left out are 0. Raises CniError (6)."""
    parts = version.split(".")
    if len(parts) > 3:
        raise CniError(DECODING, f'invalid version "{version}": too many parts')
    found = []
    for word, part in zip(("major", "minor", "micro"), parts, strict=False):
        try:
            found.append(int(part))
        except ValueError:
            text = f'failed to convert {word} version part "{part}": strconv.Atoi: parsing "{part}": invalid syntax'
            raise CniError(DECODING, text) from None
    return (*found, 0, 0)[:3]


def _check_netns(attachment: Attachment) -> None:
    """A plugin looks at this after its work. Raises CniError (8)."""
    if attachment.netns is attachment.host.netns:
        raise CniError(INVALID_NETNS, "plugin's netns and netns from CNI_NETNS should not be the same")
