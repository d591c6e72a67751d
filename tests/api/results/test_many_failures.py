"""Many items that fail."""

import time

import nbfutures as nbf


def test_a_hundred_thousand_failures_cost_little_more_on_processes_than_values_do(jobs):
    processes = nbf.options(runner="processes", workers=2)
    assert processes.map(abs, [-1, -2]).result(240) == [1, 2]

    def seconds(fn, n=20_000):
        # The least of three: others use the machine, too.
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            job = processes.map(fn, range(n))
            assert job.wait(200)
            taken.append(time.perf_counter() - began)
        assert job.counts.settled == n
        return min(taken)

    def fail(x):
        raise ValueError(f"number {x} is bad")

    assert seconds(fail) < 8 * seconds(lambda x: [f"number {x} is bad"]) + 1


def test_failures_of_one_way_share_their_traceback(jobs):
    def fail(x):
        raise ValueError(x)

    job = nbf.options(runner="processes", workers=1).map(fail, range(1000))
    assert job.wait(120)
    assert len({id(one.traceback) for one in job.outcomes()}) < 20


def test_the_table_of_messages_that_all_differ_is_made_in_the_time_of_reading_them(jobs):
    def word(x):
        return "".join(chr(97 + x // 26**place % 26) for place in range(4))

    def fail(x):
        raise ValueError(f"the value {word(x)} of the column that was asked for has no meaning to anybody " * 3)

    job = nbf.options(workers=1).map(fail, range(5000))
    assert job.wait(240)
    job.errors()
    began = time.thread_time()
    assert len(job.errors()) == 5000
    # CPU seconds: 0.15 on a quiet machine, and 0.6 if each message is searched through at each place.
    assert time.thread_time() - began < 0.5
