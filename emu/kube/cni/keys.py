"""The keys of network configurations held against what each plugin declares: unknown ones, and those not modelled.

A plugin's class declares its keys as `keys`; one that declares none is not checked. One that hands on its key `delegate` to another
plugin states as `delegate` which one that is by default. Must not know any plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emu.kube.cni.config import LIST_KEYS, NetworkConfigList
from emu.kube.cni.spec import plugins
from emu.modelled import NotModelled, Treatment, Used, WithoutEffect, nearest

Keys = Mapping[str, "Treatment | Keys"]
"""How each key is treated; a mapping stands for objects with keys of their own."""
COMMON: Keys = {
    "type": Used(("kube/cni/runtime",)),
    "name": Used(("kube/cni/runtime",)),
    "cniVersion": Used(("kube/cni/runtime",)),
    "capabilities": Used(("kube/cni/runtime",)),
    "ipam": Used(("kube/cni/config",)),
    "runtimeConfig": WithoutEffect("the runtime sets it"),
    "prevResult": WithoutEffect("the runtime sets it"),
    "args": WithoutEffect("the plugin reads what it knows of it"),
}
"""The keys that every plugin's object may have."""
RESERVED = "cni.dev/"


def remarks(config: NetworkConfigList) -> Iterator[tuple[str, str]]:
    """The plugin and a sentence, for each key that is not modelled or not known."""
    for key in config.unknown:
        meant = nearest(key, LIST_KEYS)
        yield f"network {config.name}", f'unknown key "{key}"' + (f' (expected "{meant}"?)' if meant else "")
    for plugin in config.plugins:
        yield from _plugin(str(plugin["type"]), plugin)
        handed, kind = plugin.get("delegate"), str(plugin["type"])
        usual = getattr(plugins[kind], "delegate", None) if kind in plugins else None
        if isinstance(handed, Mapping) and usual is not None:
            yield from _plugin(str(handed.get("type", usual)), handed)
        ipam = plugin.get("ipam") or {}
        if isinstance(ipam, Mapping) and ipam.get("type"):
            yield from _plugin(str(ipam["type"]), ipam)


def _plugin(kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    declared: Keys | None = getattr(plugins[kind], "keys", None) if kind in plugins else None
    if declared is not None:
        for what in _check(config, {**COMMON, **declared}, ""):
            yield f"plugin {kind}", what


def _check(config: Mapping[str, Any], known: Keys, path: str) -> Iterator[str]:
    for key, value in config.items():
        row = known.get(key)
        if key.startswith(RESERVED):
            yield f'"{path}{key}" is a reserved key: the runtime sets it'
        elif row is None:
            meant = nearest(key, known)
            yield f'unknown key "{path}{key}"' + (f' (expected "{meant}"?)' if meant else "")
        elif isinstance(row, NotModelled):
            if value not in (None, "", 0, False, [], {}, *row.defaults):
                yield f'"{path}{key}" is not modelled: {row.what}'
        elif isinstance(row, Mapping):
            for each in _objects(value):
                yield from _check(each, row, f"{path}{key}.")


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a value, however deep in lists."""
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)
