"""Options of a magic's line, and their values."""

import re

import pytest
from IPython.core.error import UsageError

from nbfutures.magics.arguments import JOB_OPTIONS, RUNNER_OPTIONS, option_table, parse_arguments
from nbfutures.model.options import JobOptions


def parse(line, **namespace):
    return parse_arguments(line, JOB_OPTIONS, namespace)


@pytest.mark.parametrize(
    ("line", "expression", "options"),
    [
        ("f(x)", "f(x)", {}),
        ("-w 4 f(x)", "f(x)", {"workers": 4}),
        ("f(x) -w 4", "f(x)", {"workers": 4}),
        ("-w 4 f(x) --retries=2", "f(x)", {"workers": 4, "retries": 2}),
        ("--workers=2*n f(x)", "f(x)", {"workers": 6}),
        ("-w (n + 1) f(x)", "f(x)", {"workers": 4}),
        ("--timeout limits['a b'] f(x)", "f(x)", {"timeout": 2.5}),
        ("--batch auto f(x)", "f(x)", {"batch": "auto"}),
        ("--batch n f(x)", "f(x)", {"batch": 3}),
        ("--fail-fast -b -q f(x)", "f(x)", {"fail_fast": True, "block": True, "quiet": True}),
        ("--dry-run f(x)", "f(x)", {"dry_run": True}),
        ("--fail-fast=False f(x)", "f(x)", {"fail_fast": False}),
        ("--limit db --limit 'the disk' f(x)", "f(x)", {"limit": ("db", "the disk")}),
        ("--in-flight 50 --retry-delay .5 --rate 10 f(x)", "f(x)", {"in_flight": 50, "retry_delay": 0.5, "rate": 10}),
        ("--tag a --tag b:c f(x)", "f(x)", {"tags": ("a", "b:c")}),
        ("-w 1 -w 2 f(x)", "f(x)", {"workers": 2}),
        ("-w 4", "", {"workers": 4}),
        ("x in a - n", "x in a - n", {}),
        ("x in a -1", "x in a -1", {}),
        ("-w 4 x in  range( 3 ) -b", "x in  range( 3 )", {"workers": 4, "block": True}),
    ],
)
def test_options_stand_before_or_after_the_expression(line, expression, options):
    read = parse(line, n=3, limits={"a b": 2.5})
    assert (read.expression, read.options) == (expression, options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("squares", "squares"),
        ("n", "n"),
        ("two-parts", "two-parts"),
        ("12", "12"),
        ("team/red.1", "team/red.1"),
        ("'two words'", "two words"),
        ('f"run {n}"', "run 3"),
        ("(n*'x')", "xxx"),
        ("names[1]", "second"),
    ],
)
@pytest.mark.parametrize("option", ["--name", "--tag", "--out", "--runner"])
def test_a_word_is_a_text_and_quotes_and_brackets_are_evaluated(option, text, expected):
    [value] = parse(f"{option} {text} f(x)", n=3, names=["first", "second"]).options.values()
    assert value in (expected, (expected,))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--wokers 4 f(x)", "There is no option --wokers; did you mean --workers?"),
        ("-workers 4 f(x)", "There is no option -workers; did you mean --workers?"),
        ("--Retry_Delay 4 f(x)", "There is no option --Retry_Delay; did you mean --retry-delay?"),
        ("--pool db f(x)", "There is no option --pool. Options are: --out, --name"),
        ("x in a -k", "To subtract, put a space behind the dash. Options are: --out, --name"),
        ("f(x) -w", "-w needs a value: -w N."),
        ("-w --block f(x)", "-w needs a value: -w N."),
        ("--retry-delay= f(x)", "--retry-delay needs a value: --retry-delay SECONDS."),
        ("--block= f(x)", "--block needs a value: --block True."),
        ("-w m f(x)", "-w m: NameError: name 'm' is not defined."),
        ("-w 1/0 f(x)", "-w 1/0: ZeroDivisionError: division by zero."),
        ("-w 2* f(x)", "-w 2*: SyntaxError: invalid syntax."),
        ("-w (2 f(x)", "SyntaxError: "),
        ("f(x) -w 2 *3", "'*3' is not expected behind the options."),
        ("f(x) -b g(x)", "'g(x)' is not expected behind the options."),
    ],
)
def test_a_wrong_option_says_in_one_line_what_to_do(line, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        parse(line)
    assert "\n" not in str(caught.value)


def test_the_options_are_those_that_a_job_has_and_those_of_the_magic_itself():
    fields = {option.field for option in JOB_OPTIONS}
    assert fields - set(JobOptions.__dataclass_fields__) == {"out", "block", "quiet"}
    # What a line cannot say well; and a deployment has parameters and no call that could be written.
    assert set(JobOptions.__dataclass_fields__) - fields == {"wait_for", "deployment"}


def test_every_form_of_an_option_is_in_the_help_once_and_leads_to_it():
    table = option_table(JOB_OPTIONS)
    for option in JOB_OPTIONS:
        for form in option.forms:
            assert len(re.findall(rf"(?<![\w-]){form}(?![\w-])", table)) == 1
            value = "=1" if option.metavar else ""
            assert list(parse(f"{form}{value} f(x)").options) == [option.field]
        assert option.help in table


def test_the_help_of_options_is_aligned():
    columns = {
        line.index(option.help)
        for line, option in zip(option_table(JOB_OPTIONS).splitlines(), JOB_OPTIONS, strict=True)
    }
    assert len(columns) == 1


def test_runner_takes_the_number_of_workers_only():
    with pytest.raises(UsageError, match="no option --retries"):
        parse_arguments("threads --retries 2", RUNNER_OPTIONS, {})
