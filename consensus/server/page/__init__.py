"""One page of what is decided, what it costs and what it has earned: served, or as a file."""

from consensus.server.page.data import page_data
from consensus.server.page.html import page_csp, render_page
from consensus.server.page.reading import read_page

__all__ = ["page_csp", "page_data", "read_page", "render_page"]
