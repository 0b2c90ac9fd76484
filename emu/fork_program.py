"""The program of a snapshot: how a state is built, for Python's unpickler. Must not know what is copied, or when."""

from __future__ import annotations

import gc
import io
import pickle
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)  # fmt: skip
from typing import Any, Generic, TypeVar

from emu.errors import InputError

T = TypeVar("T")
# Values of these types never change, and hold nothing that does.
PLAIN: frozenset[type] = frozenset(
    (int, str, bytes, float, bool, complex, type(None), type(Ellipsis), type(NotImplemented), object, range, CodeType)
)
MARK, POP, STOP, BUILD, NEWOBJ, REDUCE = (
    pickle.MARK, pickle.POP, pickle.STOP, pickle.BUILD, pickle.NEWOBJ, pickle.REDUCE,
)  # fmt: skip
TUPLE, NOTHING, NONE, PAIR = pickle.TUPLE, pickle.EMPTY_TUPLE, pickle.NONE, pickle.TUPLE2
ATTRIBUTES = "__mypyc_attrs__"  # where a compiled class lists its attributes: each is a getset descriptor
HEAPTYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code made
Slots = dict[str, MemberDescriptorType | GetSetDescriptorType]
Own = Mapping[Any, str]  # how objects with such a `__deepcopy__` are copied: a method of the writer
USUAL = ""  # as without one

_slots: dict[type, Slots] = {}
_recipes: dict[type, Callable[[_Writer, Any], bool]] = {}
_constants: dict[int, object] = {}  # what modules hold, by id
_modules = 0


class Program(Generic[T]):
    """How the state of `root` and of all that it holds is built. `own`: what a class's own `__deepcopy__` means. Raises InputError for what
    cannot be copied."""

    def __init__(self, root: T, own: Own) -> None:
        writer = _Writer(own)
        writer.whole(root)
        self._program = b"".join(writer.out)
        self._shared = _memo_of(writer.values)

    def run(self) -> T:
        """A copy."""
        machine = pickle.Unpickler(io.BytesIO(self._program))  # noqa: S301  (its own program)
        machine.memo = self._shared
        made: T = machine.load()
        return made


class _Numbered(pickle.Unpickler):
    """Takes values by their numbers. Python 3.13 lets no one set the method of an unpickler itself."""

    def __init__(self, program: io.BytesIO, values: list[object]) -> None:
        super().__init__(program)
        self._values = values

    def persistent_load(self, number: int) -> object:
        return self._values[number]


def _memo_of(values: list[object]) -> Any:
    """An unpickler's memo that holds the shared values, at its odd places; the even ones are for copies."""
    numbers = ((number.to_bytes(4, "little"), (2 * number + 1).to_bytes(4, "little")) for number in range(len(values)))
    steps = (pickle.BININT + number + pickle.BINPERSID + pickle.LONG_BINPUT + place + POP for number, place in numbers)
    machine = _Numbered(io.BytesIO(b"".join(steps) + NONE + STOP), values)
    machine.load()
    return machine.memo


class _Writer:
    """Writes the program. `push` writes what leaves the copy of an object on the unpickler's stack, and gives whether that is
    another object than the original. An object that changes is made empty, and filled when all are there."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self.out: list[bytes] = []
        self.values: list[object] = []  # what is shared
        self._known: dict[int, bytes] = {}  # by id: what fetches it from the memo
        self._numbers: dict[int, int] = {}  # one object for each: a compiled attribute gives another one each time
        self._count = 0
        self._constants = _held_by_modules()
        self._alive: list[object] = []  # what only the walk holds: its id must stay its own
        self._unfilled: list[tuple[Callable[[Any], None], Any]] = []
        self._hashed: list[tuple[bytes, list[object], bytes]] = []  # what to put into which set or mapping at the end

    def whole(self, root: object) -> None:
        self.push(root)
        while self._unfilled:
            fill, old = self._unfilled.pop()
            fill(old)
        out = self.out
        for fetch, parts, how in self._hashed:  # a hash may need what was filled in
            out += (fetch, MARK)
            for each in parts:  # all are made
                self.push(each)
            out += (how, POP)
        out.append(STOP)

    def push(self, old: Any) -> bool:
        key = id(old)
        found = self._known.get(key)
        if found is not None:
            self.out.append(found)
            return not found[1] & 1
        kind = old.__class__
        if kind is int:
            return self.share(self._numbers.setdefault(old, old))
        if kind in PLAIN or key in self._constants:
            return self.share(old)
        recipe = _recipes.get(kind)
        if recipe is None:
            recipe = _recipes[kind] = getattr(_Writer, _recipe_of(kind, self._own))
        return recipe(self, old)

    def share(self, old: Any) -> bool:
        found = self._known.get(id(old))
        if found is None:
            found = self._known[id(old)] = pickle.LONG_BINGET + (2 * len(self.values) + 1).to_bytes(4, "little")
            self.values.append(old)
        self.out.append(found)
        return False

    def made(self, old: object) -> bool:
        """What the program has just made is the copy of `old`."""
        place = (2 * self._count).to_bytes(4, "little")
        self._count += 1
        self.out.append(pickle.LONG_BINPUT + place)
        self._known[id(old)] = pickle.LONG_BINGET + place
        return True

    def later(self, fill: Callable[[Any], None], old: Any) -> None:
        self._unfilled.append((fill, old))

    def call(self, old: object, make: Callable[..., Any], *fixed: object, args: Iterable[object] = ()) -> bool:
        """The copy is what `make(*fixed, *args)` gives; `fixed` is shared as it is."""
        out = self.out
        self.share(make)
        out.append(MARK)
        for each in fixed:
            self.share(each)
        for each in args:
            self.push(each)
        out += (TUPLE, REDUCE)
        return self.made(old)

    # -- values that are whole when they are made: themselves, if nothing in them changes -------------------

    def unless_same(self, old: Any, parts: Iterable[object], make: Callable[..., Any], *fixed: object) -> bool:
        """`make(*fixed, *copies of parts)`, or the value itself if all parts are shared."""
        out = self.out
        start = len(out)
        self.share(make)
        out.append(MARK)
        for each in fixed:
            self.share(each)
        changed = False
        for each in parts:
            changed = self.push(each) or changed
        if not changed:
            del out[start:]
            return self.share(old)
        out += (TUPLE, REDUCE)
        return self.made(old)

    def as_tuple(self, old: Any) -> bool:
        if old.__class__ is not tuple:
            return self.unless_same(old, old, _joined, old.__class__)
        out = self.out
        start = len(out)
        out.append(MARK)
        changed = False
        for each in old:
            changed = self.push(each) or changed
        if not changed:
            del out[start:]
            return self.share(old)
        out.append(TUPLE)
        return self.made(old)

    def as_frozenset(self, old: Any) -> bool:
        return self.unless_same(old, old, _joined, old.__class__)

    def as_frozen(self, old: Any) -> bool:
        """A frozen dataclass."""
        slots = _slots_of(old.__class__)
        own = getattr(old, "__dict__", None) or {}
        parts = [*(slot.__get__(old) for slot in slots.values()), *own.values()]
        if hasattr(old.__class__, ATTRIBUTES):
            self._alive.append(parts)
        return self.unless_same(old, parts, _frozen, old.__class__, (*slots.values(),), tuple(own))

    def as_partial(self, old: Any) -> bool:
        return self.unless_same(
            old, (old.func, *old.args, *old.keywords.values()), _partial, old.__class__, tuple(old.keywords)
        )

    def as_method(self, old: Any) -> bool:
        return self.unless_same(old, (old.__func__, old.__self__), MethodType)

    def as_builtin(self, old: Any) -> bool:
        """`list.append` of one list is that of its copy."""
        return self.unless_same(old, (old.__self__, sys.intern(old.__name__)), getattr)

    def as_function(self, old: Any) -> bool:
        cells, defaults = old.__closure__, (old.__defaults__, old.__kwdefaults__)
        if not cells:
            return self.unless_same(old, defaults, _function, old)
        empty = tuple(CellType() for _ in cells)  # it must not hold the state
        bare = FunctionType(old.__code__, old.__globals__, old.__name__, None, empty)
        bare.__qualname__ = old.__qualname__
        return self.call(old, _function, bare, args=(*defaults, *cells))

    def as_mappingproxy(self, old: Any) -> bool:
        return self.unless_same(old, gc.get_referents(old), MappingProxyType)

    # -- what changes ------------------------------------------------------------------------------------

    def as_cell(self, old: Any) -> bool:
        self.later(self._fill_cell, old)
        return self.call(old, CellType)

    def _fill_cell(self, old: Any) -> None:
        try:
            content = old.cell_contents
        except ValueError:  # an empty one
            return
        self._set(old, {}, {"cell_contents": content})

    def as_list(self, old: Any) -> bool:
        if old.__class__ is list:
            self.out.append(pickle.EMPTY_LIST)
        else:
            self._new(old)
        if old:
            self.later(self._fill_list, old)
        return self.made(old)

    def _fill_list(self, old: Any) -> None:
        out, push = self.out, self.push
        out += (self._known[id(old)], MARK)
        for each in old:
            push(each)
        out += (pickle.APPENDS, POP)

    def as_deque(self, old: Any) -> bool:
        if old:
            self.later(self._fill_list, old)
        return self.call(old, deque, (), old.maxlen)

    def as_dict(self, old: Any) -> bool:
        if old.__class__ is dict:
            self.out.append(pickle.EMPTY_DICT)
        elif isinstance(old, defaultdict):
            if old:
                self.later(self._fill_dict, old)
            return self.call(old, old.__class__, args=(old.default_factory,))
        else:
            self._new(old)
        if old:
            self.later(self._fill_dict, old)
        return self.made(old)

    def _fill_dict(self, old: Any) -> None:
        plain = True
        for key in old:
            if key.__class__ not in PLAIN:
                plain = False
                break
        self._fill_hashed(old, (each for item in dict.items(old) for each in item), pickle.SETITEMS, plain)

    def as_set(self, old: Any) -> bool:
        if old.__class__ is set:
            self.out.append(pickle.EMPTY_SET)
        else:
            self._new(old)
        if old:
            self.later(self._fill_set, old)
        return self.made(old)

    def _fill_set(self, old: Any) -> None:
        self._fill_hashed(old, old, pickle.ADDITEMS, plain=False)

    def _fill_hashed(self, old: Any, parts: Iterable[object], how: bytes, plain: bool) -> None:
        out, fetch = self.out, self._known[id(old)]
        if plain:
            out += (fetch, MARK)
            for each in parts:
                self.push(each)
            out += (how, POP)
            return
        known = list(parts)
        out.append(MARK)
        for each in known:
            self.push(each)
        out.append(pickle.POP_MARK)
        self._hashed.append((fetch, known, how))

    def as_instance(self, old: Any) -> bool:
        self._new(old)
        return self.made(old)

    def _new(self, old: Any) -> None:
        """An empty object of a class, and its attributes later."""
        self.share(old.__class__)
        self.out += (NOTHING, NEWOBJ)
        self.later(self._fill, old)

    def _fill(self, old: Any) -> None:
        slots: dict[str, Any] = {}
        for name, slot in _slots_of(old.__class__).items():
            try:
                slots[name] = slot.__get__(old)
            except AttributeError:  # not set
                continue
        if hasattr(old.__class__, ATTRIBUTES):
            self._alive.append(slots)  # a tuple may have been made just now, of what the object holds without one
            self._set(old, slots, {})
        else:
            self._set(old, getattr(old, "__dict__", None) or {}, slots)

    def _set(self, old: object, own: dict[str, Any], slots: dict[str, Any]) -> None:
        """Set attributes of a copy: those in its `__dict__`, and those in slots."""
        out, known = self.out, self._known
        out.append(self._known[id(old)])
        for state in (own, slots) if slots else (own,):
            if not state:
                out.append(NONE)
                continue
            out += (pickle.EMPTY_DICT, MARK)
            for name, value in state.items():
                found = known.get(id(name))
                if found is None:
                    self.share(name)
                else:
                    out.append(found)
                found = known.get(id(value))
                if found is None:
                    self.push(value)
                else:
                    out.append(found)
            out.append(pickle.SETITEMS)
        out += (PAIR, BUILD, POP) if slots else (BUILD, POP)

    # -- others: as they declare themselves --------------------------------------------------------------------

    def as_own_way(self, old: Any) -> bool:
        return self.call(old, deepcopy, deepcopy(old))

    def as_reduced(self, old: Any) -> bool:
        try:
            parts = old.__reduce_ex__(4)
        except TypeError:
            kind = f"{old.__class__.__module__}.{old.__class__.__qualname__}"
            raise InputError(
                f"a {kind} cannot be copied", expected="state without running programs and open files"
            ) from None
        if isinstance(parts, str):
            return self.share(old)
        make, args, state, items, pairs = (*parts, None, None, None)[:5]
        self._alive.append(parts)
        if state is not None or items is not None or pairs is not None:
            self.later(self._restore, (old, state, list(items or ()), list(pairs or ())))
        return self.call(old, make, args=args)

    def _restore(self, found: Any) -> None:
        old, state, items, pairs = found
        self._alive.append(found)
        self.share(_restored)
        self.out += (MARK, self._known[id(old)])
        for each in (state, items, pairs):
            self.push(each)
        self.out += (TUPLE, REDUCE, POP)


# -- what programs call ------------------------------------------------------------------------------------


def _joined(kind: Any, *parts: object) -> object:
    """A named tuple or a frozen set."""
    return tuple.__new__(kind, parts) if issubclass(kind, tuple) else kind(parts)


def _frozen(kind: Any, slots: tuple[Any, ...], names: tuple[str, ...], *parts: object) -> object:
    made: Any = kind.__new__(kind)
    for slot, part in zip(slots, parts, strict=False):
        slot.__set__(made, part)
    if names:
        made.__dict__.update(zip(names, parts[len(slots) :], strict=True))
    return made


def _partial(kind: type, names: tuple[str, ...], func: object, *parts: object) -> object:
    count = len(parts) - len(names)
    return kind(func, *parts[:count], **dict(zip(names, parts[count:], strict=True)))


def _function(bare: FunctionType, defaults: Any, words: Any, *cells: CellType) -> object:
    made = FunctionType(bare.__code__, bare.__globals__, bare.__name__, defaults, cells)
    made.__kwdefaults__, made.__qualname__ = words, bare.__qualname__
    return made


def _restored(made: Any, state: Any, items: list[Any], pairs: list[tuple[Any, Any]]) -> None:
    """The rest of what an object's own `__reduce_ex__` gave."""
    if items:
        made.extend(items)
    for key, value in pairs:
        made[key] = value
    if state is None:
        return
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    own, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(own or {}), **(slots or {})}.items():
        setattr(made, name, value)


# -- classes -----------------------------------------------------------------------------------------------

_BY_TYPE: dict[type, str] = {
    FunctionType: "as_function", MethodType: "as_method", BuiltinMethodType: "as_builtin", MethodWrapperType: "as_builtin",
    CellType: "as_cell", MappingProxyType: "as_mappingproxy", ModuleType: "share", deque: "as_deque", dict: "as_dict",
    list: "as_list", set: "as_set", tuple: "as_tuple", frozenset: "as_frozenset", partial: "as_partial", bytearray: "as_reduced",
}  # fmt: skip


def _recipe_of(kind: type, ways: Own) -> str:
    """How objects of a type are copied: a method of the writer."""
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if issubclass(kind, (type, Enum, ModuleType, int, str, bytes)):
        return "share"
    own = getattr(kind, "__deepcopy__", None)
    if own is not None and ways.get(own) != USUAL:
        return ways.get(own, "as_own_way")
    config = getattr(kind, "__struct_config__", None)
    if config is not None and config.frozen:
        return "share"  # a value of msgspec's: what it holds is not changed either
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # what dataclass() sets
    native = hasattr(kind, ATTRIBUTES)  # its `__setstate__` sets attributes from a dict
    usual = kind.__setattr__ is object.__setattr__ and (native or not hasattr(kind, "__setstate__"))
    for base in (dict, list, set, tuple, frozenset):
        if issubclass(kind, base) and usual:
            return f"as_{base.__name__}"
    if not native and (kind.__new__ is not object.__new__ or not kind.__flags__ & HEAPTYPE):  # C code makes it
        return "as_reduced"
    if frozen:
        return "as_frozen"
    return "as_instance" if usual else "as_reduced"


def _slots_of(kind: type) -> Slots:
    """The slots of a class by the names of its attributes."""
    found = _slots.get(kind)
    if found is None:
        each: Iterable[Any] = (value for base in kind.__mro__ for value in vars(base).values())
        found = _slots[kind] = {slot.__name__: slot for slot in each if isinstance(slot, MemberDescriptorType)}
        found.update((name, getattr(kind, name)) for name in getattr(kind, ATTRIBUTES, ()) if name != "__dict__")
    return found


def _held_by_modules() -> dict[int, object]:
    """The values of emu's modules and of their classes, each by its id."""
    global _modules
    if _modules != len(sys.modules):
        _modules = len(sys.modules)
        modules = [module for name, module in sys.modules.items() if name == "emu" or name.startswith("emu.")]
        values = [value for module in modules for value in vars(module).values()]
        values += [value for each in values if isinstance(each, type) for value in vars(each).values()]
        _constants.update((id(value), value) for value in values if value.__class__ not in PLAIN)
    return _constants
