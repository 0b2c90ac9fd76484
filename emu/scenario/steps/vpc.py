"""`vpc`: change the VPC between the nodes: interfaces, security groups, network ACLs, route tables. Must not know frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Protocol, TypeVar

from msgspec import Meta

from emu.errors import InputError
from emu.kube.underlay.underlay import Underlay
from emu.kube.underlay.vpc.cloud import INTERNET, LOCAL, Eni, RouteTable, Subnet
from emu.kube.underlay.vpc.network_acl import NetworkAcl, parse_acl_rule
from emu.kube.underlay.vpc.security_group import SecurityGroup, parse_group_rule
from emu.kube.underlay.vpc.vpc import NAT_ID, Vpc
from emu.scenario.kinds import Part
from emu.scenario.steps import Action, Doing, Place, actions
from emu.wire.addr import Prefix

T = TypeVar("T")
GroupRules = Annotated[tuple[str, ...], Meta(description="PROTOCOL [PORTS] CIDR, or PROTOCOL [PORTS] group NAME")]
AclRules = Annotated[tuple[str, ...], Meta(description="NUMBER allow|deny PROTOCOL [PORTS] CIDR")]


class AclPart(Part, frozen=True):
    """The rules of a network ACL, by their numbers; what is left out denies everything."""

    ingress: AclRules = ()
    egress: AclRules = ()


class VpcPart(Part, frozen=True):
    """A change of `interface` (a glob of NODE/DEVICE), of a `securityGroup` (made if it is not there), or of a `subnet` (a
    glob), which gets a network ACL or a route table of its own. A route's target is igw, nat-gateway or an interface."""

    interface: str = ""
    source_dest_check: bool | None = None
    security_groups: tuple[str, ...] | None = None
    security_group: str = ""
    ingress: GroupRules | None = None
    egress: GroupRules | None = None
    subnet: str = ""
    network_acl: AclPart | None = None
    routes: dict[str, str] | None = None

    @property
    def on(self) -> list[str]:
        return [name for name in ("interface", "securityGroup", "subnet") if getattr(self, _FIELDS[name])]


_FIELDS = {"interface": "interface", "securityGroup": "security_group", "subnet": "subnet"}
# what may be changed of each
_KEYS = {
    "interface": {"sourceDestCheck": "source_dest_check", "securityGroups": "security_groups"},
    "securityGroup": {"ingress": "ingress", "egress": "egress"},
    "subnet": {"networkAcl": "network_acl", "routes": "routes"},
}


class Reshapes(Protocol):
    """The verb of the cluster that this action uses."""

    def reshape(self, change: Callable[[Underlay], None]) -> None: ...


@actions.add("vpc")
class VpcAction(Action[VpcPart, Reshapes]):
    shape = VpcPart
    underlay = "vpc"
    order = 118
    example = "- vpc: {interface: node-1/eth0, sourceDestCheck: false}"

    def check(self, part: VpcPart, place: Place) -> None:
        if len(part.on) != 1:
            raise InputError("vpc changes one thing", expected="interface, securityGroup or subnet")
        mine = _KEYS[part.on[0]]
        given = [key for keys in _KEYS.values() for key, name in keys.items() if getattr(part, name) is not None]
        wrong = next((key for key in given if key not in mine), None)
        if wrong is not None or not given:
            what = f"{part.on[0]} has no {wrong}" if wrong is not None else f"{part.on[0]} is not changed"
            raise InputError(what, expected=" or ".join(mine))
        for key, rules in (("ingress", part.ingress), ("egress", part.egress)):
            with place.at(key):
                _parsed(parse_group_rule, rules or ())
        if part.network_acl is not None:
            with place.at("networkAcl"):
                _parsed(parse_acl_rule, (*part.network_acl.ingress, *part.network_acl.egress))
        for destination in part.routes or ():
            with place.at("routes", destination):
                Prefix.parse(destination, strict=True)

    def run(self, part: VpcPart, doing: Doing[Reshapes]) -> None:
        with doing.place.at(part.on[0]):
            doing.cluster.reshape(partial(_change, part))
        mine = _KEYS[part.on[0]]
        changed = [
            f"{key} {_shown(getattr(part, name))}" for key, name in mine.items() if getattr(part, name) is not None
        ]
        doing.done.change = f"vpc: {getattr(part, _FIELDS[part.on[0]])}: {', '.join(changed)}"


def _change(part: VpcPart, underlay: Underlay) -> None:
    if not isinstance(underlay, Vpc):
        raise InputError("the underlay is no VPC", expected="cluster: {underlay: vpc}")
    if part.interface:
        for eni in _enis(underlay, part.interface):
            _interface(part, underlay, eni)
    elif part.security_group:
        group = underlay.cloud.groups.setdefault(part.security_group, SecurityGroup(part.security_group))
        group.ingress = _parsed(parse_group_rule, part.ingress) if part.ingress is not None else group.ingress
        group.egress = _parsed(parse_group_rule, part.egress) if part.egress is not None else group.egress
    else:
        for subnet in _matching(part.subnet, underlay.cloud.subnets.values(), lambda each: each.id, "subnet"):
            _subnet(part, underlay, subnet)


def _interface(part: VpcPart, vpc: Vpc, eni: Eni) -> None:
    if part.source_dest_check is not None:
        eni.source_dest_check = part.source_dest_check
    if part.security_groups is not None:
        known = vpc.cloud.groups
        for name in part.security_groups:
            if name not in known:
                raise InputError(f"there is no security group {name!r}", expected=", ".join(known))
        eni.groups = [known[name] for name in part.security_groups]


def _subnet(part: VpcPart, vpc: Vpc, subnet: Subnet) -> None:
    if part.network_acl is not None:
        rules = (_parsed(parse_acl_rule, each) for each in (part.network_acl.ingress, part.network_acl.egress))
        subnet.acl = vpc.cloud.acls[f"acl-{subnet.id}"] = NetworkAcl(f"acl-{subnet.id}", *rules)
    if part.routes is not None:
        table = vpc.cloud.tables[f"rtb-{subnet.id}"] = RouteTable(f"rtb-{subnet.id}")
        for cidr in vpc.cloud.cidrs:
            table.put(cidr, LOCAL)
        for destination, target in part.routes.items():
            if target not in (INTERNET, NAT_ID):
                target = _enis(vpc, target)[0].id
            table.put(Prefix.parse(destination, strict=True), target)
        subnet.table = table


def _enis(vpc: Vpc, wanted: str) -> list[Eni]:
    return _matching(wanted, vpc.cloud.enis.values(), lambda eni: f"{eni.instance}/{eni.device}", "interface")


def _matching(wanted: str, things: Iterable[T], name: Callable[[T], str], what: str) -> list[T]:
    things = [*things]
    found = [each for each in things if fnmatchcase(name(each), wanted)]
    if not found:
        raise InputError(f"the VPC has no {what} {wanted!r}", expected=", ".join(map(name, things)))
    return found


def _parsed(parse: Callable[[str], T], rules: Iterable[str]) -> list[T]:
    return [parse(rule) for rule in rules]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, AclPart):
        return f"in {_shown(value.ingress)}; out {_shown(value.egress)}"
    if isinstance(value, dict):
        return ", ".join(f"{key} -> {each}" for key, each in value.items())
    return "; ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
