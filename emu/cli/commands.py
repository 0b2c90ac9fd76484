"""The commands and their options. Each calls the code that does the work, and shows the result.

Must not know how anything is done.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emu.cli import (
    completion_command,
    diff_command,
    get_command,
    ladder_command,
    lint_command,
    matrix_command,
    policies,
    replay_commands,
    reporting,
    run_commands,
    sweep_command,
    why_command,
)
from emu.cli.cni_command import Command
from emu.cli.console import Form, dump, note, out, show
from emu.cli.listing import ListsViews
from emu.cli.options import (
    Dask,
    Dumps,
    Force,
    Jobs,
    Live,
    Manifests,
    MoreFiles,
    Namespace,
    Network,
    Nodes,
    OldForm,
    OutputForm,
    Seed,
    examples,
    named,
)  # fmt: skip
from emu.cli.settings import settings
from emu.cli.wireshark import app as wireshark
from emu.compiled import COMPILED
from emu.errors import InputError
from emu.version import VERSION

app = typer.Typer(
    name="emu",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the other kind imports engines of markdown and colours
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


class Protocol(StrEnum):
    """What `emu trace` sends."""

    tcp = "tcp"
    udp = "udp"
    icmp = "icmp"


class Detail(StrEnum):
    """How much `emu trace` shows."""

    minimal = "minimal"
    summary = "summary"
    detailed = "detailed"


class State(StrEnum):
    """Which packet of its connection `emu trace --rules` sends."""

    new = "new"
    established = "established"


Html = Annotated[
    str,
    typer.Option("--html", metavar="FILE|-", help="Write a page that opens at the step which decides."),
]


def _version(asked: bool) -> None:
    if asked:
        out(f"emu {VERSION} ({'compiled' if COMPILED else 'pure Python'})")
        raise typer.Exit


@app.callback()
def before(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No notes and no progress on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Note also what was read and built.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and whether compiled modules run.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A Kubernetes cluster network in one process: manifests in, annotated captures out."""
    settings.reset(debug=debug, quiet=quiet, verbose=verbose)


run_commands.add_to(app)
sweep_command.add_to(app)


@app.command(epilog=examples("emu quiz no-endpoints", "emu quiz shop.yaml --kind verdict --key"))
def quiz(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A scenario's file, or a name of the gallery.")],
    answers: Annotated[
        str, typer.Option(metavar="FILE", help="One answer a line, its number or text; else from standard input.")
    ] = "",
    seed: Annotated[int, typer.Option(help="What orders the choices.")] = 0,
    only: Annotated[list[str] | None, typer.Option("--kind", help="Only questions of this kind (repeatable).")] = None,
    key: Annotated[bool, typer.Option("--key", help="Ask nothing: the questions with their answers.")] = False,
    form: OutputForm = Form.text,
) -> int:
    """Ask what happens to each packet next. The exit status is 0 where all answers are right, else 1."""
    from emu.cli.quizzing import quiz as ask

    return ask(scenario, answers=answers, seed=seed, only=only or (), key=key, form=form)


@app.command(
    epilog=examples(
        "emu trace -S deploy/web -D svc/cart.shop:7070 -f dump.yaml",
        "emu trace -S default/client -D 10.96.0.10:53/udp -f manifests/",
        "emu trace --rules node.rules --from 10.244.1.9 --to 10.96.0.10:80/tcp",
    )
)
def trace(
    source: Annotated[
        str, typer.Option("-S", "--source", "--from", "--from-ip", help="The sender: NS/POD, node/NAME, an address.")
    ],
    destination: Annotated[
        str,
        typer.Option("-D", "--destination", "--to", help="The receiver: svc/web:80, NS/POD:PORT, ADDRESS:PORT/tcp."),
    ],
    files: Annotated[
        list[Path] | None, typer.Option("-f", "--filename", help="Manifests, folders of them, or a scenario.")
    ] = None,
    namespace: Namespace = "default",
    protocol: Annotated[
        Protocol | None, typer.Option("-p", "--protocol", help="tcp if there is a port, else icmp.")
    ] = None,
    form: OutputForm = Form.text,
    detail: Annotated[Detail, typer.Option(help="How much to show.")] = Detail.detailed,
    arp: Annotated[bool, typer.Option("--arp", help="Show every frame of ARP, too.")] = False,
    write: Annotated[str, typer.Option("-w", metavar="FILE|-", help="Write the frames as pcapng.")] = "",
    html: Html = "",
    force: Force = False,
    nodes: Nodes = 2,
    network: Network = "bridge",
    seed: Seed = None,
    live: Live = None,
    dumps: Dumps = None,
    rules: Annotated[Path | None, typer.Option(help="Instead of -f: a node's iptables-save, -S or -nvL.")] = None,
    ipset: Annotated[Path | None, typer.Option(help="With --rules: its ipset save.")] = None,
    routes: Annotated[
        Path | None, typer.Option(help="With --rules: its `ip route show table all`, as text or -j.")
    ] = None,
    addresses: Annotated[Path | None, typer.Option(help="With --rules: its `ip addr`, as text or -j.")] = None,
    ip_rules: Annotated[Path | None, typer.Option(help="With --rules: its `ip rule`, as text or -j.")] = None,
    neighbours: Annotated[Path | None, typer.Option(help="With --rules: its `ip neigh`, as text or -j.")] = None,
    conntrack: Annotated[Path | None, typer.Option(help="With --rules: its `conntrack -L`.")] = None,
    in_iface: Annotated[str, typer.Option(help="With --rules: the interface where the packet comes in.")] = "",
    state: Annotated[State, typer.Option(help="With --rules: the first packet, or a later one.")] = State.new,
    mark: Annotated[str, typer.Option(help="With --rules: the packet's mark.")] = "0",
    uid: Annotated[int, typer.Option(help="With --rules: the user whose socket sends, where the node sends.")] = 0,
    gid: Annotated[int, typer.Option(help="With --rules: the group of that socket.")] = 0,
    sysctl: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="With --rules: a sysctl.")] = None,
    dot: Annotated[
        bool, typer.Option("--dot", help="As DOT: with --rules the rules that it visited, else the interfaces.")
    ] = False,
) -> int:
    """Send one packet and follow it and its answer hop by hop: in a cluster, or by a real node's rules."""
    if rules is not None and files:
        raise InputError(
            "-f has no effect beside --rules", expected="either; beside -f, --node NAME=FOLDER takes a node's rules"
        )
    if rules is not None:
        from emu.cli.dumps import trace_dump

        if html:
            raise InputError("--html shows frames, and --rules sends none", expected="-f FILE")
        target = f"{destination}/{protocol.value}" if protocol is not None and "/" not in destination else destination
        return trace_dump(
            rules, source, target, ipset=ipset, routes=routes, addresses=addresses, policy=ip_rules,
            neighbours=neighbours, connections=conntrack, device=in_iface,
            state=state.value, mark=mark, uid=uid, gid=gid, sysctls=sysctl, detail=detail.value, form=form, dot=dot,
        )  # fmt: skip
    from emu.cli.inputs import noted, open_cluster
    from emu.cli.outputs import check_page, check_writable, is_stdout
    from emu.kube.flow import spoken
    from emu.report import Report
    from emu.report.trace import trace as follow
    from emu.why import answer
    from emu.why.ask import case_of
    from emu.why.causes import cause

    check_writable(write, force=force)
    check_page(html, force=force)
    opened = open_cluster(
        files or [], namespace=namespace, nodes=nodes, network=network, seed=seed, live=live, dumps=dumps or (),
        from_start=bool(html),
    )  # fmt: skip
    cluster = noted(opened)
    wanted = protocol.value if protocol is not None else ""
    sender = spoken.source(cluster, source, namespace)
    receiver = spoken.target(cluster, destination, namespace, wanted)
    for each in (sender.meant, receiver.meant):
        if each:
            note(each)
    if html and cluster.capture is not None:
        cluster.capture.record()
    traced = follow(cluster, sender.ref, receiver.ref, receiver.protocol, detail=detail.value, arp=arp)
    if write and cluster.capture is not None:
        cluster.capture.write(write, flow=traced.flow.number, force=force)
    if html:
        traced.flow.html(html, force=force)
    to_stderr = is_stdout(write) or is_stdout(html)
    if dot:
        from emu.cli.ladder import topology

        out(topology(traced.flow.frames), to_stderr=to_stderr)
    else:
        case = case_of(cluster, destination, receiver.ref, traced.flow, opened.line)
        first, road = answer.head(case, cause(case)), traced.report
        whole = Report({**first.data, **road.data}, f"{first.text}\n\n{road.text}")
        show(whole, form, to_stderr=to_stderr)
    return 3 if traced.flow.outcome.word == "undecided" else 0


@app.command(
    "show",
    cls=ListsViews,
    epilog=examples(
        "emu show rules node-1 -f manifests/",
        "emu show routes node-1 -f shop.yaml --get 10.244.2.7",
        "emu show neigh deploy/web -f dump.yaml",
    ),
)
def show_view(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="What to show: a view of the list below.")],
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node, NS/POD, deploy/NAME, an address, external.")],
    files: Manifests,
    get: Annotated[str, typer.Option(metavar="ADDRESS", help="With routes: the route to it, as ip route get.")] = "",
    source: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="With --get: the source address.")] = "",
    mark: Annotated[str, typer.Option(help="With --get: the packet's mark.")] = "0",
    namespace: Namespace = "default",
    form: OutputForm = Form.text,
    nodes: Nodes = 2,
    network: Network = "bridge",
    seed: Seed = None,
    live: Live = None,
    dumps: Dumps = None,
) -> int:
    """Show a node's state, in the words of iptables-save, ip, bridge and conntrack. A scenario's steps are run first."""
    from emu.cli.inputs import cluster_of
    from emu.kernel.netfilter.matches import number
    from emu.kube.flow import spoken
    from emu.report import views
    from emu.report.routes import route_to

    view = f"{view}s" if view not in views and f"{view}s" in views else view
    chosen, bits = views[view], number(mark, "mark")
    if (get and view != "routes") or ((source or bits) and not get):
        raise InputError("--get asks for a route", expected="emu show routes NODE --get ADDRESS [--from ADDRESS]")
    cluster = cluster_of(
        files, namespace=namespace, nodes=nodes, network=network, seed=seed, live=live, dumps=dumps or (),
        capture=False,
    )  # fmt: skip
    spelt = "/" in node or node == "external" or spoken.is_address(node)
    where = spoken.source(cluster, node, namespace).ref if spelt else f"node/{node}"
    net = cluster.netns(where)
    show(route_to(net, get, source, bits) if get else chosen(net), form)
    return 0


@app.command(epilog=examples("emu validate shop.yaml manifests/", "kubectl kustomize app | emu validate -"))
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Scenarios, manifests, iptables-save texts; or -.")
    ] = None,
    more: MoreFiles = None,
    form: OutputForm = Form.text,
    old_form: OldForm = None,
) -> int:
    """Check files without sending anything: errors, warnings, and what has no effect."""
    from emu.cli.validating import validate_files

    report, warnings = validate_files(named(files, more, "file", "FILE, -f FILE or -"))
    for each in warnings:
        note(each)
    show(report, old_form or form)
    return 0


@app.command(
    epilog=examples(
        "emu twin shop.yaml",
        "emu demo --files gallery && emu twin gallery/pod-to-service.yaml",
        "emu twin -j 2 gallery/*.yaml",
    )
)
def twin(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Scenario files.")] = None,
    more: MoreFiles = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="SETTING", help="Leave out a setting of the kernel's side: see FIDELITY.md."),
    ] = None,
    wiring: Annotated[
        bool, typer.Option("--wiring", help="The CNI plugins in /usr/lib/cni wire the pods, too, and are compared.")
    ] = False,
    tries: Annotated[
        int, typer.Option(min=1, metavar="N", help="What differs runs again, up to N times: a busy machine is late.")
    ] = 2,
    form: OutputForm = Form.text,
    jobs: Jobs = 1,
    dask: Dask = "",
) -> int:
    """Run scenarios on this machine's kernel, too, and compare frame by frame (root on Linux). Exit 1: they differ."""
    from emu.cli.judging import judge_files

    return judge_files(
        named(files, more, "scenario", "FILE or -f FILE"),
        form,
        without or (),
        wiring=wiring,
        tries=tries,
        jobs=jobs,
        dask=dask,
    )


@app.command(epilog=examples("emu packetdrill handshake.pkt"))
def packetdrill(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE.pkt", help="Scripts of packetdrill.")] = None,
    more: MoreFiles = None,
    tolerance_us: Annotated[
        int,
        typer.Option(
            "--tolerance-usecs",
            min=0,
            metavar="N",
            help="How early or late a packet may be, where the script has no tolerance.",
        ),
    ] = 10_000,
    form: OutputForm = Form.text,
) -> int:
    """Run packetdrill's scripts against emu's TCP, on the virtual clock. Exit 1: one failed; 2: one is outside of the subset."""
    from emu.cli.packetdrill import run_scripts

    return run_scripts(named(files, more, "script", "FILE.pkt or -f FILE.pkt"), tolerance_us, form)


@app.command(
    epilog=examples(
        "emu cni add -c net.conflist --state node.json --container-id web", "emu cni status -c /etc/cni/net.d"
    )
)
def cni(
    command: Annotated[Command, typer.Argument(help="The command of the CNI specification.")],
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", metavar="FILE", help="A .conflist or .conf, or a folder such as /etc/cni/net.d."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="With a folder: the network's name; else its first file counts.")] = "",
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the machine is kept; without, it lasts for one command.")
    ] = None,
    container_id: Annotated[str, typer.Option(metavar="ID", help="CNI_CONTAINERID.")] = "",
    netns: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="CNI_NETNS: the container's ID if not given; '' when it is gone."),
    ] = None,
    ifname: Annotated[str, typer.Option(metavar="NAME", help="CNI_IFNAME.")] = "eth0",
    args: Annotated[str, typer.Option(metavar="K=V;K=V", help="CNI_ARGS.")] = "",
    capability_args: Annotated[
        str, typer.Option(metavar="JSON", help="What plugins get that declare the capability: an object.")
    ] = "",
    valid: Annotated[
        list[str] | None, typer.Option(metavar="ID/IFNAME", help="With gc: an attachment that stays.")
    ] = None,
) -> int:
    """Ask a network's CNI plugins on an emulated machine: the result, or the error (exit 1), as plugins print it."""
    from emu.cli.cni import Asked, run

    asked = Asked(container_id, netns, ifname, args, capability_args, name, valid or ())
    status, text, remarks = run(command, config, state, asked)
    for each in remarks:
        note(each)
    if text:
        out(text)
    return status


@app.command(epilog=examples("emu schema > emu.schema.json"))
def schema() -> int:
    """Print the JSON Schema of scenario files, for editors."""
    from emu.scenario.schema import schema as of_scenarios

    out(dump(of_scenarios(), Form.json))
    return 0


completion_command.add_to(app)
diff_command.add_to(app)
get_command.add_to(app)
ladder_command.add_to(app)
lint_command.add_to(app)
matrix_command.add_to(app)
policies.add_to(app)
replay_commands.add_to(app)
reporting.add_to(app)
why_command.add_to(app)
app.add_typer(wireshark, name="wireshark")
