"""Real tasks, real small models, this CPU."""
