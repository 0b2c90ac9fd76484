"""The sysctls of one network namespace, by the table of `sysctl_table.py` and the kernel's own rules for reading it.

Values are what `sysctl -n` prints: an int, a tuple of ints, or a string. Must not know devices: they are
names here (net/ipv4/devinet.c, net/core/neighbour.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache

from emu.errors import InputError
from emu.kernel.sysctl_table import AND, FORWARDING, MAX, OR, REDIRECTS, SWITCH, TABLE, Sysctl, Value
from emu.modelled import Fate, NotModelled

Listener = Callable[[str], None]

BY_NAME: dict[str, Sysctl] = {row.name: row for row in TABLE}
# What begins otherwise than `default`: devinet's ipv4_devconf and addrconf's ipv6_devconf, and lo (inetdev_event, ipv6_add_dev)
_OTHER: dict[str, Value] = {
    "net.ipv4.conf.all.accept_source_route": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv4.conf.lo.disable_policy": 1,
    "net.ipv4.conf.lo.disable_xfrm": 1,
    "net.ipv6.conf.lo.accept_dad": -1,
}
_ALIASES = {"net.nf_conntrack_max": "net.netfilter.nf_conntrack_max"}
_CHOICES = {"net.ipv4.tcp_congestion_control": ("reno",)}
_PORTS = re.compile(r"(\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*)?")
_SCOPED = re.compile(r"(net\.ipv[46]\.(?:conf|neigh))\.(.+)\.([^.]+)")


def _row(name: str) -> Sysctl:
    """The row of a concrete name. Raises InputError."""
    row = BY_NAME.get(name)
    if row is not None and "*" not in name:
        return row
    names: list[str] = [*BY_NAME, *_ALIASES]
    found = _SCOPED.fullmatch(name)
    if found is not None:
        tree, word, variable = found.groups()
        row = BY_NAME.get(f"{tree}.*.{variable}")
        if row is not None and not (word == "all" and tree.endswith("neigh")):
            return row
        names = [row.name.replace("*", word) for row in TABLE if row.name.startswith(f"{tree}.*.")]
    near = get_close_matches(name, names, n=1)
    raise InputError(f"no sysctl is called {name!r}", expected=f"{near[0]!r}?" if near else None)


def row_of(name: str) -> Sysctl:
    """The table's row of a variable, by its name at any device. Raises InputError."""
    return _row(_canonical(name))


def report(name: str, value: Value) -> str:
    """What there is to report about a variable that is set to `value`: that it is not modelled; "" where that is not so, or
    where it is the default. Raises InputError for a wrong name or value."""
    name = _canonical(name)
    row = _row(name)
    if not isinstance(row.treatment, NotModelled) or _read(row, name, value) == _default(name, row):
        return ""
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"{name} = {shown} is not modelled: {row.treatment.what}"


def fate_of(name: str) -> Fate | None:
    """The flows whose outcome depends on a variable that is not modelled. Raises InputError."""
    treatment = row_of(name).treatment
    return treatment.fate if isinstance(treatment, NotModelled) else None


def _default(name: str, row: Sysctl) -> Value:
    return _DEFAULTS.get(name, _OTHER.get(name, row.default))


def _canonical(name: str) -> str:
    # a dot inside a device name stays one: no table name needs the other reading of sysctl(8)
    name = name.removeprefix("/proc/sys/").replace("/", ".")
    return _ALIASES.get(name, name)


def _read(row: Sysctl, name: str, value: Value) -> Value:
    """`value` (text as written to /proc, or typed) as the row's type. Raises InputError."""
    choices = _CHOICES.get(name)
    if isinstance(row.default, str):
        text = str(value).strip()
        if choices is not None and text not in choices:
            raise InputError(f"{name} cannot be {text!r}", expected=" or ".join(choices))
        if row.unit == "ports" and not _PORTS.fullmatch(text):
            raise InputError(f"{name} cannot be {text!r}", expected="ports and ranges of ports: 8080,30000-32767")
        return text
    words = value.split() if isinstance(value, str) else value if isinstance(value, tuple) else (value,)
    count = len(row.default) if isinstance(row.default, tuple) else 1
    low, high = row.limits
    expected = f"{count} numbers" if count > 1 else "a number"
    expected += f" of {low} to {high} ({row.unit})"
    try:
        numbers = tuple(int(str(word), 0) for word in words)
    except ValueError:
        raise InputError(f"{name} cannot be {value!r}", expected=expected) from None
    if len(numbers) != count or not all(low <= number <= high for number in numbers):
        raise InputError(f"{name} cannot be {value!r}", expected=expected)
    if name == "net.ipv4.ip_local_port_range" and numbers[0] > numbers[1]:
        raise InputError(f"{name} cannot be {value!r}", expected="the lower port first")
    if row.rule == SWITCH:
        numbers = (int(numbers[0] != 0),)
    return numbers if count > 1 else numbers[0]


def _defaults() -> Iterator[tuple[str, Value]]:
    for name, row in BY_NAME.items():
        if "*" not in name:
            yield name, row.default
            continue
        for word in ("default",) if ".neigh." in name else ("all", "default"):
            concrete = name.replace("*", word)
            yield concrete, _OTHER.get(concrete, row.default)


_DEFAULTS = dict(_defaults())
# proc_unres_qlen: the older name of a limit, in packets of SKB_TRUESIZE(ETH_FRAME_LEN)
_PACKETS, _PACKET_BYTES = ".unres_qlen", 2090
# names in their one spelling, whose values are read as they stand
_PLAIN = frozenset(name for name in _DEFAULTS if name not in _ALIASES and not name.endswith(_PACKETS))
_DEVICE_ROWS = tuple(row for row in TABLE if "*" in row.name)
_OF_DEFAULT = {row.name.replace("*", "default"): at for at, row in enumerate(_DEVICE_ROWS)}
NONE: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def _one(names: frozenset[str]) -> frozenset[str]:
    """One object for equal ones: namespaces are many, and much alike."""
    return names


class Sysctls:
    """The variables of one namespace, by name: `s["net.ipv4.ip_forward"]`; `/` as separator is understood.

    Writing takes what `sysctl -w` takes (text, a number, a tuple of numbers). Every wrong name or value
    is an InputError. Device-scoped names need a device that `add_device` made known, or `all`/`default`.
    Only what differs from the table is stored: namespaces are many.
    """

    def __init__(self, initial: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = {}
        self._own: dict[str, frozenset[str]] = {}  # device -> names that no longer follow `default`
        self._settled = NONE  # devices that follow it in nothing
        self._listeners: list[Listener] = []
        for name, value in (initial or {}).items():
            self[name] = value

    def __getitem__(self, name: str) -> Value:
        if name in _PLAIN:
            return self._values.get(name, _DEFAULTS[name])
        name = _canonical(name)
        if name.endswith(_PACKETS):
            self._known(name)
            return self.number(f"{name}_bytes") // _PACKET_BYTES
        value = self._values.get(name)
        if value is None:
            value = _DEFAULTS.get(name)
        return _default(name, self._known(name)) if value is None else value

    def __setitem__(self, name: str, value: Value) -> None:
        name = _canonical(name)
        row = self._known(name)
        value = _read(row, name, value)
        if name.endswith(_PACKETS):
            assert isinstance(value, int)
            self[f"{name}_bytes"] = value * _PACKET_BYTES
            self._notify([name])
            return
        if row.rule == FORWARDING or name == "net.ipv4.conf.all.forwarding":
            assert isinstance(value, int)
            self._forward(value)
            return
        changed = [name]
        self._values[name] = value
        device = self._device(row, name)
        if device is not None:
            self._own[device] = _one(self._own[device] | {name})
        elif name == row.name.replace("*", "default") != row.name and not name.endswith(".forwarding"):
            # devinet_copy_dflt_conf and neigh_copy_dflt_parms: to devices that never had a value of their own
            for device, own in self._own.items():
                concrete = row.name.replace("*", device)
                if device not in self._settled and concrete not in own:
                    self._values[concrete] = value
                    changed.append(concrete)
        self._notify(changed)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self._known(_canonical(name)))
        except InputError:
            return False

    def __iter__(self) -> Iterator[str]:
        names = set(_DEFAULTS).union(row.name.replace("*", device) for row in _DEVICE_ROWS for device in self._own)
        return iter(sorted(names))

    def number(self, name: str) -> int:
        """The value of a variable that is one int; InputError if it is not."""
        value = self[name]
        if not isinstance(value, int):
            raise InputError(f"{name} is not one number")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        """The value of a variable that is several ints (tcp_rmem); a single int gives a tuple of one."""
        value = self[name]
        if isinstance(value, str):
            raise InputError(f"{name} is not a number")
        return value if isinstance(value, tuple) else (value,)

    def conf(self, device: str, variable: str) -> int:
        """The effective `net.ipv4.conf` value at a device, with `all` as the kernel combines it for this variable."""
        if not self._values and device in self._own:
            return _untouched(device, variable)
        return self._conf(device, variable)

    def _conf(self, device: str, variable: str) -> int:
        row = BY_NAME[f"net.ipv4.conf.*.{variable}"]
        own, every = self._number(device, variable, row), self._number("all", variable, row)
        rule = row.rule
        if rule == MAX:
            return max(own, every)
        if rule == REDIRECTS:
            rule = AND if self[f"net.ipv4.conf.{device}.forwarding"] else OR
        if rule == OR:
            return int(bool(own or every))
        if rule == AND:
            return int(bool(own and every))
        return own

    def _number(self, device: str, variable: str, row: Sysctl) -> int:
        """`number` of a name that needs no reading: each device of each namespace is asked for several."""
        name = f"net.ipv4.conf.{device}.{variable}"
        value = self._values.get(name)
        if value is None:
            if name not in _DEFAULTS and device not in self._own:
                return self.number(name)  # raises InputError
            value = _default(name, row)
        return value if isinstance(value, int) else self.number(name)

    def neigh(self, device: str, variable: str) -> int:
        """A `net.ipv4.neigh` value of a device, in the table's unit (mind `cs`)."""
        return self.number(f"net.ipv4.neigh.{device}.{variable}")

    def neigh_ns(self, device: str, variable: str) -> int:
        """A time of `net.ipv4.neigh` in nanoseconds, whatever its unit."""
        scale = {"s": 1_000_000_000, "cs": 10_000_000, "ms": 1_000_000}
        return self.neigh(device, variable) * scale[BY_NAME[f"net.ipv4.neigh.*.{variable}"].unit]

    def add_device(self, device: str) -> None:
        """A new device: it copies `default`."""
        if device in self._own:
            return
        self._own[device] = NONE
        values = self._values
        for name in sorted(values.keys() & _OF_DEFAULT, key=_OF_DEFAULT.__getitem__):
            values[_DEVICE_ROWS[_OF_DEFAULT[name]].name.replace("*", device)] = values[name]

    def settle_device(self, device: str) -> None:
        """The device got its first address: from now on it ignores writes to `default` (ipv4_devconf_setall)."""
        if device in self._own:
            self._settled = _one(self._settled | {device})

    def remove_device(self, device: str) -> None:
        self._settled -= {device}
        if self._own.pop(device, None) is not None:
            for row in _DEVICE_ROWS:
                self._values.pop(row.name.replace("*", device), None)

    def rename_device(self, old: str, new: str) -> None:
        """A device bears another name: its variables are the same."""
        self._own[new] = self._own.pop(old, NONE)
        if old in self._settled:
            self._settled = self._settled - {old} | {new}
        for row in _DEVICE_ROWS:
            value = self._values.pop(row.name.replace("*", old), None)
            if value is not None:
                self._values[row.name.replace("*", new)] = value

    def not_modelled(self) -> Iterator[tuple[str, Value, NotModelled]]:
        """What is set away from its default and is not modelled: name, value, and what would differ."""
        for name, value in self._values.items():
            row = _row(name)
            if isinstance(row.treatment, NotModelled) and value != _default(name, row):
                yield name, value, row.treatment

    def written(self) -> Iterator[tuple[str, Value]]:
        """What was written, or changed along with that: name and value, which may be the default again."""
        yield from self._values.items()

    def on_change(self, listener: Listener) -> None:
        """Call `listener(name)` after each write, with the concrete name; also for names that changed along."""
        self._listeners.append(listener)

    def _forward(self, value: int) -> None:
        """inet_forward_change: `all`, `default` and every device at once, and redirects are no longer accepted."""
        if self["net.ipv4.ip_forward"] == value:
            return
        changed = {"net.ipv4.ip_forward": value, "net.ipv4.conf.all.accept_redirects": int(not value)}
        for word in ("all", "default", *self._own):
            changed[f"net.ipv4.conf.{word}.forwarding"] = value
        self._values.update(changed)
        self._notify(list(changed))

    def _notify(self, names: list[str]) -> None:
        for listener in self._listeners:
            for name in names:
                listener(name)

    def _device(self, row: Sysctl, name: str) -> str | None:
        """The device in a concrete name, if that device is here."""
        if "*" not in row.name:
            return None
        head, _, tail = row.name.partition("*")
        word = name[len(head) : -len(tail)]
        return word if word in self._own else None

    def _known(self, name: str) -> Sysctl:
        """The row of a concrete name. Raises InputError, also for a device that is not here."""
        row = _row(name)
        if name not in _DEFAULTS and self._device(row, name) is None:
            known = ", ".join(["all", "default", *sorted(self._own)])
            raise InputError(f"sysctl {name!r} names no device of this namespace", expected=known)
        return row


@lru_cache(maxsize=1024)
def _untouched(device: str, variable: str) -> int:
    """`Sysctls.conf` where nothing was written: most pods."""
    untouched = Sysctls()
    untouched.add_device(device)
    return untouched._conf(device, variable)
