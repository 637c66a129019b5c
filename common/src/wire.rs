//! Bounds-checked reading and writing of binary fields.
