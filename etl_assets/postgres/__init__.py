"""What both sides of the house need of PostgreSQL: connections, types, and reading a query exactly.

Belongs here: URLs and engines, which error a driver error is, Arrow and pandas types of columns, `COPY TO STDOUT`. Not here:
writing (`loading/`) and reading other databases (`connectors/sql.py`).
"""
