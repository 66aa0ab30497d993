//! The files that a new stream begins with: its config, with the keys that people change explained, and SQL for the source
//! that gives the capture's role what it needs and nothing else.

use std::fmt::Write;

use crate::config::{Config, ConfigErrors};
use crate::source::ddl_trigger_sql;
use crate::sql::{ident, literal};

/// What there is to know of a new stream.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// Its name.
    pub stream: String,
    /// The source's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The capture's role there.
    pub user: String,
    /// Where its password comes from.
    pub password: PasswordPlace,
    /// Who vouches for the server's certificate; none for the system's.
    pub tls_ca_file: Option<String>,
    /// The server is RDS or Aurora.
    pub managed: bool,
    /// Its major version; 15 stands for all later ones.
    pub postgresql: u32,
    /// Which tables: patterns.
    pub include: Vec<String>,
    /// The segments' bucket.
    pub bucket: String,
    /// The queue to the loader.
    pub segments_url: String,
    /// The queue back.
    pub acks_url: String,
    /// The Region; none for the environment's.
    pub region: Option<String>,
}

/// Where a password is kept.
#[derive(Clone, Debug)]
pub enum PasswordPlace {
    /// In a file.
    File(String),
    /// In Secrets Manager.
    Secret(String),
    /// Nowhere: RDS's IAM authentication.
    RdsIam,
}

impl NewStream {
    /// Config and SQL.
    ///
    /// # Errors
    /// What makes the config unusable.
    pub fn files(&self) -> Result<(String, String), ConfigErrors> {
        let config = self.config();
        // Nobody's environment: it must stand by itself.
        Config::parse(&config, Vec::new())?;
        Ok((config, self.sql()))
    }

    fn config(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        let Self { stream, host, port, database, user, .. } = self;
        let url = quoted(&format!("postgres://{}@{host}:{port}/{}", escaped(user), escaped(database)));
        let password = match &self.password {
            PasswordPlace::File(path) => format!("password_file = {}", quoted(path)),
            PasswordPlace::Secret(id) => format!("password_secret = {}", quoted(id)),
            PasswordPlace::RdsIam => "rds_iam = true".to_owned(),
        };
        let ca_file = match &self.tls_ca_file {
            Some(path) => format!("tls_ca_file = {}", quoted(path)),
            None => "# tls_ca_file = \"/etc/re_dms/ca.pem\"".to_owned(),
        };
        let region = match &self.region {
            Some(region) => format!("region = {}", quoted(region)),
            None => "# region = \"eu-west-1\"".to_owned(),
        };
        let (include, bucket) = (list(&self.include), quoted(&self.bucket));
        let (segments, acks) = (quoted(&self.segments_url), quoted(&self.acks_url));
        format!(
            "# The stream {stream}, from PostgreSQL to Amazon Redshift. Keys that are not here have their defaults; all of\n\
             # them are in docs/configuration.md. Look whether it fits with: re_dms check --config FILE\n\
             stream = {name}\n\
             # The local WAL and the status: room for all that Redshift lacks.\n\
             data_dir = {data_dir}\n\n\
             [source]\n\
             # Encrypted, and the server has to prove who it is, unless it is this machine (sslmode=… says otherwise).\n\
             url = {url}\n\
             {password}\n\
             # Who vouches for the server's certificate, if not the system's list; for RDS and Aurora AWS's global bundle.\n\
             {ca_file}\n\
             # Which tables: schema.table, with * and ?.\n\
             include = [{include}]\n\
             # exclude = [\"*.tmp_*\"]\n\
             # Columns that must not leave the source, or only as keyed hashes (hash_key).\n\
             # exclude_columns = [\"public.users.password\"]\n\
             # hash_columns = [\"*.*.email\"]\n\n\
             [slot]\n\
             # How far the source may forget: what is \"loaded\" into Redshift, or what is \"staged\" on S3.\n\
             # advance_on = \"loaded\"\n\
             # While the loader stands still and this much WAL waits on the source, follow S3 instead.\n\
             # retained_wal_warn = \"10GiB\"\n\
             # retained_wal_fallback = true\n\n\
             [batch]\n\
             # How old a change may get before it is sent on its way.\n\
             # interval = \"5s\"\n\n\
             # The outputs of the stack that template.yaml makes.\n\
             [s3]\n\
             bucket = {bucket}\n\n\
             [queues]\n\
             segments_url = {segments}\n\
             acks_url = {acks}\n\n\
             [aws]\n\
             {region}\n",
            name = quoted(stream),
            data_dir = quoted(&format!("/var/lib/re_dms/{stream}")),
        )
    }

    fn sql(&self) -> String {
        let publication = format!("re_dms_{}", self.stream);
        let (role, publication_name) = (ident(&self.user), ident(&publication));
        let mut sql = format!(
            "-- What the stream {} needs on its source. Run it as a superuser (on RDS and Aurora: as a member of\n\
             -- rds_superuser) in the database {}. wal_level must be logical (there: rds.logical_replication = 1).\n\n",
            self.stream, self.database
        );
        let iam = matches!(self.password, PasswordPlace::RdsIam);
        if self.managed {
            let _ = writeln!(sql, "CREATE ROLE {role} LOGIN;\nGRANT rds_replication TO {role};");
        } else {
            let _ = writeln!(sql, "CREATE ROLE {role} LOGIN REPLICATION;");
        }
        if iam {
            let _ = writeln!(
                sql,
                "-- The parameter rds.iam_auth_for_replication must be 1.\nGRANT rds_iam TO {role};"
            );
        } else {
            let _ = writeln!(sql, "-- Give it a password, in psql by: \\password {}", self.user);
        }
        let _ = writeln!(
            sql,
            "-- If tables have row-level security, and rows are to be copied that it hides: ALTER ROLE {role} BYPASSRLS;\n"
        );
        if self.include.iter().any(|pattern| pattern == "*.*") {
            let _ = writeln!(
                sql,
                "-- Every table, also those to come; reading them is for the initial copy.\n\
                 CREATE PUBLICATION {publication_name} FOR ALL TABLES WITH (publish_via_partition_root = true);\n\
                 GRANT pg_read_all_data TO {role};"
            );
        } else {
            sql.push_str(&self.for_some_tables(&publication));
        }
        let _ = writeln!(
            sql,
            "\n-- Tells changes of tables' definitions exactly; without it they are found by the catalog. The same as\n\
             -- `re_dms init --ddl-trigger`, which also replaces it by a later version's.\nBEGIN;\n\
             SET LOCAL standard_conforming_strings = on;\n{}COMMIT;",
            ddl_trigger_sql(&publication, i32::try_from(self.postgresql).unwrap_or(15) * 10_000)
        );
        sql
    }

    /// Those that the patterns pick now.
    fn for_some_tables(&self, publication: &str) -> String {
        let like = |glob: &str| {
            let escaped = glob.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            literal(&escaped.replace('*', "%").replace('?', "_"))
        };
        let pattern = |pattern: &String| {
            let (schema, table) = pattern.split_once('.').unwrap_or((pattern, "*"));
            format!("(n.nspname LIKE {} AND c.relname LIKE {})", like(schema), like(table))
        };
        let patterns: Vec<_> = self.include.iter().map(pattern).collect();
        format!(
            "-- The tables that the patterns pick; reading them is for the initial copy. Tables that come later: ALTER\n\
             -- PUBLICATION … ADD TABLE, and GRANT SELECT.\n\
             CREATE PUBLICATION {publication_name} WITH (publish_via_partition_root = true);\n\
             DO $do$\nDECLARE\n    t record;\nBEGIN\n    \
             FOR t IN SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n        \
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'\n        \
             AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'\n        \
             AND ({patterns})\n    LOOP\n        \
             EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', t.nspname, {role});\n        \
             EXECUTE format('GRANT SELECT ON %I.%I TO %I', t.nspname, t.relname, {role});\n        \
             EXECUTE format('ALTER PUBLICATION %I ADD TABLE %I.%I', {publication}, t.nspname, t.relname);\n    \
             END LOOP;\nEND\n$do$;\n",
            publication_name = ident(publication),
            patterns = patterns.join("\n            OR "),
            role = literal(&self.user),
            publication = literal(publication),
        )
    }
}

/// As it stands in a URL.
fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let mut escaped = String::new();
    for c in text.chars() {
        if plain(c) {
            escaped.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_stream() -> NewStream {
        NewStream {
            stream: "main".to_owned(),
            host: "db.example".to_owned(),
            port: 5432,
            database: "the shop".to_owned(),
            user: "re_dms".to_owned(),
            password: PasswordPlace::File("/etc/re_dms/main.password".to_owned()),
            tls_ca_file: None,
            managed: false,
            postgresql: 15,
            include: vec!["shop.*".to_owned(), "public.order_?".to_owned()],
            bucket: "acme-segments".to_owned(),
            segments_url: "https://sqs.eu-west-1.amazonaws.com/1/segments.fifo".to_owned(),
            acks_url: "https://sqs.eu-west-1.amazonaws.com/1/acks".to_owned(),
            region: Some("eu-west-1".to_owned()),
        }
    }

    /// Without the trigger, which has tests of its own.
    fn before_the_trigger(sql: &str) -> &str {
        sql.split("\n-- Tells changes").next().unwrap_or_default()
    }

    #[test]
    fn the_files_say_what_they_are_for() {
        let (config, sql) = new_stream().files().unwrap();
        insta::assert_snapshot!(format!("{config}\n=====\n{}", before_the_trigger(&sql)));
        let managed = NewStream {
            managed: true,
            password: PasswordPlace::RdsIam,
            tls_ca_file: Some("/etc/re_dms/global-bundle.pem".to_owned()),
            include: vec!["*.*".to_owned()],
            region: None,
            ..new_stream()
        };
        let (config, sql) = managed.files().unwrap();
        insta::assert_snapshot!(format!("{config}\n=====\n{}", before_the_trigger(&sql)));
    }

    #[test]
    fn what_is_written_is_read() {
        let (text, _) = new_stream().files().unwrap();
        let config = Config::parse(&text, Vec::new()).unwrap();
        assert_eq!(config.stream, "main");
        assert!(
            config.source.tables.picks("public", "order_1") && !config.source.tables.picks("public", "x")
        );
        // Every key that is only shown is one that there is.
        let shown = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") && !rest.ends_with('.') => rest,
            _ => line,
        });
        let all = shown.collect::<Vec<_>>().join("\n") + "\n";
        let all = all.replace("[slot]", "hash_key = 'sixteen bytes at least'\n[slot]");
        Config::parse(&all, Vec::new()).unwrap_or_else(|errors| panic!("{errors}\n{all}"));
        let refused = NewStream { stream: "No!".to_owned(), ..new_stream() };
        assert!(refused.files().is_err());
    }
}
