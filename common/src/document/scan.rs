//! One pass over JSON text: checks everything, copies nothing.
//!
//! The tokens are `jiter`'s (escapes and numbers are checked, not decoded); nesting, duplicate keys and positions are
//! ours. No recursion, so depth costs heap, not stack.

use std::borrow::Cow;
use std::ops::Range;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::error::Error;

/// A cursor in JSON text.
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    tokens: Jiter<'t>,
    /// The containers around the cursor, outermost first.
    open: Vec<Container>,
    /// The keys seen so far in the open objects, those of inner objects behind those of outer ones.
    keys: Vec<Cow<'t, [u8]>>,
    depth_max: usize,
    /// Containers around a document that are not part of it.
    envelope: usize,
    /// The first thing wrong with text that is JSON.
    refused: Option<Error>,
}

enum Container {
    Array,
    Object {
        /// Where its keys begin.
        keys: usize,
    },
}

/// A key, the cursor being behind its colon.
pub(super) struct Key<'t> {
    /// Where its quote stands.
    pub(super) start: usize,
    /// Its text, unescaped: UTF-8, since the tokenizer checked it.
    pub(super) name: Cow<'t, [u8]>,
}

impl<'t> Scanner<'t> {
    /// A cursor before `text`; `envelope` containers around a document do not count for its depth.
    pub(super) fn new(text: &'t [u8], depth_max: usize, envelope: usize) -> Result<Self, Error> {
        // Once for all: the tokens below are asked for as bytes, which skips this check on each of them.
        std::str::from_utf8(text).map_err(|_| Error::Malformed)?;
        // Most documents fit these, so that the vectors do not grow step by step.
        let (open, keys) = (Vec::with_capacity(8), Vec::with_capacity(32));
        Ok(Self { text, tokens: Jiter::new(text), open, keys, depth_max, envelope, refused: None })
    }

    /// Where the cursor stands.
    pub(super) fn position(&self) -> usize {
        self.tokens.current_index()
    }

    /// Notes an error that is to be reported if the text is JSON to its end; the first one noted counts.
    pub(super) fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    /// What kind of value comes next; the cursor moves to its first byte.
    pub(super) fn peek(&mut self) -> Result<Peek, Error> {
        self.tokens.peek().map_err(error)
    }

    /// Checks the value that comes next, with all that is in it.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Error> {
        let around = self.open.len();
        let mut next = Some(self.peek()?);
        let start = self.position();
        loop {
            next = match next {
                Some(peek) => self.begin(peek)?,
                None if self.open.len() == around => return Ok(start..self.position()),
                None => self.step()?,
            };
        }
    }

    /// Goes into the object that comes next, up to behind its first key.
    pub(super) fn enter_object(&mut self) -> Result<Option<Key<'t>>, Error> {
        self.push(Container::Object { keys: self.keys.len() })?;
        let before = self.position();
        // The same as `known_object`, but in bytes: the brace is the next token.
        let key = self.tokens.next_object_bytes().map_err(error)?.map(<[u8]>::len);
        self.register(before, key)
    }

    /// Goes on to behind the next key of the innermost object, or behind the object if there is none.
    pub(super) fn next_key(&mut self) -> Result<Option<Key<'t>>, Error> {
        let before = self.position();
        let key = self.tokens.next_key_bytes().map_err(error)?.map(<[u8]>::len);
        self.register(before, key)
    }

    /// Goes into the array that comes next, up to its first element.
    pub(super) fn enter_array(&mut self) -> Result<Option<Peek>, Error> {
        self.push(Container::Array)?;
        let first = self.tokens.known_array().map_err(error)?;
        Ok(self.stay(first))
    }

    /// Goes on to the next element of the innermost array, or behind the array if there is none.
    pub(super) fn next_element(&mut self) -> Result<Option<Peek>, Error> {
        let next = self.tokens.array_step().map_err(error)?;
        Ok(self.stay(next))
    }

    /// Checks that nothing but space follows and that nothing was refused on the way.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.tokens.finish().map_err(error)?;
        self.refused.map_or(Ok(()), Err)
    }

    /// Goes over a scalar (`None`) or into a container, up to the first value in it (`None` if it is empty).
    fn begin(&mut self, peek: Peek) -> Result<Option<Peek>, Error> {
        match peek {
            Peek::Object => match self.enter_object()? {
                Some(_) => return self.peek().map(Some),
                None => return Ok(None),
            },
            Peek::Array => return self.enter_array(),
            Peek::String => self.tokens.known_bytes().map(drop),
            Peek::True | Peek::False => self.tokens.known_bool(peek).map(drop),
            Peek::Null => self.tokens.known_null(),
            _ => self.tokens.known_number_bytes(peek).map(drop),
        }
        .map_err(error)?;
        Ok(None)
    }

    /// Goes on to the next value of the innermost container, or behind the container if there is none.
    fn step(&mut self) -> Result<Option<Peek>, Error> {
        match self.open.last() {
            Some(Container::Array) => self.next_element(),
            Some(Container::Object { .. }) => match self.next_key()? {
                Some(_) => self.peek().map(Some),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    fn push(&mut self, container: Container) -> Result<(), Error> {
        if self.open.len() >= self.depth_max.saturating_add(self.envelope) {
            return Err(Error::TooDeep { max: self.depth_max });
        }
        self.open.push(container);
        Ok(())
    }

    fn stay(&mut self, element: Option<Peek>) -> Option<Peek> {
        if element.is_none() {
            self.open.pop();
        }
        element
    }

    /// Takes in a key whose raw text has `length` bytes and whose quote is the first one behind `before`, or leaves the
    /// object if there is none.
    fn register(&mut self, before: usize, length: Option<usize>) -> Result<Option<Key<'t>>, Error> {
        let Some(length) = length else {
            if let Some(Container::Object { keys }) = self.open.pop() {
                self.close(keys);
            }
            return Ok(None);
        };
        // Nothing but space, a brace or a comma stands before it.
        let start = before + self.text[before..].iter().take_while(|&&byte| byte != b'"').count();
        let quoted = &self.text[start..start + length + 2];
        let raw = &quoted[1..=length];
        let name = if raw.contains(&b'\\') {
            let text: String = serde_json::from_slice(quoted).map_err(|_| Error::Malformed)?;
            Cow::Owned(text.into_bytes())
        } else {
            Cow::Borrowed(raw)
        };
        self.keys.push(name.clone());
        Ok(Some(Key { start, name }))
    }

    /// Looks for duplicates among the keys of an object that ends. Sorting needs no table and no hash to attack.
    fn close(&mut self, first: usize) {
        let keys = &mut self.keys[first..];
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        let twice = twice.map(|pair| String::from_utf8_lossy(&pair[0]).into_owned());
        self.keys.truncate(first);
        if let Some(key) = twice {
            self.refuse(Error::DuplicateKey { key });
        }
    }
}

fn error(error: JiterError) -> Error {
    match error.error_type {
        JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => Error::NumberTooLong,
        _ => Error::Malformed,
    }
}
