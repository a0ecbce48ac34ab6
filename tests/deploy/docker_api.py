"""A stand-in for the part of Docker's API that Traefik's provider reads."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UNREACHABLE = "192.0.2.1"
"""Of a network set aside for documentation: nothing answers there."""


def containers_of(compose: dict[str, Any], addresses: dict[tuple[str, str], str]) -> dict[str, Any]:
    """The running containers of a compose file, as ``docker inspect`` has them.

    `addresses` names the address of a service in a network; every other one is unreachable.
    """
    project = compose["name"]
    containers = {}
    for number, (name, service) in enumerate(compose["services"].items(), start=1):
        if "profiles" in service:
            continue
        networks = {}
        for network in service["networks"]:
            full = compose["networks"][network] or {}
            networks[full.get("name", f"{project}_{network}")] = {
                "NetworkID": network,
                "IPAddress": addresses.get((name, network), UNREACHABLE),
            }
        key = f"{number:064x}"
        containers[key] = {
            "Id": key,
            "Name": f"/{project}-{name}-1",
            "State": {"Status": "running", "Running": True},
            "Config": {
                "Image": service["image"],
                "Labels": service.get("labels", {})
                | {"com.docker.compose.project": project, "com.docker.compose.service": name},
            },
            "HostConfig": {"NetworkMode": next(iter(networks))},
            "NetworkSettings": {"Networks": networks, "Ports": {}},
        }
    return containers


@contextlib.contextmanager
def docker_api(containers: dict[str, Any]) -> Iterator[str]:
    """Serve `containers`; yield the address of the engine's API."""
    over = threading.Event()

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            path = re.sub(r"^/v[\d.]+", "", self.path).partition("?")[0]
            if path == "/events":  # a stream in which nothing happens
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                over.wait()
            elif path == "/_ping":
                self._answer(b"OK")
            elif path == "/version":
                self._answer(json.dumps({"Version": "28.2.2", "ApiVersion": "1.50"}).encode())
            elif path == "/containers/json":
                self._answer(json.dumps([_listed(each) for each in containers.values()]).encode())
            elif found := re.fullmatch(r"/containers/(\w+)/json", path):
                self._answer(json.dumps(containers[found[1]]).encode())
            else:
                self.send_error(404)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Api-Version", "1.50")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _listed(container: dict[str, Any]) -> dict[str, Any]:
    """A container as the list has it, which is less than what inspecting it tells."""
    return {
        "Id": container["Id"],
        "Names": [container["Name"]],
        "Image": container["Config"]["Image"],
        "Labels": container["Config"]["Labels"],
        "State": container["State"]["Status"],
        "HostConfig": container["HostConfig"],
        "NetworkSettings": {"Networks": container["NetworkSettings"]["Networks"]},
    }
