"""`firewall`: the machine forwards a container's packets (plugins/meta/firewall, v1.9, iptables backend).

It stands behind the plugin that gives the addresses. With `ingressPolicy` a bridge is closed to other bridges
(`same-bridge`), and to its own containers, too (`isolated`); that stays for ever, as others may use the bridge. IPv6, the
firewalld and the nftables backends are not modelled. Must not know pods.
"""

from __future__ import annotations

import msgspec

from emu.errors import InputError
from emu.kube.cni.iptables import Table, comment
from emu.kube.cni.keys import Keys
from emu.kube.cni.leaves import Leaves
from emu.kube.cni.spec import Attachment, Config, Result, failure, plugins, read, unmodelled
from emu.modelled import NotModelled, WithoutEffect, used

FORWARD, ADMIN, STAGE_1, STAGE_2 = "CNI-FORWARD", "CNI-ADMIN", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"
_JUMP = [*comment("CNI firewall plugin rules"), "-j", FORWARD]
_CLOSED = "same-bridge|isolated"
_UNMODELLED = ("firewalld", "nftables")


class FirewallConf(msgspec.Struct, rename="camel"):
    """The plugin's keys, under their own names. `iptablesAdminChainName` is the chain whose rules come first."""

    backend: str = ""
    iptables_admin_chain_name: str = ""
    ingress_policy: str = ""

    @property
    def admin(self) -> str:
        return self.iptables_admin_chain_name or ADMIN

    @property
    def admin_jump(self) -> list[str]:
        return [*comment("CNI firewall plugin admin overrides"), "-j", self.admin]


def rules_of(result: Result) -> list[list[str]]:
    """What CNI-FORWARD has for a container: answers to it, and all that it sends."""
    rules = []
    for ip in result.ips:
        if ":" not in ip.address:
            address = f"{ip.address.partition('/')[0]}/32"
            rules += [
                ["-d", address, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
                ["-s", address, "-j", "ACCEPT"],
            ]
    return rules


@plugins.add("firewall")
class FirewallPlugin:
    """Rules in the filter table that accept what a container sends and the answers to it. The previous result is handed on."""

    since = "0.4.0"
    keys: Keys = {
        **dict.fromkeys(
            (field.encode_name for field in msgspec.structs.fields(FirewallConf)), used("kube/cni/plugins/firewall")
        ),
        "backend": NotModelled("the backends firewalld and nftables", defaults=("iptables",)),
        "firewalldZone": WithoutEffect("it concerns the backend firewalld"),
    }

    def leaves(self, config: Config) -> Leaves:
        return {
            r"iptables filter (:|-A )CNI-(FORWARD|ADMIN|ISOLATION-STAGE-[12])( .*)?": "the chains for all containers stay",
            r"iptables filter -A FORWARD .*-j CNI-(FORWARD|ISOLATION-STAGE-1)": "and the jumps to them",
        }

    def add(self, config: Config, attachment: Attachment) -> Result:
        conf, result = _load(config)
        if result is None:
            raise failure("missing prevResult from earlier plugin")
        table = Table(attachment.host.netns, "filter")
        rules = rules_of(result)
        if rules:
            try:
                table.ensure(FORWARD)
                table.ensure(conf.admin)
                table.add("FORWARD", _JUMP, first=True)
                table.add(FORWARD, conf.admin_jump, first=True)
                for rule in rules:
                    table.add(FORWARD, rule)
                table.run()
            except InputError as error:
                raise failure(f"running iptables: {error.what}") from None
        _close(conf, result, table)
        return result

    def check(self, config: Config, attachment: Attachment) -> None:
        """The policy is not looked at. Chains that are missing are made, as by the real one."""
        conf, result = _load(config)
        if result is None:
            raise failure("missing prevResult from earlier plugin")
        rules = rules_of(result)
        if not rules:
            return
        table = Table(attachment.host.netns, "filter")
        try:
            table.ensure(FORWARD)
            table.ensure(conf.admin)
            table.run()
        except InputError as error:
            raise failure(f"running iptables: {error.what}") from None
        for chain, rule in (("FORWARD", _JUMP), (FORWARD, conf.admin_jump)):
            if not table.has(chain, rule):
                raise failure(f"expected {chain} rule [{' '.join(rule)}] not found")
        for rule in rules:
            if not table.has(FORWARD, rule):
                raise failure(f"expected rule [{' '.join(rule)}] not found")

    def delete(self, config: Config, attachment: Attachment) -> None:
        """The container's rules go; without a previous result they are not known, and stay."""
        conf, result = _load(config)
        if result is not None:
            table = Table(attachment.host.netns, "filter")
            if FORWARD in table:
                for rule in rules_of(result):
                    table.delete(FORWARD, rule)
                table.run()
        _known(conf)


def _close(conf: FirewallConf, result: Result, table: Table) -> None:
    """setupIngressPolicy: the first interface of the result counts as the bridge, whatever it is."""
    _known(conf)
    if conf.ingress_policy in ("", "open"):
        return
    if not result.interfaces:
        what = f'interface needs to be set for ingress policy "{conf.ingress_policy}", '
        raise failure(what + 'make sure to chain "firewall" plugin with "bridge"')
    bridge = result.interfaces[0].name
    if not bridge:
        raise failure("got empty bridge name")
    if any(":" not in ip.address for ip in result.ips):
        _isolate(table, bridge, conf.ingress_policy)


def _isolate(table: Table, bridge: str, policy: str) -> None:
    """Two stages: what leaves one closed bridge may not enter another one."""
    always, here = (comment(f"CNI firewall plugin rules (ingressPolicy: {each})") for each in (_CLOSED, policy))
    table.ensure(STAGE_1)
    table.ensure(STAGE_2)
    try:
        table.add("FORWARD", ["-j", STAGE_1, *always], first=True)
        table.add(STAGE_1, ["-i", bridge, "!", "-o", bridge, "-j", STAGE_2, *here], first=True)
        if policy == "isolated":
            table.add(STAGE_1, ["-i", bridge, "-o", bridge, "-j", "DROP", *here], first=True)
        table.add(STAGE_1, ["-j", "RETURN", *always])
        table.add(STAGE_2, ["-o", bridge, "-j", "DROP", *always], first=True)
        table.add(STAGE_2, ["-j", "RETURN", *always])
        table.run()
    except InputError as error:
        raise failure(f"running iptables: {error.what}") from None


def _known(conf: FirewallConf) -> None:
    if conf.ingress_policy not in ("", "open", "same-bridge", "isolated"):
        raise failure(f'unknown ingress policy: "{conf.ingress_policy}"')


def _load(config: Config) -> tuple[FirewallConf, Result | None]:
    """The plugin's keys and the previous result. Raises CniError, or Undecided for a backend that is not modelled."""
    conf: FirewallConf = read(config, FirewallConf)
    if conf.backend in _UNMODELLED:
        raise unmodelled("firewall", f"backend: {conf.backend}")
    previous = config.get("prevResult")
    return conf, Result.from_json(previous) if previous else None
