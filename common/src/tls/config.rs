//! Server and client configurations of rustls for each leg: public, link, inside.
