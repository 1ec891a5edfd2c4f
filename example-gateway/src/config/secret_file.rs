//! Secrets in files of their own, as orchestrators and systemd hand them over.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use secrecy::SecretString;

/// The longest secret, in bytes.
const MAX_LEN: u64 = 64 * 1024;

/// The secret in a file: its text without the line ends behind it.
///
/// # Errors
///
/// When there is none that can be used; the error does not show it.
pub(super) fn read(path: &Path) -> Result<SecretString, String> {
    let cannot = |why: std::io::Error| format!("cannot be read: {why}");
    let file = File::open(path).map_err(cannot)?;
    let mut text = String::new();
    let length = file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(cannot)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_LEN) {
        return Err(format!("is larger than {MAX_LEN} bytes"));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    match text.trim().is_empty() {
        true => Err("is empty".to_owned()),
        false => Ok(SecretString::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_the_text_without_the_line_end_and_a_bad_file_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (content, expected) in [
            (&b"hush\n"[..], Ok("hush")),
            (b" hush \r\n\n", Ok(" hush ")),
            (b"hush", Ok("hush")),
            (b"\n", Err("is empty")),
            (b"\xff", Err("cannot be read")),
            (&[b'x'; 70_000], Err("is larger")),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = read(&path);
            match (&read, expected) {
                (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
                (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
                _ => panic!("{read:?}, and not {expected:?}"),
            }
        }
        assert!(read(&folder.path().join("none")).unwrap_err().starts_with("cannot be read"));
    }
}
