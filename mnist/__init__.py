"""The scripts: each complete in itself, and importable by the others."""
