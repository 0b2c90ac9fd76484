"""How a VPC carries a frame: ARP is answered for every address, and a packet reaches the interface that has its destination.

The fabric is no host: it lowers no TTL, and sends no ICMP error. On its way a packet meets, in this order, the
source/destination check and the security groups of the interface that sends it, the network ACL of its subnet, the route
table, the ACL of the other subnet, and the groups and the check of the interface that receives it. `arrive` decides by the
port's name alone, so that the same fabric can stand between cables of another kind. Sources: Amazon VPC User Guide
("Route tables", "Internet gateways", "Network ACLs", "Security groups"), EC2 User Guide ("Source/destination checking").
Must not know devices or namespaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emu.kube.underlay.vpc import igw
from emu.kube.underlay.vpc.cloud import INTERNET, LOCAL, Cloud, Eni, Subnet, VpcRoute
from emu.kube.underlay.vpc.security_group import Tracked, key_of, untracked
from emu.trail import Carried, Note
from emu.wire import arp, templates
from emu.wire.addr import ip4_kind, ip4_text
from emu.wire.frame import AF_INET, ETH_P_ARP, Frame
from emu.wire.rewrite import set_dmac, set_smac

IGW_PORT = "igw"  # the port to the public internet
CHECK, GROUP, ACL = "SOURCE_DEST_CHECK", "SECURITY_GROUP", "NETWORK_ACL"
NO_ROUTE, NO_INTERFACE, NO_PUBLIC, NO_GROUPS = "NO_VPC_ROUTE", "NO_INTERFACE", "NO_PUBLIC_ADDRESS", "NO_MULTICAST"


class Sent(NamedTuple):
    """The frame leaves by a port. `born`: the fabric made it, an answer to what came in."""

    port: str
    frame: Frame
    born: bool = False


class Lost(NamedTuple):
    """The frame ends, for a reason; `by` is what decided, in words."""

    reason: str
    by: str


Carry = Sent | Lost | None


class Fabric:
    """One VPC's forwarding. Only the security groups' connections are remembered here. `internet` and `gateway` are the MACs
    at both ends of the port to the internet."""

    def __init__(self, cloud: Cloud, now: Callable[[], int], internet: bytes, gateway: bytes) -> None:
        self.cloud, self._now = cloud, now
        self.internet, self.gateway = internet, gateway
        self._tracked = Tracked()

    def arrive(self, port: str, frame: Frame) -> Carry:
        """What becomes of a frame that comes in at a port; None: nothing, it is done with."""
        eni = self.cloud.enis.get(port)
        if frame.ethertype == ETH_P_ARP:
            return self._answer(port, eni, frame)
        if frame.family != AF_INET or frame.dmac[0] & 1 or ip4_kind(frame.dst):
            return Lost(NO_GROUPS, "a VPC carries unicast IP packets only")
        return self._from_internet(frame) if eni is None else self._from(eni, frame)

    # -- ARP ------------------------------------------------------------------------------------

    def _answer(self, port: str, eni: Eni | None, frame: Frame) -> Carry:
        """The MAC of an interface of the same subnet, for every other address the router's. What an interface has itself is
        not answered for, so that an announcement or a probe of its own has no answer."""
        packet = arp.parse(frame)
        if packet is None or packet.op != arp.REQUEST or packet.spa == packet.tpa:
            return None
        mac = self.gateway
        if eni is not None:
            if eni.owns(packet.tpa):
                return None
            peer = self.cloud.owner(packet.tpa)
            mac = peer.mac if peer is not None and peer.subnet is eni.subnet else eni.router
        trail = None if frame.trail is None else [Note(f"the VPC answers ARP for every address: {_whose(mac, eni)}")]
        template = templates.ARP_REPLY
        return Sent(
            port, arp.build(template, packet.sha, mac, packet.tpa, packet.sha, packet.spa, frame.flow, trail), True
        )

    # -- packets --------------------------------------------------------------------------------

    def _from(self, eni: Eni, frame: Frame) -> Carry:
        if eni.source_dest_check and not eni.owns(frame.src):
            return _checked(eni, f"it does not have the source {ip4_text(frame.src)}")
        lost = self._group_denies(eni, frame, sent=True)
        if lost is not None:
            return lost
        peer = self.cloud.owner(frame.dst)
        if peer is None:  # what no interface has reaches a neighbour by its MAC, as on a LAN
            peer = self.cloud.at_mac(eni.subnet, frame.dmac)
        if peer is not None and peer.subnet is eni.subnet:  # inside a subnet no route is asked
            return self._to(peer, frame, eni.mac, f"{eni.id} to {peer.id}", f"inside {eni.subnet.id}")
        route = eni.subnet.table.find(frame.dst)
        found = self._routed(eni, frame, route)
        if isinstance(found, Lost):
            return found
        return self._across(eni, found, frame, route.text() if route is not None else "")

    def _routed(self, eni: Eni, frame: Frame, route: VpcRoute | None) -> Eni | Lost | None:
        """The interface that a route names; None is the internet gateway."""
        if route is None:
            return Lost(NO_ROUTE, f"{eni.subnet.table.id} has no route to {ip4_text(frame.dst)}")
        if route.target == INTERNET:
            return None
        peer = self.cloud.owner(frame.dst) if route.target == LOCAL else self.cloud.eni(route.target)
        if peer is None:
            return Lost(NO_INTERFACE, f"no interface has {ip4_text(frame.dst)} ({route.text()})")
        return peer

    def _across(self, eni: Eni, peer: Eni | None, frame: Frame, way: str) -> Carry:
        """Past the ACLs, where the packet leaves its subnet, and to the interface, or out to the internet."""
        lost = None
        if peer is None or peer.subnet is not eni.subnet:
            lost = _acl_denies(eni.subnet, frame, frame.dst, entering=False)
            if lost is None and peer is not None:
                lost = _acl_denies(peer.subnet, frame, frame.src, entering=True)
        if lost is not None:
            return lost
        if peer is None:
            return self._to_internet(eni, frame, way)
        return self._to(peer, frame, peer.router, f"{eni.id} to {peer.id}", way)

    def _to(self, peer: Eni, frame: Frame, smac: bytes, between: str, way: str) -> Carry:
        lost = self._group_denies(peer, frame, sent=False)
        if lost is not None:
            return lost
        if peer.source_dest_check and not peer.owns(frame.dst):
            return _checked(peer, f"it does not have the destination {ip4_text(frame.dst)}")
        set_smac(frame, smac)
        set_dmac(frame, peer.mac)
        if frame.trail is not None:
            frame.trail.append(Carried("the VPC", between, way))
        return Sent(peer.port, frame)

    # -- the internet ---------------------------------------------------------------------------

    def _to_internet(self, eni: Eni, frame: Frame, way: str) -> Carry:
        public = self.cloud.public.get(frame.src)
        if public is None:
            return Lost(NO_PUBLIC, f"the internet gateway knows no public address of {ip4_text(frame.src)}")
        before = frame.src
        igw.leave(frame, public)
        set_smac(frame, self.gateway)
        set_dmac(frame, self.internet)
        if frame.trail is not None:
            frame.trail.append(Carried("the internet gateway", eni.id, way, "source", before, public))
        return Sent(IGW_PORT, frame)

    def _from_internet(self, frame: Frame) -> Carry:
        public, private = frame.dst, self.cloud.private.get(frame.dst)
        peer = self.cloud.owner(private) if private is not None else None
        if private is None or peer is None:
            return Lost(NO_PUBLIC, f"the internet gateway knows no private address of {ip4_text(public)}")
        lost = _acl_denies(peer.subnet, frame, frame.src, entering=True)
        if lost is not None:
            return lost
        igw.enter(frame, private)
        if frame.trail is not None:
            frame.trail.append(Carried("the internet gateway", peer.id, "1:1", "destination", public, private))
        return self._to(peer, frame, peer.router, f"the internet gateway to {peer.id}", "1:1")

    # -- security groups ------------------------------------------------------------------------

    def _group_denies(self, eni: Eni, frame: Frame, *, sent: bool) -> Lost | None:
        groups = eni.groups
        if groups is None or untracked(groups):
            return None
        key, now = key_of(eni.id, frame, sent=sent), self._now()
        if key is not None and self._tracked.answers(key, now):
            return None
        addr = frame.dst if sent else frame.src
        peer = self.cloud.owner(addr)
        theirs = {group.name for group in (peer.groups or ())} if peer is not None else set()
        rules = [rule for group in groups for rule in (group.egress if sent else group.ingress)]
        if any(rule.holds(frame, addr, theirs) for rule in rules):
            if key is not None:
                self._tracked.remember(key, now)
            return None
        names = ", ".join(group.name for group in groups) or "none"
        way = "outbound" if sent else "inbound"
        return Lost(GROUP, f"no {way} rule of the security group {names} of {eni.id} allows it")


def _whose(mac: bytes, eni: Eni | None) -> str:
    if eni is None:
        return "the MAC is the internet gateway's"
    return "the MAC is the router's" if mac == eni.router else "the MAC is that of the interface that has it"


def _checked(eni: Eni, why: str) -> Lost:
    return Lost(CHECK, f"source/destination check of {eni.id}: {why}")


def _acl_denies(subnet: Subnet, frame: Frame, addr: int, *, entering: bool) -> Lost | None:
    why = subnet.acl.denies(frame, addr, entering=entering)
    if not why:
        return None
    return Lost(ACL, f"{'inbound' if entering else 'outbound'} {why} of {subnet.acl.id} of {subnet.id}")
