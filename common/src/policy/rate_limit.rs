//! Token buckets and sliding windows with a bounded number of keys.
