//! Addresses that are refused for a while after too many authorisation failures.
