"""Which rules of network policies a run used, and which it never did. Must not know packets."""

from __future__ import annotations

from emu.kube.policy.follow import Live
from emu.kube.policy.used import Used
from emu.report import Report, columns, run_views
from emu.scenario.record import Run


@run_views.add("policy-coverage")
def of_run(run: Run) -> Report:
    """Which rules of network policies the run's flows used, and which they never did."""
    return policy_coverage(run.cluster.policies)


def policy_coverage(policies: Live) -> Report:
    """A row for each rule, with the flows whose first packet it decided; `none allows`: the flows that the policy forbids, since it isolates
    their pod and no rule of it allows them."""
    if not policies.enforced:
        return Report([], "nothing enforces network policies in this cluster")
    policies.usage.know(policies.index.policies)
    rows = [{"policy": str(each.policy), "rule": _place(each), "flows": each.flows} for each in policies.usage.rows()]
    if not rows:
        return Report([], "there is no network policy")
    rules = [each for each in rows if not str(each["rule"]).endswith("none allows")]
    never = [f"{each['policy']} {each['rule']}" for each in rules if not each["flows"]]
    table = columns(("POLICY", "RULE", "FLOWS"), rows, ("policy", "rule", "flows"))
    end = f"{len(rules) - len(never)} of {len(rules)} rules were used"
    return Report(rows, "\n".join([table, "", end, *(f"never used: {each}" for each in never)]))


def _place(used: Used) -> str:
    return f"{used.way}[{used.rule.number}]" if used.rule is not None else f"{used.way}: none allows"
