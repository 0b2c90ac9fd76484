"""`iptables`: change the rules of a node or pod, by commands of iptables or a text of iptables-restore. Must not know rules."""

from __future__ import annotations

from functools import partial

from emu.errors import InputError
from emu.kernel import commands
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import BUILT_IN
from emu.scenario.hosts import Configures, Host, HostAction, Lines, counted, each_line, lines, text_at
from emu.scenario.steps import Place, actions, texts


class Iptables(Host, frozen=True):
    """Rules of a node or pod. `flush` comes first: true, or the names of tables, removes all rules and user chains there, as
    `iptables -F` and `iptables -X` do; policies stay. Then `restore`, a text of iptables-restore: the tables that it names are
    emptied first, unless `noflush`. Last `rules`, each as iptables takes it: `-t nat -A POSTROUTING -j MASQUERADE`."""

    flush: bool | str | tuple[str, ...] = False
    restore: str = ""
    noflush: bool = False
    rules: Lines = ()


@actions.add("iptables")
class IptablesAction(HostAction[Iptables, Configures]):
    shape = Iptables
    order = 111
    example = '- iptables: {node: node-1, rules: ["-P FORWARD DROP", "-A FORWARD -p icmp -j ACCEPT"]}'

    def check_change(self, part: Iptables, place: Place) -> None:
        if not (part.flush or part.restore.strip() or lines(part.rules)):
            raise InputError("no rule is changed", expected="flush, restore or rules")
        with place.at("flush"):
            for table in _tables(part):
                if table not in BUILT_IN:
                    raise InputError(f'unknown table "{table}"', expected=", ".join(BUILT_IN))
        if part.noflush and not part.restore:
            with place.at("noflush"):
                raise InputError("noflush without restore", expected="restore: a text of iptables-restore")
        if not part.noflush:
            with text_at(place, "restore"):
                commands.check_restore(part.restore)
        each_line(part.rules, place, "rules", commands.check_iptables)

    def change(self, part: Iptables, net: Netns, place: Place) -> None:
        if part.flush:
            commands.iptables_flush(net, _tables(part))
        if part.restore:
            with text_at(place, "restore"):
                commands.iptables_restore(net, part.restore, noflush=part.noflush)
        each_line(part.rules, place, "rules", partial(commands.iptables, net))

    def words(self, part: Iptables) -> str:
        words = []
        if part.flush:
            words.append(f"flushed {', '.join(_tables(part)) or 'all tables'}")
        if part.restore:
            tables = [line[1:] for _, line in lines(part.restore) if line.startswith("*")]
            words.append(f"restored {', '.join(tables)}")
        given = lines(part.rules)
        if given:
            words.append(given[0][1] if len(given) == 1 else counted(len(given), "command"))
        return ", ".join(words)


def _tables(part: Iptables) -> tuple[str, ...]:
    """The tables that `flush` names; none are all."""
    return () if isinstance(part.flush, bool) else tuple(texts(part.flush))
