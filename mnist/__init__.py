"""The scripts and tools, which can also be imported."""
