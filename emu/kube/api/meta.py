"""ObjectMeta, keys, label selectors, and the base of all kinds (meta/v1).

Objects are frozen: change one with `replace(obj, spec=...)` and give it to the store.
Attributes are snake_case; the manifest's names are camelCase with Kubernetes' capitals (clusterIP, podCIDRs).
Unknown fields are passed over and reported (`check.py`). Must not know any single kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec

Path = tuple[str | int, ...]
_CAPITALS = {"Ip": "IP", "Ips": "IPs", "Cidr": "CIDR", "Cidrs": "CIDRs", "Pid": "PID", "Ipc": "IPC", "Id": "ID"}
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

T = TypeVar("T", bound=msgspec.Struct)


def field_name(attribute: str) -> str:
    """`cluster_ips` as manifests write it: `clusterIPs`."""
    first, *rest = attribute.split("_")
    return first + "".join(_CAPITALS.get(word.title(), word.title()) for word in rest)


def replace(struct: T, **changes: Any) -> T:
    """A copy with some attributes changed (`msgspec.structs.replace`)."""
    return msgspec.structs.replace(struct, **changes)


class ApiStruct(msgspec.Struct, frozen=True, omit_defaults=True, rename=field_name):
    """Base of every part of an object."""

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is sent to another process: without what has its default. msgspec leaves out what is the default itself, not what equals
        it, and a hash of what it writes would be another one there."""
        names, defaults = self.__struct_fields__, self.__struct_defaults__
        first = len(names) - len(defaults)
        given = {
            name: value
            for number, name in enumerate(names)
            if (value := getattr(self, name))
            is not (defaults[number - first] if number >= first else msgspec.NODEFAULT)
        }
        return _received, (type(self), given)


def _received(kind: type[T], given: dict[str, Any]) -> T:
    return kind(**given)


class Problem(NamedTuple):
    """What the API server would refuse: where in the object, what, and what was expected."""

    path: Path
    what: str
    expected: str | None = None


class Key(NamedTuple):
    """Who an object is: kind in lower case, namespace ("" for cluster-scoped kinds), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        middle = f"{self.namespace}/" if self.namespace not in ("", "default") else ""
        return f"{self.kind}/{middle}{self.name}"


class OwnerReference(ApiStruct, frozen=True):
    api_version: str
    kind: str
    name: str
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(ApiStruct, frozen=True):
    """`uid` and `resource_version` are the store's. `deletion_timestamp` set means terminating."""

    name: str = ""
    namespace: str = ""
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, if any."""
        return next((o for o in self.owner_references if o.controller), None)


class LabelSelectorRequirement(ApiStruct, frozen=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """`NotIn` also holds where the label is absent, as in Kubernetes."""
        if self.operator == "In":
            return labels.get(self.key) in self.values
        if self.operator == "NotIn":
            return self.key not in labels or labels[self.key] not in self.values
        return (self.key in labels) == (self.operator == "Exists")


class LabelSelector(ApiStruct, frozen=True):
    """All requirements must hold; an empty selector matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return selects(self.match_labels, labels) and all(e.matches(labels) for e in self.match_expressions)

    @property
    def empty(self) -> bool:
        return not self.match_labels and not self.match_expressions

    def problems(self, at: Path) -> Iterator[Problem]:
        for key, value in self.match_labels.items():
            yield from _label_problems(key, (value,), (*at, "matchLabels"), (*at, "matchLabels"))
        for i, e in enumerate(self.match_expressions):
            path = (*at, "matchExpressions", i)
            if (e.operator in ("In", "NotIn")) != bool(e.values):
                rule = (
                    "Required value: must be specified when `operator` is 'In' or 'NotIn'"
                    if not e.values
                    else "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
                yield Problem((*path, "values"), rule)
            yield from _label_problems(e.key, e.values, (*path, "key"), (*path, "values"))


_LABEL_KEY = "a name of letters, digits, '-', '_' and '.', at most 63, perhaps with a DNS subdomain and '/' before it"
_LABEL_VALUE = "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at most 63"


def _label_problems(key: str, values: tuple[str, ...], at_key: Path, at_values: Path) -> Iterator[Problem]:
    """ValidateLabelName, and IsValidLabelValue (k8s.io/apimachinery/pkg/util/validation)."""
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.fullmatch(name) or len(name) > 63 or (slash and not is_subdomain(prefix)):
        yield Problem(at_key, f'"{key}" is not a label key', _LABEL_KEY)
    for value in values:
        if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
            yield Problem(at_values, f'"{value}" is not a label value', _LABEL_VALUE)


def selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` has every pair of `wanted` (a Service's selector, a nodeSelector)."""
    return wanted.items() <= labels.items()


class Object(ApiStruct, frozen=True, kw_only=True):
    """Base of every kind. `key` is its name in the store."""

    namespaced: ClassVar[bool] = True
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta

    @property
    def key(self) -> Key:
        return Key(self.kind.lower(), self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    def problems(self) -> Iterator[Problem]:
        """The values that the API server would refuse and that the types allow."""
        return iter(())

    def inherit(self: O, old: O) -> O:
        """This object as a user applies it over `old`: what the server had filled in stays. Default: the status."""
        status = getattr(self, "status", None)
        if status is None or status != type(status)():
            return self
        return replace(self, status=getattr(old, "status"))  # noqa: B009  (not every kind has one)


O = TypeVar("O", bound=Object)


class Other(Object, frozen=True, kw_only=True):
    """A kind without a type of its own (ServiceAccount, ConfigMap, Job ...): accepted and noted, see `kinds.remark`."""


def owned_by(owner: Object) -> tuple[OwnerReference, ...]:
    """The owner reference that a controller puts on what it makes for `owner`."""
    return (
        OwnerReference(
            api_version=owner.api_version,
            kind=owner.kind,
            name=owner.name,
            uid=owner.metadata.uid,
            controller=True,
            block_owner_deletion=True,
        ),
    )


def to_value(obj: Object) -> dict[str, Any]:
    """The object as a manifest's plain value (apiVersion and kind first, defaults left out)."""
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj))
    return {"apiVersion": obj.api_version, "kind": obj.kind} | value


def is_subdomain(name: str) -> bool:
    """DNS-1123 subdomain: what most object names must be."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def name_problem(kind: str, name: str) -> str | None:
    """What the API server expects of the name of an object of this kind, where the name is none; else None.

    k8s.io/apimachinery/pkg/util/validation: DNS-1035 labels for Services, DNS-1123 labels for Namespaces, subdomains
    for the others.
    """
    if kind == "Service":
        return None if is_label(name) and name[0].isalpha() else _EXPECTED_1035
    if kind == "Namespace":
        return None if is_label(name) else _EXPECTED_LABEL
    return None if is_subdomain(name) else _EXPECTED_SUBDOMAIN


_ENDS = "beginning and ending with a letter or digit"
_EXPECTED_SUBDOMAIN = f"a-z, 0-9, '-' and '.', {_ENDS}, at most 253"
_EXPECTED_LABEL = f"a-z, 0-9 and '-', {_ENDS}, at most 63"
_EXPECTED_1035 = "a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit, at most 63"


def is_label(name: str) -> bool:
    """DNS-1123 label: what Service, Namespace, container and host names must be."""
    return len(name) <= 63 and _LABEL.fullmatch(name) is not None
