//! The shells around the cores, and the only part that knows tokio: accept loops, reload, drain, supervision.
