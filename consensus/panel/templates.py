"""Templates: jinja2, cut down until a stranger's template can do no harm.

A template may print a variable, loop once over a list, ask a condition, and use a few filters.
It cannot call, assign, add, multiply, import or include anything, so rendering takes time and
space linear in what it prints. Variables hold text that is never parsed as a template again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consensus.errors import PromptError

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["Template", "compile_template"]

_FILTERS = ("join", "length", "lower", "upper", "trim", "capitalize", "title", "first", "last")
_TESTS = ("defined", "undefined", "none", "string", "number", "even", "odd")
_NODES = frozenset(
    {
        "Template", "Output", "TemplateData", "Name", "Const", "If", "For", "Filter", "Getattr",
        "Getitem", "Compare", "Operand", "And", "Or", "Not", "CondExpr", "Test", "Tuple", "List",
    }
)  # fmt: skip

_environment: ImmutableSandboxedEnvironment | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled piece of prompt.

    ``source`` is what hashes cover; ``render`` takes the declared variables by name.
    """

    source: str
    render: Callable[..., str]


def compile_template(
    source: str,
    *,
    file: str,
    line: int,
    variables: Mapping[str, Any],
    required: tuple[str, ...] = (),
) -> Template:
    """Compile one section.

    Args:
        source: the text.
        file: for errors.
        line: the line of the file on which ``source`` begins.
        variables: what the section may use, each with an example that it is tried with.
        required: what it must use.

    Raises:
        PromptError: naming ``file:line`` and the fix.
    """
    from jinja2 import TemplateError, TemplateSyntaxError

    environment = _sandbox()
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        raise PromptError(
            f"is not a template: {error.message}", where=f"{file}:{line + error.lineno - 1}"
        ) from None
    except RecursionError:
        raise PromptError("is nested too deeply", where=f"{file}:{line}") from None
    used = _check(tree, file=file, line=line, variables=variables)
    for name in required:
        if name not in used:
            raise PromptError(
                f'the section does not use "{name}"',
                where=f"{file}:{line}",
                fix=f"write {{{{ {name} }}}} where it belongs",
            )
    compiled = environment.from_string(source)

    def render(**values: Any) -> str:
        return compiled.render(values).strip()

    try:
        render(**variables)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise PromptError(f"cannot be rendered: {error}", where=f"{file}:{line}") from None
    return Template(source=source.strip(), render=render)


def _sandbox() -> ImmutableSandboxedEnvironment:
    global _environment  # noqa: PLW0603 - compiled filters and lexer are shared by all books
    if _environment is None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        made = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            cache_size=0,
        )
        made.globals.clear()
        made.filters = {name: made.filters[name] for name in _FILTERS}
        made.tests = {name: made.tests[name] for name in _TESTS} | {
            name: made.tests[name] for name in ("eq", "ne", "lt", "le", "gt", "ge", "in")
        }
        _environment = made
    return _environment


def _check(
    tree: nodes.Template, *, file: str, line: int, variables: Mapping[str, Any]
) -> frozenset[str]:
    """Refuse whatever is not on the lists; return the variables that are used."""
    from jinja2 import nodes

    loops = {"loop"}
    loops.update(n.name for loop in tree.find_all(nodes.For) for n in _targets(loop))
    used = set()
    for node in tree.find_all(nodes.Node):
        where = f"{file}:{line + (node.lineno or 1) - 1}"
        what = type(node).__name__
        if what not in _NODES:
            raise PromptError(
                f"{what.lower()} is not available in prompts",
                where=where,
                fix="print variables, ask conditions, loop over a list",
            )
        if isinstance(node, nodes.For):
            if node.recursive or any(True for _ in _inner_loops(node)):
                raise PromptError("a loop may not hold another loop", where=where)
        elif isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise PromptError(
                f'unknown filter "{node.name}"', where=where, fix=f"one of {', '.join(_FILTERS)}"
            )
        elif isinstance(node, nodes.Test) and node.name not in _TESTS:
            raise PromptError(
                f'unknown test "{node.name}"', where=where, fix=f"one of {', '.join(_TESTS)}"
            )
        elif isinstance(node, nodes.Const):
            # jinja writes a constant into Python code as it is shown: "inf" is no number there.
            if isinstance(node.value, float) and not math.isfinite(node.value):
                raise PromptError("a number is too large", where=where)
        elif isinstance(node, nodes.Name) and node.ctx == "load":
            if node.name not in variables and node.name not in loops:
                raise PromptError(
                    f'unknown variable "{node.name}"',
                    where=where,
                    fix=f"one of {', '.join(sorted(variables))}",
                )
            used.add(node.name)
    return frozenset(used)


def _targets(loop: nodes.For) -> list[nodes.Name]:
    from jinja2 import nodes

    own = [loop.target] if isinstance(loop.target, nodes.Name) else []
    return own + list(loop.target.find_all(nodes.Name))


def _inner_loops(loop: nodes.For) -> list[nodes.For]:
    from jinja2 import nodes

    return [inner for child in (*loop.body, *loop.else_) for inner in _loops_in(child, nodes.For)]


def _loops_in(node: nodes.Node, kind: type[nodes.For]) -> list[nodes.For]:
    own = [node] if isinstance(node, kind) else []
    return own + list(node.find_all(kind))
