"""What the compose file opens, and what it closes."""

from typing import Any

import pytest

from tests.deploy.compose import DEPLOY, example_settings, read_compose

COMPOSE = read_compose()
SERVICES: dict[str, Any] = COMPOSE["services"]


def internal(network: str) -> bool:
    return bool((COMPOSE["networks"][network] or {}).get("internal"))


def test_only_traefik_is_published() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["traefik"]
    assert SERVICES["traefik"]["ports"] == ["80:8080", "443:8443"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_only_traefik_has_a_way_out() -> None:
    for name, service in SERVICES.items():
        assert all(internal(network) for network in service["networks"]) == (name != "traefik")


def test_the_proxy_does_not_reach_the_database() -> None:
    assert set(SERVICES["traefik"]["networks"]).isdisjoint(SERVICES["db"]["networks"])
    assert set(SERVICES["traefik"]["networks"]).isdisjoint(SERVICES["redis"]["networks"])
    assert SERVICES["db"]["networks"] == ["data"]


def test_the_way_out_adds_a_network_and_takes_none() -> None:
    (name, service), *more = read_compose("compose.outbound.yaml")["services"].items()
    assert (name, more) == ("app", [])
    assert set(SERVICES["app"]["networks"]) < set(service["networks"])
    assert not all(internal(network) for network in service["networks"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "privileged" not in service
    assert [
        volume
        for volume in service.get("volumes", [])
        if isinstance(volume, str) and volume.startswith((".", "/")) and not volume.endswith(":ro")
    ] == []


def test_only_traefik_reads_dockers_socket() -> None:
    mounted = [name for name, service in SERVICES.items() if "docker.sock" in str(service)]
    assert mounted == ["traefik"]


def test_only_who_asks_for_it_gets_redis() -> None:
    assert [name for name, s in SERVICES.items() if s.get("profiles")] == ["redis"]


def test_no_secret_is_in_the_repository() -> None:
    assert ".env" in (DEPLOY / ".gitignore").read_text().splitlines()
    for name in ("POSTGRES_PASSWORD", "SERVICE_PASSWORD"):
        assert f"\n{name}=\n" in (DEPLOY / ".env.example").read_text()
    for service in SERVICES.values():
        assert "0123456789abcdef" not in str(service.get("command"))


def test_the_service_does_not_know_the_superusers_password() -> None:
    given = example_settings() | SERVICES["app"]["environment"]  # the second outdoes the file
    assert SERVICES["app"]["env_file"] == ".env"
    assert example_settings()["POSTGRES_PASSWORD"] not in str(given.values())
    assert "//slotwright_service:" in given["DATABASE_URL"]
    assert SERVICES["app"]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }
    assert "env_file" not in SERVICES["migrate"]
    assert SERVICES["migrate"]["networks"] == ["data"]


@pytest.mark.parametrize(
    "name", ["CLINIC_HOST", "ACME_EMAIL", "POSTGRES_PASSWORD", "SERVICE_PASSWORD", "VERSION"]
)
def test_a_setting_that_is_missing_is_asked_for(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        read_compose(**{name: ""})
