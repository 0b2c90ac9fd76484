"""CNI 1.1.0's nouns: result, error, attachment, and what a plugin is (SPEC.md of containernetworking/cni).

A plugin gets its execution configuration as the JSON object that the specification describes, unknown
keys included, and the attachment: which container, which interface, on which machine. Must not know any plugin, and
not Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import msgspec

from emu.errors import EmuError, Undecided
from emu.kernel.net.netns import Netns
from emu.registry import Shelf
from emu.wire.addr import Prefix, ip4, ip4_text

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

INCOMPATIBLE_VERSION, UNSUPPORTED_FIELD, UNKNOWN_CONTAINER, INVALID_ENV, IO_FAILURE, DECODING, INVALID_CONFIG = range(
    1, 8
)
INVALID_NETNS, TRY_AGAIN, NOT_AVAILABLE, LIMITED_CONNECTIVITY, INTERNAL = 8, 11, 50, 51, 999

Config = Mapping[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_BAD_IFNAME = re.compile(r"[/:\s]")


class CniError(EmuError):
    """A CNI operation failed: `code` as the specification numbers it (999: any failure without a number), `msg`, `details`."""

    exit_status = 2

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        self.code, self.msg, self.details = code, msg, details
        super().__init__(code, msg, details)

    def to_json(self) -> dict[str, Any]:
        made: dict[str, Any] = {"code": self.code, "msg": self.msg}
        return {**made, "details": self.details} if self.details else made

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg


class NoAddressLeft(CniError):
    """The machine has no address for a container now; one that is given back makes the same ADD succeed."""


def failure(msg: str) -> CniError:
    """A plugin's failure without a number of its own."""
    return CniError(INTERNAL, msg)


class _CniType(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A piece of a result. JSON omits what is empty."""


class Interface(_CniType, frozen=True):
    """A device: `mac` as text, `mtu` in bytes (0: not given), `sandbox` the namespace's path, "" on the host."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = msgspec.field(default="", name="pciID")


class IP(_CniType, frozen=True):
    """An address with its prefix length ("10.244.1.2/24"), the gateway, and the index of its interface."""

    address: str
    gateway: str = ""
    interface: int | None = None

    @property
    def addr(self) -> int:
        return ip4(self.address.partition("/")[0])

    @property
    def prefix(self) -> Prefix:
        return Prefix.parse(self.address)


class Route(_CniType, frozen=True):
    """A route of the container. Without `gw` the gateway of the addresses is meant."""

    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None

    def __str__(self) -> str:
        """As the plugins print one in their errors."""
        prefix = Prefix.parse(self.dst)
        bits = f"{prefix.length and 0xFFFFFFFF << (32 - prefix.length) & 0xFFFFFFFF:08x}"
        table, scope = ("<nil>" if each is None else str(each) for each in (self.table, self.scope))
        return (
            f"{{Dst:{{IP:{ip4_text(prefix.net)} Mask:{bits}}} GW:{self.gw or '<nil>'} MTU:{self.mtu} "
            f"AdvMSS:{self.advmss} Priority:{self.priority} Table:{table} Scope:{scope}}}"
        )


class Dns(_CniType, frozen=True):
    """Name servers and what belongs to them."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(_CniType, frozen=True):
    """What ADD leaves behind. JSON in any version's form comes from `to_json`."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IP, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()

    def to_json(self, version: str = VERSIONS[-1]) -> dict[str, Any]:
        """The JSON object in the form of `version`; what that version has no key for is left out. Before 1.0.0 `dns` is
        there always. Raises CniError (999) where 0.1.0 and 0.2.0 have no form: without an address."""
        if VERSIONS.index(version) < VERSIONS.index("0.3.0"):
            return self._old(version)
        made: dict[str, Any] = {"cniVersion": version, **msgspec.json.decode(msgspec.json.encode(self))}
        if not made.get("dns"):
            made.pop("dns", None)
        if version == VERSIONS[-1]:
            return made
        for interface in made.get("interfaces", ()):
            for key in ("mtu", "socketPath", "pciID"):
                interface.pop(key, None)
        for route in made.get("routes", ()):
            for key in ("mtu", "advmss", "priority", "table", "scope"):
                route.pop(key, None)
        if version != "1.0.0":
            for ip in made.get("ips", ()):
                ip["version"] = "6" if _is6(ip["address"]) else "4"
            made.setdefault("dns", {})
        return made

    def _old(self, version: str) -> dict[str, Any]:
        """0.1.0 and 0.2.0: one address a family, with the routes of its family, no interfaces."""
        made: dict[str, Any] = {"cniVersion": version}
        for key, six in (("ip4", False), ("ip6", True)):
            ip = next((each for each in self.ips if _is6(each.address) is six), None)
            if ip is None:
                continue
            routes = [
                {"dst": each.dst, "gw": each.gw} if each.gw else {"dst": each.dst}
                for each in self.routes
                if _is6(each.dst) is six
            ]
            found = {"ip": ip.address, "gateway": ip.gateway, "routes": routes}
            made[key] = {name: value for name, value in found.items() if value}
        if len(made) == 1:
            raise failure("cannot convert: no valid IP addresses")
        return {**made, "dns": msgspec.json.decode(msgspec.json.encode(self.dns))}

    @classmethod
    def from_json(cls, given: Config) -> Result:
        """A result in any version's form. Raises CniError (6)."""
        old = [given[key] for key in ("ip4", "ip6") if key in given]
        if old:
            if not all(isinstance(each, Mapping) and isinstance(each.get("routes", []), list) for each in old):
                raise CniError(DECODING, "could not parse the result: ip4 and ip6 are objects")
            ips = [{"address": each.get("ip"), "gateway": each.get("gateway", "")} for each in old]
            routes = [route for each in old for route in each.get("routes", [])]
            given = {"ips": ips, "routes": routes, "dns": given.get("dns", {})}
        try:
            return msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise CniError(DECODING, f"could not parse the result: {error}") from None

    @classmethod
    def from_text(cls, text: bytes) -> Result:
        """A result that was kept, in the form of the version that it names. Raises CniError (6)."""
        try:
            given = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise CniError(DECODING, f"could not parse the result: {error}") from None
        version = given.get("cniVersion") or VERSIONS[0]
        if version not in VERSIONS:
            raise CniError(DECODING, f'unsupported CNI result version "{version}"')
        return cls.from_json(given)


def _is6(text: str) -> bool:
    """Whether an address or prefix is one of IPv6."""
    return ":" in text


class Plugin(Protocol):
    """A CNI plugin. `config` is the execution configuration (section 3 of the specification); failures are CniErrors. One that
    does not know the oldest versions names its first as `since`."""

    def add(self, config: Config, attachment: Attachment) -> Result: ...

    def check(self, config: Config, attachment: Attachment) -> None: ...

    def delete(self, config: Config, attachment: Attachment) -> None: ...


@runtime_checkable
class Leasing(Protocol):
    """A plugin that can give the addresses of an ADD before its work on the machine. It knows then which they are when the ADD comes."""

    def lease(self, config: Config, attachment: Attachment) -> Result | None:
        """The addresses, kept for the container. None: an ADD with such a configuration is run whole, or not at all. Raises CniError."""


@runtime_checkable
class Collecting(Protocol):
    """A plugin that has GC, too. There is no attachment: `config` lists those that are valid."""

    def gc(self, config: Config, host: Host) -> None: ...


@runtime_checkable
class Reporting(Protocol):
    """A plugin that has STATUS, too. CniError 50: not ready for an ADD; 51: what runs may have lost its network, too."""

    def status(self, config: Config, host: Host) -> None: ...


@runtime_checkable
class Recent(Protocol):
    """A plugin that knows the versions from `since` on."""

    since: str


def versions_of(plugin: object) -> tuple[str, ...]:
    """The versions of the specification that a plugin knows."""
    since: str | None = getattr(plugin, "since", None)  # isinstance of a protocol costs a look at each of its names
    return VERSIONS if since is None else VERSIONS[VERSIONS.index(since) :]


Plugins = Mapping[str, Callable[[], Plugin]]
plugins: Shelf[Callable[[], Plugin]] = Shelf("CNI plugin", "emu.kube.cni.plugins")


@dataclass(eq=False)
class Host:
    """The machine where plugins run: its root namespace, the plugins in CNI_PATH, and what plugins keep on its disk. `leased` are the
    containers, with their interface, that have their addresses before their ADD."""

    netns: Netns
    plugins: Plugins = field(default_factory=lambda: plugins)
    disk: dict[Any, Any] = field(default_factory=dict)
    leased: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container: CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, and the machine.

    `netns` None is an empty CNI_NETNS (the namespace is gone). `args` is text, `K=V;K2=V2`.
    """

    container_id: str
    netns: Netns | None
    ifname: str
    host: Host
    args: str = ""

    @property
    def sandbox(self) -> str:
        """The namespace's path, as CNI_NETNS gives it."""
        return f"/var/run/netns/{self.netns.name}" if self.netns is not None else ""

    def known_args(self, *known: str) -> dict[str, str]:
        """The values of `known` in CNI_ARGS. Raises CniError for others, unless IgnoreUnknown=1 is among them."""
        found: dict[str, str] = {}
        for pair in self.args.split(";") if self.args else ():
            key, equals, value = pair.partition("=")
            if not equals or "=" in value:
                raise failure(f'ARGS: invalid pair "{pair}"')
            found[key] = value
        unknown = [key for key in found if key not in known and key != "IgnoreUnknown"]
        ignore = found.get("IgnoreUnknown", "0")
        if ignore.lower() not in ("0", "1", "false", "true"):
            what = f"boolean unmarshal error: invalid input {ignore}"
            raise failure(f'ARGS: error parsing value of pair "IgnoreUnknown={ignore}": {what}')
        if unknown and ignore.lower() not in ("1", "true"):
            raise failure("ARGS: unknown args [" + " ".join(f'"{key}={found[key]}"' for key in unknown) + "]")
        return {key: found[key] for key in known if found.get(key)}


def valid_name(name: str) -> bool:
    """Whether a network or container may be called so."""
    return _NAME.fullmatch(name) is not None


def check_network_name(name: str) -> None:
    """Raises CniError (7)."""
    if not name:
        raise CniError(INVALID_CONFIG, "missing network name")
    if not valid_name(name):
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", name)


def check_container_id(container_id: str) -> None:
    """Raises CniError: 3 without one, 4 for one that may not be."""
    if not container_id:
        raise CniError(UNKNOWN_CONTAINER, "missing containerID")
    if not valid_name(container_id):
        raise CniError(INVALID_ENV, "invalid characters in containerID", container_id)


def check_ifname(name: str) -> None:
    """What the kernel takes for an interface's name (dev_valid_name). Raises CniError (4)."""
    if not name:
        raise CniError(INVALID_ENV, "interface name is empty")
    if len(name.encode("utf-8", "replace")) > 15:
        raise CniError(INVALID_ENV, "interface name is too long", "interface name should be less than 16 characters")
    if name in (".", ".."):
        raise CniError(INVALID_ENV, "interface name is . or ..")
    if _BAD_IFNAME.search(name):
        raise CniError(INVALID_ENV, "interface name contains / or : or whitespace characters")


def read(config: Config, shape: type[Any], otherwise: str = "failed to load netconf: ") -> Any:
    """The keys of `config` that `shape` (a msgspec Struct) names; others are left alone. Raises CniError (999), which
    begins with `otherwise`."""
    try:
        return msgspec.convert(config, shape)
    except msgspec.ValidationError as error:
        raise failure(f"{otherwise}{error}") from None


def unmodelled(plugin: str, key: str) -> Undecided:
    """A key whose effect is not modelled: what depends on it is undecided."""
    return Undecided(f"CNI plugin {plugin}: {key!r} is not modelled")
