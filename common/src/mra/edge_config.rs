//! The `getEdgeConfigResponse` document (reference section 4): writer and reader.
