"""How many CPUs a process may use: whatever the machine has, no more than it is left."""

import shutil
import subprocess
import sys

import pytest

from nbfutures.engine.cpus import cgroup_cpus, inner_threads, usable_cpus


def cgroups(tmp_path, own, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    return cgroup_cpus(tmp_path / "cgroup", tmp_path / "own")


def test_the_least_quota_of_a_cgroup_and_those_above_counts(tmp_path):
    files = {"cgroup/a/cpu.max": "200000 100000\n", "cgroup/a/b/cpu.max": "max 100000\n"}
    assert cgroups(tmp_path, "0::/a/b\n", files) == 2.0
    assert cgroups(tmp_path, "0::/a/b\n", {"cgroup/a/b/cpu.max": "50000 100000\n"}) == 0.5


def test_a_container_that_is_told_the_path_of_its_host_has_the_quota_at_its_own_root(tmp_path):
    assert cgroups(tmp_path, "0::/docker/1234\n", {"cgroup/cpu.max": "100000 100000\n"}) == 1.0


@pytest.mark.parametrize("quota", ["150000", "-1"])
def test_version_1_has_a_quota_and_a_period_in_two_files(tmp_path, quota):
    files = {"cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": quota, "cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}
    found = cgroups(tmp_path, "4:cpu,cpuacct:/x\n1:name=systemd:/y\n", files)
    assert found == (1.5 if quota != "-1" else None)


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert cgroup_cpus(tmp_path / "nowhere", tmp_path / "nothing") is None
    assert cgroups(tmp_path, "nonsense\n\n0::/a\n", {"cgroup/a/cpu.max": "much\n"}) is None


@pytest.mark.skipif(shutil.which("taskset") is None, reason="takes taskset, of util-linux")
def test_a_process_that_is_bound_to_one_cpu_has_one_worker():
    code = "from nbfutures.prefect.runners import default_workers as w; print(w('processes'), w('dask'), w('threads'))"
    done = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1", "5"]


def test_worker_processes_share_the_cpus_for_their_inner_threads():
    assert inner_threads(1) == usable_cpus()
    assert inner_threads(10 * usable_cpus()) == 1
