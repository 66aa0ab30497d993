//! `sandbox.json`: what a sandbox is and what of it runs. Its keys up to `pids` are the contract with tests and people;
//! the others are the sandbox's own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Part, Result};
use crate::processes::Process;

/// The sandbox's own files within its folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A sandbox's folder, made if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::file("could not make", path))?;
        let root = fs::canonicalize(path).map_err(Error::file("could not find", path))?;
        Ok(Self { root })
    }

    /// An existing sandbox's folder.
    ///
    /// # Errors
    /// There is no sandbox in it.
    pub fn existing(path: &Path) -> Result<Self> {
        let folder = fs::canonicalize(path).map(|root| Self { root });
        folder.ok().filter(|folder| folder.state_file().exists()).ok_or_else(|| Error::Refused {
            what: format!("{} holds no sandbox", path.display()),
            hint: "start one with: sandbox up --dir DIR".into(),
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `sandbox.json`
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.root.join("sandbox.json")
    }

    /// The config that `re_dms run` is started with.
    #[must_use]
    pub fn capture_config(&self) -> PathBuf {
        self.root.join("capture.toml")
    }

    /// What was given with `--config`, kept so that a later `up` merges it again.
    #[must_use]
    pub fn overlay(&self) -> PathBuf {
        self.root.join("capture.overlay.toml")
    }

    /// The stand-in's config.
    #[must_use]
    pub fn redshift_config(&self) -> PathBuf {
        self.root.join("redshift.json")
    }

    /// Further environment variables of the loader, if somebody put them there.
    #[must_use]
    pub fn loader_variables(&self) -> PathBuf {
        self.root.join("loader.json")
    }

    /// The capture's local WAL and status.
    #[must_use]
    pub fn capture_data(&self) -> PathBuf {
        self.root.join("capture")
    }

    /// The local AWS's state.
    #[must_use]
    pub fn aws_data(&self) -> PathBuf {
        self.root.join("aws")
    }

    /// All logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// A part's log.
    #[must_use]
    pub fn log(&self, part: Part) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// Keeps a second `up` or `down` of this sandbox out as long as the file is held.
    ///
    /// # Errors
    /// Somebody else holds it.
    pub fn lock(&self) -> Result<File> {
        let path = self.lock_file();
        let open = || File::options().create(true).truncate(false).write(true).open(&path);
        let file = open().map_err(Error::file("could not write", &path))?;
        file.try_lock().map_err(|_| Error::Refused {
            what: format!("another up or down is at work in {}", self.root.display()),
            hint: "wait for it to end".into(),
        })?;
        Ok(file)
    }

    /// Removes everything that a sandbox makes in its folder, and the folder if that leaves it empty.
    ///
    /// # Errors
    /// Something can't be removed.
    pub fn wipe(&self) -> Result<()> {
        let files = [
            self.capture_config(),
            self.overlay(),
            self.redshift_config(),
            self.lock_file(),
            self.state_file(),
        ];
        let folders = [
            self.capture_data(),
            self.aws_data(),
            self.logs(),
            self.root.join(Part::Source.name()),
            self.root.join(Part::Warehouse.name()),
        ];
        for folder in folders.iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(folder).map_err(Error::file("could not remove", folder))?;
        }
        for file in files.iter().filter(|file| file.exists()) {
            fs::remove_file(file).map_err(Error::file("could not remove", file))?;
        }
        // Not if somebody put other files there: they stay.
        let _ = fs::remove_dir(&self.root);
        Ok(())
    }
}

/// The content of `sandbox.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// A superuser's, to create what one likes.
    pub source_url: String,
    /// The PostgreSQL behind the stand-in.
    pub warehouse_url: String,
    /// Where the Data API is.
    pub redshift_data_endpoint: String,
    /// Where S3, SQS, Lambda and the rest of AWS are.
    pub aws_endpoint: String,
    /// The bucket of the segments.
    pub bucket: String,
    /// The FIFO queue of staged segments.
    pub queue_url: String,
    /// The queue of acknowledgements.
    pub ack_queue_url: String,
    /// The loader.
    pub function_name: String,
    /// The file that `re_dms run --config` takes.
    pub capture_config: PathBuf,
    /// The capture's log.
    pub capture_log: PathBuf,
    /// Process ids by part.
    pub pids: BTreeMap<String, u32>,

    /// The stand-in by PostgreSQL's protocol, as `psql` takes it.
    pub redshift_url: String,
    /// Where the stand-in takes faults and settings.
    pub redshift_control_endpoint: String,
    /// The processes as they were started: see [`Process`].
    pub processes: BTreeMap<String, Process>,
    /// Ports by part, kept over `down` and `up`.
    pub ports: BTreeMap<String, u16>,
    /// Where the PostgreSQL servers keep their data.
    pub postgres_folder: PathBuf,
    /// `--pg-bin`, if it was given.
    pub pg_bin: Option<PathBuf>,
    /// PostgreSQL's programs of the source, for its tools.
    pub source_programs: PathBuf,
    /// What was deployed, to see whether it has to be done again.
    pub deployed: String,
}

impl State {
    /// Reads it; a sandbox that was never up has none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn load(folder: &Folder) -> Result<Option<Self>> {
        let path = folder.state_file();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(Error::file("could not read", &path))?;
        let state = serde_json::from_slice(&bytes);
        state.map(Some).map_err(|error| Error::Refused {
            what: format!("{} is damaged: {error}", path.display()),
            hint: "stop what still runs by hand, then remove the folder".into(),
        })
    }

    /// Replaces it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, folder: &Folder) -> Result<()> {
        let path = folder.state_file();
        let draft = path.with_extension("json.new");
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("could not write", &path)(std::io::Error::other(error)))?;
        json.push(b'\n');
        fs::write(&draft, json).map_err(Error::file("could not write", &draft))?;
        fs::rename(&draft, &path).map_err(Error::file("could not write", &path))
    }

    /// A part's process, if it runs.
    #[must_use]
    pub fn running(&self, part: Part) -> Option<Process> {
        self.processes.get(part.name()).copied().filter(|process| process.is_alive())
    }

    /// Remembers a part's process.
    pub fn started(&mut self, part: Part, process: Process) {
        self.processes.insert(part.name().to_owned(), process);
        self.pids.insert(part.name().to_owned(), process.pid);
    }

    /// Forgets a part's process.
    pub fn stopped(&mut self, part: Part) {
        self.processes.remove(part.name());
        self.pids.remove(part.name());
    }

    /// The port that a part has or had.
    #[must_use]
    pub fn port(&self, part: Part) -> Option<u16> {
        self.ports.get(part.name()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_keys_are_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::make(&root.path().join("box")).unwrap();
        let mut state = State::default();
        state.started(Part::Aws, Process { pid: 7, started: 8 });
        state.save(&folder).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.state_file()).unwrap()).unwrap();
        let keys = [
            "source_url",
            "warehouse_url",
            "redshift_data_endpoint",
            "aws_endpoint",
            "bucket",
            "queue_url",
            "ack_queue_url",
            "function_name",
            "capture_config",
            "capture_log",
        ];
        for key in keys {
            assert!(json[key].is_string(), "{key}");
        }
        assert_eq!(json["pids"]["aws"], 7);
        assert_eq!(State::load(&folder).unwrap().unwrap().pids["aws"], 7);
    }

    #[test]
    fn wiping_leaves_other_peoples_files_and_folders() {
        let root = tempfile::tempdir().unwrap();
        let ours = Folder::make(&root.path().join("ours")).unwrap();
        State::default().save(&ours).unwrap();
        ours.wipe().unwrap();
        assert!(!ours.root().exists());

        let theirs = root.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        let folder = Folder::make(&theirs).unwrap();
        fs::write(theirs.join("notes"), "").unwrap();
        fs::create_dir(folder.logs()).unwrap();
        folder.wipe().unwrap();
        let left: Vec<_> = fs::read_dir(&theirs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes"]);
    }

    #[test]
    fn a_second_up_is_kept_out() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::make(root.path()).unwrap();
        let held = folder.lock().unwrap();
        assert!(folder.lock().is_err());
        drop(held);
        assert!(folder.lock().is_ok());
    }
}
