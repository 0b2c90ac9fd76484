"""The options of `aws-vpc`: the type of instance, and aws-node's environment variables under their own names.

Source: README.md of amazon-vpc-cni-k8s. Must not know what ipamd does with them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from emu.errors import InputError
from emu.kube.networks.aws_vpc.limits import HOST_PODS, Limits, limits_of
from emu.kube.networks.network import Options, network_options
from emu.wire.addr import Prefix

Count = Annotated[int, Meta(ge=0, le=1000)]
EXCLUDED = "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"


@network_options.add("aws-vpc")
class AwsOptions(Options, frozen=True):
    """`instanceType` decides how many interfaces and addresses a node can have. `maxPods` is kubelet's, which the scheduler
    honours: a number, or with `instance` what the type of instance can have; None: it counts no pods. WARM_IP_TARGET and MINIMUM_IP_TARGET, where
    one of them is set (0: it is not), take the place of WARM_ENI_TARGET. `enableNetworkPolicy` is the add-on's key, off by default:
    the network policy agent runs, in the mode NETWORK_POLICY_ENFORCING_MODE; every `conntrackCacheCleanupPeriod` seconds it looks at its
    table of connections."""

    instance_type: str = "m5.large"
    max_pods: Annotated[int, Meta(ge=1)] | Literal["instance"] | None = None
    external_snat: bool = field(default=False, name="AWS_VPC_K8S_CNI_EXTERNALSNAT")
    randomize_snat: Literal["prng", "hashrandom", "none"] = field(default="prng", name="AWS_VPC_K8S_CNI_RANDOMIZESNAT")
    exclude_snat_cidrs: str = field(default="", name=EXCLUDED)
    node_port_support: bool = field(default=True, name="AWS_VPC_CNI_NODE_PORT_SUPPORT")
    eni_mtu: Annotated[int, Meta(ge=576, le=9001)] = field(default=9001, name="AWS_VPC_ENI_MTU")
    warm_eni_target: Count = field(default=1, name="WARM_ENI_TARGET")
    warm_ip_target: Count = field(default=0, name="WARM_IP_TARGET")
    minimum_ip_target: Count = field(default=0, name="MINIMUM_IP_TARGET")
    warm_prefix_target: Count = field(default=1, name="WARM_PREFIX_TARGET")
    prefix_delegation: bool = field(default=False, name="ENABLE_PREFIX_DELEGATION")
    enable_network_policy: bool = field(default=False, name="enableNetworkPolicy")
    enforcing_mode: Literal["standard", "strict"] = field(default="standard", name="NETWORK_POLICY_ENFORCING_MODE")
    conntrack_cleanup_s: Annotated[int, Meta(ge=1, le=86400)] = field(default=300, name="conntrackCacheCleanupPeriod")
    max_eni: Annotated[int, Meta(ge=1, le=15)] | None = field(default=None, name="MAX_ENI")

    def check(self, pod_subnet: Prefix) -> None:
        try:
            limits_of(self.instance_type)
        except InputError as error:
            raise InputError(error.what, path="instanceType", expected=error.expected) from None
        try:
            self.excluded()
        except InputError as error:
            raise InputError(error.what, path=EXCLUDED, expected="CIDRs with commas between them") from None

    @property
    def limits(self) -> Limits:
        """What the instance can have, or less, by MAX_ENI."""
        limits = limits_of(self.instance_type)
        return limits if self.max_eni is None else Limits(min(self.max_eni, limits.enis), limits.ips)

    @property
    def allocatable_pods(self) -> int | None:
        """How many pods the scheduler may send here. The two of the node's own network that every node of EKS runs are no
        objects here."""
        if self.max_pods != "instance":
            return self.max_pods
        return self.limits.max_pods(prefixes=self.prefix_delegation) - HOST_PODS

    def excluded(self) -> list[Prefix]:
        """Raises InputError."""
        return [Prefix.parse(each.strip()) for each in self.exclude_snat_cidrs.split(",") if each.strip()]
