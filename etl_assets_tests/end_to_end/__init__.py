"""Whole commands, as a person types them, on real data."""
