//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Makes a file, or replaces it, by what `write` puts there: it has its name only once it is whole and survives power
/// loss; until then `.partial` stands behind it.
///
/// # Errors
/// Those of `write`, and what the system refused at a path, which `failed` makes one of. Half of a file is of no use to
/// anybody, and is removed.
pub fn write_whole<T, E>(
    path: &Path,
    failed: impl Fn(&Path, io::Error) -> E,
    write: impl FnOnce(BufWriter<File>) -> Result<(T, BufWriter<File>), E>,
) -> Result<T, E> {
    let mut name = path.to_owned().into_os_string();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let out = File::create(&partial).map_err(|error| failed(&partial, error))?;
    let whole = write(BufWriter::new(out)).and_then(|(said, mut out)| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(|error| failed(&partial, error))?;
        fs::rename(&partial, path).map_err(|error| failed(path, error))?;
        Ok(said)
    });
    let said = whole.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    // Its name, too.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| failed(dir, error))?;
    Ok(said)
}
