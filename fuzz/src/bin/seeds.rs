//! Writes the seeds into `corpus/`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    for (target, name, content) in oxislirp_fuzz::seeds::all() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("seed-{name}")), content)?;
    }
    Ok(())
}
