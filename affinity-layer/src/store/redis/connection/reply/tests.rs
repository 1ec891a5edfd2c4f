use bytes::BytesMut;
use proptest::prelude::*;
use redis_protocol::resp3::decode::complete::decode_bytes_mut;

use super::*;

/// Scans `bytes` as they arrive in pieces of every size up to each cut; the end of the first reply.
fn scan(bytes: &[u8]) -> Result<Option<usize>, InvalidReply> {
    let mut scanner = ReplyScanner::default();
    for cut in 0..bytes.len() {
        if let Some(end) = scanner.whole(&bytes[..cut])? {
            return Ok(Some(end));
        }
    }
    scanner.whole(bytes)
}

/// What the client library takes from `bytes` for the first reply.
fn parse(bytes: &[u8]) -> Option<usize> {
    decode_bytes_mut(&mut BytesMut::from(bytes)).unwrap().map(|(_, length, _)| length)
}

/// Any reply that a server may send, in RESP3.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let line = "[a-z0-9 \r]{0,9}[a-z]".prop_map(|text| format!("{text}\r\n").into_bytes());
    let sign =
        |sign: &'static str| line.clone().prop_map(move |line| [sign.as_bytes(), &line].concat());
    let text = |sign: char| {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(move |bytes| {
            [format!("{sign}{}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()
        })
    };
    let plain = |text: &'static str| Just(text.as_bytes().to_vec());
    let leaf = prop_oneof![
        sign("+"),
        sign("-"),
        text('$'),
        text('!'),
        any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
        (-1e9..1e9).prop_map(|number| format!(",{number}\r\n").into_bytes()),
        plain("_\r\n"),
        plain("#t\r\n"),
        plain("(3492890328409238509324850943850943825024385\r\n"),
        plain("=8\r\ntxt:a\r\nb\r\n"),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..5);
        let pairs = proptest::collection::vec(("[a-z]{1,5}", inner.clone()), 0..5);
        let pairs = pairs.prop_map(|pairs| {
            let all =
                pairs.iter().map(|(key, value)| [format!("+{key}\r\n").as_bytes(), value].concat());
            (pairs.len(), all.collect::<Vec<_>>().concat())
        });
        let opened = |sign: char, (count, rest): (usize, Vec<u8>)| {
            [format!("{sign}{count}\r\n").into_bytes(), rest].concat()
        };
        prop_oneof![
            many.clone().prop_map(move |all| opened('*', (all.len(), all.concat()))),
            many.prop_map(move |all| opened('>', (all.len(), all.concat()))),
            pairs.clone().prop_map(move |pairs| opened('%', pairs)),
            // An attribute, and what it belongs to.
            pairs.prop_map(move |pairs| [opened('|', pairs), b":7\r\n".to_vec()].concat()),
        ]
    })
}

proptest! {
    #[test]
    fn a_reply_ends_where_the_library_ends_it_at_whatever_byte_it_is_cut(
        first in reply(), second in reply(),
    ) {
        let both = [first.clone(), second].concat();
        for cut in 0..first.len() {
            prop_assert_eq!(ReplyScanner::default().whole(&both[..cut]), Ok(None));
            prop_assert_eq!(parse(&both[..cut]), None);
        }
        prop_assert_eq!(parse(&both), Some(first.len()));
        prop_assert_eq!(scan(&both), Ok(Some(first.len())));
        let mut scanner = ReplyScanner::default();
        prop_assert_eq!(scanner.whole(&both), Ok(Some(first.len())));
        prop_assert_eq!(scanner.whole(&both[first.len()..]), Ok(Some(both.len() - first.len())));
    }

    #[test]
    fn whatever_arrives_is_a_reply_of_few_levels_or_refused(
        bytes in proptest::collection::vec(prop::sample::select(b"*%>|~$+:0123\r\n\r\n".to_vec()), 0..400),
    ) {
        let (mut scanner, mut from) = (ReplyScanner::default(), 0);
        while let Ok(Some(length)) = scanner.whole(&bytes[from..]) {
            prop_assert!(length > 0);
            from += length;
        }
    }
}

#[test]
fn a_reply_has_few_levels_whatever_they_are_made_of() {
    for opening in ["*1\r\n", ">1\r\n", "~1\r\n", "%1\r\n+k\r\n", "|1\r\n+k\r\n"] {
        let nested = |levels: usize| {
            let mut reply = opening.repeat(levels).into_bytes();
            reply.extend(b"+OK\r\n");
            if opening.starts_with('|') {
                // Each attribute belongs to something.
                reply.extend(b"+OK\r\n".repeat(levels));
            }
            reply
        };
        let allowed = nested(MAX_LEVELS);
        assert_eq!(scan(&allowed), Ok(Some(allowed.len())), "{opening:?}");
        for levels in [MAX_LEVELS + 1, 5_000, 1_000_000] {
            let mut scanner = ReplyScanner::default();
            assert_eq!(scanner.whole(&nested(levels)), Err(InvalidReply), "{opening:?}");
        }
    }
}

#[test]
fn a_header_is_refused_that_declares_more_than_a_reply_may_hold() {
    for header in [
        "*2000000000\r\n",
        "$2000000000\r\n",
        "%2000000000\r\n",
        "|2000000000\r\n",
        ">65537\r\n",
        "%32769\r\n",
        "$4194305\r\n",
        "=4194305\r\n",
        "$99999999999999999999999\r\n",
    ] {
        assert_eq!(scan(header.as_bytes()), Err(InvalidReply), "{header:?}");
    }
}

#[test]
fn a_reply_without_an_end_is_refused_once_it_is_too_long() {
    for endless in [b"+".as_slice(), b"*1\r\n+\r", b"-\n\n\n"] {
        let mut bytes = endless.to_vec();
        bytes.resize(MAX_REPLY, b'x');
        let mut scanner = ReplyScanner::default();
        assert_eq!(scanner.whole(&bytes), Ok(None));
        bytes.push(b'x');
        assert_eq!(scanner.whole(&bytes), Err(InvalidReply));
    }
    // Small elements of many levels count together.
    let many =
        [b"*256\r\n".to_vec(), [b"*256\r\n".to_vec(), b"_\r\n".repeat(256)].concat().repeat(256)];
    assert_eq!(ReplyScanner::default().whole(&many.concat()), Err(InvalidReply));
}

#[test]
fn what_no_server_answers_is_refused() {
    for bytes in [
        "hello\r\n",
        "\r\n",
        "HELLO 3\r\n",
        "*?\r\n",
        "$?\r\n",
        "%?\r\n",
        "~?\r\n",
        ";4\r\nabcd\r\n",
        ".\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "$+1\r\na\r\n",
        "$\r\n",
        "$1x\r\na\r\n",
        "$1\r\nabc",
        "$0\r\nxx",
    ] {
        assert_eq!(scan(bytes.as_bytes()), Err(InvalidReply), "{bytes:?}");
    }
}
