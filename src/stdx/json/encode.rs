//! The typed printer: any value as JSON bytes, in one pass and without white space.
//!
//! Whole, it prints what the API shows. Lean, it leaves out of every struct what reads back as the
//! same value when it is missing; the log holds commands in this form. One pass can give both.

use std::ops::Range;

use serde::de::value::Error;
use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::syntax::plain;

type Done = Result<(), Error>;

/// Members of the outermost object that get another value, in the order in which they are printed.
pub(super) type Edits<'o> = &'o [(&'o str, &'o [u8])];

/// What is printed.
pub(super) enum Form<'o> {
    Whole,
    Lean,
    /// Whole, and noted what lean leaves out.
    Both(&'o mut Notes),
}

/// What one pass learns of the whole text besides printing it; places are bytes from its start.
pub(super) struct Notes {
    /// Members of the outermost object, each with the place of its value.
    pub(super) members: Vec<(&'static str, Range<usize>)>,
    /// What lean leaves out, in order, joined where they touch.
    pub(super) left_out: Vec<Range<usize>>,
}

/// Appends one value to `out`.
pub(super) struct Printer<'o> {
    out: &'o mut Vec<u8>,
    form: Form<'o>,
    /// What was printed last stands for more than a zero: it is the inside of an `Option`.
    present: bool,
    /// The next object is the outermost.
    outermost: bool,
    edits: Edits<'o>,
}

impl<'o> Printer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, form: Form<'o>, edits: Edits<'o>) -> Self {
        Self { out, form, present: false, outermost: true, edits }
    }

    /// The name of a field, which needs no escapes, behind what leads to it.
    fn name(&mut self, lead: u8, name: &str) {
        quote(self.out, true, lead, name.as_bytes());
    }

    fn text(&mut self, text: &str) -> Done {
        if plain(text.as_bytes()) < text.len() {
            return self.foreign(text);
        }
        quote(self.out, false, b'"', text.as_bytes());
        Ok(())
    }

    fn number(&mut self, mut n: u64) -> Done {
        if n < 10 {
            self.out.push(b'0' + n as u8);
            return Ok(());
        }
        let mut digits = [0; 20];
        let mut at = digits.len();
        while n > 0 {
            // A tenth by multiplication: built for size, a division would be one, at ten times the
            // cost.
            let tenth = ((u128::from(n) * 0xcccc_cccc_cccc_cccd) >> 67) as u64;
            at -= 1;
            digits[at] = b'0' + (n - tenth * 10) as u8;
            n = tenth;
        }
        self.out.extend_from_slice(&digits[at..]);
        Ok(())
    }

    /// What is rare: text with escapes, floats.
    fn foreign<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        serde_json::to_writer(&mut *self.out, value).map_err(Error::custom)
    }

    fn open<'p>(&'p mut self, open: u8, close: &'static str) -> Parts<'p, 'o> {
        let edits = std::mem::take(&mut self.edits);
        let outermost = std::mem::take(&mut self.outermost);
        Parts { outermost, edits, printer: self, lead: open, close }
    }

    fn open_variant<'p>(
        &'p mut self,
        name: &str,
        open: u8,
        close: &'static str,
    ) -> Result<Parts<'p, 'o>, Error> {
        self.name(b'{', name);
        self.outermost = false;
        Ok(Parts { outermost: false, edits: &[], printer: self, lead: open, close })
    }
}

/// The parts of a list or an object.
pub(super) struct Parts<'p, 'o> {
    printer: &'p mut Printer<'o>,
    /// Stands before the next part: what opens the whole, then commas.
    lead: u8,
    close: &'static str,
    outermost: bool,
    edits: Edits<'o>,
}

impl Parts<'_, '_> {
    fn lead(&mut self) {
        self.printer.out.push(self.lead);
        self.lead = b',';
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.lead();
        value.serialize(&mut *self.printer)
    }

    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        if !self.edits.is_empty() && self.edited(name) {
            return Ok(());
        }
        let from = self.printer.out.len();
        self.printer.name(self.lead, name);
        self.printer.present = false;
        value.serialize(&mut *self.printer)?;
        self.end_member(from, name);
        Ok(())
    }

    /// A member that begins at `from` is printed; lean takes it back if it says nothing.
    fn end_member(&mut self, from: usize, name: &'static str) {
        let printer = &mut *self.printer;
        let value = from + name.len() + 4..printer.out.len();
        let present = std::mem::take(&mut printer.present);
        let zero = !present && is_zero(&printer.out[value.clone()]);
        match &mut printer.form {
            Form::Whole => {}
            Form::Lean => {
                if zero {
                    printer.out.truncate(from);
                    return;
                }
            }
            Form::Both(notes) => {
                // An object of which nothing is left is as good as empty.
                let inside = value.start + 1..value.end - 1;
                let emptied = !present && notes.left_out.last() == Some(&inside);
                if emptied {
                    notes.left_out.pop();
                }
                if emptied || zero {
                    // What opens the object stays.
                    let from = from + usize::from(self.lead != b',');
                    match notes.left_out.last_mut() {
                        Some(last) if last.end == from => last.end = value.end,
                        _ => notes.left_out.push(from..value.end),
                    }
                }
                if self.outermost {
                    notes.members.push((name, value));
                }
            }
        }
        self.lead = b',';
    }

    /// Prints a member with its value of the edits, where they have one.
    fn edited(&mut self, name: &'static str) -> bool {
        let Some(((_, text), rest)) = self.edits.split_first().filter(|((n, _), _)| *n == name)
        else {
            return false;
        };
        self.edits = rest;
        self.printer.name(self.lead, name);
        self.lead = b',';
        self.printer.out.extend_from_slice(text);
        true
    }

    fn close(mut self) -> Done {
        if self.lead != b',' {
            self.lead();
        }
        self.printer.out.extend_from_slice(self.close.as_bytes());
        Ok(())
    }
}

/// Appends a text in quotes, the first behind `lead`, the last before a colon where it is a name.
///
/// A job has some four hundred names and texts; one check for room and one copy for each is a
/// seventh less work per registered job than growing by piece.
#[expect(unsafe_code, reason = "safe code writes each piece by calls of its own")]
#[inline(always)]
fn quote(out: &mut Vec<u8>, name: bool, lead: u8, text: &[u8]) {
    let length = text.len() + if name { 4 } else { 2 };
    out.reserve(length);
    let to = out.len() + length;
    match (name, out.spare_capacity_mut().get_mut(..length)) {
        (true, Some([first, open, middle @ .., close, colon])) => {
            first.write(lead);
            open.write(b'"');
            middle.write_copy_of_slice(text);
            close.write(b'"');
            colon.write(b':');
        }
        (false, Some([open, middle @ .., close])) => {
            open.write(b'"');
            middle.write_copy_of_slice(text);
            close.write(b'"');
        }
        // There is room: it was made above.
        _ => return,
    }
    // SAFETY: the bytes up to there have just been written, each of them.
    unsafe { out.set_len(to) };
}

/// Whether a value that is printed like this reads back the same from nothing.
fn is_zero(text: &[u8]) -> bool {
    matches!(text, [b'0'] | [b'n' | b'f', ..] | [b'"', b'"'] | [b'[', b']'] | [b'{', b'}'] | b"0.0")
}

macro_rules! integers {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, n: $type) -> Done {
            let n = i64::from(n);
            if n < 0 {
                self.out.push(b'-');
            }
            self.number(n.unsigned_abs())
        }
    )*};
}

impl<'p, 'o> Serializer for &'p mut Printer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'p, 'o>;
    type SerializeTuple = Parts<'p, 'o>;
    type SerializeTupleStruct = Parts<'p, 'o>;
    type SerializeTupleVariant = Parts<'p, 'o>;
    type SerializeMap = Parts<'p, 'o>;
    type SerializeStruct = Parts<'p, 'o>;
    type SerializeStructVariant = Parts<'p, 'o>;

    integers! {
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
    }

    fn serialize_u64(self, n: u64) -> Done {
        self.number(n)
    }

    fn serialize_f32(self, n: f32) -> Done {
        self.foreign(&n)
    }

    fn serialize_f64(self, n: f64) -> Done {
        self.foreign(&n)
    }

    fn serialize_bool(self, b: bool) -> Done {
        self.out.extend_from_slice(if b { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_char(self, c: char) -> Done {
        self.text(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Done {
        self.text(text)
    }

    /// Text that is printed already.
    fn serialize_bytes(self, bytes: &[u8]) -> Done {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(&mut *self)?;
        self.present = true;
        Ok(())
    }

    fn serialize_unit(self) -> Done {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        self.name(b'{', variant);
        value.serialize(&mut *self)?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'p, 'o>, Error> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'p, 'o>, Error> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'p, 'o>, Error> {
        Ok(self.open(b'[', "]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'p, 'o>, Error> {
        self.open_variant(variant, b'[', "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'p, 'o>, Error> {
        Ok(self.open(b'{', "}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'p, 'o>, Error> {
        Ok(self.open(b'{', "}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'p, 'o>, Error> {
        self.open_variant(variant, b'{', "}}")
    }
}

macro_rules! items {
    ($($trait:ident $method:ident;)*) => {$(
        impl $trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.item(value)
            }

            fn end(self) -> Done {
                self.close()
            }
        }
    )*};
}

items! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! members {
    ($($trait:ident)*) => {$(
        impl $trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Done {
                self.member(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Done {
                self.edited(name);
                Ok(())
            }

            fn end(self) -> Done {
                self.close()
            }
        }
    )*};
}

members! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    /// Keys are text; a number becomes text.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.lead();
        let at = self.printer.out.len();
        key.serialize(&mut *self.printer)?;
        match self.printer.out.get(at) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9') => {
                self.printer.out.insert(at, b'"');
                self.printer.out.push(b'"');
            }
            _ => return Err(Error::custom("a key is not text")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.printer.out.push(b':');
        value.serialize(&mut *self.printer)
    }

    fn end(self) -> Done {
        self.close()
    }
}

#[cfg(test)]
mod tests {

    use crate::stdx::BTreeMap;
    use crate::stdx::json::{Any, List, Map, Time, choices, records};
    use crate::stdx::json::{decode, encode, encode_edited, encode_lean};

    records! {
    #[derive(Debug, Default, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Part {
        count: Option<i64>,
        names: List<String>,
        on: Option<bool>,
        text: String,
        value: f64,
    }

    #[derive(Debug, Default, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Whole {
        any: Map<Any>,
        at: Time,
        inner: Part,
        least: i64,
        most: u64,
        optional: Option<Part>,
        parts: Map<Part>,
        plain: BTreeMap<String, bool>,
        texts: Vec<String>,
    }
    }

    choices! {
    #[derive(Debug, PartialEq)]
    enum Choice {
        Unit,
        One(Part),
        Named { part: Part, count: i64, last: Option<u64> },
    }
    }

    fn whole() -> Whole {
        let config = [("a", Any::Null), ("b", Any::Number(0.0)), ("c", Any::Text("\"".into()))];
        Whole {
            any: config.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            at: Time(1_500_000_000),
            inner: Part { count: Some(0), on: Some(false), value: 2.5, ..Part::default() },
            least: i64::MIN,
            most: u64::MAX,
            optional: Some(Part::default()),
            parts: [("p\u{7f}\n{".to_owned(), Part::default())].into_iter().collect(),
            plain: [("no".to_owned(), false), ("yes".to_owned(), true)].into_iter().collect(),
            texts: vec![String::new(), "[".to_owned(), "\\\u{e9}".to_owned()],
        }
    }

    #[test]
    fn whole_values_print_as_the_library_prints_them() {
        for value in [Whole::default(), whole()] {
            assert_eq!(encode(&value), serde_json::to_vec(&value).unwrap());
        }
        for n in [0, 9, 10, 12_345_678_901, -1, i64::MAX] {
            assert_eq!(encode(&n), n.to_string().as_bytes());
        }
        let part = || Part { count: Some(1), ..Part::default() };
        let named = Choice::Named { part: part(), count: 0, last: None };
        let choices = [Choice::Unit, Choice::One(part()), named];
        assert_eq!(encode(&choices), serde_json::to_vec(&choices).unwrap());
        let numbers = BTreeMap::from([(-1i8, 1u8), (7, 0)]);
        assert_eq!(encode(&(1u8, "a", 'b', (), numbers)), br#"[1,"a","b",null,{"-1":1,"7":0}]"#);
    }

    #[test]
    fn lean_values_read_back_as_they_were() {
        for value in [Whole::default(), whole()] {
            assert_eq!(decode::<Whole>(&encode_lean(&value)), Ok(value));
        }
        assert_eq!(encode_lean(&Whole::default()), b"{}");
        assert_eq!(encode_lean(&Part { count: Some(0), ..Part::default() }), br#"{"Count":0}"#);
        for choice in [
            Choice::Unit,
            Choice::One(Part::default()),
            Choice::Named { part: Part::default(), count: 0, last: None },
            Choice::Named { part: Part::default(), count: 1, last: Some(0) },
        ] {
            assert_eq!(decode::<Choice>(&encode_lean(&choice)), Ok(choice));
        }
    }

    #[test]
    fn members_that_are_left_out_can_be_edited_too() {
        let eval = crate::api::Evaluation { id: "a".to_owned(), ..Default::default() };
        let mut out = Vec::new();
        encode_edited(&eval, &[("CreateIndex", b"3"), ("Wait", b"5")], &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"CreateIndex":3,"ID":"a","Wait":5}"#);
    }

    #[test]
    fn members_of_the_outermost_object_are_edited() {
        let value = Whole { optional: Some(Part::default()), ..Whole::default() };
        let mut out = b"[".to_vec();
        let edits: [(&str, &[u8]); 3] = [("Inner", b"{}"), ("Least", b"7"), ("Parts", b"[1]")];
        encode_edited(&value, &edits, &mut out);
        let part = r#"{"Count":null,"Names":null,"On":null,"Text":"","Value":0.0}"#;
        let want = format!(
            r#"[{{"Any":null,"At":null,"Inner":{{}},"Least":7,"Most":0,"Optional":{part},"#
        );
        let want = format!(r#"{want}"Parts":[1],"Plain":{{}},"Texts":[]}}"#);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
