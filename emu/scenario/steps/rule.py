"""`rule`: change the policy rules of a node or pod, in the words of `ip rule`. Must not know how rules are walked."""

from __future__ import annotations

from functools import partial

from msgspec import field

from emu.errors import InputError
from emu.kernel.commands import RULE, check_rule
from emu.kernel.net.netns import Netns
from emu.scenario.hosts import Configures, Host, HostAction, Lines, each_line, shown
from emu.scenario.steps import Place, actions


class PolicyRule(Host, frozen=True):
    """Policy rules of a node or pod, each as `ip rule` takes it (`from 10.244.1.5 lookup 100`). First those of `del` go, then
    those of `add` come."""

    gone: Lines = field(default=(), name="del")
    add: Lines = ()

    @property
    def verbs(self) -> list[tuple[str, str | tuple[str, ...]]]:
        """The commands by verb, in their order."""
        return [("del", self.gone), ("add", self.add)]


@actions.add("rule")
class RuleAction(HostAction[PolicyRule, Configures]):
    shape = PolicyRule
    order = 114
    example = "- rule: {node: node-1, add: from 203.0.113.7 prohibit priority 100}"

    def check_change(self, part: PolicyRule, place: Place) -> None:
        if not any(value for _, value in part.verbs):
            raise InputError("no rule is changed", expected="add or del")
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(check_rule, verb))

    def change(self, part: PolicyRule, net: Netns, place: Place) -> None:
        for verb, value in part.verbs:
            each_line(value, place, verb, partial(RULE[verb], net))

    def words(self, part: PolicyRule) -> str:
        return ", ".join(f"{verb} {shown(value)}" for verb, value in part.verbs if value)
