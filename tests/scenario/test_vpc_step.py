"""The step `vpc`: what it changes, and what it refuses, with the place of the key."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kube.underlay.vpc.vpc import Vpc
from emu.scenario.run import Run, run
from emu.scenario.script import load_text

HEAD = "apiVersion: emu/v1\nkind: Scenario\ncluster: {nodes: 2, underlay: UNDERLAY}\nsteps:\n"


def ran(*steps: str, underlay: str = "vpc") -> Run:
    text = HEAD.replace("UNDERLAY", underlay) + "\n".join(f"- {step}" for step in steps)
    return run(load_text(text, "story.yaml"))


def vpc(done: Run) -> Vpc:
    assert isinstance(done.cluster.underlay, Vpc)
    return done.cluster.underlay


def test_interfaces_are_chosen_by_a_glob() -> None:
    done = ran('vpc: {interface: "node-*/eth0", sourceDestCheck: false}')
    checks = {eni.id: eni.source_dest_check for eni in vpc(done).cloud.enis.values()}
    assert checks == {"nat-gateway": False, "eni-node-1-eth0": False, "eni-node-2-eth0": False}
    assert done.steps[0].change == "vpc: node-*/eth0: sourceDestCheck off"


def test_a_group_is_made_and_joined() -> None:
    done = ran(
        "vpc: {securityGroup: web, ingress: [tcp 80 0.0.0.0/0]}",
        "vpc: {interface: node-1/eth0, securityGroups: [web, nodes]}",
    )
    cloud = vpc(done).cloud
    assert [str(rule) for rule in cloud.groups["web"].ingress] == ["tcp 80 0.0.0.0/0"]
    assert [str(rule) for rule in cloud.groups["web"].egress] == ["all 0.0.0.0/0"]
    assert [group.name for group in cloud.enis["port1"].groups or ()] == ["web", "nodes"]


def test_a_subnet_gets_a_table_and_an_acl_of_its_own() -> None:
    done = ran(
        "vpc: {subnet: subnet-a, routes: {0.0.0.0/0: nat-gateway, 10.50.0.0/16: node-2/eth0}}",
        "vpc: {subnet: subnet-a, networkAcl: {ingress: [100 allow all 0.0.0.0/0]}}",
    )
    one, two = vpc(done).cloud.subnets.values()
    assert {str(prefix): route.target for prefix, route in one.table.routes.items()} == {
        "10.0.0.0/16": "local",
        "0.0.0.0/0": "nat-gateway",
        "10.50.0.0/16": "eni-node-2-eth0",
    }
    assert (one.table.id, two.table.id, one.acl.id, two.acl.id) == ("rtb-subnet-a", "main", "acl-subnet-a", "default")
    assert one.acl.egress == []


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ("vpc: {sourceDestCheck: false}", "vpc changes one thing"),
        ("vpc: {interface: node-1/eth0, subnet: subnet-a, sourceDestCheck: false}", "vpc changes one thing"),
        ("vpc: {interface: node-1/eth0}", "interface is not changed"),
        ("vpc: {interface: node-1/eth0, ingress: [all 0.0.0.0/0]}", "interface has no ingress"),
        ("vpc: {subnet: subnet-a, sourceDestCheck: false}", "subnet has no sourceDestCheck"),
        ("vpc: {securityGroup: web, ingress: [tcp]}", "'tcp' is no rule of a security group"),
        ("vpc: {subnet: subnet-a, networkAcl: {ingress: [allow all]}}", "'allow all' is no rule of a network ACL"),
        ("vpc: {subnet: subnet-a, routes: {10.0.0.1/8: igw}}", "host bits"),
        ("vpc: {interface: node-9/eth0, sourceDestCheck: false}", "no interface 'node-9/eth0'"),
        ("vpc: {subnet: subnet-c, routes: {}}", "no subnet 'subnet-c'"),
        ("vpc: {interface: node-1/eth0, securityGroups: [nowhere]}", "no security group 'nowhere'"),
    ],
)
def test_what_it_refuses(step: str, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        ran(step)
    assert what in str(wrong.value)
    assert str(wrong.value).startswith("story.yaml:5: steps[0].vpc")


def test_another_underlay_has_no_vpc() -> None:
    with pytest.raises(InputError, match=r"steps\[0\].vpc.interface: the underlay is no VPC"):
        ran("vpc: {interface: node-1/eth0, sourceDestCheck: false}", underlay="routed")
