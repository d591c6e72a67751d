"""Make a function of a cell's body, with its line numbers kept."""

from __future__ import annotations

import ast
import inspect
import itertools
import keyword
import re
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from IPython.core.compilerop import PyCF_MASK
from IPython.core.error import UsageError

from nbfutures.engine.event_loop import run_here
from nbfutures.prefect.flow_cells import FLOW_CELL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Cell", "CellSyntaxError", "cell_number", "flow_function", "item_function", "read_cell"]

_LOOK_UP_ANYTHING = {"eval", "exec", "globals", "query"}
_DEFINITIONS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def awaits(statements: Iterable[ast.stmt]) -> bool:
    """Tell whether the statements await, outside of the functions that they define."""
    return any(
        isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith)
        or (isinstance(node, ast.comprehension) and bool(node.is_async))
        for node in _own_nodes(statements)
    )


def find_yield(statements: Iterable[ast.stmt]) -> int | None:
    """Return the line of a `yield` that is outside of the functions which the statements define, if there is one."""
    lines = [node.lineno for node in _own_nodes(statements) if isinstance(node, ast.Yield | ast.YieldFrom)]
    return min(lines, default=None)


def uncalled_flow(statements: Sequence[ast.stmt]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the flow that the statements define last, if they do nothing but define and import."""
    last = statements[-1]
    if not isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef) or not any(map(_is_flow, last.decorator_list)):
        return None
    return last if all(isinstance(one, _DEFINITIONS) or _is_docstring(one) for one in statements) else None


def required_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of the parameters of a function that have no default."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    needed = positional[: len(positional) - len(given.defaults)]
    needed += [one for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    return [one.arg for one in needed]


def names_read_first(statements: Iterable[ast.stmt]) -> set[str]:
    """Return the names that are read before they are bound, in the order in which the text runs without jumps.

    An augmented assignment alone does not count as reading.
    """
    reads: dict[str, bool] = {}
    for node in _in_order(statements):
        if isinstance(node, ast.Name):
            reads.setdefault(node.id, isinstance(node.ctx, ast.Load))
        elif isinstance(node, ast.alias):
            reads.setdefault((node.asname or node.name).partition(".")[0], False)
        elif bound := getattr(node, "name", None):  # of a function, a class, an `except ... as`
            reads.setdefault(bound, False)
    return {name for name, is_read in reads.items() if is_read}


def free_name(wanted: str, statements: Iterable[ast.stmt]) -> str:
    """Return a name that the statements do not use: the wanted one, or one made from it."""
    used = {node.id for node in _in_order(statements) if isinstance(node, ast.Name)}
    while wanted in used:
        wanted += "_"
    return wanted


def names_looked_up(code: CodeType) -> set[str] | None:
    """Return the names that code may look up as globals, or None if it may be any: it evaluates texts, for example.

    What is an identifier in a text counts, for expressions such as `frame.eval("price * @rate")` and annotations.
    """
    names = set(code.co_names)
    if names & _LOOK_UP_ANYTHING:
        return None
    for constant in _flat(code.co_consts):
        if isinstance(constant, str):
            names.update(re.findall(r"\w+", constant))
        elif isinstance(constant, CodeType):
            inner = names_looked_up(constant)
            if inner is None:
                return None
            names |= inner
    return names


def _is_flow(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(named, "id", getattr(named, "attr", None)) == "flow"


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _flat(constants: Iterable[Any]) -> Iterator[Any]:
    for constant in constants:
        if isinstance(constant, tuple | frozenset):
            yield from _flat(constant)
        else:
            yield constant


def _own_nodes(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in statements:
        yield node
        if not isinstance(node, _SCOPES):
            yield from _own_nodes(ast.iter_child_nodes(node))


def _in_order(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        fields = dict(ast.iter_fields(node))
        # The right side of an assignment, and what a loop goes over, run before what is bound to their values.
        for field in sorted(fields, key=lambda name: name not in {"value", "iter"}):
            children = fields[field] if isinstance(fields[field], list) else [fields[field]]
            yield from _in_order(child for child in children if isinstance(child, ast.AST))


_NOTEBOOK = "_notebook_"


class CellSyntaxError(Exception):
    """The cell's body is not Python. IPython shows it as it shows a `SyntaxError` of any other cell.

    A `SyntaxError` that is raised while a cell runs would be shown below the frames of the magic.
    """

    def __init__(self, error: SyntaxError, shell: InteractiveShell) -> None:
        super().__init__(str(error))
        self.error = error
        self._shell = shell

    def _render_traceback_(self) -> list[str]:
        lines: list[str] = self._shell.SyntaxTB.structured_traceback(type(self.error), self.error, None)
        return lines


@dataclass(frozen=True, slots=True)
class Cell:
    """The parsed body of a cell."""

    body: list[ast.stmt]
    filename: str
    """The name under which tracebacks find its source."""
    flags: int
    """Compiler flags of the `from __future__` imports of the notebook."""
    shell: InteractiveShell

    def compile(self, tree: ast.Module | ast.Expression, flags: int = 0) -> CodeType:
        """Compile some of the cell's code.

        Raises:
            CellSyntaxError: If it is not valid.
        """
        mode = "exec" if isinstance(tree, ast.Module) else "eval"
        try:
            # Not the shell's own compiler: a `from __future__` in this cell would reach all later ones.
            code: CodeType = compile(
                ast.fix_missing_locations(tree), self.filename, mode, self.flags | flags, dont_inherit=True
            )
        except SyntaxError as error:
            raise CellSyntaxError(error, self.shell) from None
        return code


def cell_number(shell: InteractiveShell) -> int:
    """Return the number that the cell which is running has in the notebook."""
    # IPython's `execution_count` is that of the next cell in some versions.
    return int(shell.displayhook.prompt_count)


def read_cell(shell: InteractiveShell, head: str, body: str) -> Cell:
    """Parse the body of a cell, and make its source known to tracebacks and to `inspect.getsource`.

    Args:
        shell: The shell that runs the cell.
        head: The cell's first line.
        body: The lines below it.

    Raises:
        CellSyntaxError: If the body is not Python.
        UsageError: If there is no code in it.
    """
    python: str = shell.transform_cell(body)  # type: ignore[no-untyped-call]  # IPython has no types for it
    # IPython takes away empty lines at the top; the line numbers need them.
    empty = _empty_lines(body) - _empty_lines(python)
    # As a comment, the first line leaves a source that can be parsed: tracebacks then mark what failed in a line.
    source = f"# {head}\n" + "\n" * empty + python
    filename = shell.compile.cache(source, cell_number(shell), raw_code=f"{head}\n{body}".rstrip("\n"))
    # Of the notebook's flags only those of a `from __future__`: another one turns the message for a bracket that is
    # not closed into "incomplete input".
    flags = shell.compile.flags & PyCF_MASK
    try:
        tree = compile(source, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    except SyntaxError as error:
        raise CellSyntaxError(error, shell) from None
    tree = shell.transform_ast(tree)  # type: ignore[no-untyped-call]
    if not tree.body:
        raise UsageError("There is no code below the first line of the cell.")
    return Cell(tree.body, filename, flags, shell)


def item_function(cell: Cell, name: str, namespace: Mapping[str, Any], target: ast.expr | None = None) -> FunctionType:
    """Make a function of a cell; the value of the last expression is what it returns.

    Args:
        cell: The cell.
        name: What the function is called; need not be an identifier.
        namespace: The variables of the notebook; those that the body uses are copied.
        target: What takes the function's one argument, as in a `for`; no argument if None. A tuple is unpacked
            inside the function, so that an item with too few or too many values fails, and no other.

    Returns:
        The function, an `async` one if the body awaits. What the body assigns is local to each call.

    Raises:
        CellSyntaxError: If the body cannot be compiled.
        UsageError: If the body yields.
    """
    if line := find_yield(cell.body):
        raise UsageError(f"Line {line}: a cell cannot yield. Give its value as the last expression.")
    body = [*cell.body]
    if isinstance(body[-1], ast.Expr):
        body[-1] = ast.copy_location(ast.Return(body[-1].value), body[-1])
    parameter = target.id if isinstance(target, ast.Name) else free_name("item", body)
    if target is not None and not isinstance(target, ast.Name):
        body.insert(0, ast.Assign([target], ast.Name(parameter, ast.Load()), lineno=1))
    head = f"{'async ' if awaits(body) else ''}def {_identifier(name)}({parameter if target else ''}): pass"

    code = _compile_function(cell, head, body)
    variables = _visible(namespace, [code])
    # A name that the body assigns is local in all of it, for Python. So that `df = df.dropna()` finds the notebook's
    # df, these start with the notebook's values. `total += x` does not count: its result would be lost in silence.
    assigned = {*code.co_varnames, *code.co_cellvars} - {parameter}
    if known := sorted(assigned & names_read_first(body) & namespace.keys()):
        variables |= {_NOTEBOOK + name: namespace[name] for name in known}
        start = ast.parse("; ".join(f"{name} = {_NOTEBOOK}{name}" for name in known)).body
        code = _compile_function(cell, head, [*start, *body])
    # IPython reads a frame's source from its `def` on, which a cell does not have, but that of a module as a whole.
    function = FunctionType(code.replace(co_name="<module>"), variables, _identifier(name))
    function.__qualname__ = function.__name__
    return function


def flow_function(cell: Cell, name: str, namespace: Mapping[str, Any]) -> Callable[[], Any]:
    """Make a function of a cell that runs it as a module: what it defines is global to it, and to nothing else.

    Args:
        cell: The cell.
        name: What the function is called; need not be an identifier.
        namespace: The variables of the notebook; those that the body uses are copied, and again for each call.

    Returns:
        The function, an `async` one if the body awaits outside of its own functions. It returns the value of the
        last expression; of a cell that defines flows and calls nothing, that of the last flow.

    Raises:
        CellSyntaxError: If the body cannot be compiled.
        UsageError: If that flow takes arguments, which only the user knows.
    """
    body = [*cell.body]
    if (last := uncalled_flow(body)) is not None:
        body.append(_call_of(last))
    trees: list[ast.Module | ast.Expression] = [ast.Module(body, [])]
    if isinstance(body[-1], ast.Expr):
        trees.append(ast.Expression(body[-1].value))
        del body[-1]
    parts = [cell.compile(tree, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) for tree in trees]
    variables = _visible(namespace, parts) | {FLOW_CELL: True}

    def run() -> Any:
        __tracebackhide__ = True
        module = dict(variables)
        value = None
        for part in parts:
            value = eval(part, module)  # noqa: S307 - the user's own code, as in any cell
        # Such as an async flow that is called in the last line: what nobody awaits does not run.
        return run_here(value) if inspect.iscoroutine(value) else value

    async def run_async() -> Any:
        __tracebackhide__ = True
        module = dict(variables)
        value = None
        for part in parts:
            value = eval(part, module)  # noqa: S307 - the user's own code, as in any cell
            if part.co_flags & inspect.CO_COROUTINE:
                value = await value
        return await value if inspect.iscoroutine(value) else value

    chosen: Callable[[], Any] = run_async if any(part.co_flags & inspect.CO_COROUTINE for part in parts) else run
    chosen.__name__ = chosen.__qualname__ = _identifier(name)
    chosen.__module__ = variables.get("__name__", "__main__")
    return chosen


def _call_of(flow: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    if needed := required_parameters(flow):
        raise UsageError(
            f"The cell defines the flow {flow.name} and does not call it. Call it in a last line: "
            f"{flow.name}({', '.join(f'{name}=...' for name in needed)})."
        )
    call: ast.expr = ast.Call(ast.Name(flow.name, ast.Load()), [], [])
    if isinstance(flow, ast.AsyncFunctionDef):
        call = ast.Await(call)
    return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), flow))


def _compile_function(cell: Cell, head: str, body: list[ast.stmt]) -> CodeType:
    module = ast.parse(head)
    definition = module.body[0]
    definition.body = body  # type: ignore[attr-defined]
    code = cell.compile(module)
    return next(constant for constant in code.co_consts if isinstance(constant, CodeType))


def _visible(namespace: Mapping[str, Any], codes: Iterable[CodeType]) -> dict[str, Any]:
    """Copy the variables that code may use. All of them would keep every large object of the notebook in memory."""
    used = [names_looked_up(code) for code in codes]
    if None in used:
        return dict(namespace)
    names = set().union(*filter(None, used))
    return {name: value for name, value in namespace.items() if name in names or name.startswith("__")}


def _identifier(name: str) -> str:
    made = re.sub(r"\W+", "_", name).strip("_")
    return made if made.isidentifier() and not keyword.iskeyword(made) else f"cell_{made}".rstrip("_")


def _empty_lines(text: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda line: not line.strip(), text.splitlines()))
