//! What stands where in the shared store, and the scripts that change it: each is all or nothing.
//!
//! | key | value |
//! |---|---|
//! | `{edge}:s:<id>` | one session, sealed; goes by itself when it expires |
//! | `{edge}:t` | revoked sessions and until when, as a sorted set |
//! | `{edge}:news` | what has changed, numbered without gaps: a stream |
//! | `{edge}:ring` | the filter keys, sealed, and their version |
//! | `{edge}:b:<tag>` | a refused address, sealed |
//! | `{edge}:n:<tag>` | a node inside that a sign-in named, sealed; goes by itself when it is out of date |
//! | `{edge}:l:<tag>` | logins within the window |
//! | `{edge}:f:<tag>` | a refresh that is under way, or its sealed answer |
//! | `{edge}:fence` | how many refreshes there were |
//! | `{edge}:nodes` | the nodes, when they were heard last, and the edges that each sees |
//! | `{edge}:probe` | a text that opens under the state key that all nodes have |
//!
//! The braces put all of them into one slot of a Redis cluster.

use std::sync::LazyLock;

use common::session::SessionId;
use redis::Script;

use super::super::agreement::AgreedKey;

pub(super) const TOMBSTONES: &str = "{edge}:t";
pub(super) const NEWS: &str = "{edge}:news";
pub(super) const RING: &str = "{edge}:ring";
pub(super) const FENCE: &str = "{edge}:fence";
pub(super) const NODES: &str = "{edge}:nodes";
pub(super) const PROBE: &str = "{edge}:probe";
pub(super) const SESSION: &str = "{edge}:s:";
pub(super) const BAN: &str = "{edge}:b:";
pub(super) const NODE: &str = "{edge}:n:";

pub(super) fn session(id: &SessionId) -> String {
    format!("{SESSION}{}", id.hex())
}

pub(super) fn ban(tag: &AgreedKey) -> String {
    format!("{BAN}{}", hex(tag))
}

pub(super) fn node(tag: &AgreedKey) -> String {
    format!("{NODE}{}", hex(tag))
}

pub(super) fn login(key: &AgreedKey) -> String {
    format!("{{edge}}:l:{}", hex(key))
}

pub(super) fn flight(key: &AgreedKey) -> String {
    format!("{{edge}}:f:{}", hex(key))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Numbers are taken from the last entry, so that they rise by one whatever else was lost. `KEYS[1]` is the stream, `ARGV[1]`
/// how much of it is kept.
const TELL: &str = "
local function last()
  local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  return entry and tonumber(string.match(entry[1], '^%d+')) or 0
end
local function tell(kind, value)
  local id = string.format('%.0f-0', last() + 1)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, 'k', kind, 'v', value)
end
";

fn telling(code: &str) -> Script {
    Script::new(&format!("{TELL}{code}"))
}

/// Keys: news, tombstones, session. Arguments: news kept, id, sealed record, expiry.
pub(super) static INSERT: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then return 0 end
if not redis.call('SET', KEYS[3], ARGV[3], 'EXAT', ARGV[4], 'NX') then return 0 end
tell('s', ARGV[2])
return 1",
    )
});

/// Keys: news, tombstones, then sessions. Arguments: news kept, then an id and an expiry for each session.
pub(super) static REVOKE: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
for i = 3, #KEYS do
  local id, till = ARGV[2 * i - 4], ARGV[2 * i - 3]
  redis.call('DEL', KEYS[i])
  redis.call('ZADD', KEYS[2], 'GT', till, id)
  tell('t', id .. till)
end
return #KEYS - 2",
    )
});

/// Keys: news, then sessions. Arguments: news kept, then an id for each session.
pub(super) static EVICT: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
  tell('x', ARGV[i])
end
return 1",
    )
});

/// Keys: news, ban. Arguments: news kept, sealed ban, expiry.
pub(super) static BAN_ONE: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
redis.call('SET', KEYS[2], ARGV[2], 'EXAT', ARGV[3])
tell('b', ARGV[2])
return 1",
    )
});

/// Keys: news, then nodes. Arguments: news kept, then a sealed node and its end for each.
pub(super) static NAME: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 * i - 2], 'EXAT', ARGV[2 * i - 1])
  tell('n', ARGV[2 * i - 2])
end
return #KEYS - 1",
    )
});

/// Keys: news, ring. Arguments: news kept, the version to replace, the new version, the new ring. Gives the ring in force.
pub(super) static ROLL: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
local version = redis.call('HGET', KEYS[2], 'v')
if version and version ~= ARGV[2] then return redis.call('HGET', KEYS[2], 'r') end
redis.call('HSET', KEYS[2], 'v', ARGV[3], 'r', ARGV[4])
tell('r', ARGV[3])
return ARGV[4]",
    )
});

/// Keys: two counts. Arguments: holder, then count and window in ms for each. Gives 0, or the ms to wait.
pub(super) static COUNT_LOGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, 2 do
  local count, window = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - window)
  if redis.call('ZCARD', KEYS[i]) >= count then
    local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    return math.max(1, math.ceil(first[2] + window - now))
  end
end
for i = 1, 2 do
  redis.call('ZADD', KEYS[i], now, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2 * i + 1])
end
return 0",
    )
});

/// Keys: flight, fence. Arguments: own value, ms. Gives a number if it is the asker's now, else the value.
pub(super) static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])",
    )
});

/// Keys: flight. Arguments: holder, new value (nothing to give it back), ms.
pub(super) static PROGRESS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 2, 17) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1",
    )
});

/// Keys: news, nodes, tombstones. Arguments: news kept, own number, own words, ms after which a node is forgotten. Gives the
/// last number of the news, what stood there of this node, then number, age in ms and words of each other.
pub(super) static TELL_NODE: LazyLock<Script> = LazyLock::new(|| {
    telling(
        "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time[1])
local answer = { string.format('%.0f', last()) }
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local at, words = string.match(all[i + 1], '^(%d+):(.*)$')
  local age = now - (tonumber(at) or 0)
  if age > tonumber(ARGV[4]) then redis.call('HDEL', KEYS[2], all[i])
  else
    table.insert(answer, all[i])
    table.insert(answer, string.format('%.0f', math.max(age, 0)))
    table.insert(answer, words)
  end
end
redis.call('HSET', KEYS[2], ARGV[2], string.format('%.0f:', now) .. ARGV[3])
return answer",
    )
});
