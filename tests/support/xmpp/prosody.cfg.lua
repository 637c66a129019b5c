-- One IM and Presence node: client connections only, in the foreground, everything below one directory.
daemonize = false
run_as_root = true
pidfile = "@DIR@/prosody.pid"
data_path = "@DIR@/data"
certificates = "@DIR@"
log = { { levels = { min = "debug" }, to = "console" } }

interfaces = { "@ADDRESS@" }
local_interfaces = { "@ADDRESS@" }
c2s_ports = { 5222 }
c2s_direct_tls_ports = { 5223 }
s2s_ports = { }
http_ports = { 5280 }
http_interfaces = { "@ADDRESS@" }
https_ports = { }
-- Whoever asks for a WebSocket calls the server by an address or by an edge's name.
http_default_host = "@DOMAIN@"

modules_enabled = {
  "roster"; "saslauth"; "tls"; "disco"; "carbons"; "smacks"; "ping"; "time"; "version"; "presence"; "message"; "iq"; "c2s";
  "websocket"; "posix";
}
modules_disabled = { "s2s"; "offline"; "register"; }

c2s_require_encryption = true
consider_websocket_secure = true
allow_registration = false
authentication = "internal_hashed"
smacks_hibernation_time = 60
c2s_stanza_size_limit = 262144

ssl = {
  certificate = "@DIR@/node.pem";
  key = "@DIR@/node.key";
  protocol = "@PROTOCOL@";
}
c2s_direct_tls_ssl = {
  certificate = "@DIR@/node.pem";
  key = "@DIR@/node.key";
  protocol = "@PROTOCOL@";
}

VirtualHost "@DOMAIN@"
Component "conference.@DOMAIN@" "muc"
  muc_room_locking = false
