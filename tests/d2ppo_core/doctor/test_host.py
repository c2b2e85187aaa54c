import os
from pathlib import Path

import pytest

from d2ppo_core.doctor.finding import Status
from d2ppo_core.doctor.host import (
    check_debian_packages,
    check_processor,
    check_python,
    check_realtime_kernel,
    check_shared_memory,
    is_installed,
)


@pytest.mark.parametrize(
    ("version", "status"), [((3, 11), Status.OK), ((3, 12), Status.OK), ((3, 10), Status.FAIL), ((3, 14), Status.FAIL)]
)
def test_only_a_python_that_the_wheels_exist_for_is_fine(version: tuple[int, int], status: Status) -> None:
    finding = check_python(version)
    assert finding.status is status
    assert status is Status.OK or "wanted 3.11 or 3.12" in finding.text


def test_this_python_is_fine() -> None:
    assert check_python().status is Status.OK


def test_a_missing_debian_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("# comment\n\nlibc6  always there\nno-such-package-d2ppo  never there\n")
    finding = check_debian_packages(packages)
    assert finding.status is Status.FAIL
    assert finding.text == "missing: no-such-package-d2ppo; run: apt-get install no-such-package-d2ppo"
    packages.write_text("libc6\n")
    assert check_debian_packages(packages).status is Status.OK


def test_dpkg_tells_installed_from_unknown_packages() -> None:
    assert is_installed("libc6")
    assert not is_installed("no-such-package-d2ppo")


def test_a_machine_without_dpkg_gets_a_warning_and_no_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_debian_packages().status is Status.WARN


def test_a_missing_package_list_is_a_warning(tmp_path: Path) -> None:
    assert check_debian_packages(tmp_path / "none.txt").status is Status.WARN


def test_too_little_shared_memory_is_a_failure_with_the_command_that_frees_it(tmp_path: Path) -> None:
    assert check_shared_memory(wanted_mib=1).status is Status.OK
    finding = check_shared_memory(tmp_path, wanted_mib=2**40)
    assert finding.status is Status.FAIL
    assert "fastdds shm clean" in finding.text
    assert check_shared_memory(tmp_path / "none").status is Status.FAIL


def test_a_kernel_without_preempt_rt_is_a_warning_and_one_with_it_is_fine(tmp_path: Path) -> None:
    flag = tmp_path / "realtime"
    flag.write_text("1\n")
    assert check_realtime_kernel(flag).status is Status.OK
    if not Path("/sys/kernel/realtime").exists() and "PREEMPT_RT" not in os.uname().version:
        assert check_realtime_kernel(tmp_path / "none").status is Status.WARN


def test_a_processor_that_saves_power_is_a_warning(tmp_path: Path) -> None:
    governor = tmp_path / "scaling_governor"
    governor.write_text("powersave\n")
    assert check_processor(governor).status is Status.WARN
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(affinity)})
    try:
        assert "1 cores" in check_processor(governor).text
        assert check_processor(tmp_path / "none").status is Status.WARN
    finally:
        os.sched_setaffinity(0, affinity)
