"""A quick start: of all commands the one that is asked for is built, and its plain options are read by their types.

The option parser builds every command before it looks at the words, and for values of options it imports a schema engine that takes
longer than a small scenario. Whatever is not plain here goes the option parser's own way, as do all errors, so messages are its
own. Must not know any command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import copy
from enum import Enum
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.main import get_command

from emu.cli.everywhere import add_everywhere

Reader = Callable[[Any], Any]
UNUSUAL = ("parser", "click_type", "clamp", "exists", "writable", "resolve_path", "path_type", "allow_dash")


def command_of(app: typer.Typer, words: Sequence[str]) -> Any:
    """The app as a command that takes `words`: whole where they name none of its commands."""
    named = next((word for word in words if not word.startswith("-")), None)
    part = copy(app)
    if named is None:
        part.registered_commands = [_summary(each) for each in app.registered_commands]
        part.registered_groups = [_group(each, listed=None) for each in app.registered_groups]
    elif named in map(_name, app.registered_commands):
        part.registered_commands = [each for each in app.registered_commands if _name(each) == named]
        part.registered_groups = []
    elif named in [each.name for each in app.registered_groups]:
        part.registered_commands = []
        part.registered_groups = [_group(each, listed=_whole) for each in app.registered_groups if each.name == named]
    return _ready(get_command(part))


def whole(app: typer.Typer) -> Any:
    """The app with all its commands, as a shell asks for what may follow."""
    from typer._completion_classes import completion_init

    completion_init()
    return _ready(get_command(app))


def _ready(command: Any) -> Any:
    add_everywhere(command)
    _read_plainly(command)
    return command


def _name(info: Any) -> str:
    return str(info.name or info.callback.__name__.replace("_", "-"))


def _whole(info: Any) -> Any:
    """A command whose first sentences the list of commands shows whole: of its help it would show a few words."""
    part = copy(info)
    first = cleandoc(info.help or info.callback.__doc__ or "").partition("\n\n")[0]
    part.short_help = info.short_help or " ".join(first.split())
    return part


def _summary(info: Any) -> Any:
    """A command as the list of commands shows it, without its options."""

    def summary() -> None: ...

    part = _whole(info)
    part.name, part.callback = _name(info), summary
    return part


def _group(info: Any, listed: Callable[[Any], Any] | None) -> Any:
    """A group with its commands as `listed` gives them, or without them."""
    part, inner = copy(info), copy(info.typer_instance)
    inner.registered_commands = [listed(each) for each in inner.registered_commands] if listed is not None else []
    part.typer_instance, part.short_help = inner, info.short_help or inner.info.help
    return part


def _read_plainly(command: Any) -> None:
    """Let the plain options of a command and of those in it be read by their types."""
    for option in command.params:
        _plain(option)
    command.get_help_option = partial(_help_option, command.get_help_option)
    for part in getattr(command, "commands", {}).values():
        _read_plainly(part)


def _help_option(made: Callable[[Any], Any], ctx: Any) -> Any:
    option = made(ctx)
    if option is not None:
        _plain(option)
    return option


def _plain(option: Any) -> None:
    descriptor = getattr(option, "type_descriptor", None)
    reader = _reader(descriptor.annotation, descriptor.parameter_info) if descriptor is not None else None
    if reader is not None and not isinstance(option.process_value, partial):
        option.process_value = partial(_value, option, reader, option.process_value)


def _value(option: Any, reader: Reader, by_parser: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """What `by_parser` gives for a value, if need be by it."""
    try:
        if value is not None:
            value = reader(value)
        elif option.multiple or option.nargs == -1:
            value = ()
        if option.required and option.value_is_missing(value):
            return by_parser(ctx, value)
    except (TypeError, ValueError):
        return by_parser(ctx, value)
    return value if option.callback is None else option.callback(ctx, option, value)


def _reader(kind: Any, info: Any) -> Reader | None:
    """What reads a value of a type; it raises TypeError or ValueError for one that it leaves to the option parser. None: it reads none."""
    if any(getattr(info, name, None) for name in UNUSUAL):
        return None
    if get_origin(kind) is list:
        each = _reader(get_args(kind)[0], info)
        return None if each is None else partial(_list, each)
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Enum):
        return kind if info.case_sensitive else None
    if kind is int:
        return partial(_integer, info.min, info.max)
    return {str: _text, bool: _switch, Path: _path}.get(kind)


def _list(each: Reader, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError("no list")
    return [each(item) for item in value]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("no switch")
    return value


def _integer(least: float | None, most: float | None, value: Any) -> int:
    if isinstance(value, str):
        if not (value.isascii() and value.isdecimal()):
            raise ValueError("no plain number")
        value = int(value)
    if not isinstance(value, int) or (least is not None and value < least) or (most is not None and value > most):
        raise ValueError("out of range")
    return value


def _path(value: Any) -> Path:
    path = Path(_text(value) if not isinstance(value, Path) else value)
    try:
        path.stat()
    except OSError:
        return path
    if not os.access(path, os.R_OK):
        raise ValueError("unreadable")
    return path
