//! What is on this machine: the local WAL and the status file. Only what re_dms made goes; `data_dir` itself if it is empty then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Who};
use crate::wal;

/// `data_dir`, locked against a capture for as long as this is kept.
pub(super) struct Machine {
    data_dir: PathBuf,
    wal: PathBuf,
    lock: Option<File>,
}

impl Machine {
    pub(super) fn look(data_dir: &Path) -> Result<Self> {
        let wal = data_dir.join("wal");
        let lock = wal::lock_if_there(&wal).map_err(|error| Error::told(Who::Machine, false, &error))?;
        Ok(Self { data_dir: data_dir.to_owned(), wal, lock })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let data_dir = self.data_dir.display();
        if self.data_dir.is_dir() {
            vec![format!("this machine: the local WAL and status.json in {data_dir}")]
        } else {
            vec![format!("this machine: nothing, there is no {data_dir}")]
        }
    }

    pub(super) fn remove(self, tell: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let data_dir = self.data_dir.display();
        if !self.data_dir.is_dir() {
            return Ok(());
        }
        if self.lock.is_some() {
            let files = wal::remove_files(&self.wal);
            let files = files.map_err(|error| Error::told(Who::Machine, false, &error))?;
            tell(format!("this machine: the local WAL removed, {files} files"));
        }
        for name in ["status.json", "status.json.new"] {
            match fs::remove_file(self.data_dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let what = format!("{name} in {data_dir} can't be removed: {error}");
                    return Err(Error::fatal(Who::Machine, what, "remove it by hand"));
                }
                _ => {}
            }
        }
        match fs::remove_dir(&self.data_dir) {
            Ok(()) => tell(format!("this machine: {data_dir} removed")),
            Err(error) => tell(format!("this machine: {data_dir} stays: {error}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_goes() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        fs::create_dir_all(data_dir.join("wal")).unwrap();
        for name in ["status.json", "theirs", "wal/0000000000000001.wal", "wal/0000000000000002.new"] {
            fs::write(data_dir.join(name), "x").unwrap();
        }
        let mut told = Vec::new();
        let machine = Machine::look(&data_dir).unwrap();
        assert!(Machine::look(&data_dir).is_err(), "locked");
        machine.remove(&mut |line| told.push(line)).unwrap();
        let left: Vec<_> = fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["theirs"]);
        assert!(told[0].contains("1 files") && told[1].contains("stays"), "{told:?}");
        fs::remove_file(data_dir.join("theirs")).unwrap();
        Machine::look(&data_dir).unwrap().remove(&mut |_| {}).unwrap();
        assert!(!data_dir.exists());
        Machine::look(&data_dir).unwrap().remove(&mut |line| panic!("{line}")).unwrap();
    }
}
