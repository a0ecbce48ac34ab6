"""The labels of the compose file, read by a real Traefik in front of a real service."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.compose import HOST, read_compose
from tests.deploy.docker_api import containers_of, docker_api
from tests.support.service import SLOTWRIGHT

SERVICE_PORT = 8000
"""Where the labels say that the service listens."""


def loopback_address() -> str:
    """An address of this machine alone, at which the service's port is free."""
    for last in range(1, 255):
        address = f"127.83.{os.getpid() % 250}.{last}"
        with socket.socket() as probe:
            if probe.connect_ex((address, SERVICE_PORT)) != 0:
                return address
    raise AssertionError("no free address")


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | environment)
    try:
        yield running
    finally:
        running.terminate()
        running.communicate()


def wait_for(url: str, status: int, running: subprocess.Popen[bytes], **options: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=5, **options).status_code == status:
                return
        except httpx.TransportError:
            pass
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two tries


@dataclass(frozen=True)
class Proxy:
    plain: str
    secure: str

    def get(self, path: str, host: str = HOST, *, base: str | None = None) -> httpx.Response:
        """What a browser gets that has been told that `host` is here."""
        with httpx.Client(verify=False, timeout=10) as browser:
            return browser.get(
                f"{base or self.secure}{path}",
                headers={"Host": host},
                extensions={"sni_hostname": host},
            )


@pytest.fixture(scope="module")
def proxy(
    database_url: str, migrated_engine: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    address = loopback_address()
    plain, secure, nothing = free_ports(3)
    compose = read_compose(ACME_SERVER=f"http://127.0.0.1:{nothing}/directory")
    certificates = tmp_path_factory.mktemp("certificates")
    containers = containers_of(compose, {("app", "web"): address})
    with docker_api(containers) as engine:
        elsewhere = {
            "address=:8080": f"address=127.0.0.1:{plain}",
            "address=:8443": f"address=127.0.0.1:{secure}",
            "unix:///var/run/docker.sock": engine,
            "/certificates/": f"{certificates}/",
        }
        command = compose["services"]["traefik"]["command"]
        for there, here in elsewhere.items():
            assert any(there in option for option in command)
            command = [option.replace(there, here) for option in command]
        serve = [*SLOTWRIGHT, "serve", "--host", address, "--port", str(SERVICE_PORT)]
        with (
            process(*serve, DATABASE_URL=database_url) as service,
            process(traefik(), *command) as router,
        ):
            wait_for(f"http://{address}:{SERVICE_PORT}/readyz", 200, service)
            first = {"role": "admin"}  # without a key it answers to no name of the world's
            made = httpx.post(f"http://{address}:{SERVICE_PORT}/keys", json=first)
            assert made.status_code in (201, 401)  # a test before this one may have made one
            found = Proxy(f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}")
            wait_for(f"{found.secure}/healthz", 200, router, headers={"Host": HOST}, verify=False)
            yield found


def traefik() -> str:
    binary = shutil.which("traefik", path=str(Path(sys.executable).parent))
    assert binary is not None
    return binary


def test_the_clinics_name_leads_to_the_service(proxy: Proxy) -> None:
    answer = proxy.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_another_name_leads_nowhere(proxy: Proxy) -> None:
    for host in ("other.example.org", f"evil.{HOST}", "127.0.0.1"):
        assert proxy.get("/readyz", host).status_code == 404


def test_the_metrics_are_not_for_the_world(proxy: Proxy) -> None:
    for path in ("/metrics", "/metrics/", "/%6Detrics", "//metrics"):
        assert proxy.get(path).status_code in (301, 404)
    assert proxy.get("/metrics").text == "404 page not found\n"


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    answer = proxy.get("/slots?date=2027-03-01", base=proxy.plain)
    assert answer.status_code in (301, 308)
    assert answer.headers["Location"] == f"https://{HOST}/slots?date=2027-03-01"


def test_the_services_refusals_come_through(proxy: Proxy) -> None:
    answer = proxy.get("/nothing-here")
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
