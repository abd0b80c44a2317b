"""A hook of mkdocs for make site: pages need nothing from other sites.

The theme would load the library that draws diagrams from another site, unless the page has loaded it before.
"""

import re
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

LIBRARY = "mermaid.min.js"
"""A file in the root of the site."""
BUNDLE = re.compile(r'(?=<script src="[^"]*assets/javascripts/bundle)')
"""Where the scripts of the theme begin."""
FROM_ELSEWHERE = re.compile(r"""<(?:script|link|img)\b[^>]*?(?:src|href)=["']?https?://[^>]*>""")


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Return the page with the library before the scripts of the theme, if the page has diagrams."""
    if found := FROM_ELSEWHERE.search(output):
        raise PluginError(f"{page.url} loads something from another site: {found[0]}")
    if 'class="mermaid"' not in output:
        return output
    library = f'<script src="{get_relative_url(LIBRARY, page.url)}"></script>'
    output, places = BUNDLE.subn(library, output)
    if places != 1:
        raise PluginError(f"{page.url} has no place for {LIBRARY}: the theme has changed")
    return output
