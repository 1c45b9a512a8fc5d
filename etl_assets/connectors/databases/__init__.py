"""One module per database: how its session is opened, how its rows come out exactly, what its errors mean.

    session.py      what every module offers: Database, Session; values shared by all
    postgresql.py   COPY TO STDOUT, typed by the query itself
    mysql.py        MySQL and MariaDB through PyMySQL, typed by the result's metadata
    sqlite.py       ADBC where its types are exact, else the standard library
    duckdb.py       the native client; Arrow all the way
    plain.py        any other dialect that SQLAlchemy has a driver for: rows as the driver gives them
    reflection.py   the columns of a table, as its catalog has them
    types.py        which PostgreSQL type stores a column of another database

Not here: which rows are asked for (`sql.py`, `incremental.py`).
"""
