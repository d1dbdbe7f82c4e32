//! The typed reader: `serde_json`'s deserializer, read by Go's rules.
//!
//! [`De`] wraps any deserializer and changes four things: field names match whatever their case
//! (an exact match first), `null` is the zero value of every type, unknown keys are skipped with
//! their depth counted, and an error remembers the fields that lead to it. Nothing of that costs
//! an allocation, and an error path is only put together once something is wrong.
//!
//! What the inner reader refuses but Go takes is handled by a second run over the same bytes:
//! repeated keys (the last one wins) and text that is not Unicode (replaced by U+FFFD). Error texts
//! that are due to syntax come from `syntax`, since Go reports those before all others.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::value::RawValue;

use super::syntax;

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
/// type; of repeated keys the last one counts; values nested deeper than 127 are an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let context = Context::default();
    let refusal = match run(bytes, &context) {
        Ok(value) => return Ok(value),
        Err(e) => e.to_string(),
    };
    let repaired = context.second_try(bytes, &refusal)?;
    let again = Context { last_key_wins: true, ..Context::default() };
    run(&repaired, &again).map_err(|e| again.describe(&repaired, &e.to_string()))
}

/// One pass over the bytes.
fn run<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    context: &Context,
) -> Result<T, serde_json::Error> {
    T::deserialize(De { inner: &mut serde_json::Deserializer::from_slice(bytes), context })
}

/// What one pass knows beside the value; shared by all wrappers below.
#[derive(Default)]
struct Context {
    /// Look at all keys of an object before any value is read.
    last_key_wins: bool,
    trouble: RefCell<Option<Trouble>>,
    /// Names of the fields that lead to the error, innermost first.
    path: RefCell<Vec<&'static str>>,
    /// The struct that holds the innermost of them.
    holder: Cell<&'static str>,
}

/// A value of a wrong type.
struct Trouble {
    /// `serde_json`'s words, with the position at their end.
    refusal: String,
    wanted: Wanted,
}

/// The type that was asked for, in Go's terms.
#[derive(Clone, Copy)]
enum Wanted {
    Number(&'static str),
    Plain(&'static str),
    Struct(&'static str),
}

impl Context {
    /// Remembers the first value of a wrong type.
    #[cold]
    fn note(&self, wanted: Wanted, refusal: &dyn fmt::Display) {
        let mut trouble = self.trouble.borrow_mut();
        let refusal = refusal.to_string();
        // Other texts are a type's own (a time that is none) and stay as they are.
        let of_type = ["invalid type", "invalid value", "number out of range"];
        if trouble.is_none() && of_type.iter().any(|t| refusal.starts_with(t)) {
            *trouble = Some(Trouble { refusal, wanted });
        }
    }

    /// An error passes the field `name` of `holder` on its way out.
    #[cold]
    fn leave(&self, holder: &'static str, name: &'static str) {
        let mut path = self.path.borrow_mut();
        if path.is_empty() {
            self.holder.set(holder);
        }
        path.push(name);
    }

    /// The bytes for another run, where that may help.
    #[cold]
    fn second_try(&self, bytes: &[u8], refusal: &str) -> Result<Vec<u8>, JsonError> {
        let end = syntax::check(bytes).map_err(JsonError)?;
        let first = bytes.get(..end).unwrap_or(bytes);
        if let Some(repaired) = syntax::repair(first) {
            return Ok(repaired);
        }
        if refusal.starts_with("duplicate field") {
            return Ok(first.to_vec());
        }
        Err(self.describe(bytes, refusal))
    }

    #[cold]
    fn describe(&self, bytes: &[u8], refusal: &str) -> JsonError {
        let trouble = self.trouble.borrow();
        let Some(Trouble { refusal, wanted }) = trouble.as_ref() else {
            let text = refusal.rsplit_once(" at line ").map_or(refusal, |(text, _)| text);
            return JsonError(text.to_owned());
        };
        let (kind, literal) = kind_of(refusal, bytes);
        let mut text = format!("json: cannot unmarshal {kind}");
        if let (Wanted::Number(_), Some(literal)) = (wanted, literal) {
            text.push(' ');
            text.push_str(&literal);
        }
        let mut path = self.path.borrow().clone();
        path.reverse();
        if path.is_empty() {
            text.push_str(" into Go value of type ");
        } else {
            text.push_str(" into Go struct field ");
            text.push_str(self.holder.get());
            text.push('.');
            text.push_str(&path.join("."));
            text.push_str(" of type ");
        }
        match wanted {
            Wanted::Number("int") if path.last().is_some_and(|f| DURATIONS.contains(f)) => {
                text.push_str("time.Duration");
            }
            Wanted::Number(name) | Wanted::Plain(name) => text.push_str(name),
            Wanted::Struct(name) => {
                text.push_str("api.");
                text.push_str(name);
            }
        }
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

/// Go's name for the kind of the refused value, and the number as it is written in the input.
fn kind_of(refusal: &str, bytes: &[u8]) -> (&'static str, Option<String>) {
    let (_, what) = refusal.split_once(": ").unwrap_or_default();
    let kind = match what.split([' ', ',']).next().unwrap_or_default() {
        "string" => "string",
        "boolean" => "bool",
        "sequence" => "array",
        "map" => "object",
        "null" => "null",
        _ => "number",
    };
    let literal = (kind == "number").then(|| number_before(refusal, bytes)).flatten();
    (kind, literal)
}

/// More of a number is not shown: an answer need not repeat megabytes of digits.
const LITERAL_CHARS_MAX: usize = 80;

/// The number that ends where `serde_json` says it stopped.
fn number_before(refusal: &str, bytes: &[u8]) -> Option<String> {
    let (_, place) = refusal.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    let (line, column) = (line.parse::<usize>().ok()?, column.parse::<usize>().ok()?);
    let row = bytes.split(|b| *b == b'\n').nth(line.checked_sub(1)?)?;
    let part_of_number =
        |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    // The reader may have looked at one byte more.
    let until = row.get(..column.min(row.len()))?;
    let until = match until.split_last() {
        Some((last, rest)) if !part_of_number(last) => rest,
        _ => until,
    };
    let reversed: Vec<u8> = until.iter().rev().copied().take_while(part_of_number).collect();
    let text: String = reversed.iter().rev().map(|b| char::from(*b)).collect();
    // In the case of an exponent that is too large the reader stops within the number.
    let rest = row.get(until.len()..)?.iter().copied().take_while(part_of_number);
    let text: String = text.chars().chain(rest.map(char::from)).take(LITERAL_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// A deserializer, read by Go's rules.
struct De<'c, D> {
    inner: D,
    context: &'c Context,
}

/// Methods for types without parts: the zero value where JSON says `null`.
macro_rules! scalars {
    ($($method:ident $visit:ident $zero:expr, $wanted:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            struct OrZero<V>(V);
            impl<'de, V: Visitor<'de>> Visitor<'de> for OrZero<V> {
                type Value = V::Value;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.expecting(f)
                }
                fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
                    self.0.$visit($zero)
                }
                fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
                    d.$method(self.0)
                }
            }
            let context = self.context;
            self.inner
                .deserialize_option(OrZero(visitor))
                .inspect_err(|e| context.note($wanted, e))
        }
    )*};
}

/// Methods that need no rule of their own.
macro_rules! plain {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for De<'_, D> {
    type Error = D::Error;

    scalars! {
        deserialize_bool visit_bool false, Wanted::Plain("bool");
        deserialize_i8 visit_i8 0, Wanted::Number("int8");
        deserialize_i16 visit_i16 0, Wanted::Number("int16");
        deserialize_i32 visit_i32 0, Wanted::Number("int32");
        deserialize_i64 visit_i64 0, Wanted::Number("int");
        deserialize_i128 visit_i128 0, Wanted::Number("int");
        deserialize_u8 visit_u8 0, Wanted::Number("uint8");
        deserialize_u16 visit_u16 0, Wanted::Number("uint16");
        deserialize_u32 visit_u32 0, Wanted::Number("uint32");
        deserialize_u64 visit_u64 0, Wanted::Number("uint64");
        deserialize_u128 visit_u128 0, Wanted::Number("uint64");
        deserialize_f32 visit_f32 0.0, Wanted::Number("float32");
        deserialize_f64 visit_f64 0.0, Wanted::Number("float64");
        deserialize_str visit_str "", Wanted::Plain("string");
        deserialize_string visit_str "", Wanted::Plain("string");
    }

    plain! {
        deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier
    }

    /// Values of free form have no fields and keep their `null`s, so nothing inside needs a rule.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let context = self.context;
        let wanted = Wanted::Number("float64");
        self.inner.deserialize_any(visitor).inspect_err(|e| context.note(wanted, e))
    }

    /// An unknown field. The inner reader skips without counting depth, so the skipped text is
    /// measured here.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        skip(self.inner)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Wrap { visitor, context: self.context })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // `serde_json` asks itself for the text of a value by this name.
        if name == "$serde_json::private::RawValue" {
            return self.inner.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let context = self.context;
        let wanted = Wanted::Plain("[]interface {}");
        self.inner
            .deserialize_option(ListOrNull(Wrap { visitor, context }))
            .inspect_err(|e| context.note(wanted, e))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_tuple(len, Wrap { visitor, context: self.context })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let context = self.context;
        let wanted = Wanted::Plain("map[string]interface {}");
        self.inner
            .deserialize_option(ObjectOrNull(Wrap { visitor, context }))
            .inspect_err(|e| context.note(wanted, e))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let context = self.context;
        self.inner
            .deserialize_option(ObjectOrNull(Struct { name, fields, visitor, context }))
            .inspect_err(|e| context.note(Wanted::Struct(name), e))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, Wrap { visitor, context: self.context })
    }
}

/// Reads a list or an object, or the empty one where JSON says `null`.
macro_rules! or_null {
    ($name:ident $method:ident $empty:literal) => {
        struct $name<V>(V);

        impl<'de, V: Visitor<'de>> Visitor<'de> for $name<V> {
            type Value = V::Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }

            fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
                serde_json::Deserializer::from_slice($empty).$method(self.0).map_err(E::custom)
            }

            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
                d.$method(self.0)
            }
        }
    };
}

or_null!(ListOrNull deserialize_seq b"[]");
or_null!(ObjectOrNull deserialize_map b"{}");

/// Hands the rules on to the parts of a value: to a visitor's accesses and to seeds.
struct Wrap<'c, V> {
    visitor: V,
    context: &'c Context,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Wrap<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(De { inner: d, context: self.context })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Parts { inner: a, context: self.context })
    }

    fn visit_map<A: MapAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Parts { inner: a, context: self.context })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, a: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Parts { inner: a, context: self.context })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Wrap<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<S::Value, D::Error> {
        self.visitor.deserialize(De { inner: d, context: self.context })
    }
}

/// The elements of a list, the entries of a map, the content of an enum's variant.
struct Parts<'c, A> {
    inner: A,
    context: &'c Context,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(Wrap { visitor: seed, context: self.context })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Wrap { visitor: seed, context: self.context })
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Parts<'c, A> {
    type Error = A::Error;
    type Variant = Parts<'c, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        let (name, variant) = self.inner.variant_seed(seed)?;
        Ok((name, Parts { inner: variant, context: self.context }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Wrap { visitor: seed, context: self.context })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Wrap { visitor, context: self.context })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let context = self.context;
        self.inner.struct_variant(fields, Struct { name: "", fields, visitor, context })
    }
}

/// A struct to be read from an object.
struct Struct<'c, V> {
    name: &'static str,
    fields: &'static [&'static str],
    visitor: V,
    context: &'c Context,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Struct<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut a: A) -> Result<V::Value, A::Error> {
        let mut gathered = Vec::new();
        if self.context.last_key_wins {
            gathered.resize_with(self.fields.len(), || None);
            while let Some(at) = a.next_key_seed(FieldName { fields: self.fields, guess: 0 })? {
                let text: &'de RawValue = a.next_value()?;
                if let Some(slot) = at.and_then(|at| gathered.get_mut(at)) {
                    *slot = Some(text);
                }
            }
        }
        self.visitor.visit_map(Fields {
            inner: a,
            name: self.name,
            fields: self.fields,
            at: 0,
            gathered,
            context: self.context,
        })
    }
}

/// The fields of a struct as they come.
struct Fields<'c, 'de, A> {
    inner: A,
    name: &'static str,
    fields: &'static [&'static str],
    /// The field whose value comes next.
    at: usize,
    /// Values by field in a pass where the last key wins; taken as they are read.
    gathered: Vec<Option<&'de RawValue>>,
    context: &'c Context,
}

impl<'de, A: MapAccess<'de>> Fields<'_, 'de, A> {
    /// The next known key as a place in `fields`; unknown ones are skipped.
    fn next_field(&mut self) -> Result<Option<usize>, A::Error> {
        if self.context.last_key_wins {
            return Ok(self.gathered.iter().position(Option::is_some));
        }
        // Fields are printed in their own order, so the next key most likely names the next field.
        let guess = self.at.saturating_add(1);
        loop {
            match self.inner.next_key_seed(FieldName { fields: self.fields, guess })? {
                None => return Ok(None),
                Some(Some(at)) => return Ok(Some(at)),
                Some(None) => self.inner.next_value_seed(Skip)?,
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(at) = self.next_field()? else { return Ok(None) };
        self.at = at;
        let name = self.fields.get(at).copied().unwrap_or_default();
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = Wrap { visitor: seed, context: self.context };
        let value = match self.gathered.get_mut(self.at).and_then(Option::take) {
            None => self.inner.next_value_seed(seed),
            Some(text) => {
                let text = text.get().as_bytes();
                seed.deserialize(&mut serde_json::Deserializer::from_slice(text))
                    .map_err(A::Error::custom)
            }
        };
        if value.is_err() {
            let name = self.fields.get(self.at).copied().unwrap_or_default();
            self.context.leave(self.name, name);
        }
        value
    }
}

/// Finds the field that a key names: `None` for an unknown one.
#[derive(Clone, Copy)]
struct FieldName {
    fields: &'static [&'static str],
    /// Looked at first.
    guess: usize,
}

impl FieldName {
    fn find(self, key: &str) -> Option<usize> {
        if self.fields.get(self.guess).is_some_and(|f| *f == key) {
            return Some(self.guess);
        }
        let exact = self.fields.iter().position(|f| *f == key);
        exact.or_else(|| self.fields.iter().position(|f| f.eq_ignore_ascii_case(key)))
    }
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Option<usize>, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.find(key))
    }
}

/// Skips one value.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        skip(d)
    }
}

/// Skips one value; an error where it is nested too deeply.
fn skip<'de, D: Deserializer<'de>>(d: D) -> Result<(), D::Error> {
    let text = <&'de RawValue>::deserialize(d)?;
    match syntax::check(text.get().as_bytes()) {
        Ok(_) => Ok(()),
        Err(e) => Err(D::Error::custom(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::stdx::json::{Any, List, Map, Time, encode};

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Job {
        count: Option<i64>,
        #[serde(rename = "ID")]
        id: String,
        meta: Map<String>,
        priority: i64,
        shutdown_delay: i64,
        small: u8,
        submit_time: Time,
        task_groups: List<Group>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Group {
        config: Any,
        names: Vec<String>,
        on: bool,
        parent: Option<Box<Self>>,
        weight: f64,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Request {
        job: Option<Rc<Job>>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Change {
        Nothing,
        Put { job: Box<Job>, pairs: Vec<(String, u64)> },
        One(Job),
        Two(u8, u8),
    }

    fn text<T: DeserializeOwned + Serialize>(input: &[u8]) -> String {
        match decode::<T>(input) {
            Ok(value) => String::from_utf8(encode(&value)).unwrap(),
            Err(e) => format!("error: {e}"),
        }
    }

    fn check<T: DeserializeOwned + Serialize>(input: &str, expected: &str) {
        assert_eq!(text::<T>(input.as_bytes()), expected, "{input}");
    }

    fn group(input: &str, expected: &str) {
        check::<Group>(input, expected);
    }

    #[test]
    fn keys_match_in_any_case_and_the_exact_one_counts_as_well() {
        let job = |s: &str| decode::<Job>(s.as_bytes()).unwrap();
        assert_eq!(
            job(r#"{"id":"a","PRIORITY":3,"taskgroups":[{"ON":true}]}"#),
            job(r#"{"ID":"a","Priority":3,"TaskGroups":[{"On":true}]}"#)
        );
        assert_eq!(job(r#"{"ID":"a","Unknown":{"x":[1,{}]},"Priority":4}x"#).priority, 4);
        assert_eq!(job(r#"{"\u0049D":"a"}"#).id, "a");
    }

    #[test]
    fn null_is_the_zero_value_of_any_type() {
        let zero = text::<Group>(b"{}");
        group(r#"{"Config":null,"Names":null,"On":null,"Parent":null,"Weight":null}"#, &zero);
        group("null", &zero);
        check::<Vec<Group>>("[null]", &format!("[{zero}]"));
        check::<Vec<u64>>(" [null , 1]", "[0,1]");
        check::<BTreeMap<String, bool>>("null", "{}");
        check::<BTreeMap<String, String>>(r#"{"a":null}"#, r#"{"a":""}"#);
        assert_eq!(decode::<Job>(br#"{"TaskGroups":null}"#).unwrap(), Job::default());
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let job = decode::<Job>(
            br#"{"ID":"a","Priority":7,"id":"b","priority":1,"Priority":2,
                "TaskGroups":[{"Weight":1,"weight":2}],"ID":"c"}"#,
        )
        .unwrap();
        assert_eq!((job.id.as_str(), job.priority), ("c", 2));
        assert_eq!(job.task_groups.first().map(|g| g.weight), Some(2.0));
        check::<BTreeMap<String, u8>>(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
        let error = decode::<Request>(br#"{"Job":{"ID":"a","ID":1}}"#).unwrap_err();
        let expected =
            "json: cannot unmarshal number into Go struct field Job.Job.ID of type string";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn text_that_is_not_unicode_is_replaced() {
        for (input, expected) in [
            (&b"{\"Names\":[\"a\xffb\"]}"[..], "a\u{fffd}b"),
            (br#"{"Names":["\ud800x"]}"#, "\u{fffd}x"),
            (br#"{"Names":["\udc00\\ud800"]}"#, "\u{fffd}\\ud800"),
            (br#"{"Names":["\ud83d\ude00"]}"#, "\u{1f600}"),
            (br#"{"Names":["\ud83d\ud83d\ude00"]}"#, "\u{fffd}\u{1f600}"),
            (b"{\"x\xff\":\"\\ud800\",\"Names\":[\"k\"]}", "k"),
        ] {
            assert_eq!(decode::<Group>(input).unwrap().names, [expected], "{input:?}");
        }
    }

    #[test]
    fn enums_round_trip() {
        let job = Job { id: "x".into(), ..Job::default() };
        for change in [
            Change::Nothing,
            Change::Put { job: Box::new(job), pairs: vec![("a".into(), 1)] },
            Change::One(Job::default()),
            Change::Two(1, 2),
        ] {
            assert_eq!(decode::<Change>(&encode(&change)).unwrap(), change);
        }
    }

    #[test]
    fn wrong_types_are_named_as_go_names_them() {
        for (input, expected) in [
            (
                r#"{"Job":{"Priority":"x"}}"#,
                "string into Go struct field Job.Job.Priority of type int",
            ),
            (
                r#"{"Job":{"Priority":1.5}}"#,
                "number 1.5 into Go struct field Job.Job.Priority of type int",
            ),
            (
                "{\"Job\":\n{\"Priority\":1.0 }}",
                "number 1.0 into Go struct field Job.Job.Priority of type int",
            ),
            (
                r#"{"Job":{"Small":300}}"#,
                "number 300 into Go struct field Job.Job.Small of type uint8",
            ),
            (
                r#"{"Job":{"Small":-1}}"#,
                "number -1 into Go struct field Job.Job.Small of type uint8",
            ),
            (r#"{"Job":{"Small":{}}}"#, "object into Go struct field Job.Job.Small of type uint8"),
            (r#"{"Job":{"ID":5}}"#, "number into Go struct field Job.Job.ID of type string"),
            (
                r#"{"Job":{"Meta":{"a":5}}}"#,
                "number into Go struct field Job.Job.Meta of type string",
            ),
            (r#"{"Job":[]}"#, "array into Go struct field Request.Job of type api.Job"),
            (r#"{"Job":true}"#, "bool into Go struct field Request.Job of type api.Job"),
            ("7", "number into Go value of type api.Request"),
            (r#"{"Job":{"Count":"1"}}"#, "string into Go struct field Job.Job.Count of type int"),
            (
                r#"{"Job":{"ShutdownDelay":"5s"}}"#,
                "string into Go struct field Job.Job.ShutdownDelay of type time.Duration",
            ),
            (
                r#"{"Job":{"TaskGroups":[{},{"On":1}]}}"#,
                "number into Go struct field Group.Job.TaskGroups.On of type bool",
            ),
            (
                r#"{"Job":{"TaskGroups":[{"Weight":1e999}]}}"#,
                "number 1e999 into Go struct field Group.Job.TaskGroups.Weight of type float64",
            ),
        ] {
            check::<Request>(input, &format!("error: json: cannot unmarshal {expected}"));
        }
        check::<Job>(r#"{"SubmitTime":"x"}"#, "error: parsing time \"x\"");
    }

    #[test]
    fn long_numbers_are_not_repeated() {
        let number = format!("1{}.5", "0".repeat(100_000));
        let error = decode::<Vec<i64>>(format!("[{number}]").as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("json: cannot unmarshal number 1000000"), "{error}");
        assert!(error.len() < 200, "{}", error.len());
    }

    #[test]
    fn syntax_comes_before_types() {
        check::<Request>(r#"{"Job":{"Priority":"x""#, "error: unexpected EOF");
        check::<Request>(
            "{n",
            "error: invalid character 'n' looking for beginning of object key string",
        );
        check::<Request>("", "error: EOF");
        check::<Request>(
            r#"{"Job":{"Priority":"x"},}"#,
            "error: invalid character '}' looking for beginning of object key string",
        );
    }

    #[test]
    fn depth_is_limited_in_known_and_unknown_parts() {
        // Skipped text is measured by itself.
        for (key, most) in [("Config", 126), ("Other", 127)] {
            let nest = |n: usize| format!(r#"{{"{key}":{}{}}}"#, "[".repeat(n), "]".repeat(n));
            assert!(decode::<Group>(nest(most).as_bytes()).is_ok());
            check::<Group>(&nest(most + 1), "error: invalid character '[' exceeded max depth");
            check::<Group>(
                &"{\"a\":".repeat(100_000),
                "error: invalid character '{' exceeded max depth",
            );
        }
    }

    #[test]
    fn cutting_a_document_anywhere_is_an_error_and_no_more() {
        let whole = br#" {"Job":{"ID":"a\u00e9","Priority":-12,
            "TaskGroups":[{"On":true,"Config":{"a":[1.5e3,null]}}]}}"#;
        assert!(decode::<Request>(whole).is_ok());
        for end in 1..whole.len() {
            check::<Request>(
                std::str::from_utf8(whole.get(..end).unwrap()).unwrap(),
                if end == 1 { "error: EOF" } else { "error: unexpected EOF" },
            );
        }
    }
}
