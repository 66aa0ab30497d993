//! The event trigger that tells changes of tables' definitions through the stream.

use re_dms_shared::manifest::sha256_hex;

use super::{Source, failure, is_published, server_text};
use crate::error::{Error, Result, Who};
use crate::sql::{ident, literal};

/// The longest part of a publication's name that fits into names made of it.
const READABLE: usize = 36;

impl Source {
    /// Installs it for a publication, or replaces what is there, and tells how every table is now.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn install_ddl_trigger(&self, publication: &str) -> Result<()> {
        let version: i32 = self.query_one("SELECT current_setting('server_version_num')::int").await?.get(0);
        self.in_transaction(&[&sql(publication, version)]).await
    }

    /// Removes it, and says so in the stream.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn remove_ddl_trigger(&self, publication: &str) -> Result<()> {
        let names = Names::new(publication);
        let Names { function, ended, dropped, rewriting } = &names;
        let remove = format!(
            "DROP EVENT TRIGGER IF EXISTS {ended}; DROP EVENT TRIGGER IF EXISTS {dropped}; \
             DROP EVENT TRIGGER IF EXISTS {rewriting}; DROP FUNCTION IF EXISTS re_dms.{function}(); \
             SELECT pg_logical_emit_message(true, 're_dms.ddl', convert_to(json_build_object( \
             'publication', {}, 'event', 'removed')::text, 'UTF8'))",
            literal(publication)
        );
        // What other publications' triggers need stays.
        let sweep = "DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid \
                     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 're_dms') THEN \
                     DROP FUNCTION IF EXISTS re_dms.definition(bigint, text); DROP SCHEMA IF EXISTS re_dms; \
                     END IF; END $do$";
        let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 're_dms')";
        let exists: bool = self.query_one(exists).await?.get(0);
        if exists { self.in_transaction(&[&remove, sweep]).await } else { Ok(()) }
    }

    /// Whether all of it is there, and enabled.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn has_ddl_trigger(&self, publication: &str) -> Result<bool> {
        let Names { ended, dropped, rewriting, .. } = Names::new(publication);
        let sql = "SELECT count(*) = 3 FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' \
                   AND '\"' || replace(evtname::text, '\"', '\"\"') || '\"' = ANY ($1::text[])";
        let row = self.client.query_one(sql, &[&vec![ended, dropped, rewriting]]).await;
        Ok(row.map_err(|error| failure("looking for the event trigger", &error))?.get(0))
    }

    /// Whether anything of it is there.
    ///
    /// # Errors
    /// If the server can't be asked.
    pub async fn has_any_ddl_trigger(&self, publication: &str) -> Result<bool> {
        let Names { ended, dropped, rewriting, function } = Names::new(publication);
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger \
                   WHERE '\"' || replace(evtname::text, '\"', '\"\"') || '\"' = ANY ($1::text[])) \
                   OR EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                   WHERE n.nspname = 're_dms' AND '\"' || replace(p.proname::text, '\"', '\"\"') || '\"' = $2::text)";
        let row = self.client.query_one(sql, &[&vec![ended, dropped, rewriting], &function]).await;
        Ok(row.map_err(|error| failure("looking for the event trigger", &error))?.get(0))
    }

    async fn in_transaction(&self, parts: &[&str]) -> Result<()> {
        // Without a notice for what is not there; literals are made for this setting.
        let begin =
            "BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL standard_conforming_strings = on";
        for part in std::iter::once(&begin).chain(parts).chain(&["COMMIT"]) {
            if let Err(error) = self.client.batch_execute(part).await {
                self.client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(|error| failure("rolling back", &error))?;
                return Err(Error::fatal(
                    Who::Source,
                    format!("the event trigger can't be installed or removed: {}", server_text(&error)),
                    "connect as a superuser (on RDS: with the role rds_superuser); without the trigger the catalog is \
                     asked instead",
                ));
            }
        }
        Ok(())
    }
}

/// What installs it on a server of this version, within a transaction.
pub(crate) fn sql(publication: &str, version: i32) -> String {
    // Whoever is changing a published table ends first; who comes after fires the trigger.
    let lock = format!(
        "DO $do$ DECLARE t record; BEGIN FOR t IN SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = {} \
         LOOP EXECUTE format('LOCK TABLE %I.%I IN ACCESS SHARE MODE', t.schemaname, t.tablename); END LOOP; END $do$;\n",
        literal(publication)
    );
    let names = Names::new(publication);
    let install = include_str!("ddl_trigger.sql")
        .replace("@definition@", include_str!("definition.sql"))
        .replace("@is_published@", &is_published(version, "publication"))
        .replace("@publication@", &literal(publication))
        .replace("@function@", &names.function)
        .replace("@ended@", &names.ended)
        .replace("@dropped@", &names.dropped)
        .replace("@rewriting@", &names.rewriting);
    lock + &install
}

/// Quoted names of a publication's trigger.
struct Names {
    function: String,
    ended: String,
    dropped: String,
    rewriting: String,
}

impl Names {
    fn new(publication: &str) -> Self {
        let mut part = publication.to_owned();
        if publication.len() > READABLE {
            let mut end = READABLE - 9;
            while !publication.is_char_boundary(end) {
                end -= 1;
            }
            part = format!("{}_{}", &publication[..end], &sha256_hex(publication.as_bytes())[..8]);
        }
        let name = |kind: &str| ident(&format!("re_dms_{kind}_{part}"));
        Self {
            function: name("ddl"),
            ended: name("ended"),
            dropped: name("dropped"),
            rewriting: name("rewriting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let long = |last: char| Names::new(&format!("{}{last}", "ä".repeat(31)));
        assert!(long('a').rewriting.len() <= 63 + 2, "{}", long('a').rewriting);
        assert_ne!(long('a').function, long('b').function);
        assert_eq!(Names::new("re_dms_main").ended, "\"re_dms_ended_re_dms_main\"");
    }
}
