"""How fast the scripts are."""
