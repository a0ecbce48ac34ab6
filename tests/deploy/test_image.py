"""What the Dockerfile says, done by hand: installed from the hashed lock and the files it copies,
run by its user on a read-only file system."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.compose import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
UV = os.environ.get("UV") or shutil.which("uv")
SANDBOX = ["unshare", "--mount"]
USER = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"]
USER += ["--bounding-set=-all", "--inh-caps=-all"]

pytestmark = pytest.mark.skipif(
    subprocess.run([*SANDBOX, "true"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to make a mount namespace",
)


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def ran(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A directory like the image's: a Python for everyone, the environment, an empty volume."""
    assert UV is not None
    with tempfile.TemporaryDirectory(prefix="slotwright-image-", dir="/var/tmp") as directory:
        image = Path(directory)
        image.chmod(0o755)
        unneeded = shutil.ignore_patterns("test", "site-packages", "__pycache__", "*.a")
        base = Path(sys.base_prefix).resolve()
        shutil.copytree(base, image / "python", symlinks=True, ignore=unneeded)
        source = image / "src"
        source.mkdir()
        for copied in instructions("COPY"):
            *paths, target = copied.split()
            if not paths[0].startswith("--from"):
                for path in paths:
                    place = source / target / ("" if (ROOT / path).is_dir() else path)
                    ran("cp", "--recursive", "--no-target-directory", ROOT / path, place)
        python = next((image / "python" / "bin").glob("python3.1?"))
        environment = image / "slotwright"
        quiet = {"UV_NO_PROGRESS": "1", "UV_COMPILE_BYTECODE": "1"}  # as in the image
        installs = [
            shlex.split(part)
            for step in instructions("RUN")
            for part in step.split("&&")
            if "uv pip install" in part
        ]
        assert ["--require-hashes" in install for install in installs] == [True, False]
        ran(UV, "venv", "--python", python, environment, **quiet)
        for install in installs:
            here = {"/opt/slotwright": str(environment), "requirements.lock": "requirements.lock"}
            words = [here.get(word, word) for word in install[1:] if word != "--no-cache"]
            ran(UV, "--directory", source, *words, **quiet)
        shutil.rmtree(source)
        volume = image / "volume"
        volume.mkdir()
        os.chown(volume, 10001, 10001)
        (image / "passwd").write_text(f"slotwright:x:10001:10001::{volume}:/usr/sbin/nologin\n")
        yield image


def test_all_that_is_installed_has_a_hash() -> None:
    steps = [part.split() for step in instructions("RUN") for part in step.split("&&")]
    installs = [step for step in steps if "install" in step]
    assert len(installs) == 3
    for step in installs:
        *_, last = step
        if last == ".":  # ours; what builds it has hashes
            assert "--no-deps" in step
            assert "--build-constraints" in step
        else:
            assert "--require-hashes" in step
    lock = (ROOT / "requirements-build.lock").read_text()
    packages = [line for line in lock.splitlines() if "==" in line]
    assert {line.partition("==")[0] for line in packages} >= {"uv", "hatchling"}
    assert "://" not in lock


def test_the_service_on_a_read_only_file_system(image: Path) -> None:
    volume = image / "volume"
    health = re.search(r'CMD \["python", "-c", "(.*)"\]$', DOCKERFILE, re.MULTILINE)
    assert health is not None
    command = instructions("CMD")[-1]
    assert command == '["slotwright", "serve", "--host", "0.0.0.0"]'
    port = 20000 + os.getpid() % 20000
    check = health[1].replace(":8000/", f":{port}/")
    script = f"""
    set -eu
    mount --make-rprivate /
    mount --bind {volume} {volume}
    mount --bind {image}/passwd /etc/passwd
    mount -o remount,bind,ro /
    mount -t tmpfs tmpfs /tmp
    ! touch {image}/slotwright/written 2>/dev/null
    exec {shlex.join(USER)} slotwright serve --port {port}
    """
    environment = {
        "PATH": f"{image}/slotwright/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{image}/python/lib",
        "HOME": str(volume),
        "SLOTWRIGHT_DATA_DIR": str(volume),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    log = (image / "log").open("w")
    service = subprocess.Popen(
        [*SANDBOX, "sh", "-c", script],
        env=environment,
        cwd=volume,
        stderr=log,
    )
    healthy = [image / "slotwright" / "bin" / "python", "-c", check]
    try:
        deadline = time.monotonic() + 180
        while (
            subprocess.run(healthy, env=environment, capture_output=True, check=False).returncode
            != 0
        ):
            assert service.poll() is None, (image / "log").read_text()
            assert time.monotonic() < deadline, (image / "log").read_text()
            time.sleep(0.1)  # between two tries
        ready = [*healthy[:2], check.replace("healthz", "readyz")]
        assert (
            subprocess.run(ready, env=environment, capture_output=True, check=False).returncode == 0
        )
        assert {path.stat().st_uid for path in volume.rglob("*")} == {10001}
    finally:
        service.terminate()
        service.wait()
        log.close()
