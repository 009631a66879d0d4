"""Settings of Sphinx for the documentation site; `python docs/site` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "deltalab"
author = "the authors of deltalab"
html_title = "deltalab"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#2a5d9f", "color-brand-content": "#2a5d9f"},
    "dark_css_variables": {"color-brand-primary": "#8ab6f0", "color-brand-content": "#8ab6f0"},
}

myst_heading_anchors = 4  # links to headings, with the anchors that GitHub makes
myst_enable_extensions = ["smartquotes"]
suppress_warnings = ["myst.header"]  # a notebook may skip a level
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?s)(?!lab\.|experiments\.).*")]  # our names, and only ours, must be documented
