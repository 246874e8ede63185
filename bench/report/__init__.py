"""What becomes of a result file: one HTML page, and a block of tables in a README."""

from bench.report.markdown import ReadmeError, markdown, rewrite_readme
from bench.report.page import html

__all__ = ["ReadmeError", "html", "markdown", "rewrite_readme"]
