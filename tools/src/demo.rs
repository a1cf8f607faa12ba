//! The demonstration.

use crate::convert::Error;

/// Runs it.
///
/// # Errors
///
/// Whatever stands in the way.
pub fn run() -> Result<(), Error> {
    Ok(())
}
