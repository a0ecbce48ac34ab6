"""What a process of the service writes into its log."""

import json
import subprocess
import sys

SECRET = "Patient-Ada-4711"


FAILS = """
import logging, structlog
from api.service import logs
logs.configure("INFO")
def fails():
    {}["-".join(["Patient", "Ada", "4711"])]
for log in (logging.getLogger("a.library"), structlog.get_logger("ours")):
    try:
        fails()
    except KeyError as error:
        log.exception("first")
        log.warning("second", exc_info=error)
        log.info("third")
"""


def test_of_an_exception_only_type_and_place_are_logged() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["first", "second", "third"] * 2
    for line in lines:
        assert (line.get("error"), "in fails" in line.get("trace", "")) == (
            (None, False) if line["event"] == "third" else ("KeyError", True)
        )
    assert SECRET not in done.stderr
