"""Which kind of content classifier is right how often."""
