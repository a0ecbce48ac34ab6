"""A real Redis server of the test's own, which can be stopped, frozen and started again."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator

import redis


class RedisServer:
    """One server on a port that stays its own."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is missing: apt-get install redis-server"
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        with redis.Redis(port=self.port) as client:
            while True:
                assert self.process.poll() is None
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server
    finally:
        server.stop()
