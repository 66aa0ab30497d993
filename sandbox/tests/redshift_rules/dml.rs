//! Rules 12 to 16: queries and changes of rows.

use crate::cases::Case;
use crate::cases::Step::{Fails, Ok, Rows};

pub(crate) const CASES: &[Case] = &[
    Case {
        number: 12,
        name: "clauses that Redshift lacks",
        steps: &[
            Ok("CREATE TABLE {t} (a INT, b INT)"),
            Ok("CREATE TABLE {t}s (a INT, b INT)"),
            Fails("INSERT INTO {t} VALUES (1, 1) ON CONFLICT DO NOTHING", "syntax error at or near \"ON\""),
            Fails("INSERT INTO {t} VALUES (1, 1) ON CONFLICT (a) DO UPDATE SET b = 1", "syntax error"),
            Fails("INSERT INTO {t} VALUES (1, 1) RETURNING a", "syntax error at or near \"RETURNING\""),
            Fails("UPDATE {t} SET b = 1 RETURNING a", "syntax error"),
            Fails("DELETE FROM {t} RETURNING a", "syntax error"),
            Fails("SELECT 1 FROM {t} WHERE a IS DISTINCT FROM b", "syntax error at or near \"DISTINCT\""),
            Fails("SELECT 1 FROM {t} WHERE a IS NOT DISTINCT FROM b", "syntax error at or near \"DISTINCT\""),
            Fails("SELECT * FROM (VALUES (1), (2)) AS v (a)", "syntax error at or near \"VALUES\""),
            Fails("VALUES (1)", "syntax error"),
            Fails("SAVEPOINT s", "not supported"),
            Fails("ROLLBACK TO SAVEPOINT s", "not supported"),
            Fails("SELECT DISTINCT ON (a) a, b FROM {t}", "not supported"),
            Fails("SELECT * FROM {t} FOR UPDATE", "syntax error"),
            Fails("SELECT COUNT(*) FILTER (WHERE a > 0) FROM {t}", "syntax error"),
            Fails(
                "SELECT ROW_NUMBER() OVER (ORDER BY a NULLS FIRST) FROM {t}",
                "syntax error at or near \"NULLS\"",
            ),
            Fails("SELECT SUM(b) OVER (ORDER BY a) FROM {t}", "require a frame clause"),
            Fails("SELECT STRING_AGG(a, ',') FROM {t}", "not supported by the stand-in"),
            Fails("SELECT * FROM generate_series(1, 3)", "not supported by the stand-in"),
            Fails("SELECT CONCAT('a', 'b', 'c')", "two arguments"),
            Fails("SELECT NOW()", "not supported by the stand-in"),
            Fails("SELECT DATEDIFF(day, GETDATE(), GETDATE())", "not supported by the stand-in"),
            Fails("SELECT STRTOL('12', 8)", "the stand-in knows STRTOL of up to fifteen hexadecimal digits"),
        ],
    },
    Case {
        number: 12,
        name: "arrays and documents",
        steps: &[
            Ok("CREATE TABLE {t} (a INT, j SUPER)"),
            Fails("SELECT ARRAY[1, 2]", "syntax error at or near \"ARRAY\""),
            Fails("SELECT ARRAY(SELECT 1)", "not supported by the stand-in"),
            Fails("SELECT a[1] FROM {t}", "not supported"),
            Fails("SELECT 1 WHERE 1 = ANY ('{1}')", "not supported"),
            Fails("SELECT j->'a' FROM {t}", "syntax error at or near \"->\""),
            Fails("SELECT j->>'a' FROM {t}", "syntax error at or near \"->>\""),
            Fails("SELECT j @> '{}' FROM {t}", "syntax error"),
            Fails("SELECT '{}'::jsonb", "not supported"),
        ],
    },
    Case {
        number: 12,
        name: "aliases of targets",
        steps: &[
            Ok("CREATE TABLE {t} (a INT, b INT)"),
            Ok("CREATE TABLE {t}s (a INT, b INT)"),
            Fails("DELETE FROM {t} AS x WHERE x.a = 1", "syntax error at or near \"x\""),
            Fails("DELETE FROM {t} x USING {t}s s WHERE x.a = s.a", "syntax error at or near \"x\""),
            Fails("DELETE {t} USING {t}s WHERE {t}.a = {t}s.a", "syntax error"),
            Ok("DELETE FROM {t} USING {t}s s WHERE {t}.a = s.a"),
            Fails("UPDATE {t} SET {t}.a = 1", "does not exist"),
            Fails("UPDATE {t} SET (a, b) = (1, 2)", "syntax error"),
            Fails(
                "UPDATE {t} SET a = 1 FROM {t} x LEFT JOIN {t}s ON {t}s.a = x.a",
                "Target table must be part of an equijoin predicate",
            ),
            Ok("UPDATE {t} x SET a = 1 FROM {t}s s WHERE x.a = s.a"),
        ],
    },
    Case {
        number: 12,
        name: "MERGE in the one form that there is",
        steps: &[
            Ok("CREATE TABLE {t} (a INT, b INT)"),
            Ok("CREATE TABLE {t}s (a INT, b INT)"),
            Fails(
                "MERGE INTO {t} x USING {t}s s ON x.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "syntax error at or near \"x\"",
            ),
            Fails("MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED THEN DELETE", "exactly one"),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "exactly one",
            ),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED AND s.b > 0 THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "syntax error at or near \"AND\"",
            ),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "syntax error",
            ),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED THEN UPDATE SET {t}.b = s.b WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "does not exist",
            ),
            Fails(
                "MERGE INTO {t} USING {t} s ON {t}.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "must not be the same",
            ),
            Fails(
                "MERGE INTO {t} USING (SELECT a FROM {t}) s ON {t}.a = s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "cannot reference target table",
            ),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a > s.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 1)",
                "not supported by the stand-in",
            ),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a REMOVE DUPLICATES",
                "not supported by the stand-in",
            ),
        ],
    },
    Case {
        number: 13,
        name: "MERGE and rows that match twice",
        steps: &[
            Ok("CREATE TABLE {t} (a INT, b INT)"),
            Ok("CREATE TABLE {t}s (a INT, b INT)"),
            Ok("INSERT INTO {t} VALUES (1, 0)"),
            Ok("INSERT INTO {t}s VALUES (1, 1), (2, 2), (2, 3)"),
            Ok("MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b
                WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)"),
            Rows("SELECT a, b FROM {t} ORDER BY a, b", "1,1|2,2|2,3"),
            Ok("INSERT INTO {t}s VALUES (1, 9)"),
            Fails(
                "MERGE INTO {t} USING {t}s s ON {t}.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b
                 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)",
                "Found multiple matches to update the same tuple.",
            ),
        ],
    },
    Case {
        number: 14,
        name: "lengths count bytes, blanks at the end don't count",
        steps: &[
            Ok("CREATE TABLE {t} (v VARCHAR(4), c CHAR(4))"),
            Ok("INSERT INTO {t} (v) VALUES ('éé'), ('a'), ('a ')"),
            Fails("INSERT INTO {t} (v) VALUES ('ééa')", "value too long for type character varying(4)"),
            Fails("INSERT INTO {t} (v) VALUES ('abcde')", "value too long for type character varying(4)"),
            Fails("INSERT INTO {t} (c) VALUES ('abcde')", "value too long for type character(4)"),
            Fails("UPDATE {t} SET v = v || 'éé'", "value too long for type character varying(4)"),
            Rows("SELECT COUNT(*) FROM {t} WHERE v = 'a'", "2"),
            Rows("SELECT COUNT(*) FROM (SELECT DISTINCT v FROM {t}) AS d", "2"),
            Rows("SELECT COUNT(*) FROM {t} x, {t} y WHERE x.v = y.v", "5"),
            Rows("SELECT COUNT(*) FROM {t} WHERE v IN (SELECT v FROM {t} WHERE LEN(v) = 1)", "2"),
            Rows("SELECT LEN(CAST('ééé' AS VARCHAR(5))), OCTET_LENGTH('ééé'::VARCHAR(5))", "2,4"),
        ],
    },
    Case {
        number: 15,
        name: "a backslash is an escape",
        steps: &[
            Rows(r"SELECT 'a\\b\'c', LEN('\\'), LEN('\t')", r"a\b'c,1,1"),
            Fails(r"SELECT 'a\'", "unterminated quoted string"),
            Ok("CREATE TABLE {t} (a VARCHAR(9) DEFAULT 'x\\\\y')"),
            Ok("INSERT INTO {t} VALUES (DEFAULT)"),
            Rows("SELECT a FROM {t}", r"x\y"),
        ],
    },
];
