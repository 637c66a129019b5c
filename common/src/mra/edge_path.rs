//! The path on 8443: `/<B64(domain)>/<verb>` or `/<B64(domain/protocol/host/port)>/<path>` (reference section 2).
