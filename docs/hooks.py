"""For mkdocs: docstrings without the marks that only Sphinx reads."""

import re

SPHINX = re.compile(r':(class|data|func|meth|mod):(?=<code>)|:(?=:</p>)')


def on_page_content(html: str, **_: object) -> str:
    """Called for each page."""
    return SPHINX.sub('', html)
