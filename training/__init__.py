"""How the weights and rules were made; never imported by ``app``."""
