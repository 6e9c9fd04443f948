"""The documentation site: pages are the Markdown files of this folder, tutorials are run when it is built."""

import mambrane

project = "Mambrane"
author = "The Mambrane authors"
project_copyright = f"2026, {author}"
version = release = mambrane.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute", ".jupyter_cache"]
html_theme = "furo"
html_title = f"Mambrane {release}"
html_theme_options = {"source_repository": "", "navigation_with_keys": True}
html_static_path: list[str] = []

# Tutorials run from the first cell to the last; a cell that fails is an error of the build.
nb_execution_mode = "cache"
nb_execution_cache_path = "docs/_build/executed"
nb_execution_timeout = 120
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
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]
