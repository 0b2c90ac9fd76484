"""Commands whose help ends with the list of their views. Must not know what a view shows."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class ListsViews(TyperCommand):
    """A command whose help ends with its views. They are looked up for the help only, so that others start quickly."""

    shelf = "views"

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from emu import report

        found = getattr(report, self.shelf)
        rows = [f"{name}: {report.sentence(found[name])}." for name in sorted(found)]
        own = self.epilog.partition("\n\nViews:")[0] if self.epilog else ""
        self.epilog = "\n\n".join([own, "Views:", *rows])
        super().format_help(ctx, formatter)


class ListsRunViews(ListsViews):
    shelf = "run_views"
