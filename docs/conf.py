"""The site: ``make docs`` builds it from the Markdown of ``docs/`` and the docstrings, without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lt_fast

project = "lt-fast"
author = "The lt-fast developers"
project_copyright = author
version = release = lt_fast.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "extensions.api_pages",
    "extensions.link_check",
    "extensions.mathml",
    "extensions.object_links",
    "extensions.repository",
    "extensions.signatures",
    "extensions.table_cells",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["extensions"]

# Markdown: headings are anchors as the repository's host makes them; $...$ is a formula.
myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Docstrings.
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Shape", ("Attributes", "params_style")]
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "__init__,__new__"}
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Looks.
html_theme = "furo"
html_title = f"lt-fast {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
highlight_language = "text"  # of blocks that name no language: commands and formulas
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
