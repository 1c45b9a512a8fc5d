"""The PostgreSQL room against a real server."""
