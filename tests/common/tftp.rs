//! A TFTP client that asks for one block.

use super::family::Family;
use super::instance::{Instance, Setup};
use std::path::PathBuf;

/// A directory to be served with one file, `file`, in it. It goes with this value.
pub struct Served(PathBuf);

impl Served {
    pub const CONTENT: &[u8] = b"content";

    pub fn new(name: &str) -> Served {
        let root = std::env::temp_dir().join(format!("slirp-served-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a temporary directory");
        std::fs::write(root.join("file"), Served::CONTENT).expect("a temporary file");
        Served(root)
    }

    pub fn setup(&self, family: Family) -> Setup {
        Setup { tftp_path: Some(self.0.to_str().expect("a text").into()), ..family.setup() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks for the file from a port: the data of its first block, or the code of an error.
pub fn first_block(i: &Instance, family: Family, from: u16) -> Result<Vec<u8>, u8> {
    i.input(&family.udp_frame(from, (family.vhost(), 69).into(), b"\0\x01file\0octet\0"));
    let answer = i.wait("an answer", |f| family.udp_of(f).filter(|(_, port, _)| *port == from)).2;
    match answer[..4] {
        [0, 3, 0, 1] => Ok(answer[4..].to_vec()),
        [0, 5, 0, code] => Err(code),
        _ => panic!("{answer:?}"),
    }
}
