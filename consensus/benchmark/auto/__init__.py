"""``auto``: search the strategies over replays of the calibration half, and choose one."""

from consensus.benchmark.auto.search import Goal, parse_goal
from consensus.benchmark.auto.strategy import Auto, Learned, Stack

__all__ = ["Auto", "Goal", "Learned", "Stack", "parse_goal"]
