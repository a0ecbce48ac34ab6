"""``slotwright demo``: the demo clinic, with one query's answer once it serves."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import httpx
import uvicorn
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.open_until_first_key import KeylessAccess
from api.cli.tables import counted, print_table, slot_table
from api.server.app import create_app, ready, with_console
from api.server.database import embedded_database, with_engine
from api.server.run import address_of, begin, is_open_to_all, uvicorn_options
from api.service.settings import read_settings
from data.clinic import demo as demo_clinic

DEMO_HOST = "127.0.0.1"


DEMO_ROWS = 10


def demo(bound: socket.socket, data_dir: Path | None) -> int:
    """Run the demo clinic; print one query's answer once it serves."""
    settings = read_settings()
    begin("WARNING")
    directory = data_dir or settings.data_dir / "demo"
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    say(f"Starting PostgreSQL in {directory} …")
    with embedded_database(directory) as url:
        say("Preparing the demo clinic and its bookings …")
        asyncio.run(with_engine(url, _seed_demo))
        settings = settings.model_copy(update={"database_url": url, "data_dir": directory})
        keyless = KeylessAccess(is_open=is_open_to_all(DEMO_HOST, settings, url))
        say("Starting the service …\n")
        config = uvicorn.Config(
            ready(with_console(create_app(settings, keyless))),
            host=DEMO_HOST,
            port=bound.getsockname()[1],
            **uvicorn_options(settings),
        )
        with suppress(KeyboardInterrupt):  # which the server raises once it has shut down
            asyncio.run(_serve_and_show(uvicorn.Server(config), bound, console))
    return 0


async def _seed_demo(engine: AsyncEngine) -> None:
    await demo_clinic.seed(engine, dt.datetime.now(dt.UTC))


async def _serve_and_show(server: uvicorn.Server, bound: socket.socket, console: Console) -> None:
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        await _show(address_of(bound), console)
    await serving


async def _show(base: str, console: Console) -> None:
    """Print where the demo is, one query with its answer, and commands to repeat and book it."""
    query = urlencode(demo_clinic.first_query(dt.datetime.now(dt.UTC)), safe=":")
    url = f"{base}/slots?{query}"
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        answer = await client.get(url)
    console.print(f"[bold]Console on {base}/console[/]", soft_wrap=True)
    console.print(f"The API on {base}/docs; Ctrl-C ends it\n", soft_wrap=True)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        console.print("An API key was made for this demo; its query needs it, too.")
        return
    answer.raise_for_status()
    body = answer.json()
    console.print(f"GET {url}\n", soft_wrap=True, markup=False)
    title = f"A check-up on {body['date']}, best in the morning: {counted(body['total'], 'place')}"
    print_table(console, slot_table(body, title, DEMO_ROWS))
    if not body["slots"]:  # the demo's clinic may have been edited
        return
    first = body["slots"][0]
    order = {
        "appointment_type_id": body["appointment_type_id"],
        "provider_id": first["provider_id"],
        "room_id": first["room_id"],
        "date": first["date"],
        "start_time": first["start_time"],
        "patient_ref": "P-4711",
    }
    for line in (
        "\nAsk for the best one:",
        f"  curl '{url}&limit=1'",
        "\nBook it:",
        f"  curl -X POST {base}/bookings -H 'Content-Type: application/json' "
        f"-d '{json.dumps(order)}'\n",
    ):
        console.print(line, markup=False, soft_wrap=True)
