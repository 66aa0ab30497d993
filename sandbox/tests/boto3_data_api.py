"""Drives the stand-in with AWS's own client. Run by redshift_data_api.rs, which names the endpoints in the environment.

Every function whose name begins with `test_` runs; the first failure ends the run with its traceback.
"""

import gzip
import io
import json
import os
import threading
import time
import urllib.request
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["STAND_IN_ENDPOINT"]
AWS = os.environ["S3_ENDPOINT"]
DATABASE = os.environ["STAND_IN_DATABASE"]
KEYS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
TARGET = {"WorkgroupName": "sandbox", "Database": DATABASE}

api = boto3.client("redshift-data", endpoint_url=ENDPOINT, config=ONCE, **KEYS)
s3 = boto3.client("s3", endpoint_url=AWS, config=ONCE, **KEYS)


def ended(answer):
    """Waits for a statement's end and describes it."""
    while True:
        state = api.describe_statement(Id=answer["Id"], WaitTimeSeconds=5)
        if state["Status"] in ("FINISHED", "FAILED", "ABORTED"):
            return state


def run(sql, **more):
    return ended(api.execute_statement(Sql=sql, **{**TARGET, **more}))


def batch(*sqls, **more):
    return ended(api.batch_execute_statement(Sqls=list(sqls), **TARGET, **more))


def ok(state):
    assert state["Status"] == "FINISHED", state.get("Error", state)
    return state


def failed(state, *words):
    assert state["Status"] == "FAILED", state
    for word in words:
        assert word in state["Error"], state["Error"]
    return state


def rows(state, number=None):
    """All rows as plain values."""
    statement = state["Id"] if number is None else f"{state['Id']}:{number}"
    pages = api.get_paginator("get_statement_result").paginate(Id=statement)
    value = lambda field: None if field.get("isNull") else next(iter(field.values()))
    return [[value(field) for field in record] for page in pages for record in page["Records"]]


def query(sql):
    return rows(ok(run(sql)))


def refused(error_class, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == error_class, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"{error_class} expected")


def table(columns):
    name = "t_" + uuid.uuid4().hex[:12]
    ok(run(f"CREATE TABLE {name} ({columns})"))
    return name


def put(text, key=None, compress=True):
    """An object with CSV text; returns its key."""
    key = key or f"data/{uuid.uuid4().hex}.csv.gz"
    body = text.encode() if isinstance(text, str) else text
    s3.put_object(Bucket="bucket", Key=key, Body=gzip.compress(body) if compress else body)
    return key


def manifest(*keys, mandatory=True):
    entries = [{"url": f"s3://bucket/{key}", "mandatory": mandatory, "meta": {"content_length": 1}} for key in keys]
    key = f"manifests/{uuid.uuid4().hex}.json"
    s3.put_object(Bucket="bucket", Key=key, Body=json.dumps({"entries": entries}).encode())
    return key


def copy_sql(name, columns, key, options="GZIP MANIFEST"):
    return (
        f"COPY {name} ({columns}) FROM 's3://bucket/{key}' IAM_ROLE 'arn:aws:iam::123456789012:role/copy' "
        f"FORMAT AS CSV {options} NULL AS '\\0' TIMEFORMAT 'auto' DATEFORMAT 'auto' MAXERROR 0 COMPUPDATE OFF STATUPDATE OFF"
    )


def faults(**settings):
    request = urllib.request.Request(
        f"{ENDPOINT}/_standin/faults",
        data=json.dumps(settings).encode(),
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(request).read()


def test_values_have_their_types():
    answer = api.execute_statement(
        Sql="SELECT 1::smallint AS i, 2.5::float8 AS f, true AS b, 1.50::decimal(10,2) AS d, 'x' AS s, NULL::int AS n,"
        " CAST('2022-02-22' AS timestamp) AS t, JSON_PARSE('{\"a\": [1, \"b c\"]}') AS j",
        WaitTimeSeconds=10,
        **TARGET,
    )
    assert answer["Status"] == "FINISHED" and answer["HasResultSet"] and answer["RedshiftPid"] > 0, answer
    result = api.get_statement_result(Id=answer["Id"])
    assert result["Records"] == [[
        {"longValue": 1}, {"doubleValue": 2.5}, {"booleanValue": True}, {"stringValue": "1.50"}, {"stringValue": "x"},
        {"isNull": True}, {"stringValue": "2022-02-22 00:00:00.0"}, {"stringValue": '{"a":[1,"b c"]}'},
    ]], result["Records"]
    meta = result["ColumnMetadata"]
    assert [column["typeName"] for column in meta] == [
        "int2", "float8", "bool", "numeric", "varchar", "int4", "timestamp", "super",
    ], meta
    assert (meta[3]["precision"], meta[3]["scale"], meta[3]["name"]) == (10, 2, "d")
    state = api.describe_statement(Id=answer["Id"])
    assert state["ResultRows"] == 1 and state["Duration"] > 0 and "SubStatements" not in state, state


def test_results_come_in_pages():
    name = table("a INT")
    ok(run(f"INSERT INTO {name} VALUES (1), (2)"))
    for _ in range(11):
        ok(run(f"INSERT INTO {name} SELECT a FROM {name}"))
    state = ok(run(f"SELECT a FROM {name}"))
    assert state["ResultRows"] == 4096 and len(rows(state)) == 4096


def test_results_come_as_csv_where_that_was_asked_for():
    sql = (
        "SELECT n, NULLIF(t, 'null') AS t, n > 1 AS b FROM (SELECT 1 AS n, 'a,\"b\"' AS t UNION ALL SELECT 2, ''"
        " UNION ALL SELECT 3, 'null' UNION ALL SELECT 4, 'two\nlines') AS v ORDER BY n"
    )
    state = ok(run(sql, ResultFormat="CSV"))
    assert state["ResultFormat"] == "CSV", state
    result = api.get_statement_result_v2(Id=state["Id"])
    assert result["ResultFormat"] == "CSV" and result["TotalNumRows"] == 4 and "NextToken" not in result, result
    assert [column["name"] for column in result["ColumnMetadata"]] == ["n", "t", "b"]
    text = "".join(record["CSVRecords"] for record in result["Records"])
    assert text == '1,"a,""b""",false\n2,"",true\n3,,true\n4,"two\nlines",true\n', text
    refused("ValidationException", api.get_statement_result, Id=state["Id"])
    refused("ValidationException", api.get_statement_result_v2, Id=ok(run("SELECT 1"))["Id"])
    name = table("a INT")
    ok(run(f"INSERT INTO {name} VALUES (1), (2), (3)"))
    for _ in range(10):
        ok(run(f"INSERT INTO {name} SELECT a FROM {name}"))
    state = ok(batch("SELECT 1", f"SELECT a FROM {name}", ResultFormat="CSV"))
    pages = api.get_paginator("get_statement_result_v2").paginate(Id=f"{state['Id']}:2")
    lines = [record["CSVRecords"] for page in pages for record in page["Records"]]
    assert len(lines) == 4 and "".join(lines).count("\n") == 3072, [len(line) for line in lines]


def test_a_batch_is_one_transaction():
    name = table("a INT NOT NULL")
    state = batch(f"INSERT INTO {name} VALUES (1)", f"INSERT INTO {name} VALUES (NULL)", f"INSERT INTO {name} VALUES (2)")
    failed(state, "ERROR: Cannot insert a NULL value into column a")
    subs = state["SubStatements"]
    assert [sub["Id"] for sub in subs] == [f"{state['Id']}:{n}" for n in (1, 2, 3)], subs
    assert [sub["Status"] for sub in subs] == ["FINISHED", "FAILED", "ABORTED"], subs
    assert subs[1]["Error"] == state["Error"]
    assert query(f"SELECT COUNT(*) FROM {name}") == [[0]]

    state = ok(batch(f"INSERT INTO {name} VALUES (1), (2)", f"SELECT a FROM {name} ORDER BY a", f"DELETE FROM {name}"))
    assert [sub["ResultRows"] for sub in state["SubStatements"]] == [2, 2, 2]
    assert rows(state, 2) == [[1], [2]]
    one = api.describe_statement(Id=f"{state['Id']}:2")
    assert [sub["Id"] for sub in one["SubStatements"]] == [f"{state['Id']}:2"]
    refused("ResourceNotFoundException", api.get_statement_result, Id=f"{state['Id']}:1")
    refused("ResourceNotFoundException", api.get_statement_result, Id=state["Id"])
    refused("ResourceNotFoundException", api.describe_statement, Id=f"{state['Id']}:4")


def test_auto_commit_goes_on_after_a_failure():
    name = table("a INT")
    state = batch(
        f"INSERT INTO {name} VALUES (1)", "SELECT 1 / 0", f"INSERT INTO {name} VALUES (2)", ExecutionMode="AUTO_COMMIT"
    )
    failed(state, "division by zero")
    assert query(f"SELECT a FROM {name} ORDER BY a") == [[1], [2]]


def test_an_assertion_fails_at_run_time():
    name = table("seq BIGINT")
    guard = f'SELECT 1 / COUNT(*) FROM (SELECT COALESCE(MAX("seq"), 0) AS "last" FROM {name}) AS "g" WHERE "g"."last" = '
    ok(batch(f"LOCK {name}", guard + "0", f"INSERT INTO {name} VALUES (1)"))
    state = failed(batch(f"LOCK {name}", guard + "0", f"INSERT INTO {name} VALUES (1)"), "division by zero")
    assert [sub["Status"] for sub in state["SubStatements"]] == ["FINISHED", "FAILED", "ABORTED"]
    assert query(f"SELECT COUNT(*) FROM {name}") == [[1]]


def test_a_lock_takes_no_snapshot():
    """Two loaders with the same batch: the second waits for the first's commit, sees its row, and stops at the guard."""
    name = table("seq BIGINT")
    guard = f"SELECT 1 / COUNT(*) FROM (SELECT COALESCE(MAX(seq), 0) AS last FROM {name}) AS g WHERE g.last = 0"
    statements = [f"LOCK {name}", guard, f"INSERT INTO {name} VALUES (1)"]
    faults(latency_ms=200)
    try:
        answers = [api.batch_execute_statement(Sqls=statements, **TARGET) for _ in range(4)]
        states = [ended(answer) for answer in answers]
    finally:
        faults()
    assert sorted(state["Status"] for state in states) == ["FAILED"] * 3 + ["FINISHED"], states
    assert all("division by zero" in state["Error"] for state in states if state["Status"] == "FAILED"), states
    assert query(f"SELECT COUNT(*) FROM {name}") == [[1]]


def test_snapshots_conflict():
    name = table("a INT")
    ok(run(f"INSERT INTO {name} VALUES (1)"))
    first = api.execute_statement(Sql="BEGIN", SessionKeepAliveSeconds=60, **TARGET)
    session = ended(first)["SessionId"]
    in_session = lambda sql: ended(api.execute_statement(Sql=sql, SessionId=session))
    ok(in_session(f"SELECT a FROM {name}"))
    ok(run(f"UPDATE {name} SET a = 2"))
    failed(in_session(f"UPDATE {name} SET a = 3"), "ERROR: 1023", f"Serializable isolation violation on table - {name}")
    failed(in_session("SELECT 1"), "current transaction is aborted")
    ok(in_session("ROLLBACK"))


def test_a_client_token_names_one_execution():
    name = table("a INT")
    token = uuid.uuid4().hex
    sqls = [f"INSERT INTO {name} VALUES (1)"]
    first = api.batch_execute_statement(Sqls=sqls, ClientToken=token, **TARGET)
    second = api.batch_execute_statement(Sqls=sqls, ClientToken=token, **TARGET)
    assert first["Id"] == second["Id"]
    ok(ended(second))
    third = api.batch_execute_statement(Sqls=sqls, ClientToken=token, **TARGET)
    assert third["Id"] == first["Id"]
    assert query(f"SELECT COUNT(*) FROM {name}") == [[1]]
    refused("ValidationException", api.batch_execute_statement, Sqls=["SELECT 1"], ClientToken=token, **TARGET)
    # A failure is replayed too.
    token = uuid.uuid4().hex
    one = failed(ended(api.execute_statement(Sql="SELECT 1 / 0", ClientToken=token, **TARGET)))
    two = failed(ended(api.execute_statement(Sql="SELECT 1 / 0", ClientToken=token, **TARGET)))
    assert one["Id"] == two["Id"]


def test_sessions_keep_temporary_tables_and_transactions():
    first = api.execute_statement(Sql="CREATE TEMP TABLE stage (a INT)", SessionKeepAliveSeconds=2, **TARGET)
    session = first["SessionId"]
    ok(ended(first))
    name = table("a INT")
    in_session = lambda sql: ended(api.execute_statement(Sql=sql, SessionId=session))
    for sql in ("BEGIN", "INSERT INTO stage VALUES (7)", f"INSERT INTO {name} SELECT a FROM stage"):
        ok(in_session(sql))
    assert query(f"SELECT COUNT(*) FROM {name}") == [[0]], "not committed"
    failed(run("SELECT * FROM stage"), "does not exist")
    ok(in_session("COMMIT"))
    assert query(f"SELECT a FROM {name}") == [[7]]
    assert session in [known["SessionId"] for known in api.list_sessions()["Sessions"]]
    refused("ValidationException", api.execute_statement, Sql="SELECT 1", SessionId=session, **TARGET)
    ok(in_session("BEGIN"))
    ok(in_session(f"DELETE FROM {name}"))
    time.sleep(3)
    refused("ResourceNotFoundException", api.execute_statement, Sql="SELECT 1", SessionId=session)
    assert query(f"SELECT a FROM {name}") == [[7]], "rolled back when the session expired"


def test_a_session_takes_one_statement_at_a_time():
    answer = ended(api.execute_statement(Sql="SELECT 1", SessionKeepAliveSeconds=60, **TARGET))
    faults(latency_ms=500)
    try:
        slow = api.execute_statement(Sql="SELECT 1", SessionId=answer["SessionId"])
        message = refused("ValidationException", api.execute_statement, Sql="SELECT 1", SessionId=answer["SessionId"])
        assert "busy" in message
        ok(ended(slow))
    finally:
        faults()


def test_cancel_ends_a_long_statement():
    name = table("a INT")
    ok(run(f"INSERT INTO {name} VALUES (1), (2)"))
    for _ in range(10):
        ok(run(f"INSERT INTO {name} SELECT a FROM {name}"))
    began = time.monotonic()
    slow = api.execute_statement(Sql=f"SELECT COUNT(*) FROM {name} a, {name} b, {name} c, {name} d", WaitTimeSeconds=1, **TARGET)
    assert slow["Status"] == "STARTED", slow
    refused("ResourceNotFoundException", api.get_statement_result, Id=slow["Id"])
    ok(run("SELECT 1"))  # others go on meanwhile
    assert api.cancel_statement(Id=slow["Id"])["Status"] is True
    state = ended(slow)
    assert state["Status"] == "ABORTED" and "cancelled" in state["Error"], state
    assert time.monotonic() - began < 20
    busy = "SELECT COUNT(*) FROM pg_class a WHERE a.relname = 'none'"
    assert query(busy) == [[0]]
    refused("ValidationException", api.cancel_statement, Id=slow["Id"])


def test_requests_are_validated():
    wrong = [
        dict(Sql="SELECT 1", Database=DATABASE),
        dict(Sql="SELECT 1", ClusterIdentifier="c", **TARGET),
        dict(Sql="SELECT 1", DbUser="u", **TARGET),
        dict(Sql="SELECT 1", WorkgroupName="sandbox"),
        dict(Sql="SELECT 1", Parameters=[{"name": "a", "value": "1"}], **TARGET),
        dict(Sql="x" * 103_000, **TARGET),
    ]
    for arguments in wrong:
        refused("ValidationException", api.execute_statement, **arguments)
    refused("ValidationException", api.batch_execute_statement, Sqls=["SELECT 1"] * 41, **TARGET)
    refused("ValidationException", api.describe_statement, Id="nonsense")
    refused("ResourceNotFoundException", api.describe_statement, Id=str(uuid.uuid4()))
    refused("ValidationException", api.get_statement_result_v2, Id=run("SELECT 1")["Id"])
    failed(run("SELECT 1; SELECT 2"), "multiple commands")
    failed(run("SELECT pg_sleep(1)"), "the function pg_sleep is not supported by the stand-in")
    failed(batch("BEGIN", "SELECT 1"), "transaction control")


def test_parameters_are_values():
    state = ok(run("SELECT :a::int + 1, :b", Parameters=[{"name": "a", "value": "41"}, {"name": "b", "value": "it's :a"}]))
    assert rows(state) == [[42, "it's :a"]]
    assert state["QueryParameters"][0] == {"name": "a", "value": "41"}


def test_statements_are_listed_by_name():
    name = "batch-" + uuid.uuid4().hex
    state = ok(batch("SELECT 1", StatementName=name + "-1"))
    failed(run("SELECT 1 / 0", StatementName=name + "-2"))
    listed = api.list_statements(StatementName=name, Status="ALL")["Statements"]
    assert [known["StatementName"] for known in listed] == [name + "-2", name + "-1"], listed
    assert listed[1]["Id"] == state["Id"] and listed[1]["IsBatchStatement"] and listed[1]["QueryStrings"] == ["SELECT 1"]
    assert len(api.list_statements(StatementName=name)["Statements"]) == 1, "FINISHED by default"


def test_copy_loads_what_capture_writes():
    name = table("id BIGINT, note VARCHAR(8), doc SUPER, bin VARBYTE(4), price DECIMAL(10,2), at TIMESTAMPTZ, ok BOOLEAN")
    first = put("i,\0,1,abc,\"{\"\"a\"\":\"\"x\"\"}\",00ff,1.239,2024-01-02T03:04:05.123456Z,t\n")
    second = put('i,\0,2,,\0,\0,\0,\0,\0\ni,\0,3,"a,""b\nc",[1],,-5,2024-01-02 03:04:05+02,f\n')
    columns = "op, present, id, note, doc, bin, price, at, ok"
    stage = "CREATE TEMP TABLE stage (op VARCHAR(1), present INTEGER, id BIGINT, note VARCHAR(8), doc SUPER, bin VARBYTE(4),"
    stage += " price DECIMAL(10,2), at TIMESTAMPTZ, ok BOOLEAN)"
    target_columns = "id, note, doc, bin, price, at, ok"
    state = ok(batch(
        stage,
        copy_sql("stage", columns, manifest(first, second)),
        "SELECT 1 / COUNT(*) FROM (SELECT COUNT(*) AS n FROM stage) AS c WHERE c.n = 3",
        f"INSERT INTO {name} ({target_columns}) SELECT {target_columns} FROM stage WHERE op = 'i'",
        "SELECT pg_last_copy_count()",
    ))
    assert state["SubStatements"][1]["ResultRows"] == 3
    assert rows(state, 5) == [[3]]
    assert query(f"SELECT * FROM {name} ORDER BY id") == [
        [1, "abc", '{"a":"x"}', "00ff", "1.23", "2024-01-02 03:04:05.123456+00", True],
        [2, "", None, None, None, None, None],
        [3, 'a,"b\nc', "[1]", None, "-5.00", "2024-01-02 01:04:05+00", False],
    ]


def test_copy_fails_as_a_whole_and_says_where():
    name = table("id BIGINT, note VARCHAR(3)")
    good, bad = put("1,abc\n"), put("2,abc\n3,abcd\n")
    state = failed(run(copy_sql(name, "id, note", manifest(good, bad))), f"Load into table '{name}' failed", "sys_load_error_detail")
    assert query(f"SELECT COUNT(*) FROM {name}") == [[0]]
    details = query(
        "SELECT TRIM(file_name), line_number, TRIM(column_name), TRIM(column_type), error_code, TRIM(error_message)"
        f" FROM sys_load_error_detail WHERE query_id = {state['RedshiftQueryId']}"
    )
    assert details == [[f"s3://bucket/{bad}", 2, "note", "varchar", 1204, "String length exceeds DDL length"]], details
    assert query(f"SELECT err_code FROM stl_load_errors WHERE query = {state['RedshiftQueryId']}") == [[1204]]


def test_copy_reads_manifests_strictly():
    name = table("id BIGINT")
    key = put("1\n", key=f"prefix/{uuid.uuid4().hex}")
    ok(run(copy_sql(name, "id", manifest(key, key))))
    assert query(f"SELECT COUNT(*) FROM {name}") == [[2]], "listed twice, loaded twice"
    failed(run(copy_sql(name, "id", manifest(key, "missing/key"))), "The specified key does not exist")
    failed(run(copy_sql(name, "id", manifest("missing/key", mandatory=False))), "does not exist")
    ok(run(copy_sql(name, "id", manifest(key, "missing/key", mandatory=False))))
    failed(run(copy_sql(name, "id", "manifests/none.json")), "Problem reading manifest file")
    failed(run(copy_sql(name, "id", key)), "Problem reading manifest file")
    failed(run(copy_sql(name, "id", manifest(key), "GZIP")), "could not be decompressed")
    put("7\n", key=key + "0")
    ok(run(copy_sql(name, "id", key, "GZIP")))
    assert query(f"SELECT COUNT(*) FROM {name} WHERE id = 7") == [[1]], "without MANIFEST the path is a prefix"
    plain = put("8\n", compress=False)
    failed(run(copy_sql(name, "id", manifest(plain))), "could not be decompressed")
    truncated = put(gzip.compress(os.urandom(9999).hex().encode())[:2000], compress=False)
    failed(run(copy_sql(name, "id", manifest(truncated))))
    failed(run(copy_sql("nowhere", "id", manifest(key))), "nonexistent table nowhere")
    assert query(f"SELECT COUNT(*) FROM {name} WHERE id NOT IN (1, 7)") == [[0]]


def test_copy_streams_many_rows():
    name = table("id BIGINT, note VARCHAR(100)")
    text = io.StringIO()
    for number in range(200_000):
        text.write(f"{number},{'x' * (number % 50)}\n")
    state = ok(run(copy_sql(name, "id, note", manifest(put(text.getvalue())))))
    assert state["ResultRows"] == 200_000
    assert query(f"SELECT COUNT(*), SUM(LEN(note)) FROM {name}") == [[200_000, sum(n % 50 for n in range(200_000))]]


def test_lengths_count_bytes_and_blanks_do_not_count():
    name = table("k VARCHAR(4), c CHAR(4)")
    ok(run(f"INSERT INTO {name} (k) VALUES ('éé'), ('a'), ('a ')"))
    failed(run(f"INSERT INTO {name} (k) VALUES ('ééa')"), "value too long for type character varying(4)")
    assert query(f"SELECT COUNT(*) FROM {name} WHERE k = 'a'") == [[2]]
    assert query(f"SELECT COUNT(*) FROM (SELECT DISTINCT k FROM {name}) AS d") == [[2]]
    assert query(f"SELECT COUNT(*) FROM {name} a, {name} b WHERE a.k = b.k AND LEN(a.k) = LEN(b.k)") == [[3]]
    assert query("SELECT 'a\\\\b\\'c'") == [["a\\b'c"]], "a backslash is an escape"


def test_hashes_are_redshifts():
    # The documents' own examples.
    assert query("SELECT fnv_hash(1), fnv_hash('Amazon Redshift'), fnv_hash('Amazon Redshift', fnv_hash(1))") == [
        [-5968735742475085980, 7783490368944507294, -2202602717770968555]
    ]
    assert query("SELECT fnv_hash(CAST(1 AS SMALLINT)), fnv_hash(CAST(1 AS BIGINT)), fnv_hash('cd', fnv_hash('ab'))") == [
        [589727492704079044, -8517097267634966620, -281581062704388899]
    ]
    zeros = query("SELECT fnv_hash(CAST('0' AS DOUBLE PRECISION)), fnv_hash(CAST('-0' AS DOUBLE PRECISION))")
    assert zeros[0][0] != zeros[0][1]
    assert query("SELECT strtol('ff', 16), strtol(substring(md5('a'), 1, 15), 16), to_hex(from_hex('00Ff'))") == [
        [255, int("0cc175b9c0f1b6a", 16), "00ff"]
    ]
    times = "datediff(microsecond, CAST('10:00:00' AS TIME), CAST('24:00:00' AS TIME))"
    zoned = "datediff(microsecond, CAST('00:00:00+00' AS TIMETZ), CAST('10:00:00.000001+02' AS TIMETZ))"
    assert query(f"SELECT {times}, {zoned}") == [[50_400_000_000, 28_800_000_001]]


def test_super_and_null_functions():
    [[text]] = query("SELECT json_serialize_to_varbyte(json_parse('\"x\"'))")
    assert text == b'"x"'.hex(), text
    assert query("SELECT json_serialize(json_parse('{\"a: b\": [1, {}]}'))") == [['{"a: b":[1,{}]}']]
    assert query("SELECT nvl2(CAST(NULL AS INTEGER), 1, 0), nvl2(7, 1, 0)") == [[0, 1]]


def test_keys_are_declared_only():
    name = table("id BIGINT, note VARCHAR(10), PRIMARY KEY (id)")
    ok(run(f"INSERT INTO {name} VALUES (1, 'a'), (1, 'b')"))
    failed(run(f"INSERT INTO {name} VALUES (NULL, 'a')"), "Cannot insert a NULL value into column id")


def test_varchars_widen_outside_of_transactions_only():
    name = table("id VARCHAR(4) PRIMARY KEY, note VARCHAR(4), fixed INT, word VARCHAR(4) DEFAULT 'x'")
    widen = lambda column, size: f"ALTER TABLE {name} ALTER COLUMN {column} TYPE VARCHAR({size})"
    failed(batch(widen("note", 8)), "ALTER TABLE ALTER COLUMN cannot run inside a transaction block")
    failed(run(widen("id", 8)), "cannot alter column")
    failed(run(widen("word", 8)), "cannot alter column")
    failed(run(widen("note", 4)), "target column size should be different")
    ok(run(widen("note", 8)))
    ok(run(f"INSERT INTO {name} (id, note) VALUES ('a', 'éééé')"))
    failed(run(f"INSERT INTO {name} (id, note) VALUES ('b', 'ééééé')"), "character varying(8)")
    failed(run(widen("note", 7)), "greater or equal to current maximum column size")
    assert query(f"SELECT character_maximum_length FROM svv_columns WHERE table_name = '{name}' AND column_name = 'note'") == [[8]]


def test_the_catalog_speaks_redshift():
    name = table("a BIGINT NOT NULL, b VARCHAR(10), c SUPER, d VARBYTE(16), e DECIMAL(20,4), f TIMESTAMP, g TIMESTAMPTZ, \"H\" TEXT")
    expected = [
        ["a", "bigint", None, 64, 0, "NO"], ["b", "character varying", 10, None, None, "YES"],
        ["c", "super", None, None, None, "YES"], ["d", "varbyte", 16, None, None, "YES"],
        ["e", "numeric", None, 20, 4, "YES"], ["f", "timestamp without time zone", None, None, None, "YES"],
        ["g", "timestamp with time zone", None, None, None, "YES"], ["h", "character varying", 256, None, None, "YES"],
    ]
    for view in ("svv_columns", "information_schema.columns", "pg_catalog.svv_columns"):
        found = query(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale, is_nullable"
            f" FROM {view} WHERE table_schema = 'public' AND table_name = '{name}' ORDER BY ordinal_position"
        )
        assert found == expected, found
    assert query(f"SELECT \"column\", type FROM pg_table_def WHERE tablename = '{name}' AND \"column\" = 'b'") == [["b", "character varying(10)"]]
    assert query("SELECT COUNT(*) FROM svv_tables WHERE table_schema LIKE 're_dms_standin%'") == [[0]]
    failed(run("SELECT * FROM re_dms_standin_data.load_error"), "does not exist")


def test_the_catalog_is_listed():
    name = table("a BIGINT NOT NULL, b VARCHAR(10), c DECIMAL(20,4)")
    assert api.list_databases(**TARGET)["Databases"] == [DATABASE]
    assert "public" in api.list_schemas(SchemaPattern="pub%", **TARGET)["Schemas"]
    assert not [known for known in api.list_schemas(**TARGET)["Schemas"] if known.startswith("re_dms_standin")]
    found = api.list_tables(SchemaPattern="public", TablePattern=name, **TARGET)["Tables"]
    assert found == [{"schema": "public", "name": name, "type": "TABLE"}], found
    pages = [page["ColumnList"] for page in api.get_paginator("describe_table").paginate(
        Schema="public", Table=name, MaxResults=2, **TARGET)]
    assert [len(page) for page in pages] == [2, 1], pages
    columns = [(column["name"], column["typeName"], column["nullable"], column["length"], column["precision"], column["scale"])
               for page in pages for column in page]
    assert columns == [("a", "bigint", 0, 0, 64, 0), ("b", "character varying", 1, 10, 0, 0), ("c", "numeric", 1, 0, 20, 4)], columns
    refused("ValidationException", api.describe_table, Schema="public", Table="nowhere", **TARGET)
    refused("ValidationException", api.list_tables, WorkgroupName="sandbox", Database="elsewhere")
    refused("ValidationException", api.list_tables, Database=DATABASE)


def test_truncate_commits():
    name = table("a INT")
    state = batch(f"INSERT INTO {name} VALUES (1)", f"TRUNCATE {name}", f"INSERT INTO {name} VALUES (2)", "SELECT 1 / 0")
    failed(state, "division by zero")
    assert query(f"SELECT COUNT(*) FROM {name}") == [[0]]
    other = table("a INT")
    failed(batch(f"INSERT INTO {other} VALUES (1)", f"TRUNCATE {name}", "SELECT 1 / 0"), "division by zero")
    assert query(f"SELECT COUNT(*) FROM {other}") == [[1]], "committed by TRUNCATE"


def test_merge_refuses_several_matches():
    target, source = table("a INT, b INT"), table("a INT, b INT")
    ok(run(f"INSERT INTO {target} VALUES (1, 0)"))
    ok(run(f"INSERT INTO {source} VALUES (1, 1), (2, 2), (2, 3)"))
    merge = (
        f"MERGE INTO {target} USING {source} s ON {target}.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b"
        " WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)"
    )
    ok(run(merge))
    assert query(f"SELECT a, b FROM {target} ORDER BY a, b") == [[1, 1], [2, 2], [2, 3]], "absent keys twice, silently"
    ok(run(f"INSERT INTO {source} VALUES (1, 9)"))
    failed(run(merge), "Found multiple matches to update the same tuple.")


def test_faults_on_demand():
    name = table("a INT")
    insert = f"INSERT INTO {name} VALUES (1)"
    faults(throttle_requests=1)
    refused("ThrottlingException", api.execute_statement, Sql=insert, **TARGET)
    faults(fail_executions={"count": 1, "error": "1023 on demand"})
    failed(run(insert), "1023 on demand")
    assert query(f"SELECT COUNT(*) FROM {name}") == [[0]]
    faults(fail_executions={"count": 1, "after_commit": True})
    failed(run(insert), "lost")
    assert query(f"SELECT COUNT(*) FROM {name}") == [[1]], "the outcome is not what the answer says"
    for loss in ("connection", "internal_error"):
        faults(lose_answers={"count": 1, "by": loss})
        token = uuid.uuid4().hex
        try:
            api.execute_statement(Sql=insert, ClientToken=token, **TARGET)
            raise AssertionError("an answer came")
        except ClientError as error:
            assert loss == "internal_error" and error.response["Error"]["Code"] == "InternalServerException", error
        except Exception as error:  # whatever botocore makes of a broken connection
            assert loss == "connection" and not isinstance(error, AssertionError), error
        ok(ended(api.execute_statement(Sql=insert, ClientToken=token, **TARGET)))
    assert query(f"SELECT COUNT(*) FROM {name}") == [[3]], "executed once each"


def test_many_statements_at_a_time():
    name = table("a INT")
    threads = [threading.Thread(target=run, args=(f"INSERT INTO {name} VALUES ({n})",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert query(f"SELECT COUNT(*) FROM {name}") == [[16]]


s3.create_bucket(Bucket="bucket")
for test_name, test in sorted(globals().copy().items()):
    if test_name.startswith("test_"):
        started = time.monotonic()
        print(f"{test_name} … ", end="", flush=True)
        test()
        print(f"{time.monotonic() - started:.1f} s", flush=True)
