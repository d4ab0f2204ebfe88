//! The folder `assets`, where results are written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use train::Error;

/// The root folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace of this package")
}

/// The `assets` folder.
pub fn folder() -> PathBuf {
    root().join("assets")
}

/// Writes a file, and prints its path.
pub fn write(path: &Path, content: &str) -> Result<(), Error> {
    fs::write(path, content).map_err(|source| cannot_write(path, source))?;
    println!("{}", path.display());
    Ok(())
}

/// The error for a file that cannot be written.
pub fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::RunFolder { path: path.to_owned(), source }
}

/// Rounds to a whole number and separates groups of three digits by commas.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
