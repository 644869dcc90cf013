"""Which row each task type has earned: candidates, their measurement, and the proposed change."""
