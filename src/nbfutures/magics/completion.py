"""Tab in the line of a magic: the options, the values that can be listed, and the name of the function."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from nbfutures import api
from nbfutures.magics.arguments import JOB_OPTIONS, LIMIT_OPTIONS, RUNNER_OPTIONS, SERVE_OPTIONS
from nbfutures.magics.scan import scan
from nbfutures.model.options import RUNNERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from nbfutures.magics.arguments import Option

__all__ = ["make_matcher"]

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
