"""What aws-node writes on a node once: the rule for marked packets, and the chains for SNAT and for connections' marks.

A connection from a pod to the outside of the VPC, and one that came in by the primary interface, bears 0x80, which the
packets of its pod get again in mangle PREROUTING: they are routed by the main table, out of the primary interface, even
where the pod's address is of another one. The rules, their order and text are those of pkg/networkutils/network.go of
amazon-vpc-cni-k8s, the init container's sysctl of cmd/aws-vpc-cni-init. Must not know interfaces beyond the primary one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.cni.iptables import Table
from emu.kube.networks.aws_vpc.options import AwsOptions
from emu.wire.addr import Prefix

MARK = 0x80
HOST_RULE = 1024
SNAT, CONNMARK = "AWS-SNAT-CHAIN-0", "AWS-CONNMARK-CHAIN-0"
PRIMARY = "AWS, primary ENI"
RANDOM = {"prng": ["--random-fully"], "hashrandom": ["--random"], "none": []}


class HostRule(NamedTuple):
    """A rule of iptables; `first`: it is inserted at the chain's head, others are appended."""

    table: str
    chain: str
    words: tuple[str, ...]
    first: bool = False


def rules_of(options: AwsOptions, vpc_cidrs: list[Prefix], address: str, device: str) -> list[HostRule]:
    """Pure. In the order in which aws-node writes them: of several CIDRs the last one is the first in its chain."""
    mark, outside = f"{MARK:#x}", not options.external_snat
    excluded = options.excluded() if outside else []
    found: list[HostRule] = []
    if outside:
        found.append(HostRule("nat", "POSTROUTING", (*_comment("AWS SNAT CHAIN"), "-j", SNAT)))
        for cidr in (*vpc_cidrs, *excluded):
            text = "AWS SNAT CHAIN" + (" EXCLUSION" if cidr in excluded else "")
            found.append(HostRule("nat", SNAT, ("-d", str(cidr), *_comment(text), "-j", "RETURN"), True))
        target = ("-j", "SNAT", "--to-source", address, *RANDOM[options.randomize_snat])
        local = ("-m", "addrtype", "!", "--dst-type", "LOCAL")
        found.append(HostRule("nat", SNAT, ("!", "-o", "vlan+", *_comment("AWS, SNAT"), *local, *target)))
    if options.node_port_support:
        here = ("-m", "addrtype", "--dst-type", "LOCAL", "--limit-iface-in")
        words = (*_comment(PRIMARY), "-i", device, *here, "-j", "CONNMARK", "--set-mark", f"{mark}/{mark}")
        found.append(HostRule("mangle", "PREROUTING", words))
    restore = ("-j", "CONNMARK", "--restore-mark", "--mask", mark)
    for interface, wanted in (("eni+", options.node_port_support or outside), ("vlan+", options.node_port_support)):
        if wanted:
            found.append(HostRule("mangle", "PREROUTING", (*_comment(PRIMARY), "-i", interface, *restore)))
    if outside:
        jump = ("-i", "eni+", *_comment("AWS, outbound connections"), "-j", CONNMARK)
        found.append(HostRule("nat", "PREROUTING", jump))
        for cidr in (*vpc_cidrs, *excluded):
            text = f"AWS CONNMARK CHAIN, {'EXCLUDED' if cidr in excluded else 'VPC'} CIDR"
            found.append(HostRule("nat", CONNMARK, ("-d", str(cidr), *_comment(text), "-j", "RETURN"), True))
        found.append(HostRule("nat", "PREROUTING", (*_comment("AWS, CONNMARK"), *restore)))
        words = (*_comment("AWS, CONNMARK"), "-j", "CONNMARK", "--set-xmark", f"{mark}/{mark}")
        found.append(HostRule("nat", CONNMARK, words))
    return found


def set_up(net: Netns, options: AwsOptions, vpc_cidrs: list[Prefix], address: str, device: str) -> None:
    """Write them, with the rule for marked packets, and rp_filter loose on the primary interface. Idempotent."""
    net.sysctl[f"net.ipv4.conf.{device}.rp_filter"] = 2
    if options.node_port_support or not options.external_snat:
        with suppress(InputError):  # it is there already
            boot.rule(net, f"fwmark {MARK:#x}/{MARK:#x} lookup main priority {HOST_RULE}")
    tables = {name: Table(net, name) for name in ("nat", "mangle")}
    tables["nat"].ensure(SNAT)
    tables["nat"].ensure(CONNMARK)
    for rule in rules_of(options, vpc_cidrs, address, device):
        tables[rule.table].add(rule.chain, list(rule.words), first=rule.first)
    for table in tables.values():
        table.run()


def _comment(text: str) -> tuple[str, ...]:
    return "-m", "comment", "--comment", text
