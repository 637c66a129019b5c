//! Who is signed in, through which client, until when. Owns no socket and no store.
