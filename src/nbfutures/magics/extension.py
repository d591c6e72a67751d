"""Load the magics into a shell, and undo that."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from traitlets import TraitError

from nbfutures import api
from nbfutures.errors import NbfuturesError
from nbfutures.magics.arguments import JOB_OPTIONS, LIMIT_OPTIONS, RUNNER_OPTIONS, SERVE_OPTIONS
from nbfutures.magics.job_magics import FuturesJobMagics
from nbfutures.magics.scan import scan
from nbfutures.magics.session_magics import FuturesSessionMagics, NBFutures
from nbfutures.model.options import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

    from nbfutures.magics.arguments import Option

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_USE = re.compile(
    r"\s*(?:\w[^%=]*=\s*)?(?P<escape>%{0,2})(?P<magic>map|submit|flow|jobs|limit|runner|serve|dashboard)\s(?P<line>.*)",
    re.DOTALL,
)
_OPTIONS = {
    "map": JOB_OPTIONS,
    "submit": JOB_OPTIONS,
    "flow": JOB_OPTIONS,
    "limit": LIMIT_OPTIONS,
    "runner": RUNNER_OPTIONS,
    "serve": SERVE_OPTIONS,
}


def make_matcher(shell: InteractiveShell) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher for the list `shell.Completer.custom_matchers`."""

    # A hook for `complete_command` would be older, but IPython adds the names that Jedi finds to what it returns.
    def complete_options(context: CompletionContext) -> SimpleMatcherResult:
        use = _USE.match(context.text_until_cursor)
        if use is None or not _is_magic(shell, use["escape"], use["magic"], context):
            return SimpleMatcherResult(completions=[])
        typed, texts = _complete(use["magic"], use["line"])
        if not texts and typed.isidentifier():
            # Jedi completes inside of the call, but sees no code in two names side by side, as in `%map squ`.
            names = [SimpleCompletion(name) for name in shell.Completer.global_matches(typed)]
            return SimpleMatcherResult(completions=names, matched_fragment=typed)
        return SimpleMatcherResult(
            completions=[SimpleCompletion(text, type="param") for text in texts],
            matched_fragment=typed,
            suppress=True,
            ordered=True,
        )

    matcher: Callable[[CompletionContext], SimpleMatcherResult]
    matcher = context_matcher(identifier="nbfutures.options")(complete_options)
    return matcher


class _Found(NamedTuple):
    typed: str
    texts: list[str]


def _is_magic(shell: InteractiveShell, escape: str, name: str, context: CompletionContext) -> bool:
    if escape == "%%":
        return not "".join(context.full_text.split("\n")[: context.cursor_line]).strip()
    return bool(escape) or (shell.automagic and name not in shell.user_ns and name != "map")


def _complete(magic: str, line: str) -> _Found:
    if magic in {"jobs", "dashboard"}:
        return _starting(line.lstrip(), (job.name for job in api.session_jobs()))
    words = [word.text for word in scan(line).words]
    typed = "" if not words or line[-1:].isspace() else words.pop()
    options = {form: option for option in _OPTIONS[magic] for form in option.forms}
    form, has_value, value = typed.partition("=")
    if has_value and form in options:
        return _starting(value, options[form].values)
    if words and words[-1] in options and options[words[-1]].metavar:
        return _starting(typed, options[words[-1]].values)
    if typed.startswith("-"):
        return _starting(typed, _forms(_OPTIONS[magic]))
    return _starting(typed, RUNNERS if magic == "runner" and not words else ())


def _forms(options: Sequence[Option]) -> list[str]:
    return [option.forms[-1] for option in options] + [option.short for option in options if option.short]


def _starting(typed: str, texts: Iterable[str]) -> _Found:
    return _Found(typed, [text for text in dict.fromkeys(texts) if text.startswith(typed)])


_FLOW = re.compile(r"'Flow' object has no attribute '(delay|submit|map|apply_async)'")
_LOOPS = "asyncio.run() cannot be called from a running event loop"


def advise(result: ExecutionResult) -> None:
    """Print what helps with the error of a cell that has run; nothing if nothing is known that does."""
    told = advice_on(result.error_in_exec)
    if told:
        print(f"nbfutures: {told}", file=sys.stderr)  # noqa: T201 - what it is for


def advice_on(error: BaseException | None) -> str:
    """Return what to write instead of what has raised an error; empty if that is not known."""
    if isinstance(error, AttributeError) and not isinstance(error, NbfuturesError) and _FLOW.search(str(error)):
        return (
            "Prefect's flows have no such method: call the flow, or run it in the background with "
            "nbf.run(my_flow, ...). To have it run by workers, call it in a task: that has .delay(), .submit() and "
            ".map()."
        )
    if isinstance(error, RuntimeError) and str(error) == _LOOPS:
        return (
            "a notebook runs an event loop already: write `await main()` in place of asyncio.run(main()), or put the "
            "code into a %%flow cell, where it works as it is."
        )
    return ""


_log = logging.getLogger(__name__)


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register the magics, their completion and their settings; does nothing if that is done already.

    Args:
        ip: The shell.
    """
    if _loaded(ip) is not None:
        return
    with ExitStack() as stack:
        stack.callback(api.set_session_defaults, api.session_defaults())
        settings = _configured(ip)
        # They add themselves to the configurables, as all magics do.
        of_jobs, of_session = FuturesJobMagics(ip), FuturesSessionMagics(ip, settings)
        configurables: list[Any] = ip.configurables
        configurables.append(settings)
        stack.callback(configurables.remove, settings)
        for magics in (of_jobs, of_session):
            stack.callback(configurables.remove, magics)
            for kind, names in magics.magics.items():
                table = ip.magics_manager.magics[kind]
                stack.callback(_restore, table, {name: table.get(name) for name in names})
            ip.register_magics(magics)
            stack.callback(ip.magics_manager.registry.pop, type(magics).__name__)
        matcher = make_matcher(ip)
        ip.Completer.custom_matchers.append(matcher)
        stack.callback(ip.Completer.custom_matchers.remove, matcher)
        ip.events.register("post_run_cell", advise)
        stack.callback(ip.events.unregister, "post_run_cell", advise)
        of_session.undo = stack.pop_all()
    _warm_up()


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Undo what loading did; does nothing if it is not loaded.

    Args:
        ip: The shell.
    """
    if (magics := _loaded(ip)) is not None:
        magics.undo.close()
        # Loading has started the connection to Prefect, which brings settings and a lease on the server with it.
        api.close()


def _loaded(ip: InteractiveShell) -> FuturesSessionMagics | None:
    # The shell knows, so that a second shell in the same process, as in an embedded one, has magics of its own.
    magics: FuturesSessionMagics | None = ip.magics_manager.registry.get(FuturesSessionMagics.__name__)
    return magics


def _configured(ip: InteractiveShell) -> NBFutures:
    try:
        settings = NBFutures(parent=ip)
    except TraitError as error:
        # `%config` leaves a refused value in the shell's configuration; it must not keep the magics from being loaded.
        _log.warning("The defaults for NBFutures in the configuration are not used: %s", error)
        settings = NBFutures()
    settings.refresh()
    return settings


def _restore(table: dict[str, Any], before: dict[str, Any]) -> None:
    for name, magic in before.items():
        if magic is None:
            table.pop(name, None)
        else:
            table[name] = magic


def _warm_up() -> None:
    """Start Prefect in the background; loading neither waits for that nor fails with it."""
    if os.environ.get("NBFUTURES_WARM_UP") == "0":
        return
    try:
        api.warm_up()
    except Exception:
        _log.debug("Prefect was not started in advance; the first job starts it.", exc_info=True)
