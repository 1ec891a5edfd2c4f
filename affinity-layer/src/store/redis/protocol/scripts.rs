//! What takes more than one command and must be one step.
//!
//! Redis runs a script to its end before anything else, so these are the atomic verbs that it does
//! not have. What they have in common:
//!
//! 1. **One key each**, given as `KEYS[1]`. In a cluster a script then runs where its pin is. Only
//!    `CLAIM` reads a second one, and is not sent to a cluster.
//! 2. **Epochs are compared as text.** Numbers in Lua are doubles with 53 bits, and an epoch has
//!    63: two epochs that differ in the last bits would be equal. A value without an epoch, as the
//!    older system wrote, counts as epoch 0.
//! 3. **At most 64 KiB are read** (`GETRANGE`). A foreign value of a hundred megabytes would hold
//!    up the server while Lua copies it.
//! 4. **Times are those of the server** (`TIME`), so replicas with different clocks agree on when a
//!    pin ends.
//! 5. **Values are changed as text**, not decoded and encoded again: `cjson` would round the epoch
//!    and reorder the fields.
//! 6. **A value that cannot be read is no error**: the script returns nothing or 0. Only a key of
//!    another type is one.
//!
//! They are sent whole (`EVAL`), so a server that has restarted or taken over needs no loading, and
//! the access list needs no right to load.

/// Claims under the current name, unless there is a value under the previous one.
///
/// `KEYS[1]` the current name; `ARGV` the value, the lifetime in milliseconds and the previous name, which
/// one server has as well. Returns 0 and the value under the previous name, or 1 and what was under the
/// current one; nothing if the value was set. A previous value without a model is no pin: it is left alone.
pub(super) const CLAIM: &str = r#"
local before = redis.call('GETRANGE', ARGV[3], 0, 65536)
local readable, pin = pcall(cjson.decode, before)
if readable and type(pin) == 'table' and type(pin.model_name) == 'string' then return {0, before} end
local held = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])
if held then return {1, held} end
return false
"#;

/// Lets a pin live beyond its maximum age for as long as an answer runs somewhere.
///
/// `KEYS[1]` the name; `ARGV` the name of the marks, the replica, 1 if an answer runs there and 0 if the
/// last one has ended, idle time and maximum age in milliseconds. The marks are an object that says for
/// each replica until when its mark counts: a replica that has died marks nothing for long. The name of
/// the marks has that of the pin in braces, so both are on one node. The end of an answer without a mark
/// changes nothing: the pin then has the lifetime that its own replica gave it. Returns the milliseconds
/// that the pin has left, 0 if it has ended or there is none.
pub(super) const OVERTIME: &str = r#"
local value = redis.call('GETRANGE', KEYS[1], 0, 65536)
local readable, pin = pcall(cjson.decode, value)
if not readable or type(pin) ~= 'table' or type(pin.claimed_at) ~= 'number' then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local idle, rest = tonumber(ARGV[4]), pin.claimed_at + ARGV[5] - now
local known, marks = pcall(cjson.decode, redis.call('GETRANGE', ARGV[1], 0, 65536))
if not known or type(marks) ~= 'table' then marks = {} end
local others = false
for replica, till in pairs(marks) do
  if type(till) ~= 'number' or till <= now then
    marks[replica] = nil
  elseif replica ~= ARGV[2] then
    others = true
  end
end
local left = redis.call('PTTL', KEYS[1])
if ARGV[3] == '1' then
  marks[ARGV[2]] = now + idle
  redis.call('SET', ARGV[1], cjson.encode(marks), 'PX', ARGV[4])
  if left >= 0 and left < idle then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
  return idle
end
local marked = marks[ARGV[2]] ~= nil
marks[ARGV[2]] = nil
if others then
  redis.call('SET', ARGV[1], cjson.encode(marks), 'PX', ARGV[4])
  return left
end
redis.call('DEL', ARGV[1])
if rest > 0 then
  local wanted = math.min(idle, rest)
  if marked or left >= 0 and left < wanted then
    left = wanted
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
  end
elseif marked then
  left = 0
  redis.call('DEL', KEYS[1])
end
return left
"#;

/// Tries what the other scripts call.
///
/// `KEYS[1]` the name, which exists; `ARGV[1]` its lifetime in milliseconds. Removes it, and returns the
/// first command that was refused with the error, or nothing.
pub(super) const PROBE: &str = r#"
local calls = {
  {'GETRANGE', KEYS[1], '0', '10'}, {'STRLEN', KEYS[1]}, {'PTTL', KEYS[1]}, {'TIME'},
  {'SET', KEYS[1], 'probe', 'PX', ARGV[1]}, {'PEXPIRE', KEYS[1], ARGV[1]}, {'DEL', KEYS[1]},
}
for _, call in ipairs(calls) do
  local answer = redis.pcall(unpack(call))
  if type(answer) == 'table' and answer.err then return {call[1], answer.err} end
end
return false
"#;

/// Moves a pin to a new value if its epoch is the expected one.
///
/// `KEYS[1]` the name; `ARGV` expected epoch, new value with `"claimed_at":0`, lifetime and maximum
/// age in milliseconds, the latter 0 for none. The time of the claim is kept, and the pin never ends sooner
/// than it would have: an answer may run. Returns 1 or 0, the stored value, the previous value and the milliseconds that this had left; or nothing if there is none.
pub(super) const REPIN: &str = r#"
local value = redis.call('GETRANGE', KEYS[1], 0, 65536)
if value == '' then return false end
local readable, pin = pcall(cjson.decode, value)
if not readable or type(pin) ~= 'table' then return false end
-- As text: a number of Lua does not hold an epoch exactly.
local epoch = string.match(value, '"epoch"%s*:%s*(%d+)%s*[,}]') or '0'
if epoch ~= ARGV[1] then return {0, value, value, 0} end
local claimed = type(pin.claimed_at) == 'number' and pin.claimed_at or 0
local kept = '"claimed_at":' .. string.format('%.0f', claimed) .. '}'
local new = string.gsub(ARGV[2], '"claimed_at":0}$', kept)
local before = redis.call('PTTL', KEYS[1])
local left = tonumber(ARGV[3])
if ARGV[4] ~= '0' and claimed > 0 then
  local time = redis.call('TIME')
  local rest = claimed + ARGV[4] - (time[1] * 1000 + math.floor(time[2] / 1000))
  left = math.max(1, math.min(left, rest))
end
left = math.max(left, before)
redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', left))
return {1, new, value, before}
"#;

/// Removes a pin; with an epoch, only that generation.
///
/// `KEYS[1]` the name; `ARGV[1]` the epoch, or nothing. Returns how many were removed.
pub(super) const RELEASE: &str = r#"
-- First of all: it is an error where something else than a string stands, which then stays.
local value = redis.call('GETRANGE', KEYS[1], 0, 65536)
if ARGV[1] == '' then return redis.call('DEL', KEYS[1]) end
if value == '' then return 0 end
local readable, pin = pcall(cjson.decode, value)
if not readable or type(pin) ~= 'table' then return 0 end
local epoch = string.match(value, '"epoch"%s*:%s*(%d+)%s*[,}]') or '0'
if epoch ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"#;

/// Notes that a replica holds a pin.
///
/// `KEYS[1]` the name; `ARGV[1]` the epoch. Returns 1, or 0 if another pin or none is stored.
pub(super) const CONFIRM: &str = r#"
local value = redis.call('GETRANGE', KEYS[1], 0, 65536)
local epoch = string.match(value, '"epoch"%s*:%s*(%d+)%s*[,}]') or '0'
if value == '' or epoch ~= ARGV[1] then return 0 end
local confirmed, marks = string.gsub(value, '"unconfirmed":true,', '', 1)
if marks == 1 then redis.call('SET', KEYS[1], confirmed, 'KEEPTTL') end
return 1
"#;

/// Undoes a claim or a move, unless it was confirmed.
///
/// `KEYS[1]` the name; `ARGV` the epoch, the value before it or nothing, and the milliseconds that this
/// had left. Returns how many were undone.
pub(super) const UNDO: &str = r#"
local value = redis.call('GETRANGE', KEYS[1], 0, 65536)
local epoch = string.match(value, '"epoch"%s*:%s*(%d+)%s*[,}]') or '0'
if epoch ~= ARGV[1] or not string.find(value, '"unconfirmed":true,', 1, true) then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', math.max(1, ARGV[3]))
return 1
"#;

/// Removes a value that is longer than a claim should fetch.
///
/// `KEYS[1]` the name; `ARGV[1]` the longest that may stay, in bytes. Returns how many were removed.
pub(super) const SHED: &str = r#"
if redis.call('STRLEN', KEYS[1]) <= tonumber(ARGV[1]) then return 0 end
return redis.call('UNLINK', KEYS[1])
"#;

/// Replaces a value that cannot be read by a pin, if that value is still there.
///
/// `KEYS[1]` the name; `ARGV` length of the unreadable value, its first bytes, new value, lifetime in
/// milliseconds. Returns the stored value.
pub(super) const REPLACE: &str = r#"
local length = redis.call('STRLEN', KEYS[1])
local head = redis.call('GETRANGE', KEYS[1], 0, #ARGV[2] - 1)
if length == 0 or (length == tonumber(ARGV[1]) and head == ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  return ARGV[3]
end
return redis.call('GETRANGE', KEYS[1], 0, 65536)
"#;
