//! Space for records, one for each thread: whatever is on its way through it stays within one poll.

use std::cell::RefCell;

use crate::limits;

/// A batch of the longest records, and one more that was left unread or changes keys.
const SCRATCH_BYTES: usize = (limits::TLS_BATCH_RECORDS + 1) * limits::TLS_RECORD_BYTES_MAX;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Lends the space of the thread. A TLS connection within another one gets a space of its own.
pub(super) fn with<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut space) => work(&mut space),
        Err(_) => work(vec![0; SCRATCH_BYTES].as_mut_slice()),
    })
}

/// Puts `kept` at the front; gives its length.
pub(super) fn load(space: &mut [u8], kept: &[u8]) -> usize {
    match space.get_mut(..kept.len()) {
        Some(front) => {
            front.copy_from_slice(kept);
            kept.len()
        }
        None => 0,
    }
}

/// From `start` to `end`, as far as there is anything.
pub(super) fn part(space: &mut [u8], start: usize, end: usize) -> &mut [u8] {
    let end = end.min(space.len());
    space.get_mut(start.min(end)..end).unwrap_or_default()
}
