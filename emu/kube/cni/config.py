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
EXTENSIONS = "a .conflist, .conf or .json file"
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

    def to_json(self) -> dict[str, Any]:
        """The list as a `.conflist` has it."""
        made: dict[str, Any] = {"cniVersion": self.version, "name": self.name}
        switches = {"disableCheck": self.disable_check, "disableGC": self.disable_gc}
        made |= {key: True for key, value in switches.items() if value}
        return {**made, "plugins": [dict(each) for each in self.plugins]}

    @classmethod
    def parse(cls, text: str, file: str | None = None) -> NetworkConfigList:
        """From a .conflist's text, or from that of a single plugin (.conf), which makes a list of one."""
        try:
            return cls.from_json(_json(text))
        except InputError as error:
            raise error.at(file=file) from None

    @classmethod
    def load(cls, path: Path, words: Mapping[str, str | tuple[str, ...]] | None = None) -> NetworkConfigList:
        """From a file; `words` are its template's. The `*.conf` files in the folder of the network's name, beside the
        file, are plugins of the list, too, after those in it, unless `loadOnlyInlinedPlugins` is true."""
        try:
            text = read_text(path)
        except InputError as error:
            what = f"cannot read the network configuration: {error.what}"
            raise InputError(what, file=error.file, expected=error.expected) from None
        try:
            return cls.from_json(_json(expand(text, words or {})), path.parent)
        except InputError as error:
            raise error.at(file=str(path)) from None

    @classmethod
    def find(cls, folder: Path, name: str = "") -> NetworkConfigList:
        """One network out of a folder such as /etc/cni/net.d. With `name`, libcni's choice: the first `.conflist` of
        that name, else the first `.conf` or `.json`. Without, containerd's: the first file of all. Files are in the order
        of their names. Raises InputError."""
        single = (".conf", ".json")
        if not name:
            found = _files(folder, (".conflist", *single))
            if not found:
                raise InputError("the folder has no network configuration", file=str(folder), expected=EXTENSIONS)
            return cls.load(found[0])
        names = []
        for path in (*_files(folder, (".conflist",)), *_files(folder, single)):
            network = cls.load(path)
            if network.name == name:
                return network
            names.append(network.name)
        known = ", ".join(names) or EXTENSIONS
        raise InputError(f"no network configuration has the name {name!r}", file=str(folder), expected=known)

    @classmethod
    def from_json(cls, given: Any, folder: Path | None = None) -> NetworkConfigList:
        """From a list's object, or a single plugin's; `folder` holds the list's file. Raises InputError."""
        if not isinstance(given, dict):
            raise InputError("the network configuration is not an object", expected="a JSON object")
        if "plugins" not in given and "type" in given:
            folder = None  # a single plugin's file has no folder of more
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
        only_inlined = _flag(given, "loadOnlyInlinedPlugins")
        if only_inlined and plugins is None:
            raise InputError("only inlined plugins are to be loaded, and there are none", path="plugins")
        more = _beside(folder / name) if folder is not None and not only_inlined else []
        if plugins is None and more:
            plugins = []
        elif not isinstance(plugins, list) or not plugins:
            raise InputError("the network has no plugins", path="plugins", expected="a list of at least one plugin")
        for number, plugin in enumerate(plugins):
            _check_plugin(plugin, f"plugins[{number}]")
        unknown = tuple(key for key in given if key not in LIST_KEYS)
        return cls(name, _version(given), (*plugins, *more), disable_check, disable_gc, unknown)


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


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", line=error.lineno) from None


def _files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of the extensions, in the order of their names; none where there is no folder."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in extensions and not path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(folder)) from None


def _beside(folder: Path) -> list[Config]:
    """The plugins that a network's own folder holds, a file each."""
    found = []
    for path in _files(folder, (".conf",)):
        try:
            plugin = _json(read_text(path))
            _check_plugin(plugin, "")
        except InputError as error:
            raise error.at(file=str(path)) from None
        found.append(plugin)
    return found


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
        raise InputError(f"the plugin's type is {kind!r}", path=f"{path}.type".lstrip("."), expected="a plugin's name")
    capabilities = plugin.get("capabilities", {})
    if not isinstance(capabilities, dict) or not all(isinstance(each, bool) for each in capabilities.values()):
        raise InputError(
            "capabilities are not switches",
            path=f"{path}.capabilities".lstrip("."),
            expected="an object of true and false",
        )
    ipam = plugin.get("ipam", {})
    if not isinstance(ipam, dict) or not isinstance(ipam.get("type", ""), str):
        raise InputError("ipam has no readable type", path=f"{path}.ipam".lstrip("."), expected="an object with `type`")
