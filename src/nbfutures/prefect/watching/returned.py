"""What a flow returned, with the values of the states and futures that stand in it."""

from __future__ import annotations

import copy
import dataclasses
import operator
from typing import TYPE_CHECKING, Any

import pydantic
from prefect import State
from prefect.futures import PrefectFuture, PrefectFutureList
from prefect.results import ResultRecord  # type: ignore[attr-defined]

from nbfutures.errors import ItemSkippedError
from nbfutures.prefect.outcomes import value_of_state

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["returned_values"]

_PLAIN_TYPES = frozenset({int, float, complex, str, bytes, bool, type(None), range})


def returned_values(value: Any) -> Any:
    """Return a value with those of the states and futures in it: in builtin containers, dataclasses and models.

    What holds none of them is returned as it is, the same object. Blocks until the futures are done.

    Args:
        value: What a flow returned, or its final state. Prefect has made states of most futures in it.

    Raises:
        BaseException: The first failure in it.
    """
    walk = _Walk()
    made = walk.resolve(value)
    # What did not run has a cause, which may stand behind it.
    for error in sorted(walk.errors, key=lambda one: isinstance(one, ItemSkippedError)):
        raise error
    return made


class _Walk:
    """One walk through a value; what holds itself is not walked through again."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._within: set[int] = set()

    def resolve(self, value: Any) -> Any:
        if type(value) in _PLAIN_TYPES:
            return value
        if isinstance(value, PrefectFuture):
            value.wait()
            return self.resolve(value.state)
        if isinstance(value, State):
            return self._state(value)
        rebuild = _rebuilder(value)
        if rebuild is None or id(value) in self._within:
            return value
        self._within.add(id(value))
        try:
            return rebuild(value, self.resolve)
        finally:
            self._within.discard(id(value))

    def _state(self, state: State[Any]) -> Any:
        if not (state.is_final() or state.is_pending()):
            return state  # such as that of a flow run that was only scheduled
        known = len(self.errors)
        if not state.is_completed():
            # A flow that has returned failed states holds them in its own.
            self.resolve(state.data.result if isinstance(state.data, ResultRecord) else state.data)
        if len(self.errors) > known or (state.is_completed() and state.data is None):
            return None
        try:
            value = value_of_state(state)
        except BaseException as error:
            self.errors.append(error)
            return None
        return self.resolve(value)


def _rebuilder(value: Any) -> Callable[[Any, Callable[[Any], Any]], Any] | None:
    """Return what makes a value of the same shape from one that can hold others; `None` for all else."""
    if isinstance(value, list | tuple | set | frozenset):
        return _rebuild_sequence
    if isinstance(value, dict):
        return _rebuild_mapping
    if isinstance(value, pydantic.BaseModel):
        return _rebuild_model
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _rebuild_dataclass
    return None


def _rebuild_sequence(value: Any, resolve: Callable[[Any], Any]) -> Any:
    made = [one if type(one) in _PLAIN_TYPES else resolve(one) for one in value]
    if all(map(operator.is_, made, value)):
        return value
    if isinstance(value, PrefectFutureList):
        return made
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(made)
    try:
        return type(value)(made)
    except TypeError:
        return made  # values that no set can hold


def _rebuild_mapping(value: dict[Any, Any], resolve: Callable[[Any], Any]) -> Any:
    made = {key: one if type(one) in _PLAIN_TYPES else resolve(one) for key, one in value.items()}
    if all(map(operator.is_, made.values(), value.values())):
        return value
    twin = copy.copy(value)
    twin.update(made)
    return twin


def _rebuild_model(value: pydantic.BaseModel, resolve: Callable[[Any], Any]) -> Any:
    made = {name: resolve(one) for name, one in dict(value).items()}
    changes = {name: one for name, one in made.items() if one is not getattr(value, name)}
    return value.model_copy(update=changes) if changes else value


def _rebuild_dataclass(value: Any, resolve: Callable[[Any], Any]) -> Any:
    before = {
        field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)
    }
    made = {name: resolve(one) for name, one in before.items()}
    changes = {name: one for name, one in made.items() if one is not before[name]}
    if not changes:
        return value
    twin = copy.copy(value)
    for name, one in changes.items():
        object.__setattr__(twin, name, one)  # also where it is frozen
    return twin
