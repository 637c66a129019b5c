//! The edge verbs and their answers that need no inner server: `get_edge_sso`, refusals.
