"""Steps that set up a node or a pod: `iptables`, `sysctl`, `route`, `rule`, `ipset`. What they change, and what they refuse."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.scenario.record import Run
from emu.scenario.run import run
from emu.scenario.script import load_text

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: hosts}
cluster: {nodes: 2}
steps:
STEPS
---
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: app}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-2, containers: [{name: app, ports: [{containerPort: 80}]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
PING = "- ping: {from: default/client, to: default/web}"
TCP = '- tcp: {from: default/client, to: "svc/web:80", timeout: 1s}'


def ran(*steps: str) -> Run:
    return run(load_text(SCENARIO.replace("STEPS", "\n".join(steps)), "story.yaml"))


def outcomes(*steps: str) -> list[str]:
    return [each.flow.outcome.word for each in ran(*steps).flows]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('- iptables: {node: node-1, rules: "-P FORWARD DROP"}', ["dropped", "dropped"]),
        ('- iptables: {node: node-1, flush: true}', ["delivered", "rejected"]),
        ('- iptables: {node: node-1, flush: nat}', ["delivered", "rejected"]),
        ('- iptables: {node: node-1, flush: filter}', ["delivered", "delivered"]),
        ('- iptables: {node: node-1, rules: ["-A FORWARD -p icmp -j DROP"]}', ["dropped", "delivered"]),
        ("- iptables:\n    node: node-1\n    restore: |\n      *filter\n      :FORWARD DROP\n      COMMIT", ["dropped", "dropped"]),
        ('- iptables: {pod: default/web, rules: "-A INPUT -p tcp -j REJECT"}', ["delivered", "rejected"]),
        ('- iptables: {pod: web, rules: "-A INPUT -p icmp -j DROP"}', ["dropped", "delivered"]),
        ("- sysctl: {node: node-1, set: {net.ipv4.ip_forward: 0}}", ["dropped", "dropped"]),
        ("- sysctl: {pod: default/web, set: {net/ipv4/icmp_echo_ignore_all: 1}}", ["dropped", "delivered"]),
        ("- route: {node: node-1, add: prohibit 10.244.2.0/24}", ["rejected", "rejected"]),
        ("- route: {node: node-1, del: default}", ["rejected", "rejected"]),
        ("- route: {pod: default/client, del: [default]}", ["error", "error"]),
        ("- route: {pod: default/client, replace: default via 10.244.1.1 dev eth0}", ["delivered", "delivered"]),
        ("- rule: {node: node-1, add: from 10.244.1.0/24 ipproto icmp prohibit}", ["rejected", "delivered"]),
        ("- rule: {node: node-1, del: lookup main}", ["dropped", "dropped"]),
        ("- route: {external: underlay, del: 10.244.2.0/24}", ["rejected", "rejected"]),
        ("- link: {node: node-1, set: eth0 down}", ["rejected", "rejected"]),
        ("- link: {node: node-1, set: [eth0 down, eth0 up]}", ["rejected", "rejected"]),
        ("- link: {pod: default/client, set: eth0 mtu 1400}", ["delivered", "delivered"]),
        ("- link: {node: node-1, del: cbr0}", ["timeout", "timeout"]),
    ],
)  # fmt: skip
def test_what_becomes_of_flows(change: str, expected: list[str]) -> None:
    assert outcomes(PING, TCP, change, PING, TCP) == ["delivered", "delivered", *expected]


def test_a_set_decides() -> None:
    rule = '- iptables: {node: node-1, rules: "-I FORWARD -m set --match-set bad dst -j DROP"}'
    create = "- ipset: {node: node-1, restore: [create bad hash:net, add bad 10.244.2.0/24]}"
    out = "- ipset: {node: node-1, restore: |\n    # the net goes\n    del bad 10.244.2.0/24\n  }".replace(
        ", restore: |", "}"
    )
    out = "- ipset:\n    node: node-1\n    restore: |\n      # the net goes\n      del bad 10.244.2.0/24\n"
    assert outcomes(create, rule, PING, out, PING) == ["dropped", "delivered"]


def test_kube_proxy_writes_what_was_flushed_at_its_next_check() -> None:
    """Its canary chains are gone, and it looks for them each syncPeriod."""
    flush = "- iptables: {node: node-1, flush: true}"
    assert outcomes(flush, TCP, "- wait: 31s", TCP) == ["rejected", "delivered"]


def test_kube_proxy_does_not_see_rules_that_go_while_its_chains_stay() -> None:
    """`iptables -F` alone leaves the canary chains."""
    empty = '- iptables: {node: node-1, rules: ["-F", "-t nat -F"]}'
    assert outcomes(empty, TCP, "- wait: 31s", TCP) == ["rejected", "rejected"]


def test_the_sentence_of_a_step() -> None:
    done = ran(
        '- iptables: {node: node-1, flush: [nat, filter], rules: ["-P FORWARD DROP", "-N X"]}',
        "- sysctl: {node: node-1, set: {net.ipv4.ip_forward: 0}}",
        "- route: {node: node-1, del: default, add: [blackhole 10.9.0.0/16, blackhole 10.8.0.0/16]}",
        "- rule: {node: node-2, add: from 10.1.1.1 prohibit}",
        "- ipset: {pod: default/web, restore: create a hash:ip}",
    )
    assert [each.change for each in done.steps] == [
        "iptables of node-1: flushed nat, filter, 2 commands",
        "sysctl of node-1: net.ipv4.ip_forward = 0",
        "route of node-1: del default, add blackhole 10.9.0.0/16 and 1 more",
        "rule of node-2: add from 10.1.1.1 prohibit",
        "ipset of default/web: create a hash:ip",
    ]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("iptables: {rules: -F}", "story.yaml:6: steps[0].iptables: iptables belongs to one host (expected node: NAME, pod: NS/NAME or external: NAME)"),
        ("iptables: {node: a, pod: b, rules: -F}", "steps[0].iptables: iptables belongs to one host"),
        ("iptables: {node: 'node-*', rules: -F}", 'story.yaml:6: steps[0].iptables.node: "node-*" is not one node (expected the name of a node)'),
        ("iptables: {node: node-1}", "steps[0].iptables: no rule is changed (expected flush, restore or rules)"),
        ("iptables: {node: node-1, flush: natt}", 'steps[0].iptables.flush: unknown table "natt" (expected mangle, '),
        ("iptables: {node: node-1, flush: true, noflush: true}", "steps[0].iptables.noflush: noflush without restore"),
        ("iptables: {node: node-1, rules: [-F, -A FORWARD -p icmp -j DROP, -A FORWARD --dport x]}", "story.yaml:6: steps[0].iptables.rules[2]: "),
        ("iptables: {node: node-1, rules: -L}", "steps[0].iptables.rules: '-L' is no command of iptables (expected [-t TABLE] -A, "),
        ("iptables: {node: node-1, rules: -t nat -A}", "steps[0].iptables.rules: -A of which chain?"),
        ("iptables: {node: node-1, rules: -t nut -F}", "steps[0].iptables.rules: unknown table 'nut'"),
        ("iptables: {node: node-1, rules: -A FORWARD -j NOWHERE}", "story.yaml:6: steps[0].iptables.rules: no chain or target is called 'NOWHERE'"),
        ("iptables:\n    node: node-1\n    rules: |\n      -F\n      -A X -j DROP", "story.yaml:8: steps[0].iptables.rules: line 2 of the text: no chain 'X'"),
        ("iptables:\n    node: node-1\n    restore: |\n      *filter\n      -A FORWARD -j\n      COMMIT", "story.yaml:8: steps[0].iptables.restore: line 2 of the text: "),
        ("sysctl: {node: node-1}", "steps[0].sysctl: no variable is set"),
        ("sysctl: {node: node-1, set: {net.ipv4.ip_forwardd: 1}}", "story.yaml:6: steps[0].sysctl.set[\"net.ipv4.ip_forwardd\"]: no sysctl is called 'net.ipv4.ip_forwardd' (expected 'net.ipv4.ip_forward'?)"),
        ("sysctl: {node: node-1, set: {net.ipv4.conf.eth9.rp_filter: 1}}", "steps[0].sysctl.set[\"net.ipv4.conf.eth9.rp_filter\"]: sysctl 'net.ipv4.conf.eth9.rp_filter' names no device"),
        ("route: {node: node-1}", "steps[0].route: no route is changed (expected add, replace or del)"),
        ("route: {node: node-1, add: 10.0.0.0/8}", "story.yaml:6: steps[0].route.add: route '10.0.0.0/8' has no way out"),
        ("route: {node: node-1, add: [blackhole 10.9.0.0/16, default via 9.9.9.9 metric 9]}", "story.yaml:6: steps[0].route.add[1]: route 'default via 9.9.9.9 metric 9': the gateway is not on a link"),
        ("route: {node: node-1, add: 10.0.0.0/8 dev eth7}", "steps[0].route.add: "),
        ("route: {node: node-1, del: 10.77.0.0/16}", "steps[0].route.del: route '10.77.0.0/16': No such process (expected one of default via"),
        ("route: {node: node-1, del: 10.244.1.0/24 metric 5}", "steps[0].route.del: route '10.244.1.0/24 metric 5': No such process"),
        ("route: {external: nas, add: blackhole 10.0.0.0/8}", "story.yaml:6: steps[0].route.external: no external host is called 'nas'"),
        ("route: {external: 'a*', add: blackhole 10.0.0.0/8}", "story.yaml:6: steps[0].route.external: "),
        ("link: {set: eth0 down}", "steps[0].link: link belongs to one host"),
        ("link: {node: node-1}", "steps[0].link: the link is not changed (expected down, delay, loss, lose, mtu, add, set or del)"),
        ("link: {node: node-1, set: eth0}", "story.yaml:6: steps[0].link.set: link 'eth0': nothing is set"),
        ("link: {node: node-1, set: [eth0 down, eth0 sideways]}", "story.yaml:6: steps[0].link.set[1]: link 'eth0 sideways': cannot read 'sideways'"),
        ("link: {node: node-1, set: eth0 mtu x}", "steps[0].link.set: link 'eth0 mtu x': 'x' is no MTU"),
        ("link: {node: node-1, set: eth0 mtu 20}", "steps[0].link.set: link 'eth0 mtu 20': invalid argument (expected an MTU of 68 to 65535)"),
        ("link: {node: node-1, set: 'eth0 address 01:00:00:00:00:01'}", "cannot assign requested address"),
        ("link: {node: node-1, set: eth0 promisc maybe}", "promisc 'maybe' (expected on or off)"),
        ("link: {node: node-1, set: eth9 down}", "story.yaml:6: steps[0].link.set: node-1 has no device 'eth9'"),
        ("link: {node: node-1, del: eth9}", "steps[0].link.del: node-1 has no device 'eth9'"),
        ("link: {node: node-1, del: lo}", "steps[0].link.del: link 'lo': operation not supported"),
        ("link: {node: node-1, del: a b}", "story.yaml:6: steps[0].link.del: ip link del of 'a b'"),
        ("link: {node: node-9, set: eth0 down}", "story.yaml:6: steps[0].link"),
        ("rule: {node: node-1}", "steps[0].rule: no rule is changed"),
        ("rule: {node: node-1, add: from}", "story.yaml:6: steps[0].rule.add: rule 'from': from of what?"),
        ("rule: {node: node-1, del: priority 7}", "story.yaml:6: steps[0].rule.del: rule 'priority 7': No such file or directory (expected one of 0: from all"),
        ("rule: {node: node-1, del: not}", "steps[0].rule.del: rule 'not' is empty"),
        ("ipset: {node: node-1}", "steps[0].ipset: no set is changed"),
        ("ipset: {node: node-1, restore: [create a hash:ip, list]}", "story.yaml:6: steps[0].ipset.restore[1]: 'list' is no command of ipset"),
        ("ipset: {node: node-1, restore: [create a hash:nets]}", "story.yaml:6: steps[0].ipset.restore[0]: set type 'hash:nets' is not modelled"),
        ("ipset: {node: node-1, restore: add a 1.1.1.1}", "steps[0].ipset.restore: set 'a': The set with the given name does not exist"),
        ("ipset: {node: node-1, restore: [create a hash:ip, create a hash:ip]}", "steps[0].ipset.restore[1]: set 'a': Set cannot be created"),
        ("sysctl: {node: node-9, set: {net.ipv4.ip_forward: 1}}", "story.yaml:6: steps[0].sysctl.node: "),
        ("sysctl: {pod: default/wob, set: {net.ipv4.ip_forward: 1}}", "story.yaml:6: steps[0].sysctl.pod: "),
    ],
)  # fmt: skip
def test_what_is_refused(step: str, message: str) -> None:
    with pytest.raises(InputError) as wrong:
        ran(f"- {step}")
    assert message in str(wrong.value)
    assert str(wrong.value).startswith("story.yaml:")


def test_a_set_in_use_is_not_destroyed() -> None:
    rule = '- iptables: {node: node-1, rules: "-I FORWARD -m set --match-set bad dst -j DROP"}'
    create = "- ipset: {node: node-1, restore: [create bad hash:net, create all list:set, add all bad]}"
    for steps in ([create, rule], [create]):
        with pytest.raises(InputError, match="Set cannot be destroyed: it is in use by a kernel component"):
            ran(*steps, "- ipset: {node: node-1, restore: destroy bad}")
    ran(create, "- ipset: {node: node-1, restore: destroy}")


def test_a_pod_tracks_connections_only_if_its_rules_ask() -> None:
    plain = ran('- iptables: {pod: default/web, rules: "-A INPUT -p icmp -j DROP"}').cluster
    assert plain.pod("default/web").net.conntrack is None
    asking = ran('- iptables: {pod: default/web, rules: "-A INPUT -m conntrack --ctstate INVALID -j DROP"}').cluster
    assert asking.pod("default/web").net.conntrack is not None
