"""Speed beside the field's own libraries, as ratios from one run."""
