"""Drives the stand-in's wire protocol with AWS's own Python driver. Run by foreign_clients.rs."""

import datetime
import decimal
import os
import threading
import time

import boto3
import redshift_connector
from botocore.config import Config

HOST, PORT = os.environ["STAND_IN_WIRE"].rsplit(":", 1)
AWS = os.environ["S3_ENDPOINT"]


def connect(**changes):
    settings = dict(
        host=HOST, port=int(PORT), database="warehouse", user=os.environ["STAND_IN_USER"],
        password=os.environ["STAND_IN_PASSWORD"], ssl=False,
    )
    return redshift_connector.connect(**{**settings, **changes})


def refused(call, *words):
    try:
        call()
    except redshift_connector.Error as error:
        assert all(word in str(error) for word in words), error
        return error
    raise AssertionError(f"an error with {words} expected")


refused(lambda: connect(password="wrong"), "password authentication failed")
refused(lambda: connect(user="nobody"), "password authentication failed")
refused(lambda: connect(database="elsewhere"), "does not exist")

connection = connect()
cursor = connection.cursor()
cursor.execute(
    "CREATE TABLE typed (b BOOLEAN, s SMALLINT, i INT, l BIGINT, r REAL, f FLOAT, d DECIMAL(20,4), c CHAR(3), v VARCHAR(9),"
    " dt DATE, tm TIME, ts TIMESTAMP, tz TIMESTAMPTZ, j SUPER, y VARBYTE(4))"
)
cursor.execute(
    "INSERT INTO typed VALUES (true, -1, 2, 3, 0.5, -1.25, 12345.6789, 'ab', 'é', '2024-02-29', '12:34:56', '2024-02-29 12:34:56.789012',"
    " '2024-02-29 12:34:56+02', JSON_PARSE('{\"a\": [1, 2]}'), FROM_HEX('6162'))"
)
connection.commit()
cursor.execute("SELECT * FROM typed")
utc = datetime.timezone.utc
assert cursor.fetchall() == ([
    True, -1, 2, 3, 0.5, -1.25, decimal.Decimal("12345.6789"), "ab ", "é", datetime.date(2024, 2, 29),
    datetime.time(12, 34, 56), datetime.datetime(2024, 2, 29, 12, 34, 56, 789012),
    datetime.datetime(2024, 2, 29, 10, 34, 56, tzinfo=utc), '{"a":[1,2]}', "ab",
],), cursor.fetchall()
names = [column[0] for column in cursor.description]
assert names[:3] == ["b", "s", "i"] and len(names) == 15, names

# Values are values, whatever they hold.
cursor.execute("CREATE TABLE bound (a BIGINT, b VARCHAR(40), c DECIMAL(10,2), d TIMESTAMP, e BOOLEAN, f FLOAT, g DATE)")
row = (-7, "it's $1; DROP TABLE bound --\\", decimal.Decimal("-1.50"), datetime.datetime(2024, 1, 2, 3, 4, 5), False, 2.5,
       datetime.date(2024, 1, 2))
cursor.execute("INSERT INTO bound VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
cursor.execute("INSERT INTO bound VALUES (%s, %s, %s, %s, %s, %s, %s)", (None,) * 7)
cursor.execute("SELECT * FROM bound WHERE a = %s OR a IS NULL ORDER BY a", (-7,))
assert cursor.fetchall() == (list(row), [None] * 7), "parameters"
cursor.executemany("INSERT INTO bound (a) VALUES (%s)", [(1,), (2,), (3,)])
cursor.execute("SELECT COUNT(*), SUM(a) FROM bound")
assert cursor.fetchone() == [5, -1]
connection.rollback()
refused(lambda: cursor.execute("SELECT * FROM bound"), "does not exist")
connection.rollback()

# The same checks as everywhere: Redshift's words.
refused(lambda: cursor.execute("CREATE TABLE x (a JSONB)"), "is not supported")
refused(lambda: cursor.execute("SELECT 1"), "current transaction is aborted")
connection.rollback()
refused(lambda: cursor.execute("INSERT INTO typed (b) VALUES (true) ON CONFLICT DO NOTHING"), "syntax error")
connection.rollback()

# COPY, and where it fails.
s3 = boto3.client("s3", endpoint_url=AWS, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test",
                  config=Config(s3={"addressing_style": "path"}))
s3.create_bucket(Bucket="clients")
s3.put_object(Bucket="clients", Key="good.csv", Body=b"1,a\n2,b\n3,c\n")
s3.put_object(Bucket="clients", Key="bad.csv", Body=b"1,a\nx,b\n")
cursor.execute("CREATE TABLE loaded (a INT, b VARCHAR(3))")
copy = "COPY loaded FROM 's3://clients/{}' IAM_ROLE default FORMAT AS CSV NULL AS '\\0'"
cursor.execute(copy.format("good"))
cursor.execute("SELECT pg_last_copy_count(), COUNT(*) FROM loaded")
assert cursor.fetchone() == [3, 3]
connection.commit()
refused(lambda: cursor.execute(copy.format("bad")), "Load into table 'loaded' failed", "sys_load_error_detail")
connection.rollback()
cursor.execute("SELECT line_number, TRIM(column_name), error_code FROM sys_load_error_detail ORDER BY query_id DESC LIMIT 1")
assert cursor.fetchone() == [2, "a", 1207]
connection.commit()

# Autocommit, for what no transaction may hold.
connection.autocommit = True
cursor.execute("ALTER TABLE loaded ALTER COLUMN b TYPE VARCHAR(9)")
cursor.execute("VACUUM loaded")
connection.autocommit = False
refused(lambda: cursor.execute("ALTER TABLE loaded ALTER COLUMN b TYPE VARCHAR(10)"), "cannot run inside a transaction block")
connection.rollback()

# Two connections conflict by tables.
other = connect()
beside = other.cursor()
cursor.execute("SELECT COUNT(*) FROM loaded")
beside.execute("UPDATE loaded SET b = 'z' WHERE a = 1")
other.commit()
refused(lambda: cursor.execute("UPDATE loaded SET b = 'y' WHERE a = 2"), "1023")
connection.rollback()
# And wait for each other.
cursor.execute("DELETE FROM loaded WHERE a = 1")
waited = []
def second():
    began = time.monotonic()
    beside.execute("LOCK loaded")
    beside.execute("SELECT COUNT(*) FROM loaded")
    waited.append((time.monotonic() - began, beside.fetchone()))
    other.commit()
thread = threading.Thread(target=second)
thread.start()
time.sleep(1)
connection.commit()
thread.join()
assert waited[0][0] > 0.9 and waited[0][1] == [2], waited

# Many rows.
cursor.execute("CREATE TABLE many (a BIGINT)")
cursor.execute("INSERT INTO many VALUES (1), (2)")
for _ in range(13):
    cursor.execute("INSERT INTO many SELECT a FROM many")
cursor.execute("SELECT a FROM many")
assert len(cursor.fetchall()) == 2**14
frame = cursor.execute("SELECT a, COUNT(*) AS n FROM many GROUP BY a ORDER BY a").fetch_dataframe()
assert frame["n"].tolist() == [2**13, 2**13], frame
connection.commit()
other.close()
connection.close()
print("redshift_connector: done", flush=True)
