// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encodes keys as in an RDB file of version 8, without compression: Redis from 4.0 on reads it.

use super::stream::{Stream, To};
use crate::value::Value;

/// What an RDB file begins with.
pub(super) const MAGIC: &[u8; 9] = b"REDIS0008";

// Operations and types of values, which begin an item of the file.
pub(super) const EXPIRES_MS: u8 = 0xfc;
pub(super) const SELECT_DB: u8 = 0xfe;
pub(super) const END: u8 = 0xff;
pub(super) const STRING: u8 = 0;
pub(super) const LIST: u8 = 1;
pub(super) const SET: u8 = 2;
pub(super) const HASH: u8 = 4;
/// A sorted set with scores as binary doubles.
pub(super) const SORTED_SET: u8 = 5;

/// Writes the beginning of the file: its version, and that database 0 follows.
pub(crate) fn start(out: &mut Stream, to: &mut To<'_>) {
    out.put(to, MAGIC);
    out.put(to, &[SELECT_DB, 0]);
}

/// Writes the end of the file, and everything to the disk.
pub(crate) fn end(out: &mut Stream, to: &mut To<'_>) {
    out.put(to, &[END]);
    let sum = out.crc;
    out.put(to, &sum.to_le_bytes());
    out.finish(to);
}

/// Writes one key.
pub(crate) fn entry(
    out: &mut Stream,
    to: &mut To<'_>,
    key: &[u8],
    value: &Value,
    expires: Option<u64>,
) {
    if let Some(at) = expires {
        out.put(to, &[EXPIRES_MS]);
        out.put(to, &at.to_le_bytes());
    }
    let (kind, count) = match value {
        Value::String(_) => (STRING, None),
        Value::List(list) => (LIST, Some(list.len())),
        Value::Set(set) => (SET, Some(set.len())),
        Value::Hash(hash) => (HASH, Some(hash.len())),
        Value::SortedSet(set) => (SORTED_SET, Some(set.len())),
    };
    out.put(to, &[kind]);
    string(out, to, key);
    if let Some(count) = count {
        length(out, to, count);
    }
    match value {
        Value::String(text) => string(out, to, text),
        Value::List(list) => list.iter().for_each(|element| string(out, to, element)),
        Value::Set(set) => set.iter().for_each(|(member, ())| string(out, to, member)),
        Value::Hash(hash) => hash.iter().for_each(|(field, value)| {
            string(out, to, field);
            string(out, to, value);
        }),
        // Redis loads a sorted set fastest from the highest score on.
        Value::SortedSet(set) => set.iter().rev().for_each(|(member, score)| {
            string(out, to, member);
            out.put(to, &score.to_le_bytes());
        }),
    }
}

/// Writes a length: in 6 bits, in 14, or in 64.
#[inline(never)]
fn length(out: &mut Stream, to: &mut To<'_>, length: usize) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..0x40), _) => out.put(to, &[short]),
        (_, Ok(medium @ 0..0x4000)) => out.put(to, &(0x4000 | medium).to_be_bytes()),
        _ => {
            out.put(to, &[0x81]);
            out.put(to, &(length as u64).to_be_bytes());
        }
    }
}

#[inline(never)]
fn string(out: &mut Stream, to: &mut To<'_>, bytes: &[u8]) {
    length(out, to, bytes.len());
    out.put(to, bytes);
}
