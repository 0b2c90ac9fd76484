"""`rule`: change the policy rules of a node or pod, in the words of `ip rule`. Must not know how rules are walked."""

from __future__ import annotations

from msgspec import field

from emu.kernel.commands import RULE, check_rule
from emu.scenario.hosts import Commands, CommandsAction, Configures, Lines
from emu.scenario.steps import actions


class PolicyRule(Commands, frozen=True):
    """Policy rules of a node or pod, each as `ip rule` takes it (`from 10.244.1.5 lookup 100`). First those of `del` go, then
    those of `add` come."""

    gone: Lines = field(default=(), name="del")
    add: Lines = ()


@actions.add("rule")
class RuleAction(CommandsAction[PolicyRule, Configures]):
    shape = PolicyRule
    order = 114
    example = "- rule: {node: node-1, add: from 203.0.113.7 prohibit priority 100}"
    does = RULE
    checks = staticmethod(check_rule)
    what = "rule"
