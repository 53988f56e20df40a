"""How fast the scripts are, and what makes them so."""
