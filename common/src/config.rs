//! Reading configuration files and saying what is wrong with them: file, line, key, value, what is allowed.
