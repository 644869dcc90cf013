"""The ways to a ten-seat decision that run in this project's own environment; one process each."""
