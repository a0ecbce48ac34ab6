"""Several service processes, real proxies and real Redis: one count, and no forged address."""

from pathlib import Path

import httpx

from data.embedded import EmbeddedPostgres
from tests.faults.service import service
from tests.redis_server import redis_server


def test_two_services_share_one_count(tmp_path: Path) -> None:
    with (
        EmbeddedPostgres(tmp_path / "database", durable=False) as database,
        redis_server() as server,
    ):
        environment = {
            "DATABASE_URL": database.url,
            "REDIS_URL": server.url,
            "SLOTWRIGHT_RATE_LIMITS": "on",
        }
        with (
            service("serve", **environment) as (_, one),
            service("serve", **environment, SLOTWRIGHT_TRUSTED_PROXIES="127.0.0.0/8") as (_, other),
            httpx.Client(timeout=10) as client,
        ):
            found = [client.get(f"{base}/slots") for base in (one, other) for _ in range(110)]
            codes = [answer.status_code for answer in found]
            assert (codes.count(422), codes.count(429)) == (200, 20)

            elsewhere = {"X-Forwarded-For": "203.0.113.9"}
            assert client.get(f"{one}/slots", headers=elsewhere).status_code == 429
            assert client.get(f"{other}/slots", headers=elsewhere).status_code == 422

            server.stop()
            found = [client.get(f"{base}/slots") for base in (one, other) for _ in range(30)]
            assert {answer.status_code for answer in found} == {422}
