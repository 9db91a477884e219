//! A file that gets its name only once it is complete and on disk.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::FileError;

/// `FILE.part`, which becomes `FILE`.
pub(super) struct PartFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    /// Length up to which it holds whole lines.
    whole_bytes: u64,
}

impl PartFile {
    /// Starts an empty `path.part`; what an interrupted command left there is gone.
    pub(super) fn create(path: &Path) -> Result<Self, FileError> {
        if path.is_dir() {
            return Err(FileError::IsDirectory(path.to_owned()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        // Only the owner may read what customers asked for; it stays so under its name.
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .map_err(|source| FileError::Write { path: part.clone().into(), source })?;
        Ok(Self { file, part: part.into(), path: path.to_owned(), whole_bytes: 0 })
    }

    /// Appends all lines, or none of them.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.set_len(self.whole_bytes)?; // drops half a line of an append that failed
        self.file.seek(SeekFrom::Start(self.whole_bytes))?;
        self.file.write_all(lines)?;
        self.whole_bytes = self.file.stream_position()?;
        Ok(())
    }

    /// Puts it on disk, then under its name.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        let mut steps = || -> io::Result<()> {
            self.append(&[])?;
            self.file.sync_all()?;
            fs::rename(&self.part, &self.path)?;
            // The rename itself is durable once its directory is.
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        steps().map_err(|source| FileError::Write { path: self.path.clone(), source })
    }
}
