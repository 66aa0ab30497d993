//! Rules 17 to 21: COPY.

use crate::cases::Case;
use crate::cases::Step::{CopyFails, LoadFails, Loads, Ok, Rows};

/// As long as a row may be, and one byte more.
const TOO_LONG: &[u8] = &[b'x'; (4 << 20) + 1];

pub(crate) const CASES: &[Case] = &[
    Case {
        number: 17,
        name: "columns and fields",
        steps: &[
            Ok("CREATE TABLE {t} (i INT, v VARCHAR(3), c CHAR(3), n INT)"),
            LoadFails(b"1,a,b,2,3\n", "", 1202, "Extra column"),
            LoadFails(b"1,a,b\n", "", 1203, "Delimiter not found"),
            LoadFails(b"\n", "", 1203, "Delimiter not found"),
            LoadFails("1,éé,b,2\n".as_bytes(), "", 1204, "String length exceeds DDL length"),
            LoadFails(b"1,a,abcd,2\n", "", 1204, "Char length exceeds DDL length"),
            LoadFails("1,a,é,2\n".as_bytes(), "", 1215, "Multibyte character not supported for CHAR"),
            Loads(b"1,\"ab  \",x,2\n", "", 1),
            Rows("SELECT LEN(v) FROM {t}", "3"),
            LoadFails(b"1,\xa4,b,2\n", "", 1220, "Bad UTF-8 hex sequence: a4"),
            LoadFails(b"1,a\0,b,2\n", r"NULL AS '\0'", 1218, "Invalid null byte"),
            LoadFails(TOO_LONG, "", 1216, "larger than the maximum"),
            Loads("1,ééé,b,2\n".as_bytes(), "TRUNCATECOLUMNS", 1),
        ],
    },
    Case {
        number: 17,
        name: "booleans and numbers",
        steps: &[
            Ok("CREATE TABLE {t} (b BOOLEAN, s SMALLINT, i INT, l BIGINT, f FLOAT, r REAL, d DECIMAL(8,2))"),
            Loads(b"t,1,1,1,1,1,1\nTRUE,1,1,1,1e3,1,1\ny,,,,,,\nYes,,,,,,\n1,,,,,,\n0,,,,,,\nNo,,,,,,\nf,,,,,,\n", "", 8),
            LoadFails(b"on,1,1,1,1,1,1\n", "", 1210, "boolean"),
            LoadFails(b"t,a,1,1,1,1,1\n", "", 1207, "Invalid digit, Value 'a', Pos 0, Type: Short"),
            LoadFails(b"t,1,1.5,1,1,1,1\n", "", 1207, "Invalid digit, Value '.', Pos 1, Type: Integer"),
            LoadFails(b"t,32768,1,1,1,1,1\n", "", 1222, "Overflow"),
            LoadFails(b"t,1,2147483648,1,1,1,1\n", "", 1222, "Overflow"),
            LoadFails(b"t,1,1,9223372036854775808,1,1,1\n", "", 1222, "Overflow"),
            LoadFails(b"t,1,1,1,NaN,1,1\n", "", 1208, "floating point"),
            LoadFails(b"t,1,1,1,Infinity,1,1\n", "", 1208, "floating point"),
            LoadFails(b"t,1,1,1,1,-Infinity,1\n", "", 1208, "floating point"),
            LoadFails(b"t,1,1,1,1,1,NaN\n", "", 1209, "Invalid digit"),
            LoadFails(b"t,1,1,1,1,1,1e3\n", "", 1209, "Invalid digit"),
            LoadFails(b"t,1,1,1,1,1,1234567\n", "", 1204, "overflow"),
            Ok("DELETE FROM {t}"),
            Loads(b"t,1,1,1,1,1,20.259\n", "", 1),
            Loads(b"t,1,1,1,1,1,20.259\n", "ROUNDEC", 1),
            Rows("SELECT d FROM {t} ORDER BY d", "20.25|20.26"),
        ],
    },
    Case {
        number: 17,
        name: "dates and times",
        steps: &[
            Ok("CREATE TABLE {t} (d DATE, t TIMESTAMP)"),
            Loads(b"2024-02-29 12:00:00,2024-02-29\n2024-02-29,2024-02-29 12:00:00.123456+05\n", "", 2),
            Rows("SELECT d, t FROM {t} ORDER BY t", "2024-02-29,2024-02-29 00:00:00.0|2024-02-29,2024-02-29 12:00:00.123456"),
            LoadFails(b"2023-02-29,\n", "", 1205, "Invalid Date Format"),
            LoadFails(b"infinity,\n", "DATEFORMAT 'auto'", 1205, "Invalid Date Format"),
            LoadFails(b",infinity\n", "TIMEFORMAT 'auto'", 1206, "Invalid timestamp format or value"),
            LoadFails(b"0044-03-15 BC,\n", "DATEFORMAT 'auto'", 1205, "Invalid Date Format"),
            LoadFails(b"10000-01-01,\n", "DATEFORMAT 'auto'", 1205, "Invalid Date Format"),
            LoadFails(b",2024-01-01 00:00:00.1234567\n", "", 1206, "Invalid timestamp"),
            LoadFails(b",2024-01-01 25:00:00\n", "", 1206, "Invalid timestamp"),
        ],
    },
    Case {
        number: 17,
        name: "documents and bytes",
        steps: &[
            Ok("CREATE TABLE {t} (j SUPER, b VARBYTE(2))"),
            Loads(b"\"{\"\"a\"\":1}\",00fF\n", "", 1),
            LoadFails(b"{a:1},\n", "", 1224, ""),
            LoadFails(b"1,\\x00\n", "", 1223, "hexadecimal"),
            LoadFails(b"1,0\n", "", 1223, "hexadecimal"),
            LoadFails(b"1,001122\n", "", 1204, "length"),
            LoadFails(b",00\n", "", 1224, ""),
            Rows("SELECT j, b FROM {t}", "{\"a\":1},00ff"),
        ],
    },
    Case {
        number: 17,
        name: "NULL, whether quoted or not",
        steps: &[
            Ok("CREATE TABLE {t} (v VARCHAR(9), i INT, n INT NOT NULL)"),
            Loads(b"\\N,\\N,1\n\"\\N\",\"\\N\",2\n,,3\n\"\",\"\",4\nx, ,5\n", "", 5),
            Rows("SELECT v, i FROM {t} ORDER BY n", "NULL,NULL|NULL,NULL|,NULL|,NULL|x,NULL"),
            Loads(b"\\N,1,6\n\0,\0,7\n\"\0\",\"\0\",8\n", r"NULL AS '\0'", 3),
            Rows("SELECT v, i FROM {t} WHERE n > 5 ORDER BY n", "\\N,1|NULL,NULL|NULL,NULL"),
            Loads(b",1,9\n", "EMPTYASNULL", 1),
            Rows("SELECT v FROM {t} WHERE n = 9", "NULL"),
            LoadFails(b"x,1,\n", "", 1213, "Missing data for not-null field"),
        ],
    },
    Case {
        number: 18,
        name: "manifests by their keyword",
        steps: &[
            Ok("CREATE TABLE {t} (a INT)"),
            Loads(b"1\n2\n", "MANIFEST", 2),
            Loads(b"3\n", "GZIP MANIFEST", 1),
            CopyFails("MANIFEST REGION", "syntax error"),
        ],
    },
    Case {
        number: 19,
        name: "options that don't go together",
        steps: &[
            Ok("CREATE TABLE {t} (a INT)"),
            CopyFails("ESCAPE", "CSV is not compatible with ESCAPE"),
            CopyFails("REMOVEQUOTES", "CSV is not compatible with REMOVEQUOTES"),
            CopyFails("FIXEDWIDTH 'a:1'", "CSV is not compatible with FIXEDWIDTH"),
            CopyFails("GZIP ZSTD", "only one compression"),
            CopyFails("MAXERROR 100001", "between 0 and 100000"),
            CopyFails(r"NULL AS '\n'", "not allowed"),
            CopyFails("TIMEFORMAT 'AUTO'", "lower case"),
            CopyFails("DATEFORMAT 'Auto'", "lower case"),
            CopyFails("TIMEFORMAT 'EPOCHSECS'", "lower case"),
            CopyFails("DELIMITER 'ab'", "single ASCII character"),
            CopyFails("DELIMITER 'é'", "single ASCII character"),
            CopyFails("GZIP GZIP", "conflicting or redundant"),
            CopyFails("FORMAT CSV", "conflicting or redundant"),
            CopyFails("ON_ERROR ignore", "syntax error"),
            CopyFails("HEADER", "syntax error"),
            CopyFails("MAXERROR 2", "not supported by the stand-in"),
            CopyFails("FILLRECORD", "not supported by the stand-in"),
            CopyFails("NOLOAD", "not supported by the stand-in"),
        ],
    },
    Case {
        number: 20,
        name: "ISO times want 'auto'",
        steps: &[
            Ok("CREATE TABLE {t} (t TIMESTAMPTZ)"),
            LoadFails(
                b"2024-01-02T03:04:05.123456Z\n",
                "",
                1206,
                "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SSOF]",
            ),
            LoadFails(b"2024-01-02 03:04:05Z\n", "", 1206, "Invalid timestamp"),
            Loads(b"2024-01-02 03:04:05+00\n", "", 1),
            Loads(b"2024-01-02T03:04:05.123456Z\n", "TIMEFORMAT 'auto'", 1),
        ],
    },
    Case {
        number: 21,
        name: "nothing is loaded by a load that fails",
        steps: &[
            Ok("CREATE TABLE {t} (id INT, note VARCHAR(3))"),
            Loads(b"1,a\n", "", 1),
            LoadFails(b"2,b\n3,\"c\nd\"\n4,efgh\n", "", 1204, "String length exceeds DDL length"),
            Rows(
                "SELECT line_number, TRIM(column_name), TRIM(column_type), TRIM(column_length), position, TRIM(database_name)
                 FROM sys_load_error_detail ORDER BY query_id DESC LIMIT 1",
                "4,note,varchar,3,3,warehouse",
            ),
            Rows(
                "SELECT TRIM(colname), TRIM(type), TRIM(col_length), TRIM(raw_field_value), TRIM(err_reason), is_partial
                 FROM stl_load_errors ORDER BY query DESC LIMIT 1",
                "note,varchar,3,efgh,String length exceeds DDL length,0",
            ),
            Rows(
                "SELECT user_id > 0, query_id > 0, transaction_id > 0, session_id > 0, table_id > 0, start_time > '2020-01-01'
                 FROM sys_load_error_detail ORDER BY query_id DESC LIMIT 1",
                "true,true,true,true,true,true",
            ),
        ],
    },
];
