"""How often the watch cries wolf, and how soon it finds a planted drift."""
