// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a command is refused. The texts are exactly those of Redis, because clients check them.

use alloc::borrow::Cow;
use alloc::string::String;

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    WrongType,
    Syntax,
    NotAnInteger,
    NotAFloat,
    NotANumberResult,
    Overflow,
    OutOfRange,
    NoSuchKey,
    OutOfMemory,
    MinMax,
    InvalidExpire(&'static str),
    Arity(String),
    Other(Cow<'static, str>),
}

impl Refused {
    /// Returns the error line, without its `-`.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotAnInteger => "ERR value is not an integer or out of range",
            Self::NotAFloat => "ERR value is not a valid float",
            Self::NotANumberResult => "ERR resulting score is not a number (NaN)",
            Self::Overflow => "ERR increment or decrement would overflow",
            Self::OutOfRange => "ERR index out of range",
            Self::NoSuchKey => "ERR no such key",
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::MinMax => "ERR min or max is not a float",
            Self::InvalidExpire(command) => {
                return Cow::Owned(alloc::format!(
                    "ERR invalid expire time in '{command}' command"
                ));
            }
            Self::Arity(command) => {
                return Cow::Owned(alloc::format!(
                    "ERR wrong number of arguments for '{command}' command"
                ));
            }
            Self::Other(text) => return Cow::Borrowed(text),
        })
    }
}

/// Refuses with a text that only one command uses.
pub(crate) fn other<T>(text: impl Into<Cow<'static, str>>) -> Result<T, Refused> {
    Err(Refused::Other(text.into()))
}
