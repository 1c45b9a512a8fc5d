"""Connectors against real servers and real files."""
