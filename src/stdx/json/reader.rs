//! The typed reader: one pass over the bytes, by Go's rules, into a value that is there already.
//!
//! A [`Reader`] is one type whatever it reads: what is to be read it asks the value, through
//! [`Decode`] and [`Record`]. So no code is made for each pair of a type and a source. Nothing but
//! the values themselves costs an allocation, and an error is only put together once something is
//! wrong.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use std::borrow::Cow;
use std::fmt;

use super::decode::Decode;
use super::record::{Choice, Place, Record};
use super::syntax::{self, DEPTH_MAX, Scan, bad};

/// Why bytes are not the value that was asked for, in the words of Go's `encoding/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError(String);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for JsonError {}

/// Reads the first JSON value of `bytes`; what follows it is ignored.
///
/// Keys match fields in any case and unknown ones are skipped; `null` is the zero value of any
/// type; of repeated keys the last one counts; text that is not Unicode is replaced by U+FFFD;
/// values nested deeper than 127 are an error.
pub fn decode<T: Decode + Default>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut value = T::default();
    decode_into(&mut value, bytes)?;
    Ok(value)
}

fn decode_into(value: &mut dyn Decode, bytes: &[u8]) -> Result<(), JsonError> {
    let mut reader = Reader::new(bytes);
    value.decode(&mut reader).map_err(|Stop| reader.describe())
}

/// [`decode`] of bytes that hold nothing else; errors say where in the text they are.
pub fn decode_whole<T: Decode + Default>(bytes: &[u8]) -> Result<T, JsonError> {
    let mut value = T::default();
    let mut reader = Reader::new(bytes);
    if let Ok(()) = value.decode(&mut reader).and_then(|()| reader.end()) {
        return Ok(value);
    }
    let before = bytes.get(..reader.scan.at).unwrap_or(bytes);
    let line = before.iter().filter(|b| **b == b'\n').count().saturating_add(1);
    let JsonError(text) = reader.describe();
    Err(JsonError(format!("{text} (line {line})")))
}

/// The value cannot be read; the reader knows why.
#[derive(Debug)]
pub struct Stop;

/// What reading comes to.
pub type Step<T = ()> = Result<T, Stop>;

enum Fault {
    /// In the syntax, in Go's words.
    Syntax(String),
    /// A value of a wrong type: what it is, and the type that was asked for.
    Type(String, Wanted),
    /// In the words of the type that does not allow the value.
    Own(String),
}

/// The type that was asked for, in Go's terms.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Number(&'static str),
    Plain(&'static str),
    Struct(&'static str),
}

/// A place in the bytes that are read.
pub struct Reader<'a> {
    scan: Scan<'a>,
    /// The bytes up to the first that is not UTF-8.
    text: &'a str,
    /// Containers that are open.
    depth: usize,
    fault: Option<Fault>,
    /// Names of the fields that lead to the fault, innermost first.
    path: Vec<&'static str>,
    /// The struct that holds the innermost of them.
    holder: &'static str,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|e| {
            let valid = bytes.get(..e.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        });
        let scan = Scan::new(bytes);
        Self { scan, text, depth: 0, fault: None, path: Vec::new(), holder: "" }
    }

    /// Remembers what the syntax says.
    fn syntax<T>(&mut self, result: Result<T, String>) -> Step<T> {
        result.map_err(|text| {
            self.fault = Some(Fault::Syntax(text));
            Stop
        })
    }

    /// Nothing may follow but white space.
    fn end(&mut self) -> Step {
        let rest = self.scan.bytes.get(self.scan.at..).unwrap_or_default();
        if rest.trim_ascii_start().is_empty() {
            return Ok(());
        }
        let byte = self.peek()?;
        self.syntax(Err(bad(byte, "after top-level value")))
    }

    /// The next byte that is not white space; it is not consumed.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Step<u8> {
        match self.scan.bytes.get(self.scan.at) {
            Some(byte) if *byte > b' ' => {
                self.scan.empty = false;
                Ok(*byte)
            }
            _ => self.peek_further(),
        }
    }

    /// [`Self::peek`] where there is white space, or nothing.
    #[cold]
    fn peek_further(&mut self) -> Step<u8> {
        let token = self.scan.token();
        let byte = self.syntax(token)?;
        self.scan.at = self.scan.at.saturating_sub(1);
        Ok(byte)
    }

    fn consume(&mut self) {
        self.scan.at = self.scan.at.saturating_add(1);
    }

    /// Whether `null` comes next; it is then consumed.
    pub(super) fn null(&mut self) -> Step<bool> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.word("null")?;
        Ok(true)
    }

    fn word(&mut self, word: &str) -> Step {
        self.consume();
        let result = self.scan.literal(word);
        self.syntax(result)
    }

    /// A truth value.
    pub(super) fn truth(&mut self) -> Step<bool> {
        let byte = self.peek()?;
        self.word(match byte {
            b't' => "true",
            b'f' => "false",
            b'n' => "null",
            _ => return Err(self.wrong(Wanted::Plain("bool"))),
        })?;
        Ok(byte == b't')
    }

    /// Text; empty for `null`.
    pub(super) fn text(&mut self) -> Step<Cow<'a, str>> {
        match self.peek()? {
            b'"' => self.string(),
            b'n' => self.word("null").map(|()| Cow::Borrowed("")),
            _ => Err(self.wrong(Wanted::Plain("string"))),
        }
    }

    /// A string whose opening quote comes next.
    fn string(&mut self) -> Step<Cow<'a, str>> {
        self.consume();
        let start = self.scan.at;
        let rest = self.scan.bytes.get(start..).unwrap_or_default();
        let plain = syntax::plain(rest);
        let end = start.saturating_add(plain);
        if rest.get(plain) == Some(&b'"')
            && let Some(text) = self.text.get(start..end)
        {
            self.scan.at = end.saturating_add(1);
            return Ok(Cow::Borrowed(text));
        }
        let result = self.scan.string();
        self.syntax(result)?;
        let inner = self.scan.bytes.get(start..self.scan.at.saturating_sub(1));
        Ok(Cow::Owned(syntax::unescape(inner.unwrap_or_default())))
    }

    /// The text of a number; `None` for `null`.
    pub(super) fn number(&mut self, name: &'static str) -> Step<Option<&'a str>> {
        let first = self.peek()?;
        if first == b'n' {
            return self.word("null").map(|()| None);
        }
        if !matches!(first, b'-' | b'0'..=b'9') {
            return Err(self.wrong(Wanted::Number(name)));
        }
        let start = self.scan.at;
        self.consume();
        let result = self.scan.number(first);
        self.syntax(result)?;
        let digits = self.scan.bytes.get(start..self.scan.at).unwrap_or_default();
        Ok(std::str::from_utf8(digits).ok())
    }

    /// An integer, in two's complement.
    pub(super) fn integer(&mut self, min: i64, max: u64, name: &'static str) -> Step<u64> {
        match self.small_integer(max) {
            Some(n) => Ok(n),
            None => self.any_integer(min, max, name),
        }
    }

    /// What most numbers are: digits alone, and not too many. Consumed, unless it is anything else.
    fn small_integer(&mut self, max: u64) -> Option<u64> {
        let first = self.peek().ok()?;
        let (mut n, mut at) = (0u64, self.scan.at);
        while let Some(byte) = self.scan.bytes.get(at) {
            match byte {
                b'0'..=b'9' => {
                    n = n.checked_mul(10)?.checked_add(u64::from(byte & 15))?;
                    at = at.saturating_add(1);
                }
                b'.' | b'e' | b'E' => return None,
                _ => break,
            }
        }
        let length = at.saturating_sub(self.scan.at);
        if length == 0 || (length > 1 && first == b'0') || n > max {
            return None;
        }
        self.scan.at = at;
        Some(n)
    }

    fn any_integer(&mut self, min: i64, max: u64, name: &'static str) -> Step<u64> {
        let Some(text) = self.number(name)? else { return Ok(0) };
        let (digits, negative) = text.strip_prefix('-').map_or((text, false), |d| (d, true));
        let most = if negative { min.unsigned_abs() } else { max };
        match digits.parse::<u64>() {
            Ok(n) if n <= most => Ok(if negative { n.wrapping_neg() } else { n }),
            _ => Err(self.wrong_number(text, name)),
        }
    }

    /// A number with a fraction.
    pub(super) fn float(&mut self) -> Step<f64> {
        let Some(text) = self.number("float64")? else { return Ok(0.0) };
        match text.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(n),
            _ => Err(self.wrong_number(text, "float64")),
        }
    }

    /// Skips one value. Its depth is measured by itself.
    fn skip(&mut self) -> Step {
        let result = self.scan.value();
        self.syntax(result)
    }

    /// One value, as it is written.
    pub(super) fn raw(&mut self) -> Step<&'a [u8]> {
        self.peek()?;
        let start = self.scan.at;
        self.skip()?;
        Ok(self.scan.bytes.get(start..self.scan.at).unwrap_or_default())
    }

    fn open(&mut self, byte: u8, wanted: Wanted) -> Step {
        if self.peek()? != byte {
            return Err(self.wrong(wanted));
        }
        if self.depth >= DEPTH_MAX {
            return self.syntax(Err(bad(byte, "exceeded max depth")));
        }
        self.depth = self.depth.saturating_add(1);
        self.consume();
        Ok(())
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.consume();
    }

    /// A list, element by element.
    pub(super) fn elements(&mut self, each: &mut dyn FnMut(&mut Self) -> Step) -> Step {
        self.open(b'[', Wanted::Plain("[]interface {}"))?;
        if self.peek()? != b']' {
            loop {
                each(self)?;
                match self.peek()? {
                    b',' => self.consume(),
                    b']' => break,
                    byte => return self.syntax(Err(bad(byte, "after array element"))),
                }
            }
        }
        self.close();
        Ok(())
    }

    /// An object, key by key; `each` reads the value.
    fn members(
        &mut self,
        wanted: Wanted,
        each: &mut dyn FnMut(&mut Self, Cow<'a, str>) -> Step,
    ) -> Step {
        self.open(b'{', wanted)?;
        if self.peek()? != b'}' {
            loop {
                let key = match self.peek()? {
                    b'"' => self.string()?,
                    byte => {
                        let place = "looking for beginning of object key string";
                        return self.syntax(Err(bad(byte, place)));
                    }
                };
                match self.peek()? {
                    b':' => self.consume(),
                    byte => return self.syntax(Err(bad(byte, "after object key"))),
                }
                each(self, key)?;
                match self.peek()? {
                    b',' => self.consume(),
                    b'}' => break,
                    byte => return self.syntax(Err(bad(byte, "after object key:value pair"))),
                }
            }
        }
        self.close();
        Ok(())
    }

    /// A map with text keys.
    pub(super) fn map(&mut self, each: &mut dyn FnMut(&mut Self, Cow<'a, str>) -> Step) -> Step {
        self.members(Wanted::Plain("map[string]interface {}"), each)
    }

    /// A struct.
    pub fn record(&mut self, target: &mut dyn Record) -> Step {
        if self.null()? {
            target.reset();
            return Ok(());
        }
        self.fields(target)
    }

    fn fields(&mut self, target: &mut dyn Record) -> Step {
        let shape = target.shape();
        let mut place = Place::default();
        let mut seen = 0u128;
        self.members(Wanted::Struct(shape.name), &mut |r, key| {
            let Some((index, next)) = shape.fields.find(&key, place) else { return r.skip() };
            place = next;
            let Some(field) = target.field(index) else { return r.skip() };
            let bit = u32::try_from(index).ok().and_then(|n| 1u128.checked_shl(n)).unwrap_or(0);
            if seen & bit != 0 {
                // The last of repeated keys counts, and nothing of those before it.
                field.decode(&mut Reader::new(b"null"))?;
            }
            seen |= bit;
            field.decode(r).inspect_err(|Stop| r.leave(shape.name, shape.fields.name(index)))
        })
    }

    /// An enum: the name of a variant without parts, or an object with the variant as its one key.
    pub fn choice(&mut self, target: &mut dyn Choice) -> Step {
        if self.peek()? == b'"' {
            let tag = self.string()?;
            return self.choose(target, &tag);
        }
        let mut count = 0usize;
        self.members(Wanted::Plain("string"), &mut |r, tag| {
            count = count.saturating_add(1);
            r.choose(target, &tag)?;
            match target.whole() {
                Some(inner) => inner.decode(r),
                None => r.fields(target),
            }
        })?;
        if count == 1 { Ok(()) } else { Err(self.refuse("not one variant".to_owned())) }
    }

    fn choose(&mut self, target: &mut dyn Choice, tag: &str) -> Step {
        let Some((index, _)) = target.tags().find(tag, Place::default()) else {
            return Err(self.refuse(format!("unknown variant {tag:?}")));
        };
        target.choose(index);
        Ok(())
    }

    /// The number that was just read is of a wrong type.
    #[cold]
    pub(super) fn wrong_number(&mut self, text: &str, name: &'static str) -> Stop {
        self.scan.at = self.scan.at.saturating_sub(text.len());
        self.wrong(Wanted::Number(name))
    }

    /// The next value is of a wrong type.
    #[cold]
    fn wrong(&mut self, wanted: Wanted) -> Stop {
        let rest = self.scan.bytes.get(self.scan.at..).unwrap_or_default();
        let kind = match rest.first() {
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            Some(b'[') => "array",
            Some(b'{') => "object",
            Some(b'n') => "null",
            _ => "number",
        };
        let mut value = kind.to_owned();
        if let ("number", Wanted::Number(_)) = (kind, wanted) {
            let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
            let literal = rest.iter().copied().take_while(part).take(LITERAL_CHARS_MAX);
            value.push(' ');
            value.extend(literal.map(char::from));
        }
        self.fault = Some(Fault::Type(value, wanted));
        Stop
    }

    /// The value that was just read is not what its type allows.
    #[cold]
    pub(super) fn refuse(&mut self, text: String) -> Stop {
        self.fault = Some(Fault::Own(text));
        Stop
    }

    /// A fault passes the field `name` of `holder` on its way out.
    #[cold]
    fn leave(&mut self, holder: &'static str, name: &'static str) {
        if self.path.is_empty() {
            self.holder = holder;
        }
        self.path.push(name);
    }

    /// Puts the error together. Go reads a value to its end before it decodes, so mistakes in the
    /// syntax come first wherever they are.
    #[cold]
    fn describe(mut self) -> JsonError {
        let fault = self.fault.take().unwrap_or(Fault::Own(String::new()));
        if let Fault::Syntax(text) = fault {
            return JsonError(text);
        }
        if let Err(text) = syntax::check(self.scan.bytes) {
            return JsonError(text);
        }
        let (value, wanted) = match fault {
            Fault::Type(value, wanted) => (value, wanted),
            Fault::Syntax(text) | Fault::Own(text) => return JsonError(text),
        };
        let mut text = format!("json: cannot unmarshal {value} into Go ");
        if self.path.is_empty() {
            text.push_str("value");
        } else {
            text.push_str("struct field ");
            text.push_str(self.holder);
            for name in self.path.iter().rev() {
                text.push('.');
                text.push_str(name);
            }
        }
        text.push_str(" of type ");
        let (package, name) = match wanted {
            Wanted::Number("int") if self.path.first().is_some_and(|f| DURATIONS.contains(f)) => {
                ("time.", "Duration")
            }
            Wanted::Number(name) | Wanted::Plain(name) => ("", name),
            Wanted::Struct(name) => ("api.", name),
        };
        text.push_str(package);
        text.push_str(name);
        JsonError(text)
    }
}

/// Fields that are durations in the API and whole nanoseconds in JSON: people write `"5s"` there,
/// and the answer then names the type. Our own types know them as integers.
const DURATIONS: [&str; 19] = [
    "ConnectTimeout",
    "Deadline",
    "Delay",
    "Grace",
    "HealthTimeout",
    "HealthyDeadline",
    "Interval",
    "KillTimeout",
    "LostAfter",
    "MaxDelay",
    "MaxRunDuration",
    "MinHealthyTime",
    "ProgressDeadline",
    "ShutdownDelay",
    "Splay",
    "Stagger",
    "StopOnClientAfter",
    "TTL",
    "Timeout",
];

/// More of a number is not shown: an answer need not repeat megabytes of digits.
const LITERAL_CHARS_MAX: usize = 80;
