"""What an item prints is kept with it, and with nothing else."""

# ruff: noqa: T201 - printing is what is tested

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import subprocess
import sys
import threading
import weakref

import pytest

from nbfutures.engine import capture
from nbfutures.engine.capture import CAPTURE_LIMIT, OutputSink


@pytest.fixture(autouse=True)
def no_jobs(monkeypatch):
    """Jobs of other tests have nothing to do with these."""
    monkeypatch.setattr(capture, "_users", 0)


@contextlib.contextmanager
def notebook():
    """The streams of a notebook."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        yield out, err


@contextlib.contextmanager
def installed():
    capture.install()
    try:
        yield
    finally:
        capture.uninstall()


def test_an_item_prints_into_its_own_output_and_the_others_do_not():
    with notebook() as (out, err):
        sink = OutputSink()
        with installed():
            print("before")
            with capture.into(sink):
                print("of the item")
                print("a warning", file=sys.stderr)
                sys.stdout.writelines(["more", " lines"])
            print("after")
        assert out.getvalue() == "before\nafter\n"
        assert err.getvalue() == ""
        assert sink.take() == ("of the item\nmore lines", "a warning\n")


def test_what_was_taken_is_not_told_again():
    with notebook():
        sink = OutputSink()
        with installed(), capture.into(sink):
            print("first")
            assert sink.take().stdout == "first\n"
            assert sink.take() is None
            print("second")
            assert sink.take().stdout == "second\n"


def test_threads_that_print_at_once_keep_their_lines_apart():
    with notebook() as (out, _):
        sinks = [OutputSink() for _ in range(4)]
        start = threading.Barrier(4)

        def work(number):
            with capture.into(sinks[number]):
                start.wait(120)
                for line in range(200):
                    print(f"{number}:{line}")

        with installed():
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
        for number, sink in enumerate(sinks):
            assert sink.take().stdout == "".join(f"{number}:{line}\n" for line in range(200))
        assert out.getvalue() == ""


def test_coroutines_of_one_thread_keep_their_lines_apart():
    with notebook():
        sinks = [OutputSink() for _ in range(3)]

        async def work(sink, name):
            with capture.into(sink):
                for _ in range(3):
                    print(name)
                    await asyncio.sleep(0)

        async def main():
            await asyncio.gather(*[work(sink, name) for sink, name in zip(sinks, "abc", strict=True)])

        with installed():
            asyncio.run(main())
        assert [sink.take().stdout for sink in sinks] == ["a\na\na\n", "b\nb\nb\n", "c\nc\nc\n"]


def test_a_long_output_keeps_its_first_and_its_last_characters():
    sink = OutputSink()
    for number in range(100_000):
        sink.write("stdout", f"line {number}\n")
    text = sink.take().stdout
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 99998\nline 99999\n")
    assert "characters left out" in text
    assert len(text) < CAPTURE_LIMIT + 100


def test_an_endless_output_takes_a_bounded_memory():
    sink = OutputSink()
    for _ in range(10_000):
        sink.write("stdout", "x" * 1000)
    kept = sink._kept["stdout"]
    assert sum(map(len, kept.head)) + sum(map(len, kept.tail)) <= 2 * CAPTURE_LIMIT


@pytest.mark.parametrize("length", [CAPTURE_LIMIT - 1, CAPTURE_LIMIT])
def test_an_output_within_the_limit_is_kept_whole(length):
    text = ("0123456789" * CAPTURE_LIMIT)[:length]
    for size in (7, 1000, length):
        sink = OutputSink()
        for start in range(0, length, size):
            sink.write("stdout", text[start : start + size])
        assert sink.take().stdout == text


def test_the_characters_left_out_are_counted():
    sink = OutputSink()
    sink.write("stderr", "x" * (CAPTURE_LIMIT + 123))
    assert "[… 123 characters left out …]" in sink.take().stderr


def test_the_streams_are_what_they_were_while_jobs_run_and_afterwards():
    with notebook() as (out, err):
        before = vars(out).copy()
        with installed():
            with installed():
                assert (sys.stdout, sys.stderr) == (out, err)
            with capture.into(OutputSink()):
                print("of an item of the other job")
        assert (sys.stdout, sys.stderr) == (out, err)
        assert vars(out) == before
        assert out.getvalue() == ""


def test_the_streams_can_be_asked_what_the_real_ones_can():
    with notebook(), installed():
        assert sys.stdout.getvalue() == ""
        sys.stdout.flush()
        assert not sys.stdout.closed


def test_an_item_that_starts_while_a_cell_redirects_its_output_prints_into_its_own():
    with notebook() as (out, _):
        sink, redirected = OutputSink(), io.StringIO()
        with installed():
            with contextlib.redirect_stdout(redirected):
                capture.renew()
                print("of the cell")
                with capture.into(sink):
                    print("of the item")
            print("afterwards")
        assert redirected.getvalue() == "of the cell\n"
        assert sink.take().stdout == "of the item\n"
        assert out.getvalue() == "afterwards\n"
        assert sys.stdout is out


def test_a_redirection_that_outlives_the_job_is_left_alone():
    with notebook() as (out, _):
        redirected = io.StringIO()
        capture.install()
        with contextlib.redirect_stdout(redirected):
            capture.uninstall()
            print("still redirected")
            assert sys.stdout is redirected
        print("afterwards")
        assert redirected.getvalue() == "still redirected\n"
        assert out.getvalue() == "afterwards\n"


def test_a_stream_that_was_closed_meanwhile_is_never_put_back():
    with notebook() as (out, _), installed():
        cells = io.StringIO()
        with contextlib.redirect_stdout(cells):
            capture.renew()
        # It is held, so that nothing else tells that it is over.
        cells.close()
        with capture.into(OutputSink()) as sink:
            sys.stdout = io.StringIO()
            sink.take()
        assert not sys.stdout.closed
        sys.stdout = out


def test_a_process_without_streams_is_left_without(monkeypatch):
    monkeypatch.setattr(capture, "_users", 0)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with installed():
        assert sys.stdout is None


ENDS_MEANWHILE = """
import sys
from nbfutures.engine import capture

class Ends:
    def __str__(self):
        capture.uninstall()
        return "a text"

capture.install()
print("before", Ends(), "after")
"""


def test_a_cell_may_print_at_the_very_moment_when_the_last_job_ends():
    # Where this goes wrong it ends the process.
    ran = subprocess.run([sys.executable, "-c", ENDS_MEANWHILE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "before a text after\n"), ran.stderr


def test_streams_that_are_redirected_again_and_again_are_not_all_kept():
    streams = []
    for _ in range(300):
        with contextlib.redirect_stdout(io.StringIO()) as stream, installed():
            streams.append(weakref.ref(stream))
            del stream
    gc.collect()
    assert sum(one() is not None for one in streams) <= 110
