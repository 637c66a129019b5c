//! The HTTP allow list: rules, their compiled form and the verdict on a request (reference section 8).
