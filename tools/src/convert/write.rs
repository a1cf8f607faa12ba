//! Files that are written: whole or not at all, and never over what was read.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::Error;

/// Refuses to write over one of the files that were read.
///
/// # Errors
///
/// If `output` is one of `inputs`, under whatever name.
pub fn keep_inputs(output: &Path, inputs: &[&Path]) -> Result<(), Error> {
    let Ok(existing) = fs::canonicalize(output) else { return Ok(()) };
    if inputs.iter().filter_map(|input| fs::canonicalize(input).ok()).any(|input| input == existing) {
        return Err(Error::Overwrites { path: output.into() });
    }
    Ok(())
}

/// Writes a file whole or not at all.
///
/// # Errors
///
/// If its folder cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // A link stays one; what is no file, such as a pipe, is written to as it is.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if path.exists() && !path.is_file() && !path.is_dir() {
        return fs::write(path, bytes).map_err(|source| Error::Io {
            path: path.clone(),
            action: "write",
            source,
        });
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    persist(written(dir, path, bytes)?, path)
}

pub(super) fn written(dir: &Path, path: &Path, bytes: &[u8]) -> Result<NamedTempFile, Error> {
    let io = |source| Error::Io { path: path.into(), action: "write", source };
    let mut file = NamedTempFile::new_in(dir).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    Ok(file)
}

pub(super) fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    // Temporary files are private; what a build reads need not be.
    let io = |source| Error::Io { path: path.into(), action: "write", source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
