//! Who runs PostgreSQL, and folders that this user may enter.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The system's user for PostgreSQL when we are root.
const NAME: &str = "postgres";

/// Who runs the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User and group, if it is not ourselves.
    switch_to: Option<(u32, u32)>,
}

impl Account {
    /// Ourselves, or, as root, the user `postgres`, who is made if the system has none.
    ///
    /// # Errors
    /// The user can't be made.
    pub fn find() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { switch_to: None });
        }
        if let Some(ids) = look_up()? {
            return Ok(Self { switch_to: Some(ids) });
        }
        let useradd =
            ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell"];
        let made = Command::new("useradd").args(useradd).args(["/usr/sbin/nologin", NAME]).output();
        // Another sandbox may have been faster: only the outcome counts.
        match look_up()? {
            Some(ids) => Ok(Self { switch_to: Some(ids) }),
            None => Err(Error::Missing {
                what: match made {
                    Ok(output) => {
                        format!("no user {NAME}: {}", String::from_utf8_lossy(&output.stderr).trim())
                    }
                    Err(error) => format!("no user {NAME}, and useradd can't be run: {error}"),
                },
                hint: "PostgreSQL does not run as root: make a system user postgres, or run this as an \
                       ordinary user"
                    .into(),
            }),
        }
    }

    /// User and group to switch to, if it is not ourselves.
    #[must_use]
    pub fn switch_to(self) -> Option<(u32, u32)> {
        self.switch_to
    }

    /// A command that runs as this account.
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.switch_to {
            command.uid(user).gid(group);
        }
        // The own working directory may be closed to this account.
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Does this command end well, run as this account?
    #[must_use]
    pub fn succeeds(self, program: &Path, arguments: &[&str]) -> bool {
        let mut command = self.command(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// May this account enter the folder?
    #[must_use]
    pub fn may_enter(self, folder: &Path) -> bool {
        self.switch_to.is_none()
            || self.succeeds(Path::new("/usr/bin/test"), &["-x", &folder.to_string_lossy()])
    }

    /// The folder where a sandbox's servers keep their data: within the sandbox's own if this account may enter it, else
    /// a new one in a place for temporary files.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn data_folder(self, sandbox: &Path) -> Result<PathBuf> {
        if self.may_enter(sandbox) {
            return Ok(sandbox.to_owned());
        }
        let places = std::env::var_os("TMPDIR").map(PathBuf::from).into_iter();
        let mut places = places.chain(["/var/tmp".into(), "/tmp".into()]);
        let place = places.find(|place| place.is_dir() && self.may_enter(place)).ok_or_else(|| {
            let what =
                format!("user {NAME} may not enter {}, nor any place for temporary files", sandbox.display());
            Error::Missing { what, hint: "choose another --dir".into() }
        })?;
        let folder = place.join(format!("re_dms-sandbox-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).map_err(Error::file("could not make", &folder))?;
        self.give(&folder)?;
        Ok(folder)
    }

    /// Makes this account the owner of a file or folder of ours.
    ///
    /// # Errors
    /// It can't be done.
    pub fn give(self, path: &Path) -> Result<()> {
        match self.switch_to {
            Some((user, group)) => {
                chown(path, Some(user), Some(group)).map_err(Error::file("could not give away", path))
            }
            None => Ok(()),
        }
    }

    /// A folder of this account's own, new or from before.
    ///
    /// # Errors
    /// It can't be made.
    pub fn own_folder(self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::file("could not make", folder))?;
        self.give(folder)
    }
}

/// The user's and the group's number, from the system's own list.
fn look_up() -> Result<Option<(u32, u32)>> {
    let path = Path::new("/etc/passwd");
    let users = fs::read_to_string(path).map_err(Error::file("could not read", path))?;
    Ok(users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, user, group, ..] if *name == NAME => Some((user.parse().ok()?, group.parse().ok()?)),
            _ => None,
        }
    }))
}

/// Does root own this, and nobody else can write to it?
pub(super) fn is_roots_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == 0 && meta.mode() & 0o022 == 0)
}
