//! Notes that replicas leave for each other, beside the pins.

use super::conn::Conn;
use super::{RedisStore, failed};
use crate::StoreError;

/// What a program that has its pins in Redis may tell its other replicas: a few fields of text in one
/// hash, `{prefix}%{board}`, which is the name of no pin. They stay until they are removed. Calls take
/// as long as a command may, and go past the breaker: they are few.
impl RedisStore {
    /// All notes of a board.
    ///
    /// # Errors
    ///
    /// When Redis does not answer in time, or refuses.
    pub async fn notes(&self, board: &str) -> Result<Vec<(String, String)>, StoreError> {
        let name = &self.board(board);
        let read = |conn: Conn| async move { conn.fields(name).await };
        self.servers().run(name, read).await.map_err(failed)
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
