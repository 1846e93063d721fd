//! Keys of sessions: who may read them, and where they are looked for.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use tradecore_protocol::transcript::KEY_BYTES_MIN;

/// What a key's file must be, said with every refusal.
pub(super) const ALLOWED: &str = "a file that only its owner can read, with a key of at least 16 bytes in it; \
     make one with: umask 077; head -c 32 /dev/urandom | base64 > FILE";

/// A longer file is no key.
const SECRET_BYTES_MAX: u64 = 4_096;

/// The service manager's name for the file `NAME` of `LoadCredential=keys:DIRECTORY` is `keys_NAME`.
const CREDENTIAL_PREFIX: &str = "keys_";

/// Reads the key of a session; the error is what is wrong with its file.
///
/// `named` is the configuration's `secret_file`, `beside` the same relative to the configuration. A bare name
/// is looked for in `credentials` first. What the service manager put there has its own protection; every
/// other file must be readable by its owner only.
pub(super) fn read(named: &Path, beside: PathBuf, credentials: Option<&Path>) -> Result<Vec<u8>, String> {
    read_of(KEY_BYTES_MIN, named, beside, credentials)
}

/// As `read`, of a secret that somebody else has chosen: it may be short.
pub(super) fn read_any(named: &Path, beside: PathBuf, credentials: Option<&Path>) -> Result<Vec<u8>, String> {
    read_of(1, named, beside, credentials)
}

fn read_of(bytes_min: usize, named: &Path, beside: PathBuf, credentials: Option<&Path>) -> Result<Vec<u8>, String> {
    let credential = credentials.and_then(|directory| in_credentials(named, directory));
    let is_credential = credential.is_some();
    let path = credential.unwrap_or(beside);
    let failed = |problem: String| format!("{}: {problem}", path.display());
    // Opened once: what was judged is what is read.
    let file = File::open(&path).map_err(|error| failed(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed("this is no file".to_owned()));
    }
    if !is_credential && metadata.mode() & 0o077 != 0 {
        return Err(failed("others can read this key; run chmod 600 on it".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(failed(format!("a key has at most {SECRET_BYTES_MAX} bytes")));
    }
    let secret = bytes.trim_ascii();
    if secret.len() < bytes_min {
        return Err(failed(format!("a key has at least {bytes_min} bytes, this has {}", secret.len())));
    }
    Ok(secret.to_vec())
}

/// The credential that a bare name means. A path means itself: it must not pass as a credential.
fn in_credentials(named: &Path, directory: &Path) -> Option<PathBuf> {
    let mut components = named.components();
    let (Some(Component::Normal(name)), None) = (components.next(), components.next()) else { return None };
    let mut prefixed = std::ffi::OsString::from(CREDENTIAL_PREFIX);
    prefixed.push(name);
    [directory.join(name), directory.join(prefixed)].into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn key(path: &Path, mode: u32, bytes: &[u8]) {
        fs::write(path, bytes).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }

    fn message(result: Result<Vec<u8>, String>) -> String {
        result.expect_err("refused")
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        for mode in [0o604, 0o640, 0o610, 0o644] {
            key(&path, mode, KEY);
            assert!(message(read(Path::new("key"), path.clone(), None)).contains("chmod 600"), "{mode:o}");
        }
        key(&path, 0o600, b"  0123456789abcdef0123456789abcdef\n");
        assert_eq!(read(Path::new("key"), path, None).expect("read"), KEY, "white space around it is no part of it");
    }

    #[test]
    fn a_bare_name_is_found_among_the_credentials_with_and_without_prefix() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["plain", "keys_prefixed"] {
            key(&dir.path().join(name), 0o440, KEY);
        }
        for name in ["plain", "prefixed"] {
            let read = read(Path::new(name), PathBuf::from("/nowhere"), Some(dir.path()));
            assert_eq!(read.expect("a credential"), KEY, "{name}");
        }
    }

    #[test]
    fn a_path_does_not_pass_as_a_credential() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        key(&path, 0o644, KEY);
        let credentials = dir.path().join("credentials");
        fs::create_dir(&credentials).expect("made");
        key(&credentials.join("sub"), 0o440, KEY);
        for named in [path.as_path(), Path::new("../key"), Path::new("sub/key")] {
            assert!(
                message(read(named, path.clone(), Some(&credentials))).contains("chmod 600"),
                "{}",
                named.display()
            );
        }
    }

    #[test]
    fn a_short_a_long_and_a_missing_key_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        assert!(message(read(Path::new("key"), path.clone(), None)).contains("No such file"));
        key(&path, 0o600, b"short");
        assert!(message(read(Path::new("key"), path.clone(), None)).contains("at least 16"));
        key(&path, 0o600, &[b'x'; 5_000]);
        assert!(message(read(Path::new("key"), path, None)).contains("at most 4096"));
    }
}
