//! Zone files and the keys of DNS cookies. Read when asked for, as certificates are.

use std::path::Path;

use super::name_server::{DnsZone, ZoneSource};
use super::pem::{self, FileError, FileFault};
use crate::dns::Name;
use crate::dns::cookie::CookieKeys;
use crate::dns::records::Records;
use crate::limits;

/// Reads the zone `apex` from a zone file.
///
/// # Errors
/// [`FileError`] if the file can't be read or its zone not be served.
pub fn zone(path: &Path, apex: &Name) -> Result<Records, FileError> {
    let text = text(path)?;
    Records::parse(apex, &text).map_err(|error| fault(path, FileFault::Zone(error.to_string())))
}

/// The records of a zone, wherever they come from.
///
/// # Errors
/// [`FileError`] if the file can't be read or the zone not be served.
pub fn records(zone: &DnsZone) -> Result<Records, FileError> {
    match &zone.source {
        ZoneSource::File(path) => self::zone(path, &Name::from(&zone.name)),
        ZoneSource::Written(written) => written.records().map_err(|error| {
            let path = Path::new(zone.name.as_str());
            fault(path, FileFault::Zone(error.to_string()))
        }),
    }
}

/// Reads the keys of DNS cookies.
///
/// # Errors
/// [`FileError`] if the file can't be read or holds no keys.
pub fn cookie_keys(path: &Path) -> Result<CookieKeys, FileError> {
    let text = text(path)?;
    CookieKeys::parse(&text).map_err(|error| fault(path, FileFault::CookieKeys(error.to_string())))
}

fn text(path: &Path) -> Result<String, FileError> {
    let bytes = pem::read_file(path, limits::WATCHED_FILE_BYTES_MAX)?;
    let not_text = |_| fault(path, FileFault::Zone("it is not UTF-8 text".to_owned()));
    String::from_utf8(bytes).map_err(not_text)
}

fn fault(path: &Path, fault: FileFault) -> FileError {
    FileError {
        path: path.to_owned(),
        fault,
    }
}
