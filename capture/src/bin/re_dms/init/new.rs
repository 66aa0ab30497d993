//! `re_dms init --new`: few questions, two files.

use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::Args;
use re_dms_capture::init::new::{NewStream, PasswordPlace};

use crate::Outcome;

/// What a new stream's files are made of.
#[derive(Debug, Args)]
#[command(next_help_heading = "A new stream (--new)")]
pub(crate) struct Answers {
    /// Its name.
    #[arg(long, default_value = "main")]
    stream: String,
    /// The source's host.
    #[arg(long)]
    host: Option<String>,
    /// Its port.
    #[arg(long, default_value_t = 5432)]
    port: u16,
    /// The database.
    #[arg(long)]
    database: Option<String>,
    /// The role that the capture logs in as; the SQL makes it.
    #[arg(long, default_value = "re_dms")]
    user: String,
    /// The file that will hold the role's password [default: /etc/re_dms/STREAM.password].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password_secret", "rds_iam"])]
    password_file: Option<String>,
    /// The secret of Secrets Manager that holds it, by ARN or name.
    #[arg(long, value_name = "ID", conflicts_with = "rds_iam")]
    password_secret: Option<String>,
    /// None: RDS's IAM authentication.
    #[arg(long, requires = "managed")]
    rds_iam: bool,
    /// Certificates that vouch for the server's.
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<String>,
    /// The source is RDS or Aurora.
    #[arg(long)]
    managed: bool,
    /// The source's major version: 14, or 15 for all later ones.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(14..))]
    postgresql: u32,
    /// Which tables, by patterns such as public.* (several separated by commas).
    #[arg(long, default_value = "*.*", value_delimiter = ',')]
    tables: Vec<String>,
    /// The segments' bucket: SegmentBucketName of the stack.
    #[arg(long)]
    bucket: Option<String>,
    /// The queue to the loader: SegmentQueueUrl of the stack.
    #[arg(long)]
    segments_url: Option<String>,
    /// The queue back: AckQueueUrl of the stack.
    #[arg(long)]
    acks_url: Option<String>,
    /// The Region [default: the environment's].
    #[arg(long)]
    region: Option<String>,
}

impl Answers {
    /// Writes both files, neither over one that is there.
    pub(crate) fn write(&self, config_file: &Path) -> Outcome {
        let sql_file = config_file.with_extension("sql");
        let answers = self.ask()?;
        let password = answers.password.clone();
        let (config, sql) = answers.files()?;
        for (file, text) in [(config_file, config), (&sql_file, sql)] {
            let opened = std::fs::File::options().write(true).create_new(true).open(file);
            let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
            written.map_err(|error| {
                format!(
                    "{} can't be written: {error}\n  hint: move away what is there, or name another file",
                    file.display()
                )
            })?;
        }
        let (config, sql) = (config_file.display(), sql_file.display());
        let kept = match &password {
            PasswordPlace::File(file) => format!(", which goes into {file}, too"),
            PasswordPlace::Secret(secret) => format!(", as the secret {secret} has it"),
            PasswordPlace::RdsIam => String::new(),
        };
        println!("written: {config} and {sql}\nnext:");
        println!("  1. run {sql} on the source as a superuser, and give the role its password{kept}");
        println!("  2. re_dms check --config {config}");
        println!("  3. re_dms run --config {config}");
        Ok(())
    }

    fn ask(&self) -> Result<NewStream, Box<dyn std::error::Error>> {
        let password = match (&self.password_file, &self.password_secret, self.rds_iam) {
            (_, Some(secret), _) => PasswordPlace::Secret(secret.clone()),
            (_, _, true) => PasswordPlace::RdsIam,
            (Some(file), ..) => PasswordPlace::File(file.clone()),
            _ => PasswordPlace::File(format!("/etc/re_dms/{}.password", self.stream)),
        };
        Ok(NewStream {
            stream: self.stream.clone(),
            host: answer(&self.host, "--host", "the source's host")?,
            port: self.port,
            database: answer(&self.database, "--database", "the source's database")?,
            user: self.user.clone(),
            password,
            tls_ca_file: self.tls_ca_file.clone(),
            managed: self.managed,
            postgresql: self.postgresql,
            include: self.tables.clone(),
            bucket: answer(&self.bucket, "--bucket", "the stack's SegmentBucketName")?,
            segments_url: answer(&self.segments_url, "--segments-url", "the stack's SegmentQueueUrl")?,
            acks_url: answer(&self.acks_url, "--acks-url", "the stack's AckQueueUrl")?,
            region: self.region.clone(),
        })
    }
}

/// What was given, or what somebody types.
fn answer(given: &Option<String>, flag: &str, question: &str) -> Result<String, Box<dyn std::error::Error>> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(format!(
            "{flag} is missing: {question}\n  hint: give it, or run this on a terminal to be asked"
        )
        .into());
    }
    loop {
        eprint!("{question}: ");
        let mut line = String::new();
        if stdin.read_line(&mut line)? == 0 {
            return Err(format!("{flag} is missing: {question}").into());
        }
        if !line.trim().is_empty() {
            return Ok(line.trim().to_owned());
        }
    }
}
