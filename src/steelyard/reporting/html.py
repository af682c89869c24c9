"""One HTML file per report: everything inlined, nothing requested, model output never markup.

The page carries a content security policy that allows only its own style sheet and script, by hash. The main
content (plot, tables) works without JavaScript; the script adds sorting, selection and the sample browser.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from steelyard.errors import InputError
from steelyard.reporting import figures
from steelyard.reporting import formatting as fmt
from steelyard.reporting.kinds import checked_kind

TEMPLATES = Path(__file__).with_name("templates")


def render_html(record: Mapping[str, Any]) -> str:
    """The report of a record as one self-contained HTML page.

    Raises:
        InputError: the record is of another kind or format than this version reads.

    >>> page = render_html(record)  # doctest: +SKIP
    """
    page = checked_kind(record).page(record)
    style, script = _asset("report.css"), _asset("report.js")
    html = (
        _environment()
        .get_template(page.template)
        .render(
            style=Markup(style),
            script=Markup(script),
            policy=content_security_policy(style, script),
            data=Markup(page.data),
            **page.context,
        )
    )
    return html.encode("utf-8", errors="replace").decode("utf-8")


def write_report(record: Mapping[str, Any], path: Path) -> Path:
    """Render ``record`` and write it to ``path`` atomically: a reader sees the old file or the new one.

    Raises:
        InputError: the record cannot be rendered, or the file cannot be written.
    """
    page = render_html(record)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            f"{path}: the report cannot be written ({error.strerror or error}); choose another place"
        ) from error
    return path


def content_security_policy(style: str, script: str) -> str:
    """A policy that allows nothing but this style sheet and this script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(mark=figures.mark, DASH=fmt.DASH)
    return environment
