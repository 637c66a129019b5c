//! Names and labels of metrics and log fields: values only.
