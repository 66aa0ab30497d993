"""Drives the stand-in's Data API, which the environment names, with awswrangler's. Run by foreign_clients.rs."""

import awswrangler
import boto3

session = boto3.Session(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
connection = awswrangler.data_api.redshift.connect(workgroup_name="sandbox", database="warehouse", boto3_session=session)
read = lambda sql, **more: awswrangler.data_api.redshift.read_sql_query(sql, con=connection, **more)

connection.execute("CREATE TABLE wrangled (a BIGINT, b VARCHAR(10), c FLOAT, d BOOLEAN, e DECIMAL(10,2))")
connection.execute("INSERT INTO wrangled VALUES (1, 'x', 0.5, true, 1.50), (2, NULL, NULL, NULL, NULL)")
frame = read("SELECT * FROM wrangled ORDER BY a")
assert frame.columns.tolist() == ["a", "b", "c", "d", "e"], frame
assert frame["a"].tolist() == [1, 2] and frame["b"][0] == "x" and frame["e"][0] == "1.50", frame
assert frame["b"].isna().tolist() == [False, True], frame
rows = connection.execute("SELECT a FROM wrangled WHERE a > :least", parameters=[{"name": "least", "value": "1"}])
assert rows["a"].tolist() == [2], rows

# More rows than a page.
connection.execute("CREATE TABLE wrangled_many (a BIGINT)")
connection.execute("INSERT INTO wrangled_many VALUES (1), (2)")
for _ in range(11):
    connection.execute("INSERT INTO wrangled_many SELECT a FROM wrangled_many")
assert len(read("SELECT a FROM wrangled_many")) == 4096

# What fails tells why.
for statement, words in [("SELECT 1 / 0", "division by zero"), ("CREATE TABLE x (a JSONB)", "is not supported")]:
    try:
        connection.execute(statement)
    except Exception as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{statement} passed")
print("awswrangler: done", flush=True)
