//! A certificate authority of the test's own, by the program openssl.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::server::Server;

/// A key and the certificate that makes it an authority.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    file: PathBuf,
    key: [&'static str; 2],
    digest: &'static str,
}

impl Authority {
    /// With RSA keys and SHA-256.
    pub(crate) fn new(name: &str) -> Self {
        Self::of_kind(name, "rsa:2048", "", "-sha256")
    }

    /// With keys of this algorithm (for elliptic ones with the curve's name) and this hash in its signatures.
    pub(crate) fn of_kind(
        name: &str,
        algorithm: &'static str,
        curve: &'static str,
        digest: &'static str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        let authority = Self { folder, file, key: [algorithm, curve], digest };
        authority.openssl(&[
            "req",
            "-x509",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-subj",
            &format!("/CN={name}"),
        ]);
        authority
    }

    /// Its certificate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Lets a running server have a certificate for `name`, and turns TLS on; new connections have it.
    pub(crate) async fn give_certificate(&self, server: &Server, name: &str) {
        let extension = format!("subjectAltName=DNS:{name}");
        self.openssl(&[
            "req",
            "-x509",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
            "-subj",
            "/CN=server",
            "-addext",
            &extension,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        let data = server.data_folder();
        let owner = std::fs::metadata(&data).unwrap();
        for file in ["server.key", "server.crt"] {
            let place = data.join(file);
            std::fs::copy(self.folder.path().join(file), &place).unwrap();
            std::fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).unwrap();
            chown(&place, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let sql = server.sql().await;
        sql.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The postmaster reloads when it gets to it; the files are in use when a new connection shows them.
        let serial = self.serial();
        for _ in 0..300 {
            if self.shown_serial(server).as_ref() == Some(&serial) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not use its certificate");
    }

    fn serial(&self) -> String {
        self.text(&["x509", "-in", "server.crt", "-noout", "-serial"]).expect("the certificate's number")
    }

    /// The number of the certificate that the server shows now.
    fn shown_serial(&self, server: &Server) -> Option<String> {
        let place = format!("localhost:{}", server.port());
        let shown = self.text(&["s_client", "-connect", &place, "-starttls", "postgres"])?;
        std::fs::write(self.folder.path().join("shown.crt"), shown).unwrap();
        self.text(&["x509", "-in", "shown.crt", "-noout", "-serial"])
    }

    fn text(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path()).stdin(std::process::Stdio::null());
        let output = command.output().expect("the program openssl, to make certificates with");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn openssl(&self, arguments: &[&str]) {
        let [algorithm, curve] = self.key;
        let curve = format!("ec_paramgen_curve:{curve}");
        let mut all = arguments.to_vec();
        all.extend(["-newkey", algorithm, "-nodes", "-days", "2", self.digest]);
        if algorithm == "ec" {
            all.extend(["-pkeyopt", &curve]);
        }
        let mut command = Command::new("openssl");
        let output = command.args(&all).current_dir(self.folder.path()).output();
        let output = output.expect("the program openssl, to make certificates with");
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}
