//! The host's directory as the server sees it.

use std::io;

use super::{Contents, Files};
use crate::host::tftp_files::{Directory, ServedFile};

impl Files for Directory {
    type File = ServedFile;

    fn open(&self, name: &[u8]) -> io::Result<ServedFile> {
        Directory::open(self, name)
    }
}

impl Contents for ServedFile {
    fn size(&self) -> u64 {
        ServedFile::size(self)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ServedFile::read_at(self, buffer, offset)
    }
}
