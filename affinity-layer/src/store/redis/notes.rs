//! Notes that replicas leave for each other, beside the pins.

use bytes::Bytes;

use super::conn::Conn;
use super::{RedisStore, failed};
use crate::StoreError;

/// The most fields of a board, the longest name of one and the longest text in bytes: who else writes to
/// Redis must not fill our memory.
const LIMITS: [i64; 3] = [1024, 256, 1024];

/// What a program that has its pins in Redis may tell its other replicas: a few fields of text in one
/// hash, `{prefix}%{board}`, which is the name of no pin. They stay until they are removed. Calls take
/// as long as a command may, and go past the breaker: they are few.
impl RedisStore {
    /// All notes of a board; those with a name of more than 256 bytes or a text of more than 1,024 are
    /// none.
    ///
    /// # Errors
    ///
    /// When Redis does not answer in time or refuses, and when there are more than 1,024 notes.
    pub async fn notes(&self, board: &str) -> Result<Vec<(String, String)>, StoreError> {
        let name = &self.board(board);
        let read = |conn: Conn| async move { conn.fields(name, LIMITS).await };
        let fields = self.servers().run(name, read).await.map_err(failed)?;
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
        let note = |pair: &[Bytes]| match pair {
            [field, value] => text(field).zip(text(value)),
            _ => None,
        };
        Ok(fields.chunks(2).filter_map(note).collect())
    }

    /// Writes a note in the place of the one that may be there.
    ///
    /// # Errors
    ///
    /// When it is not sure to be written.
    pub async fn note(&self, board: &str, field: &str, text: &str) -> Result<(), StoreError> {
        let name = &self.board(board);
        let write = |conn: Conn| async move { conn.set_field(name, field, text).await };
        self.servers().run(name, write).await.map_err(failed)
    }

    /// Removes a note; says whether there was one.
    ///
    /// # Errors
    ///
    /// When it is not sure to be gone.
    pub async fn remove_note(&self, board: &str, field: &str) -> Result<bool, StoreError> {
        let name = &self.board(board);
        let remove = |conn: Conn| async move { conn.remove_field(name, field).await };
        self.servers().run(name, remove).await.map_err(failed)
    }

    /// No key has such a name: in those a `%` is followed by other letters.
    fn board(&self, board: &str) -> String {
        format!("{}%{board}", self.names().prefix())
    }
}
