"""The dashboard: a page with its styles and scripts, as files that the statistics port serves.

index.html is the page. ui.js asks for a report every few seconds and shows it in the parts of the page, which are in
sections.js. rates.js computes what happens now from two reports, and history.js keeps it for the charts. charts.js and
tables.js draw, format.js writes figures for people, elements.js makes elements of the page.
"""

from pathlib import Path
from typing import Final

_SCRIPT: Final = "text/javascript; charset=utf-8"

FILES: Final[dict[str, tuple[str, str]]] = {
    "/ui": ("index.html", "text/html; charset=utf-8"),
    "/ui/ui.css": ("ui.css", "text/css; charset=utf-8"),
    "/ui/icon.svg": ("icon.svg", "image/svg+xml"),
    "/ui/theme.js": ("theme.js", _SCRIPT),
    "/ui/ui.js": ("ui.js", _SCRIPT),
    "/ui/rates.js": ("rates.js", _SCRIPT),
    "/ui/history.js": ("history.js", _SCRIPT),
    "/ui/sections.js": ("sections.js", _SCRIPT),
    "/ui/charts.js": ("charts.js", _SCRIPT),
    "/ui/tables.js": ("tables.js", _SCRIPT),
    "/ui/format.js": ("format.js", _SCRIPT),
    "/ui/elements.js": ("elements.js", _SCRIPT),
}
"""The file and the content type of each path of the dashboard."""

CONTENT_SECURITY_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What the page may load, for the header ``content-security-policy`` of each of these responses."""


def read(name: str) -> bytes:
    """Return the content of a file of ``FILES``."""
    return Path(__file__).with_name(name).read_bytes()
