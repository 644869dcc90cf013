"""How often a certificate is false, on every recorded data set."""
