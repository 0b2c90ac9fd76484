"""Network configuration lists (`.conflist`) and the template words in them. Raises InputError with file and path.

Unknown keys stay in the plugin's object: a plugin gets all of its configuration. Must not know what a
plugin does with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emu.errors import InputError
from emu.kube.api.documents import read_text
from emu.kube.cni.spec import VERSIONS, Config, valid_name

_RANGE = re.compile(
    r"\{\{\s*range \$(\w+), \$(\w+) := \.(\w+)\s*\}\}\s*(?:\{\{\s*if \$\1\s*\}\}(.*?)\{\{\s*end\s*\}\})?(.*?)\{\{\s*end\s*\}\}",
    re.S,
)
LIST_KEYS = (
    "cniVersion", "cniVersions", "name", "plugins", "disableCheck", "disableGC", "loadOnlyInlinedPlugins"
)  # fmt: skip
"""The keys of a configuration list itself (section 1 of the specification)."""
_WORD = re.compile(r"\{\{(.*?)\}\}", re.S)


@dataclass(frozen=True)
class NetworkConfigList:
    """A network: its plugins' objects in order. `version` is the one that is used of those named."""

    name: str
    version: str
    plugins: tuple[Config, ...]
    disable_check: bool = False
    disable_gc: bool = False
    unknown: tuple[str, ...] = ()  # the list's keys that the specification does not have

    @classmethod
    def parse(cls, text: str, file: str | None = None) -> NetworkConfigList:
        """From a .conflist's text, or from that of a single plugin (.conf), which makes a list of one."""
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"not JSON: {error.msg}", file=file, line=error.lineno) from None
        try:
            return cls.from_json(given)
        except InputError as error:
            raise error.at(file=file) from None

    @classmethod
    def load(cls, path: Path, words: Mapping[str, str | tuple[str, ...]] | None = None) -> NetworkConfigList:
        """From a file; `words` are its template's."""
        try:
            text = read_text(path)
        except InputError as error:
            what = f"cannot read the network configuration: {error.what}"
            raise InputError(what, file=error.file, expected=error.expected) from None
        try:
            return cls.parse(expand(text, words or {}), str(path))
        except InputError as error:
            raise error.at(file=str(path)) from None

    @classmethod
    def from_json(cls, given: Any) -> NetworkConfigList:
        if not isinstance(given, dict):
            raise InputError("the network configuration is not an object", expected="a JSON object")
        if "plugins" not in given and "type" in given:
            keys = ("cniVersion", "cniVersions", "name")
            given = {**{key: given[key] for key in keys if key in given}, "plugins": [given]}
        name = _text(given, "name")
        if not name:
            raise InputError("the network has no name", path="name", expected="a name")
        if not valid_name(name):
            raise InputError(
                f"{name!r} is not a network's name", path="name", expected="letters, digits, `_`, `.`, `-`"
            )
        disable_check, disable_gc = _flag(given, "disableCheck"), _flag(given, "disableGC")
        plugins = given.get("plugins")
        # the second place for plugins is a folder of the machine's disk, which emulated machines do not have
        if _flag(given, "loadOnlyInlinedPlugins") and plugins is None:
            raise InputError("only inlined plugins are to be loaded, and there are none", path="plugins")
        if not isinstance(plugins, list) or not plugins:
            raise InputError("the network has no plugins", path="plugins", expected="a list of at least one plugin")
        for number, plugin in enumerate(plugins):
            _check_plugin(plugin, f"plugins[{number}]")
        unknown = tuple(key for key in given if key not in LIST_KEYS)
        return cls(name, _version(given), tuple(plugins), disable_check, disable_gc, unknown)


def expand(text: str, words: Mapping[str, str | tuple[str, ...]]) -> str:
    """Fill in a configuration's template as containerd's `conf_template` writes one: `{{.PodCIDR}}`, and
    `{{range $i, $each := .PodCIDRRanges}}{{if $i}}, {{end}}...{{$each}}...{{end}}`. Raises InputError."""

    def value(name: str, at: int) -> str | tuple[str, ...]:
        if name not in words:
            known = ", ".join(f"{{{{.{each}}}}}" for each in words)
            raise InputError(
                f"the template has no word {name!r}", line=text.count("\n", 0, at) + 1, expected=known or "no template"
            )
        return words[name]

    def loop(found: re.Match[str]) -> str:
        _, each, name, between, body = found.groups()
        items = value(name, found.start())
        variable = re.compile(r"\{\{\s*\$" + each + r"\s*\}\}")
        parts = [variable.sub(item, body) for item in ((items,) if isinstance(items, str) else items)]
        return (between or "").join(parts)

    def word(found: re.Match[str]) -> str:
        name = found[1].strip()
        got = value(name.removeprefix("."), found.start()) if name.startswith(".") else None
        if not isinstance(got, str):
            raise InputError(f"cannot read {found[0]!r} in the template", line=text.count("\n", 0, found.start()) + 1)
        return got

    return _WORD.sub(word, _RANGE.sub(loop, text))


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{key} is {value!r}", path=key, expected="text")
    return value


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InputError(f"{key} is {value!r}", path=key, expected="true or false")
    return value


def _version(given: Mapping[str, Any]) -> str:
    """The highest version in the configuration that emu supports; `cniVersion` alone is used unchanged, without it 0.1.0."""
    alone = _text(given, "cniVersion")
    several = given.get("cniVersions")
    if several is None:
        if alone and alone not in VERSIONS:
            raise InputError(f"CNI version {alone!r} is unknown", path="cniVersion", expected=", ".join(VERSIONS))
        return alone or VERSIONS[0]
    if not isinstance(several, list) or not all(isinstance(each, str) for each in several):
        raise InputError(f"cniVersions is {several!r}", path="cniVersions", expected="a list of versions")
    named = [each for each in VERSIONS if each == alone or each in several]
    if not named:
        raise InputError("none of the CNI versions is known", path="cniVersions", expected=", ".join(VERSIONS))
    return named[-1]


def _check_plugin(plugin: Any, path: str) -> None:
    if not isinstance(plugin, dict):
        raise InputError(f"a plugin is {plugin!r}", path=path, expected="an object")
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind or "\\" in kind:
        raise InputError(f"the plugin's type is {kind!r}", path=f"{path}.type", expected="a plugin's name")
    capabilities = plugin.get("capabilities", {})
    if not isinstance(capabilities, dict) or not all(isinstance(each, bool) for each in capabilities.values()):
        raise InputError(
            "capabilities are not switches", path=f"{path}.capabilities", expected="an object of true and false"
        )
    ipam = plugin.get("ipam", {})
    if not isinstance(ipam, dict) or not isinstance(ipam.get("type", ""), str):
        raise InputError("ipam has no readable type", path=f"{path}.ipam", expected="an object with `type`")
