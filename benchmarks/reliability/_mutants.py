"""Small wrong edits to Python code, made one at a time in its syntax tree.

Left alone: annotations, decorators, docstrings and text for people (f-strings, what is raised): no
test should hold their wording, and a frozen class behaves like one that is not.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "argmax": "argmin",
    "argmin": "argmax",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
    "log": "log1p",
    "exp": "expm1",
}
UNTOLD = {"__all__", "model_config"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit: where it is, and what stands there before and after."""

    path: str
    line: int
    end: int
    place: int
    way: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """Where and what, for a table."""
        return f"{self.path}:{self.line} {self.before} → {self.after}"

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def mutants_of(path: Path, shown: str) -> list[Mutant]:
    """Every edit of a file, in the order of its text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for place, node in enumerate(_nodes(tree)):
        for way, edit in enumerate(_edits(node)):
            after = copy.deepcopy(node)
            edit(after)
            said = [" ".join(ast.unparse(one).split())[:70] for one in (node, after)]
            if said[0] != said[1]:
                end = node.end_lineno or node.lineno
                found.append(Mutant(shown, node.lineno, end, place, way, *said))
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The syntax tree of a file with one edit made; its lines keep their numbers."""
    tree = ast.parse(source)
    node = list(_nodes(tree))[mutant.place]
    list(_edits(node))[mutant.way](node)
    return ast.fix_missing_locations(tree)


def _nodes(tree: ast.AST) -> Iterator[Any]:
    for child in ast.iter_child_nodes(tree):
        if _untold(child):
            continue
        if hasattr(child, "lineno") and not isinstance(child, ast.arg | ast.keyword):
            yield child
        yield from _nodes(_without_words(child))


def _untold(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.arg):
        return True
    if isinstance(node, ast.Assign):
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        return bool(names & UNTOLD)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _without_words(node: ast.AST) -> ast.AST:
    """The node without decorators and annotations; its other children are its own."""
    slim = copy.copy(node)
    if isinstance(slim, ast.FunctionDef | ast.AsyncFunctionDef):
        slim.decorator_list, slim.returns = [], None
    elif isinstance(slim, ast.ClassDef):
        slim.decorator_list, slim.bases, slim.keywords = [], [], []
    elif isinstance(slim, ast.AnnAssign):
        slim.annotation = ast.Name("object", ast.Load())
    return slim


Edit = Callable[[Any], None]


def _edits(node: Any) -> Iterator[Edit]:
    """The edits of one node, in a fixed order."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            yield _replace_operator(at, COMPARE[type(operator)])
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield _set("op", ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _set("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        plus = isinstance(node.op, ast.USub)
        yield _set("op", ast.UAdd()) if plus else _truth
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _set("value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield _set("value", node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield _negate_test
    elif isinstance(node, ast.Return) and not _is_none(node.value):
        yield _set("value", ast.Constant(None))
    elif isinstance(node, ast.Break):
        yield _become_continue
    elif isinstance(node, ast.Continue):
        yield _become_break
    elif isinstance(node, ast.Call):
        function = node.func
        name = getattr(function, "id", getattr(function, "attr", None))
        if name in NAMES:
            yield _rename(NAMES[name])


def _is_none(node: ast.AST | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _set(field: str, value: Any) -> Edit:
    return lambda node: setattr(node, field, value)


def _replace_operator(at: int, operator: type[ast.cmpop]) -> Edit:
    return lambda node: node.ops.__setitem__(at, operator())


def _truth(node: Any) -> None:
    """``not x`` becomes ``bool(x)``."""
    operand = node.operand
    node.__class__ = ast.Call
    node.func, node.args, node.keywords = ast.Name("bool", ast.Load()), [operand], []


def _negate_test(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _become_continue(node: Any) -> None:
    node.__class__ = ast.Continue


def _become_break(node: Any) -> None:
    node.__class__ = ast.Break


def _rename(name: str) -> Edit:
    def edit(node: Any) -> None:
        field = "id" if isinstance(node.func, ast.Name) else "attr"
        setattr(node.func, field, name)

    return edit
