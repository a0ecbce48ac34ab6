"""Pages that are complete in themselves, with charts.

The charts are Plotly's. Its script is in a page once, compressed, and unpacked by the browser, so
a page needs no network.
"""

from __future__ import annotations

import base64
import gzip
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs


def template(package: str, name: str, **names: Any) -> Template:
    """Return a template of a package; it may extend ``page.html.j2``, and knows `names`."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("api.http")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= names | {"plotly": _plotly()}
    return environment.get_template(name)


def chart(figure: go.Figure) -> Markup:
    """Return a chart as the JSON that a page carries."""
    return Markup(figure.to_json().replace("<", "\\u003c"))  # noqa: S704 - JSON


def sized(figure: go.Figure, height: int) -> go.Figure:
    """Give a chart its height and the looks of all."""
    figure.update_layout(
        height=height,
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 30, "b": 40},
        font={"family": "system-ui, sans-serif"},
    )
    figure.update_yaxes(automargin=True)
    return figure


@cache
def _plotly() -> str:
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
