"""The report: one run's figures as plain data, and that data as HTML, Markdown and JSON."""

from consensus.benchmark.report.data import ReportSettings, build_report, to_json
from consensus.benchmark.report.html import render_html
from consensus.benchmark.report.markdown import render_markdown

__all__ = ["ReportSettings", "build_report", "render_html", "render_markdown", "to_json"]
