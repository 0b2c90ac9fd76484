"""ipamd's pool: how many addresses and interfaces a node is to have, by what pods use and what is to be kept warm.

`plan` is pure. The rules are those of pkg/ipamd/ipamd.go of amazon-vpc-cni-k8s (isDatastorePoolTooLow, datastoreTargetState,
isDatastorePoolTooHigh): without targets in addresses an interface is filled as soon as it is there, and WARM_ENI_TARGET
interfaces' worth of addresses is kept free. Must not know addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emu.kube.networks.aws_vpc.limits import PREFIX_SIZE, Limits
from emu.kube.networks.aws_vpc.options import AwsOptions


class Filled(NamedTuple):
    """An interface: its device number, how many of its slots (addresses, or prefixes) are filled, and how many addresses
    are in use or cooling."""

    number: int
    slots: int
    used: int = 0


def plan(have: Sequence[Filled], options: AwsOptions) -> tuple[Filled, ...]:
    """The interfaces and slots that are to be there. What is used stays; an interface of which nothing is used may go, but
    the primary one. `used` is 0 in the answer."""
    limits = options.limits
    if options.warm_ip_target or options.minimum_ip_target or options.prefix_delegation:
        return _by_slots(have, options, limits)
    return _by_interfaces(have, options, limits)


def _by_interfaces(have: Sequence[Filled], options: AwsOptions, limits: Limits) -> tuple[Filled, ...]:
    """Whole interfaces."""
    size, target = limits.slots, options.warm_eni_target
    kept = list(have)
    used = sum(eni.used for eni in have)
    while _idle(kept) and size * len(kept) - used >= (target + 1) * size:
        kept.remove(_idle(kept)[-1])
    numbers = [eni.number for eni in kept]
    while len(numbers) < limits.enis:
        free = size * len(numbers) - used
        if free >= target * size and (target or free):
            break
        numbers.append(_next(numbers))
    return tuple(Filled(number, size) for number in sorted(numbers))


def _by_slots(have: Sequence[Filled], options: AwsOptions, limits: Limits) -> tuple[Filled, ...]:
    """As many slots as it takes, on the first interfaces that have room."""
    unit = PREFIX_SIZE if options.prefix_delegation else 1
    used = sum(eni.used for eni in have)
    wanted = max(used + options.warm_ip_target, options.minimum_ip_target)
    if not options.warm_ip_target and not options.minimum_ip_target:
        wanted = used + PREFIX_SIZE * options.warm_prefix_target
    slots = -(-max(wanted, used + (0 if used else 1)) // unit)
    filled = {eni.number: -(-eni.used // unit) for eni in have if eni.used or not eni.number}
    slots = max(slots, sum(filled.values()))
    for eni in have:  # what is there fills up first
        if eni.number in filled:
            more = min(limits.slots - filled[eni.number], slots - sum(filled.values()))
            filled[eni.number] += more
    while sum(filled.values()) < slots and len(filled) < limits.enis:
        filled[_next([*filled])] = min(limits.slots, slots - sum(filled.values()))
    return tuple(Filled(number, count) for number, count in sorted(filled.items()))


def _idle(enis: Sequence[Filled]) -> list[Filled]:
    return [eni for eni in enis if eni.number and not eni.used]


def _next(numbers: Sequence[int]) -> int:
    """The first free device number."""
    return next(number for number in range(len(numbers) + 1) if number not in numbers)
