"""Random generators that a job's function or its arguments take along: their copies all draw the same numbers."""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nbfutures.engine.job_note import JobNote
from nbfutures.engine.workers.by_value import is_of_module, mend_cloudpickle
from nbfutures.engine.workers.holdings import holdings
from nbfutures.model.outcome import ATOMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbfutures.engine.calls.work import CallWork
    from nbfutures.engine.contracts import Run

__all__ = ["repeats_told"]


@contextmanager
def repeats_told(run: Run, work: CallWork) -> Iterator[None]:
    """Within it, and after it, a job whose items run elsewhere says which generator starts over there.

    Args:
        run: The job.
        work: What it calls.
    """
    note = _repeating(work)
    if note:
        JobNote(run.state).tell_if_free(note)
    try:
        yield
    finally:
        if note and not run.state.note:
            # A job's end takes its note back; this one is still worth reading.
            run.state.set_note(note)


def _repeating(work: CallWork) -> str:
    """Return a note on a generator that starts over in each worker, or for each item; empty if there is none."""
    mend_cloudpickle()
    table, name = work.table, work.name
    for argument, value in table.statics.items() if table is not None else ():
        if _is_generator(value) or _generator_in(value, ""):
            return _STARTS_OVER.format(f"The argument {argument!r} of {name}", "for each item")
    for argument, column in table.columns.items() if table is not None else ():
        # One for each item is as it should be.
        if len(column) > 1 and _is_generator(column[0]) and len(set(map(id, column))) < len(column):
            return _STARTS_OVER.format(f"The argument {argument!r} of {name}", "for each item")
    found = _generator_in(work.function, name)
    if not found:
        return ""
    is_given = work.is_task or not isinstance(work.function, types.FunctionType)
    anew = "for each item" if is_given else "in each worker and in the next job"
    return _STARTS_OVER.format(found[:1].upper() + found[1:], anew)


_STARTS_OVER = (
    "{} holds a random generator that starts over {}: numbers repeat. Make one for each item in the function, "
    "numpy.random.default_rng([seed, item]) or random.Random(f'{{seed}} {{item}}'), or map over rng.spawn(n)."
)
_GENERATORS = {
    *(("numpy.random._generator", "Generator"), ("numpy.random.mtrand", "RandomState"), ("random", "Random")),
    *(("numpy.random.bit_generator", "BitGenerator"), ("torch._C", "Generator")),
}
_HOLDINGS_LOOKED_AT = 2_000


def _generator_in(fn: Any, name: str) -> str:
    """Return words for the first generator that a function takes along, looking in breadth."""
    todo, seen, looked = [(name, fn, 0)], {id(fn)}, 0
    while todo and looked < _HOLDINGS_LOOKED_AT:
        words, value, depth = todo.pop(0)
        for inner_words, inner in holdings(value, words):
            looked += 1
            if id(inner) in seen or type(inner) in ATOMS or isinstance(inner, types.ModuleType):
                continue
            seen.add(id(inner))
            if _is_generator(inner):
                return inner_words
            if depth < _DEPTH and looked < _HOLDINGS_LOOKED_AT:
                todo.append((inner_words, inner, depth + 1))
    return ""


_DEPTH = 4


def _is_generator(value: Any) -> bool:
    if isinstance(value, types.MethodType | types.BuiltinMethodType):
        # Such as `draw = rng.normal`.
        value = value.__self__
    kind = type(value)
    names = {(one.__module__, one.__name__) for one in kind.__mro__}
    if not names & _GENERATORS or ("random", "SystemRandom") in names:
        return False
    return not is_of_module(value)
