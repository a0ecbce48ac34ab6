"""What the walk from an empty server to a running clinic names is there, and can be typed."""

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer
from ruamel.yaml import YAML
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.cli.main import app
from api.server.database import with_engine
from api.service.settings import PREFIX, Settings
from data.database.embedded.server import EmbeddedPostgres
from tests.deploy.compose import DEPLOY, ROOT, example_settings, read_compose
from tests.support.service import SLOTWRIGHT

README = (DEPLOY / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
UNIT = (DEPLOY / "slotwright.service").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SCRIPTS = [body for kind, body in BLOCKS if kind == "sh"]
CRON = [line for kind, body in BLOCKS if not kind for line in body.splitlines()]
LINES = [line for body in SCRIPTS for line in body.replace("\\\n", " ").splitlines()]
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("script", [*SCRIPTS, *(line.split(" root ", 1)[1] for line in CRON)])
def test_a_shell_takes_it(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"/usr/local/lib/slotwright/([\w-]+)", README)))
)
def test_a_program_of_the_databases_container_is_there(name: str) -> None:
    mount = "./postgres:/usr/local/lib/slotwright:ro"
    assert mount in read_compose()["services"]["db"]["volumes"]
    assert os.access(DEPLOY / "postgres" / name, os.X_OK)


def test_each_program_of_the_databases_container_is_spoken_of() -> None:
    command = " ".join(read_compose()["services"]["db"]["command"])
    for program in (DEPLOY / "postgres").iterdir():
        assert f"/{program.name} " in f"{README}{command} ".replace("\n", " ")


@pytest.mark.parametrize("page", [README, OPERATIONS])
def test_a_setting_that_is_named_is_one(page: str) -> None:
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", page)) <= SETTINGS


def test_every_setting_is_described() -> None:
    bare = {f"{PREFIX}{name}" for name in ("DATABASE_URL", "REDIS_URL")}
    for name in SETTINGS - bare:
        assert f"`{name}`" in OPERATIONS


def test_a_variable_of_the_settings_file_is_in_its_example() -> None:
    example = (DEPLOY / ".env.example").read_text()
    compose = (DEPLOY / "compose.yaml").read_text()
    for name in re.findall(r"\$\{(\w+)", compose):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name
    for name in re.findall(r"s/\^(\w+)=", README):
        assert name in example_settings()


@pytest.mark.parametrize(
    "target", sorted({link for _, link in re.findall(r"\[([^]]+)\]\(([^)]+)\)", README)})
)
def test_a_link_leads_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    page = DEPLOY / path if path else DEPLOY / "README.md"
    assert page.exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
        assert anchor in [title.lower().replace(" ", "-") for title in titles]


def test_compose_knows_what_is_asked_of_it() -> None:
    services = read_compose()["services"]
    for line in [*LINES, *CRON]:
        for command in re.findall(
            r"docker compose (exec|run|stop|start)((?: --?[\w-]+)*) (\w+)", line
        ):
            assert command[2] in services
    named = set(read_compose()["volumes"])
    for volume in re.findall(r"docker volume rm slotwright_(\w+)", README):
        assert volume in named
    assert "image: postgres:16-" in (DEPLOY / "compose.yaml").read_text()


def commands() -> list[list[str]]:
    """The ``slotwright`` commands of the page, of the unit and of the compose file."""
    found = []
    started = re.search(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    assert started is not None
    for line in [*LINES, started[1]]:
        words = shlex.split(line, comments=True)
        places = [n for n, word in enumerate(words) if word.split("/")[-1] == "slotwright"]
        for place in places[-1:]:
            if words[place + 1 :] and words[place + 1] in typer.main.get_group(app).commands:
                found.append(words[place + 1 :])
    found.append(read_compose()["services"]["app"]["command"][1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_takes_its_options(words: list[str]) -> None:
    group: click.Command = typer.main.get_group(app)
    while isinstance(group, click.Group):
        group = group.commands[words[0]]
        words = words[1:]
    group.make_context(group.name, list(words))


def test_a_prometheus_is_told_the_services_port() -> None:
    [block] = [body for kind, body in BLOCKS if kind == "yaml"]
    [job] = YAML(typ="safe").load(block)["scrape_configs"]
    app_service = read_compose()["services"]["app"]
    port = app_service["labels"]["traefik.http.services.slotwright.loadbalancer.server.port"]
    assert job["static_configs"] == [{"targets": [f"app:{port}"]}]


async def be_newer(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
        await connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))


def test_a_program_refuses_the_schema_of_a_newer_one(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as database:
        asyncio.run(with_engine(database.admin_url, be_newer))
        refused = subprocess.run(
            [*SLOTWRIGHT, "serve", "--port", "0"],
            env={**os.environ, "DATABASE_URL": database.admin_url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(
        "slotwright: the database's schema is that of"
    )
