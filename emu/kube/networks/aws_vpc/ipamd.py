"""ipamd on one node: it has the addresses of the node's interfaces, and gives them to containers.

A freed address cools down for 30 s before it is given again. Interfaces and addresses are asked of EC2 by the instance;
a further interface gets its own routing table, `device number + 1`. Sources: pkg/ipamd and setupENINetwork of
pkg/networkutils/network.go of amazon-vpc-cni-k8s. Must not know how many of them there are to be (`pool.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.clock import SECOND
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.cni.plugins.aws_cni import Assigned
from emu.kube.networks.aws_vpc.limits import PREFIX_SIZE
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.kube.networks.aws_vpc.pool import Filled
from emu.kube.underlay.vpc.cloud import Eni
from emu.kube.underlay.vpc.instance import Instance
from emu.wire.addr import ip4_text

COOLING_NS = 30 * SECOND
Container = tuple[str, str]


class Ipamd:
    """`assigned` has the address of each container, by its id and interface."""

    def __init__(self, net: Netns, instance: Instance, options: AwsOptions) -> None:
        self.net, self.instance, self.options = net, instance, options
        self.assigned: dict[Container, Assigned] = {}
        self._cooling: dict[int, int] = {}  # until when

    # -- what the plugin calls -------------------------------------------------------------------

    def add_network(self, container_id: str, ifname: str, wanted: int = 0) -> Assigned | None:
        """An address for a container, of the first interface that has one; None when there is none. ipamd itself takes any
        interface: its order is that of a Go map. `wanted` is the address that a container has from before ipamd knew it."""
        known = self.assigned.get((container_id, ifname))
        if known is not None:
            return known
        if wanted:
            return self._given(container_id, ifname, wanted)
        taken = {each.addr for each in self.assigned.values()} | self._hot()
        for eni in self.instance.enis:
            for addr in _addresses(eni):
                if addr not in taken:
                    found = self.assigned[container_id, ifname] = Assigned(addr, eni.number)
                    return found
        return None

    def _given(self, container_id: str, ifname: str, wanted: int) -> Assigned | None:
        """This address, of the interface that has it, else of the first one with a free slot in its subnet; None where it is
        taken."""
        if wanted in {each.addr for each in self.assigned.values()}:
            return None
        eni = next((each for each in self.instance.enis if wanted in _addresses(each)), None)
        if eni is None:
            limits = self.options.limits
            eni = next((each for each in self.instance.enis if len(each.addresses) <= limits.slots), None)
            if eni is None and len(self.instance.enis) < limits.enis:
                eni = self.instance.attach(len(self.instance.enis))
                if eni is not None:
                    self._wire(eni)
            if eni is None or not self.instance.assign_given(eni, wanted):
                return None
        found = self.assigned[container_id, ifname] = Assigned(wanted, eni.number)
        return found

    def del_network(self, container_id: str, ifname: str) -> Assigned | None:
        """Take a container's address back; None if it has none."""
        found = self.assigned.pop((container_id, ifname), None)
        if found is not None:
            self._cooling[found.addr] = self.net.clock.now + COOLING_NS
        return found

    # -- interfaces ------------------------------------------------------------------------------

    def filled(self) -> tuple[Filled, ...]:
        """The interfaces as they are."""
        busy = {each.addr for each in self.assigned.values()} | self._hot()
        return tuple(
            Filled(eni.number, self._slots(eni), sum(addr in busy for addr in _addresses(eni)))
            for eni in self.instance.enis
        )

    def fill(self, wanted: Sequence[Filled]) -> None:
        """Attach, assign and give back until the interfaces are as `wanted`, as far as the subnet has addresses."""
        numbers = {each.number for each in wanted}
        for eni in self.instance.enis:
            if eni.number not in numbers:
                self.instance.detach(eni)
        for each in wanted:
            there = next((eni for eni in self.instance.enis if eni.number == each.number), None)
            if there is None:
                there = self.instance.attach(each.number)
                if there is not None:
                    self._wire(there)
            if there is not None:
                self._fill(there, each.slots)

    def _fill(self, eni: Eni, slots: int) -> None:
        more = slots - self._slots(eni)
        if more > 0:
            (self.instance.delegate if self.options.prefix_delegation else self.instance.assign)(eni, more)
        elif more < 0:
            busy = {each.addr for each in self.assigned.values()} | self._hot()
            if self.options.prefix_delegation:
                free = [each for each in eni.prefixes if not any(addr in each for addr in busy)]
                self.instance.unassign(eni, (), free[more:])
            else:
                free_addresses = [addr for addr in eni.addresses[1:] if addr not in busy]
                self.instance.unassign(eni, free_addresses[more:], ())

    def take_over(self) -> None:
        """The interfaces that are there when ipamd starts: it sets up all but the primary one."""
        for eni in self.instance.enis[1:]:
            self._wire(eni)

    def _wire(self, eni: Eni) -> None:
        """setupENINetwork: the interface comes up, and is routed by a table of its own alone."""
        net, table, subnet = self.net, eni.number + 1, eni.subnet
        device = net.device(eni.device)
        device.set_mtu(self.options.eni_mtu)
        net.set_link(eni.device, up=True)
        for address in [each for each in net.ipv4.addresses if each.device is device]:
            net.ipv4.remove_address(address)
        boot.address(net, device, f"{ip4_text(eni.primary)}/{subnet.cidr.length}")
        router = ip4_text(subnet.router)
        boot.route(net, f"{router} dev {eni.device} scope link table {table}")
        boot.route(net, f"default via {router} dev {eni.device} table {table}")
        for route in [each for each in net.ipv4.fib.main.of(subnet.cidr) if each.device is device]:
            net.ipv4.fib.remove(route)

    def _slots(self, eni: Eni) -> int:
        return len(eni.prefixes) if self.options.prefix_delegation else len(eni.addresses) - 1

    def _hot(self) -> set[int]:
        """The addresses that still cool down."""
        now = self.net.clock.now
        self._cooling = {addr: until for addr, until in self._cooling.items() if until > now}
        return {*self._cooling}


def _addresses(eni: Eni) -> list[int]:
    """What pods can have of an interface: its secondary addresses, and those of its prefixes."""
    return [*eni.addresses[1:], *(prefix.net + host for prefix in eni.prefixes for host in range(PREFIX_SIZE))]
