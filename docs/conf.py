"""Sphinx: the pages in this folder as a site. `make docs` builds it."""

from das import __version__

project, author, release = "das", "the das authors", __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "das"
suppress_warnings = ["myst.xref_missing"]  # links to files beside docs/; a test says that they lead somewhere
exclude_patterns = ["_build"]
