//! The `X-Auth` cookie: 64 base64url characters with an HMAC tag that edge-e can check.
