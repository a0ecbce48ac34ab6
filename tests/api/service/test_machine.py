"""How many cores and how much memory a container leaves, in both generations of control groups."""

import subprocess
import sys
from pathlib import Path

import pytest

from api.service.machine import cores, free_memory

MIB = 2**20


BEGUN = """
import resource, sys
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from api.server import run as serving
serving.begin("INFO")
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "is_few"), [(256, 4500, False), (256, 1024, True), (4096, 4096, False)]
)
def test_a_service_may_open_as_many_files_as_it_is_allowed(
    soft: int, hard: int, is_few: bool
) -> None:
    begun = subprocess.run(
        [sys.executable, "-c", BEGUN, str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(begun.stdout) == hard
    lines = begun.stderr.splitlines()
    assert len(lines) == is_few
    assert all("ulimit -Hn 65536" in line and "few_descriptors" in line for line in lines)


def laid_out(folder: Path, own: str, **files: str) -> tuple[Path, Path]:
    """Write control groups: what `own` says of this process, and files with ``__`` for slashes."""
    groups, mine = folder / "cgroup", folder / "own"
    mine.write_text(own)
    groups.mkdir()
    for name, content in files.items():
        file = groups / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return groups, mine


def test_the_quota_of_the_second_generation(tmp_path: Path) -> None:
    groups, own = laid_out(
        tmp_path,
        "0::/pod/app\n",
        pod__app__cpu_DOT_max="max 100000\n",
        pod__cpu_DOT_max="150000 100000\n",
    )
    assert cores(groups, own) == 1


def test_the_quota_of_the_first_generation(tmp_path: Path) -> None:
    groups, own = laid_out(
        tmp_path,
        "3:cpu,cpuacct:/\n2:memory:/\n",
        cpu__cpu_DOT_cfs_quota_us="100000\n",
        cpu__cpu_DOT_cfs_period_us="100000\n",
    )
    assert cores(groups, own) == 1


def test_no_quota_leaves_what_the_system_allows(tmp_path: Path) -> None:
    groups, own = laid_out(tmp_path, "0::/\n", cpu_DOT_max="max 100000\n")
    assert cores(groups, own) == cores(tmp_path / "none", tmp_path / "none")


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (
            "0::/\n",
            {
                "memory_DOT_max": f"{2048 * MIB}",
                "memory_DOT_current": f"{1600 * MIB}",
                "memory_DOT_stat": f"anon 5\ninactive_file {600 * MIB}\n",
            },
        ),
        (
            "2:memory:/docker/x\n",
            {
                "memory__memory_DOT_limit_in_bytes": f"{2048 * MIB}",
                "memory__memory_DOT_usage_in_bytes": f"{1600 * MIB}",
                "memory__memory_DOT_stat": f"total_inactive_file {600 * MIB}\n",
            },
        ),
    ],
)
def test_the_memory_that_a_container_has_left(
    tmp_path: Path, own: str, files: dict[str, str]
) -> None:
    groups, mine = laid_out(tmp_path, own, **files)
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 64000000 kB\nMemAvailable: 32000000 kB\n")
    assert free_memory(groups, mine, memory) == 1048 * MIB
    memory.write_text("MemAvailable: 1024 kB\n")
    assert free_memory(groups, mine, memory) == MIB
