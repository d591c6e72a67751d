"""What items write, by whatever way, is theirs; and the kernel's streams are the kernel's."""

# ruff: noqa: T201 - items print and start programs

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import subprocess
import sys
import time
import types

from prefect import task
from tests.support import eventually

import nbfutures as nbf


@contextlib.contextmanager
def fresh_logging():
    """Within it, the root logger is as in a fresh process: pytest has handlers of its own."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])


def by_system():
    os.system("echo by system; echo to stderr >&2")


def by_run():
    print("before")
    subprocess.run(["echo", "by run"], check=True)
    print("after")


def by_shell():
    subprocess.run("echo by shell; echo x > /dev/stderr; echo y > /dev/stderr", shell=True, check=True)


def by_check_call():
    assert subprocess.check_output("echo read; echo unread >&2", shell=True, text=True) == "read\n"
    subprocess.check_call(["sh", "-c", "echo merged >&2"], stderr=subprocess.STDOUT)


def by_fork():
    pid = os.fork()
    if pid == 0:
        print("of the child")
        os._exit(0)
    os.waitpid(pid, 0)


def by_much():
    # More than a pipe holds.
    subprocess.run("head -c 300000 /dev/zero | tr '\\0' y; echo the end", shell=True, check=True)


def by_logging():
    logging.getLogger("of.the.item").warning("a warning")


def by_failing():
    os.system("echo last words")
    raise ValueError("failed")


EXPECTED = {
    by_system: ("by system\n", "to stderr\n"),
    by_run: ("before\nby run\nafter\n", ""),
    by_shell: ("by shell\n", "x\ny\n"),
    by_check_call: ("merged\n", "unread\n"),
    by_fork: ("of the child\n", ""),
    by_much: ("the end\n", ""),
    by_logging: ("", "a warning"),
    by_failing: ("last words\n", ""),
}


def call(x):
    return list(EXPECTED)[x % len(EXPECTED)]()


def assert_all_is_theirs(job):
    assert job.wait(240)
    for outcome in job.outcomes():
        way = list(EXPECTED)[outcome.index % len(EXPECTED)]
        assert outcome.output is not None, way
        for expected, told in zip(EXPECTED[way], outcome.output, strict=True):
            assert told.endswith(expected) if way is by_much else expected in told, (way, outcome.output)
            assert expected or not told, (way, outcome.output)


def test_what_items_and_their_programs_write_is_kept_with_them(runner, kind, capfd):
    with fresh_logging():
        assert_all_is_theirs(runner.map(kind(call), range(len(EXPECTED))))
    assert "".join(capfd.readouterr()).strip() == ""


def past_python(x):
    if x % 2:
        os.write(1, b"by descriptor %d\n" % x)
    else:
        ctypes.CDLL(None).puts(b"by C %d" % x)
    return x


def test_what_code_in_c_writes_is_the_items_where_it_has_a_process_to_itself(remote):
    for fn in (past_python, task(past_python)):
        job = remote.map(fn, range(6))
        assert job.result(120) == list(range(6))
        told = [outcome.output.stdout for outcome in job.outcomes()]
        assert told == [f"by {'descriptor' if x % 2 else 'C'} {x}\n" for x in range(6)]


def test_a_program_that_goes_on_when_its_item_has_ended_is_not_killed_by_what_it_writes(background, tmp_path):
    def leave(x):
        code = "import sys, time; sys.stdin.read(); print('late', flush=True); open(sys.argv[1], 'w').close()"
        made = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"end{x}")], stdin=subprocess.PIPE)
        os.set_inheritable(made.stdin.fileno(), False)
        # Told to go on when this process lets go of it, or ends.
        made.stdin.close()
        return made.pid

    job = background.map(leave, range(2))
    assert all(isinstance(pid, int) for pid in job.result(120))
    eventually(lambda: len(list(tmp_path.glob("end*"))) == 2)


def redirect(x):
    """Each of these in threads at once, one of them beginning while another has not ended."""
    way = x % 7
    if way == 0:
        with contextlib.redirect_stdout(io.StringIO()) as mine:
            print("mine", x)
            time.sleep(0.01 * (x % 5))
            print("mine too", x)
        return mine.getvalue() == f"mine {x}\nmine too {x}\n"
    if way == 1:
        with contextlib.redirect_stderr(io.StringIO()) as mine, contextlib.redirect_stdout(sys.stderr):
            print("mine", x)
            time.sleep(0.01 * (x % 3))
        return mine.getvalue() in {f"mine {x}\n", ""}
    if way == 2:
        sys.stdout = io.StringIO()
    elif way == 3:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - left as it is
    elif way == 4:
        sys.stdout.close()
        sys.stderr.close()
    elif way == 5:
        sys.stdout = sys.stderr = None
    else:
        with contextlib.redirect_stdout(None):
            print("for nobody")
    return True


def test_the_kernels_streams_are_the_kernels_whatever_items_do(runner, kind):
    # None of pytest's that are there for one test only: jobs of the test before may still be ending.
    before = sys.stdout, sys.stderr
    job = runner.map(kind(redirect), range(14))
    assert job.result(120) == [True] * 14
    assert (sys.stdout, sys.stderr) == before
    assert (sys.stdout.closed, sys.stderr.closed) == (False, False)
    # The workers', too.
    job = runner.map(by_run_of, range(4))
    assert job.wait(120)
    assert [outcome.output.stdout for outcome in job.outcomes()] == ["before\nby run\nafter\n"] * 4


def by_run_of(_):
    by_run()


def test_a_cell_that_redirects_its_output_while_items_do_so_keeps_what_it_prints(gate):
    def work(x):
        with contextlib.redirect_stdout(io.StringIO()) as mine:
            print("mine")
            gate(x)
            print("mine")
        return mine.getvalue()

    job = nbf.map(work, range(2))
    gate.wait_for(2)
    with contextlib.redirect_stdout(io.StringIO()) as cells:
        print("of the cell")
        gate.open()
        assert job.result(120) == ["mine\nmine\n"] * 2
        print("of the cell")
    assert cells.getvalue() == "of the cell\n" * 2


def test_lines_by_a_handler_that_was_made_before_the_job_are_the_items(runner, capsys):
    def tell(x):
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO)
        logging.getLogger("mine").info("line %d", x)

    with fresh_logging():
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        for fn in (tell, task(tell)):
            job = runner.map(fn, range(4))
            assert job.wait(120)
            assert [f"line {x}" in outcome.output.stderr for x, outcome in enumerate(job.outcomes())] == [True] * 4
        assert "line" not in "".join(capsys.readouterr())
        logging.getLogger("mine").warning("of the cell")
        assert capsys.readouterr().err.count("of the cell") == 1


def fail_at_length(_):
    for number in range(400):
        print("line", number)
    for percent in range(86):
        print(f"\r{percent}% \x1b[32mdone\x1b[0m", end="", file=sys.stderr)
    print("\nabout to fail: disk is full")
    raise OSError("disk full")


def test_a_failure_shows_the_end_of_what_was_printed_as_a_terminal_would(remote):
    job = remote.map(fail_at_length, [1])
    assert job.wait(120)
    failure = job.failure(0)
    text = repr(failure)
    assert "about to fail: disk is full" in text
    assert "line 399" in text
    assert "lines left out" in text or "line 200" in text
    assert text.count("done") == 1
    assert "85% done" in text
    assert "\\r" not in text
    assert "\\x1b" not in text
    # Nothing of it is lost.
    assert failure.output.stderr.count("\r") == 86


def test_code_of_the_user_finds_the_same_functions_after_a_job_as_before(runner):
    job = runner.map(abs, [-1])
    assert job.result(120) == [1]
    # When the last job is over.
    eventually(lambda: isinstance(os.system, types.BuiltinFunctionType))
    assert subprocess.Popen.__init__.__module__ == "subprocess"
    assert "__enter__" not in vars(contextlib.redirect_stdout)
    assert "write" not in vars(sys.stdout)
