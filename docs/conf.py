"""The documentation site: pages are the Markdown files of this folder, tutorials are run when it is built."""

import hashlib
import os
from pathlib import Path
from typing import Any

import sphinx.builders
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import mambrane

project = "Mambrane"
author = "The Mambrane authors"
project_copyright = f"2026, {author}"
version = release = mambrane.__version__


def _package_digest() -> str:
    """Return a short name of the package's source as it is now."""
    digest = hashlib.sha256()
    for path in sorted(Path(mambrane.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute", ".jupyter_cache"]
html_theme = "furo"
html_title = f"Mambrane {release}"
html_theme_options = {"source_repository": "", "navigation_with_keys": True, "top_of_page_buttons": []}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["reading.js"]
# Formulas are MathML, made when the site is built: no page needs a script for them, and nothing is fetched.
html_math_renderer = "mathml"

# Tutorials run from the first cell to the last; a cell that fails is an error of the build. One thread each: the models
# are small, and `-j 2` runs two of them side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
nb_execution_mode = "cache"
# Results are taken from the last build, of the site or of its test, where no line of the package has changed since.
nb_execution_cache_path = f"docs/_build/executed/{_package_digest()}"
nb_execution_timeout = 400
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Source files that pages name are read on the disk and not on this site.
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]
# `make linkcheck` asks every other host; the repository itself is not public yet.
linkcheck_ignore = [r"http://127\.0\.0\.1.*", r"https://github\.com/mambrane/.*"]
linkcheck_timeout = 20
linkcheck_anchors = False


def setup(app: Any) -> None:  # noqa: ANN401 -- Sphinx's application
    """Add the renderer of formulas, which docutils has and Sphinx does not offer."""
    # Pages are dealt out to the processes of -j one by one: neighbours, such as the tutorials, would all go to one.
    sphinx.builders.make_chunks = _dealt_out
    app.add_html_math_renderer("mathml", inline_renderers=(_write_inline, None), block_renderers=(_write_block, None))


def _dealt_out(pages: list[Any], processes: int, maxbatch: int = 0) -> list[list[Any]]:
    return [chunk for n in range(processes) if (chunk := list(pages)[n::processes])]


def _write_inline(writer: Any, node: nodes.Element) -> None:  # noqa: ANN401 -- Sphinx's writer
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _write_block(writer: Any, node: nodes.Element) -> None:  # noqa: ANN401 -- Sphinx's writer
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode
