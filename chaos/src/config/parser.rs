// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses the syntax of a config into settings. What the keys mean is not known here.

use std::collections::BTreeMap;

use super::error::{Fault, Faults};
use super::lexer::{Lexer, Token};
use super::problem::ConfigProblem;
use super::source::{Source, SourceSpan};
use super::value::{Atom, Kind, Value};

/// Deepest nesting of lists. xl uses at most two levels.
const MAX_DEPTH: usize = 16;

/// What must follow a key. Also shown for an argument of the command that is not an assignment.
const KEY_END: &str = "'=' or '+=' after the key, as in memory = 16";

/// A key with its last value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: String,
    /// The position of the key.
    pub(super) key_span: SourceSpan,
    pub(super) value: Value,
}

/// Parses all sources one after the other, as if they were one text with newlines between them.
///
/// In the result each key occurs once, with its last value, in the order of first occurrence. After
/// a fault, goes on at the next line that looks like an assignment.
pub(super) fn parse(sources: &[Source<'_>], faults: &mut Faults) -> Vec<Setting> {
    let mut settings = Settings::default();
    for (number, source) in sources.iter().enumerate() {
        let lexer = Lexer::new(source.text, number);
        let is_argument = source.is_argument;
        let mut parser = Parser { lexer, peeked: None, key: None, is_argument };
        while !faults.are_enough() {
            match parser.statement() {
                Ok(Some((setting, add))) => {
                    if let Err((key, fault)) = settings.store(setting, add) {
                        faults.add_for(&key, fault);
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    let at = fault.span.start;
                    parser.peeked = None;
                    match parser.key.take() {
                        Some((key, span)) => {
                            parser.lexer.skip_to_assignment(span.start, at);
                            faults.add_for(&key, fault);
                        }
                        None => {
                            parser.lexer.skip_to_assignment(at, at);
                            faults.add(fault);
                        }
                    }
                }
            }
        }
    }
    settings.list
}

/// The settings so far.
#[derive(Default)]
struct Settings {
    list: Vec<Setting>,
    /// The index of each key in the list.
    indices: BTreeMap<String, usize>,
}

impl Settings {
    /// Assigns a value to a key, or adds it to the value that is there.
    ///
    /// # Errors
    /// The key, and why the value cannot be added.
    fn store(&mut self, new: Setting, add: bool) -> Result<(), (String, Fault)> {
        let old = match self.indices.get(&new.key) {
            Some(index) => &mut self.list[*index],
            None => {
                self.indices.insert(new.key.clone(), self.list.len());
                self.list.push(new);
                return Ok(());
            }
        };
        if add {
            old.value.add(new.value).map_err(|fault| (new.key, fault))?;
        } else {
            old.value = new.value;
        }
        old.key_span = new.key_span;
        Ok(())
    }
}

impl Value {
    /// Appends a value, as `+=` does. The span becomes that of the added value.
    fn add(&mut self, new: Self) -> Result<(), Fault> {
        let to = self.kind_name();
        let what = new.kind_name();
        match (&mut self.kind, new.kind) {
            (Kind::List(list), Kind::List(more)) => list.extend(more),
            (Kind::Atom(Atom { bare: false, text, verbatim }), Kind::Atom(more)) if !more.bare => {
                text.push_str(&more.text);
                *verbatim = false;
            }
            _ => return Err(Fault { span: new.span, problem: ConfigProblem::Add { what, to } }),
        }
        self.span = new.span;
        Ok(())
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    peeked: Option<(Token, SourceSpan)>,
    /// The key of the assignment that is being parsed.
    key: Option<(String, SourceSpan)>,
    /// Whether strings need no quotes.
    is_argument: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<(Token, SourceSpan), Fault> {
        self.peeked.take().map_or_else(|| self.lexer.next(), Ok)
    }

    fn put_back(&mut self, token: (Token, SourceSpan)) {
        self.peeked = Some(token);
    }

    /// Parses the next assignment. Returns also whether it is a `+=`; `None` at the end.
    fn statement(&mut self) -> Result<Option<(Setting, bool)>, Fault> {
        let (key, key_span) = loop {
            match self.next()? {
                (Token::Newline | Token::Semicolon, _) => {}
                (Token::End, _) => return Ok(None),
                (Token::Ident(key), span) => break (key, span),
                (found, span) => return Err(unexpected(&found, span, "a key")),
            }
        };
        self.key = Some((key, key_span));
        let add = match self.next()? {
            (Token::Assign, _) => false,
            (Token::Add, _) => true,
            (found, span) => return Err(unexpected(&found, span, KEY_END)),
        };
        let value = match self.word() {
            Some(word) => word,
            None => self.value(0, "a value: a number, a string in quotes or a list")?,
        };
        match self.next()? {
            (Token::Newline | Token::Semicolon | Token::End, _) => {}
            (found, span) => {
                return Err(unexpected(&found, span, "a new line or ';' after the value"));
            }
        }
        Ok(self.key.take().map(|(key, key_span)| (Setting { key, key_span, value }, add)))
    }

    /// Returns the rest of the line as a string, if this is an argument and has no other value. No token
    /// may be put back.
    fn word(&mut self) -> Option<Value> {
        let (word, span) = self.is_argument.then(|| self.lexer.word())??;
        let atom = Atom { text: word.to_owned(), bare: false, verbatim: true };
        Some(Value { kind: Kind::Atom(atom), span })
    }

    fn value(&mut self, depth: usize, expected: &'static str) -> Result<Value, Fault> {
        let (token, span) = self.next()?;
        let kind = match token {
            Token::Number(text) => Kind::Atom(Atom { text, bare: true, verbatim: true }),
            Token::String { text, verbatim } => Kind::Atom(Atom { text, bare: false, verbatim }),
            Token::Open if depth == MAX_DEPTH => {
                return Err(Fault { span, problem: ConfigProblem::TooDeep { most: MAX_DEPTH } });
            }
            Token::Open => return self.list(span, depth),
            found => return Err(unexpected(&found, span, expected)),
        };
        Ok(Value { kind, span })
    }

    /// Parses a list after its opening bracket.
    fn list(&mut self, open: SourceSpan, depth: usize) -> Result<Value, Fault> {
        let mut values = Vec::new();
        loop {
            match self.next_in_list(open)? {
                (Token::Close, close) => {
                    return Ok(Value { kind: Kind::List(values), span: open.to(close) });
                }
                token => self.put_back(token),
            }
            values.push(self.value(depth + 1, "a value or ']'")?);
            match self.next_in_list(open)? {
                (Token::Comma, _) => {}
                token @ (Token::Close, _) => self.put_back(token),
                (found, span) => return Err(unexpected(&found, span, "',' or ']'")),
            }
        }
    }

    /// Returns the next token other than a newline. The end of the config is an error: the list is
    /// unterminated.
    fn next_in_list(&mut self, open: SourceSpan) -> Result<(Token, SourceSpan), Fault> {
        loop {
            match self.next()? {
                (Token::Newline, _) => {}
                (Token::End, _) => {
                    return Err(Fault { span: open, problem: ConfigProblem::OpenList });
                }
                token => return Ok(token),
            }
        }
    }
}

fn unexpected(found: &Token, span: SourceSpan, expected: &'static str) -> Fault {
    let unquoted = matches!(found, Token::Ident(_)) && expected.starts_with("a value");
    let problem = ConfigProblem::Syntax { found: found.describe(), expected, unquoted };
    Fault { span, problem }
}
