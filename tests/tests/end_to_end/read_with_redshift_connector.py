"""Reads what the pipeline loaded with AWS's own driver: host, port, user, password and database are the arguments."""

import sys

import redshift_connector

host, port, user, password, database = sys.argv[1:]
connection = redshift_connector.connect(
    host=host, port=int(port), user=user, password=password, database=database, ssl=False
)
cursor = connection.cursor()
cursor.execute("SELECT id, name, doc, at FROM public.rich WHERE id = %s", (1,))
print(cursor.fetchall())
cursor.execute("SELECT COUNT(*) FROM re_dms.ledger_main")
assert cursor.fetchone()[0] > 0
