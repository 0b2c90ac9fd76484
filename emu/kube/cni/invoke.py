"""Running one plugin: what `skel` checks before a plugin and `invoke` does around it, for the runtime and for delegates.

Must not know lists of plugins or caches (`runtime.py`).
"""

from __future__ import annotations

from typing import Any

from emu.kube.cni.spec import (
    INCOMPATIBLE_VERSION,
    INVALID_ENV,
    INVALID_NETNS,
    VERSIONS,
    Attachment,
    CniError,
    Config,
    Plugin,
    Result,
    check_container_id,
    check_ifname,
    check_network_name,
    failure,
)  # fmt: skip

CNI_PATH = "/opt/cni/bin"


def add(kind: str, config: Config, attachment: Attachment) -> Result:
    """ADD by the plugin called `kind`. Raises CniError."""
    return _ready("ADD", kind, config, attachment).add(config, attachment)


def check(kind: str, config: Config, attachment: Attachment) -> None:
    """CHECK. Raises CniError: the plugin's, or 1 below version 0.4.0."""
    plugin = _ready("CHECK", kind, config, attachment)
    if VERSIONS.index(config.get("cniVersion") or VERSIONS[0]) < VERSIONS.index("0.4.0"):
        raise CniError(INCOMPATIBLE_VERSION, "config version does not allow CHECK")
    plugin.check(config, attachment)


def delete(kind: str, config: Config, attachment: Attachment) -> None:
    """DEL. Raises CniError."""
    _ready("DEL", kind, config, attachment).delete(config, attachment)


def _ready(command: str, kind: str, config: Config, attachment: Attachment) -> Plugin:
    """The plugin, once environment and configuration hold."""
    if kind not in attachment.host.plugins:
        raise failure(f'failed to find plugin "{kind}" in path [{CNI_PATH}]')
    needed = {"CNI_CONTAINERID": attachment.container_id, "CNI_IFNAME": attachment.ifname}
    if command != "DEL":
        needed["CNI_NETNS"] = attachment.sandbox
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise CniError(INVALID_ENV, f"required env variables [{','.join(missing)}] missing")
    check_container_id(attachment.container_id)
    check_ifname(attachment.ifname)
    if command != "CHECK" and attachment.netns is attachment.host.netns:
        raise CniError(INVALID_NETNS, "plugin's netns and netns from CNI_NETNS should not be the same")
    check_network_name(config.get("name") or "")
    version: Any = config.get("cniVersion") or VERSIONS[0]
    if version not in VERSIONS:
        details = f'config is "{version}", plugin supports {list(VERSIONS)}'
        raise CniError(INCOMPATIBLE_VERSION, "incompatible CNI versions", details)
    return attachment.host.plugins[kind]()
