"""How a model is called: clients, limits, retries, prices, tape."""
