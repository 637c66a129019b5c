//! Which core gets a new request: the one that issued the session, else the least loaded.
