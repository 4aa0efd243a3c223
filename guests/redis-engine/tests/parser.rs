// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds the wire protocol in pieces: the replies must not depend on how the bytes are split, and
//! no bytes may cause a panic.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_engine::{Memory, Output, Session, Store};

/// Memory that is never full.
struct Plenty;

impl Memory for Plenty {
    fn used(&self) -> usize {
        0
    }

    fn total(&self) -> usize {
        usize::MAX / 2
    }

    fn can_allocate(&self, _: usize) -> bool {
        true
    }
}

/// The time in every run, so that replies with times agree.
const NOW: u64 = 1_700_000_000_000;

fn store() -> Store {
    Store::new(7, NOW, &Plenty)
}

/// Feeds pieces to a new server. When the server stops early, sends `sent` bytes of its output and
/// feeds the rest. Returns all replies, and whether the connection was closed.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, sent: usize) -> (Vec<u8>, bool) {
    let mut store = store();
    let mut session = Session::new(1, &mut store);
    let mut output = Output::default();
    let mut all = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let progress = session.feed(&mut store, NOW, piece, &mut output);
            assert!(progress.consumed <= piece.len());
            piece = &piece[progress.consumed..];
            if progress.close {
                assert!(piece.is_empty(), "a closed connection leaves no input");
                all.extend_from_slice(output.bytes());
                return (all, true);
            }
            assert!(
                progress.consumed > 0 || !output.is_empty(),
                "input is left without output to wait for"
            );
            if !piece.is_empty() {
                let count = sent.min(output.len());
                all.extend_from_slice(&output.bytes()[..count]);
                output.sent(count);
            }
        }
    }
    all.extend_from_slice(output.bytes());
    (all, false)
}

/// Splits bytes into pieces of the given lengths, repeated.
fn cut(bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*length).clamp(1, rest.len()));
        pieces.push(piece.to_vec());
        rest = left;
    }
    pieces
}

fn pieces(cut: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    cut.iter().map(Vec::as_slice)
}

/// Encodes one command as an array of bulk strings.
fn multibulk(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Generates arguments that commands are likely to accept, and arbitrary ones.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "list", "1", "-1", "0", "inf", "withscores"])
            .prop_map(|word| word.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        "set", "get", "SET", "append", "lpush", "lrange", "rpop", "sadd", "scard", "hset",
        "hgetall", "zadd", "zrange", "incr", "del", "keys", "ping", "echo", "hello", "expire",
        "ttl", "nonsense",
    ])
    .prop_map(|name| name.as_bytes().to_vec())
}

/// Generates a command on the wire, in either form, sometimes an empty one.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let words = (name(), vec(word(), 0..5)).prop_map(|(name, words)| {
        let mut all = vec![name];
        all.extend(words);
        all
    });
    prop_oneof![
        8 => words.prop_map(|words| multibulk(&words)),
        1 => Just(b"*0\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"set  'a b' \"\\x41\\n\" \r\nget 'a b'\n".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn replies_do_not_depend_on_how_commands_are_split(
        commands in vec(command(), 1..30),
        lengths in vec(1..40usize, 1..10),
    ) {
        let stream = commands.concat();
        let whole = run([stream.as_slice()], usize::MAX);
        prop_assert!(!whole.1);
        prop_assert_eq!(&run(pieces(&cut(&stream, &lengths)), usize::MAX), &whole);
        prop_assert_eq!(&run(pieces(&cut(&stream, &[1])), usize::MAX), &whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_protocol_errors_are_reported(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..300),
            vec(prop::sample::select(b"*$123-0ab\r\n\"'\\ \0".to_vec()), 0..300),
        ],
        lengths in vec(1..40usize, 1..10),
    ) {
        let whole = run([bytes.as_slice()], usize::MAX);
        if whole.1 {
            let last = whole.0.rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default();
            let text = String::from_utf8_lossy(last);
            prop_assert!(text.starts_with("-ERR Protocol error: "), "{}", text);
        }
        prop_assert_eq!(run(pieces(&cut(&bytes, &lengths)), usize::MAX), whole);
    }

    #[test]
    fn a_slow_reader_gets_the_same_replies(
        sizes in vec(1..20_000usize, 5..30),
        sent in 1000..100_000usize,
        lengths in vec(1..50_000usize, 1..5),
    ) {
        let stream: Vec<u8> = sizes
            .iter()
            .enumerate()
            .flat_map(|(number, size)| {
                let value = vec![b'a' + u8::try_from(number % 26).unwrap(); *size];
                multibulk(&[b"echo".to_vec(), value])
            })
            .collect();
        let expected: Vec<u8> = sizes
            .iter()
            .enumerate()
            .flat_map(|(number, size)| {
                let text = char::from(b'a' + u8::try_from(number % 26).unwrap()).to_string();
                format!("${size}\r\n{}\r\n", text.repeat(*size)).into_bytes()
            })
            .collect();
        prop_assert!(run([stream.as_slice()], sent) == (expected.clone(), false));
        prop_assert!(run(pieces(&cut(&stream, &lengths)), sent) == (expected, false));
    }
}

#[test]
fn execution_stops_while_much_output_is_unsent() {
    let mut store = store();
    let mut session = Session::new(1, &mut store);
    let mut output = Output::default();
    let echo = multibulk(&[b"echo".to_vec(), vec![b'x'; 40_000]]);
    let stream = echo.repeat(5);
    let progress = session.feed(&mut store, NOW, &stream, &mut output);
    assert_eq!(progress.consumed, 2 * echo.len(), "the second reply passes the limit");
    let again = session.feed(&mut store, NOW, &stream[progress.consumed..], &mut output);
    assert_eq!(again.consumed, 0, "nothing is executed while the replies wait");
}

/// Covers each protocol error with its message.
#[test]
fn protocol_errors_are_reported_with_their_reason() {
    let long = vec![b'x'; 70_000];
    let long_count = [b"*".as_slice(), &[b'1'; 70_000]].concat();
    let long_length = [b"*1\r\n$".as_slice(), &[b'1'; 70_000]].concat();
    let cases: [(&[u8], &str); 11] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*99999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n+ping\r\n", "expected '$', got '+'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"set \"a\r\n", "unbalanced quotes in request"),
        (b"set 'a'b\r\n", "unbalanced quotes in request"),
        (&long, "too big inline request"),
        (&long_count, "too big mbulk count string"),
        (&long_length, "too big bulk count string"),
    ];
    for (bytes, reason) in cases {
        let (reply, closed) = run([bytes], usize::MAX);
        let expected = format!("-ERR Protocol error: {reason}\r\n");
        assert_eq!(String::from_utf8_lossy(&reply), expected);
        assert!(closed);
    }
}

#[test]
fn incomplete_commands_have_no_reply() {
    for bytes in
        [&b"*2\r\n$3\r\nget\r\n$1000\r\nabc"[..], b"*", b"*1\r\n$", b"get a", b"*1\r\n$4\r\nping\r"]
    {
        assert_eq!(run([bytes], usize::MAX), (Vec::new(), false));
    }
}

/// A browser must not be able to run commands here by a request that a web page makes it send.
#[test]
fn http_is_not_answered_and_nothing_behind_it_is_executed() {
    for head in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n", "*1\r\n$5\r\nhost:\r\n"] {
        let mut store = store();
        let mut session = Session::new(1, &mut store);
        let mut output = Output::default();
        let request = format!("{head}\r\nset a b\r\n");
        let progress = session.feed(&mut store, NOW, request.as_bytes(), &mut output);
        assert!(progress.http && progress.close, "{head:?}");
        assert_eq!(progress.consumed, request.len());
        let mut other = Session::new(2, &mut store);
        let mut reply = Output::default();
        other.feed(&mut store, NOW, b"exists a\r\n", &mut reply);
        assert_eq!(reply.bytes(), b":0\r\n");
    }
}

#[test]
fn a_session_knows_whether_a_command_is_incomplete() {
    let mut store = store();
    let mut session = Session::new(1, &mut store);
    let mut output = Output::default();
    for (bytes, completed, between) in [
        (&b"*1\r\n$4\r\nping\r\n"[..], true, true),
        (b"*1\r\n$4\r\npi", false, false),
        (b"ng\r\nget a", true, false),
        (b"\r\n", true, true),
        (b"\r\n*0\r\n", false, true),
        (b"get \0\r\n", false, false),
    ] {
        let progress = session.feed(&mut store, NOW, bytes, &mut output);
        assert_eq!((progress.completed, session.is_between_commands()), (completed, between));
    }
}
