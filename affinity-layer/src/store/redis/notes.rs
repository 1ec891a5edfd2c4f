//! Notes that replicas leave for each other, apart from pins: a few fields of text in one hash,
//! `{prefix}%{board}`, a name that no pin can have.
//!
//! The gateway's replicas agree on drained models by them. They are read as a whole and written
//! field by field, so two replicas that write different fields never undo each other; of two writes
//! to one field, the later one stays.
//!
//! They are few and rare, and they matter most when Redis is in trouble. So they bypass the breaker
//! and are not counted; only the command timeout bounds them.

use bytes::Bytes;

use super::connection::Commands;
use super::errors::store_error;
use super::protocol::Protocol;
use crate::{StoreError, StoreErrorKind};

/// The most fields of a board, the longest name of one and the longest text in bytes: other programs
/// that write to Redis must not fill our memory.
const LIMITS: [i64; 3] = [1024, 256, 1024];

/// Calls a command and names it if it is forbidden: of an error in a script, Redis 7.0 says only that the
/// user may not run it.
macro_rules! with_call {
    ($script:literal) => {
        concat!(
            r#"
local function call(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    local text = answer.err
    if string.find(text, "can't run this command", 1, true) then
      text = "NOPERM no permissions to run the '" .. string.lower((...)) .. "' command"
    end
    error({err = text})
  end
  return answer
end
"#,
            $script
        )
    };
}

/// Reads the fields of a hash, names and values in turns, except those longer than ours can be.
///
/// `KEYS[1]` the name; `ARGV` the most fields, the longest name and the longest value in bytes. A hash
/// with more fields is an error.
const FIELDS: &str = with_call!(
    r#"
if call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then
  return redis.error_reply('ERR the hash has more fields than any of ours')
end
local kept = {}
for _, field in ipairs(call('HKEYS', KEYS[1])) do
  local fits = #field <= tonumber(ARGV[2])
  if fits and call('HSTRLEN', KEYS[1], field) <= tonumber(ARGV[3]) then
    kept[#kept + 1] = field
    kept[#kept + 1] = call('HGET', KEYS[1], field)
  end
end
return kept
"#
);

/// Sets a field of a hash, unless the hash then has more fields than are read.
///
/// `KEYS[1]` the name; `ARGV` field, text and the most fields.
const NOTE: &str = with_call!(
    r#"
call('HSET', KEYS[1], ARGV[1], ARGV[2])
if call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then
  call('HDEL', KEYS[1], ARGV[1])
  return redis.error_reply('ERR the hash has as many fields as are read')
end
return 1
"#
);

pub(super) async fn read(
    protocol: &Protocol,
    board: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let name = &name(protocol, board);
    let fields = protocol.servers.eval::<Vec<Bytes>>(FIELDS, name, LIMITS.map(Into::into).into());
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
    let note = |pair: &[Bytes]| match pair {
        [field, value] => text(field).zip(text(value)),
        _ => None,
    };
    Ok(fields.await?.chunks(2).filter_map(note).collect())
}

/// Keeps to the limits of the reader, or one note too many would hide all of them.
pub(super) async fn write(
    protocol: &Protocol,
    board: &str,
    field: &str,
    text: &str,
) -> Result<(), StoreError> {
    let [most, longest_field, longest_text] = LIMITS;
    let is_too_long = |text: &str, longest| i64::try_from(text.len()).unwrap_or(i64::MAX) > longest;
    if is_too_long(field, longest_field) || is_too_long(text, longest_text) {
        return Err(StoreError::new(StoreErrorKind::Refused, "the note is too long to be read"));
    }
    let args = vec![field.into(), text.into(), most.into()];
    protocol.servers.eval::<i64>(NOTE, &name(protocol, board), args).await.map(drop)
}

pub(super) async fn remove(
    protocol: &Protocol,
    board: &str,
    field: &str,
) -> Result<bool, StoreError> {
    let name = &name(protocol, board);
    let remove = |commands: Commands| async move { commands.remove_field(name, field).await };
    protocol.servers.run(name, remove).await.map_err(store_error)
}

/// No key has such a name: in those a `%` is followed by other letters.
fn name(protocol: &Protocol, board: &str) -> String {
    format!("{}%{board}", protocol.names.prefix())
}
