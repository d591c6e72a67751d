"""`%map` and `%submit`: a call that is written, and made elsewhere."""

import pytest


@pytest.fixture
def nb(notebook):
    notebook.run("def square(x, *more, **named): return x * x")
    return notebook


def test_map_hands_over_the_function_and_what_it_is_mapped_over(nb, fake):
    job = nb("squares = %map square(range(100))\nsquares")
    assert job is fake.job is nb.ns["squares"]
    assert (job.verb, job.fn, job.args, job.kwargs) == ("map", nb.ns["square"], (range(100),), {})
    assert job.options == {}


@pytest.mark.parametrize("magic", ["map", "submit"])
def test_arguments_are_sorted_as_python_sorts_them(nb, fake, magic):
    nb.run("xs, d = [1, 2], {'b': 3}")
    nb(f"%{magic} square(xs, *[4, 5], c=6, **d)")
    assert (fake.job.verb, fake.job.args, fake.job.kwargs) == (magic, ([1, 2], 4, 5), {"c": 6, "b": 3})


def test_the_call_itself_is_not_made(nb, fake):
    nb.run("made = []\ndef note(x): made.append(x)")
    nb("%submit note(1)")
    assert nb.ns["made"] == []
    fake.job.fn(*fake.job.args)
    assert nb.ns["made"] == [1]


@pytest.mark.parametrize(
    "call", ["(lambda x: x + 1)([1])", "str.upper(['a'])", "{'f': square}['f']([1])", "square(x for x in [1])"]
)
def test_any_expression_can_be_called(nb, fake, call):
    nb(f"%map {call}")
    assert callable(fake.job.fn)


def test_options_stand_before_or_after_the_call(nb, fake):
    nb.run("n = 2")
    nb("%map -w 2*n --tag a square([1, 2]) --name 'two words' --retries n")
    assert fake.job.options == {"workers": 4, "tags": ("a",), "name": "two words", "retries": 2}


def test_braces_and_dollars_are_left_to_python(nb, fake):
    nb.run("x = 1")
    nb("%map square({x: '$x {x}'})")
    assert fake.job.args == ({1: "$x {x}"},)


def test_a_comment_behind_the_call_is_a_comment(nb, fake):
    nb("%map square([1])  # -w 4")
    assert fake.job.options == {}


def test_the_variables_of_a_function_are_seen(nb, fake):
    nb("def go(values, n):\n    job = %map -w n square(values)\n    return job\nfound = go([1, 2], 3)")
    assert nb.ns["found"] is fake.job
    assert (fake.job.args, fake.job.options) == (([1, 2],), {"workers": 3})


def test_out_binds_the_job_in_the_notebook(nb, fake):
    nb("%map -o squares square([1])")
    assert nb.ns["squares"] is fake.job


@pytest.mark.parametrize("name", ["a-b", "for", "1a", "'a b'", "(3)"])
def test_out_has_to_be_the_name_of_a_variable(nb, fake, name):
    assert "--out needs the name of a variable" in nb.run(f"%map -o {name} square([1])").usage_error
    assert fake.jobs == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%map", "The call is missing. Write it as in: %map function(arguments)."),
        ("%map -w 4", "The call is missing. Write it as in: %map function(arguments)."),
        ("%map square", "'square' is no call. Write it as in: %map function(arguments)."),
        ("%submit square, 3", "'square, 3' is no call. Write it as in: %submit function(arguments)."),
        ("%map square(", "'square(' is no call: '(' was never closed. Write it as in: %map function(arguments)."),
        ("%map square(a b)", "'square(a b)' is no call: invalid syntax. Perhaps you forgot a comma?"),
        ("%map x = square(3)", "is no call"),
        ("%map square(await x)", "'await' outside function."),
        ("%map square(xs)", "name 'xs' is not defined. Run the cell that defines it first."),
        ("%map sqare([1])", "name 'sqare' is not defined. Did you mean: 'square'?"),
        ("%map --wokers 2 square([1])", "There is no option --wokers; did you mean --workers?"),
        ("%map -w 0 square([1])", "workers must be a whole number of at least 1, got 0."),
        ("%map -r threds square([1])", "There is no runner 'threds'; did you mean 'threads'?"),
        ("%map --batch many square([1])", "--batch many: NameError: name 'many' is not defined."),
        ("%map square()", "There is nothing to map over."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(nb, fake, line, message):
    if "Did you mean" in message:
        message = message.partition(" Did")[0]  # Python suggests in tracebacks only
    assert message in nb.run(line).usage_error
    assert fake.jobs == []


def test_an_error_in_the_users_own_function_keeps_its_traceback(nb):
    nb.run("def load():\n    values = 1\n    return valuse")
    ran = nb.run("%map square(load())")
    assert isinstance(ran.error, NameError)
    assert "----> 3     return valuse" in ran.out
    assert "square(load())" in ran.out
    assert "job_magics.py" not in ran.out
    assert "expressions.py" not in ran.out


def test_a_syntax_error_raised_by_the_users_own_function_keeps_its_type(nb):
    nb.run("def load(): return eval('1 +')")
    assert isinstance(nb.run("%map square(load())").error, SyntaxError)


def test_the_job_is_displayed_once(nb, fake):
    nb("%map square([1])")
    assert fake.log == ["display"]


@pytest.mark.parametrize(
    "line", ["%map square([1]);", "%map square([1]) ;  # told", "%map -q square([1])", "%map square([1]) --quiet"]
)
def test_a_quiet_job_is_made_and_not_displayed(nb, fake, line):
    assert nb(line) is None
    assert fake.job
    assert fake.log == []


@pytest.mark.parametrize("line", ["%map square([1]);", "%map -q square([1])", "%map -b square([1])"])
def test_an_assignment_gets_the_job_whatever_is_displayed(nb, fake, line):
    nb(f"job = {line}")
    assert nb.ns["job"] is fake.job


def test_python_code_that_runs_the_magic_gets_the_job(nb, fake):
    nb("job = get_ipython().run_line_magic('map', '-q square([1])')")
    assert nb.ns["job"] is fake.job


def test_block_displays_the_job_and_then_waits(nb, fake):
    assert nb("%map -b square([1])") is None
    assert fake.log == ["display", "wait"]


def test_block_and_quiet_waits_only(nb, fake):
    nb("%map -b -q square([1])")
    assert fake.log == ["wait"]


def test_out_is_bound_before_waiting(nb, fake):
    fake.error_while_waiting = KeyboardInterrupt()
    assert isinstance(nb.run("%map -b -o job square([1])").error, KeyboardInterrupt)
    assert nb.ns["job"] is fake.job


def test_dashboard_shows_prefect_or_the_run_of_a_job(nb, fake):
    assert nb("%dashboard") == ["dashboard", None]
    nb("%map -q square([1])")
    assert nb("%dashboard square") == ["dashboard", fake.job]
    assert nb("%dashboard 'square'") == ["dashboard", fake.job]


def test_dashboard_of_an_unknown_job_is_one_line(nb):
    assert "There is no job 'sqare'" in nb.run("%dashboard sqare").usage_error


def test_runner_tells_the_inner_threads_of_processes_and_stops_workers(nb, fake):
    assert nb.run("%runner processes --workers 3").out.strip() == (
        "processes, 3 workers, 2 threads for BLAS and OpenMP in each"
    )
    assert "starts its workers anew" in nb.run("%runner --stop").out
    assert fake.log == ["stop_workers"]
