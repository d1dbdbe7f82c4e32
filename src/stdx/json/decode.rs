//! Values that can be read, beside structs and enums.

use std::rc::Rc;

use serde_json::{Number, Value};

use super::reader::{Reader, Step};
use super::{Any, Bytes, List, Map, Numbers, Raw, Span, Time};
use crate::stdx::{BTreeMap, duration, time};

/// A value that can be read in its place. `null` makes it zero.
pub trait Decode {
    /// # Errors
    /// For what the type does not allow, and for what is not JSON.
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step;
}

impl Decode for bool {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = reader.truth()?;
        Ok(())
    }
}

macro_rules! integers {
    ($($type:ident $min:literal $name:literal)*) => {$(
        impl Decode for $type {
            fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
                *self = reader.integer($min, Self::MAX.unsigned_abs().into(), $name)? as Self;
                Ok(())
            }
        }
    )*};
}

integers! {
    i8 -0x80 "int8"
    i16 -0x8000 "int16"
    i32 -0x8000_0000 "int32"
    i64 -0x8000_0000_0000_0000 "int"
}

macro_rules! naturals {
    ($($type:ident $name:literal)*) => {$(
        impl Decode for $type {
            fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
                *self = reader.integer(0, Self::MAX.into(), $name)? as Self;
                Ok(())
            }
        }
    )*};
}

naturals! { u8 "uint8" u16 "uint16" u32 "uint32" }

impl Decode for u64 {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = reader.integer(0, Self::MAX, "uint64")?;
        Ok(())
    }
}

impl Decode for f64 {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = reader.float()?;
        Ok(())
    }
}

impl Decode for String {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = reader.text()?.into_owned();
        Ok(())
    }
}

impl Decode for Time {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = Self(0);
        if reader.null()? {
            return Ok(());
        }
        let text = reader.text()?;
        match time::parse_rfc3339(&text) {
            Some(ns) => *self = Self(ns),
            None => return Err(reader.refuse(format!("parsing time {text:?}"))),
        }
        Ok(())
    }
}

impl Decode for Span {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        if reader.peek()? != b'"' {
            self.0 = reader.float()? as i64;
            return Ok(());
        }
        let text = reader.text()?;
        // What the API itself prints for none, and its clients send back.
        let ns = if text.is_empty() { Some(0) } else { duration::parse(&text) };
        match ns {
            Some(ns) => self.0 = ns,
            None => return Err(reader.refuse(format!("time: invalid duration {text:?}"))),
        }
        Ok(())
    }
}

impl Decode for Bytes {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        match Self::decode(&reader.text()?) {
            Some(bytes) => self.0 = bytes,
            None => {
                return Err(reader.refuse("illegal base64 data at input byte 0".to_owned()));
            }
        }
        Ok(())
    }
}

impl<T: Decode + Default> Decode for Option<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = None;
        if reader.null()? { Ok(()) } else { self.insert(T::default()).decode(reader) }
    }
}

impl<T: Decode + ?Sized> Decode for Box<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        (**self).decode(reader)
    }
}

impl<T: Decode + Default> Decode for Rc<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        let mut value = T::default();
        value.decode(reader)?;
        *self = Self::new(value);
        Ok(())
    }
}

impl<T: Decode + Default> Decode for Vec<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.clear();
        if reader.null()? {
            return Ok(());
        }
        reader.elements(&mut |r| {
            self.push(T::default());
            self.last_mut().map_or(Ok(()), |last| last.decode(r))
        })
    }
}

impl<T: Decode + Default> Decode for BTreeMap<String, T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.clear();
        if reader.null()? {
            return Ok(());
        }
        reader.map(&mut |r, key| {
            let mut value = T::default();
            value.decode(r)?;
            self.insert(key.into_owned(), value);
            Ok(())
        })
    }
}

impl<T: Decode + Default> Decode for List<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.0.decode(reader)
    }
}

impl<T: Decode + Default> Decode for Map<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.0.decode(reader)
    }
}

impl Decode for Numbers {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.0.clear();
        if reader.null()? {
            return Ok(());
        }
        reader.map(&mut |r, key| {
            let mut value = 0.0;
            f64::decode(&mut value, r)?;
            self.0.push((key.into_owned().into(), value));
            Ok(())
        })
    }
}

/// A list of two.
impl<A: Decode, B: Decode> Decode for (A, B) {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        let mut count = 0;
        reader.elements(&mut |r| {
            count += 1;
            match count {
                1 => self.0.decode(r),
                2 => self.1.decode(r),
                _ => Err(r.refuse("a list of more than two".to_owned())),
            }
        })?;
        if count == 2 { Ok(()) } else { Err(reader.refuse("a list of less than two".to_owned())) }
    }
}

impl Decode for Raw {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.0 = String::from_utf8_lossy(reader.raw()?).into_owned();
        Ok(())
    }
}

impl Decode for Any {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = match reader.peek()? {
            b'n' => reader.null().map(|_| Self::Null)?,
            b't' | b'f' => Self::Bool(reader.truth()?),
            b'"' => Self::Text(reader.text()?.into_owned()),
            b'[' => {
                let mut list = Vec::new();
                list.decode(reader)?;
                Self::List(list)
            }
            b'{' => {
                let mut map = BTreeMap::new();
                map.decode(reader)?;
                Self::Map(map)
            }
            _ => Self::Number(reader.float()?),
        };
        Ok(())
    }
}

impl Decode for Value {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        *self = match reader.peek()? {
            b'n' => reader.null().map(|_| Self::Null)?,
            b't' | b'f' => Self::Bool(reader.truth()?),
            b'"' => Self::String(reader.text()?.into_owned()),
            b'[' => {
                let mut list = Vec::new();
                list.decode(reader)?;
                Self::Array(list)
            }
            b'{' => {
                let mut map = serde_json::Map::new();
                reader.map(&mut |r, key| {
                    let mut value = Self::Null;
                    value.decode(r)?;
                    map.insert(key.into_owned(), value);
                    Ok(())
                })?;
                Self::Object(map)
            }
            _ => {
                let text = reader.number("float64")?.unwrap_or_default();
                let number = text.parse::<u64>().map(Number::from);
                let number = number.or_else(|_| text.parse::<i64>().map(Number::from)).ok();
                let float = || text.parse::<f64>().ok().and_then(Number::from_f64);
                match number.or_else(float) {
                    Some(number) => Self::Number(number),
                    None => return Err(reader.wrong_number(text, "float64")),
                }
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::stdx::json::{choices, decode, decode_whole, encode, records};

    records! {
    #[derive(Debug, Default, PartialEq)]
    #[serde(rename_all = "PascalCase")]
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
        #[serde(skip)]
        unread: i64,
    }

    #[derive(Debug, Default, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Group {
        config: Any,
        names: Vec<String>,
        on: bool,
        parent: Option<Box<Self>>,
        weight: f64,
    }

    #[derive(Debug, Default, PartialEq)]
    #[serde(rename_all = "PascalCase", rename = "JobRegisterRequest")]
    struct Request {
        job: Option<Rc<Job>>,
    }

    #[derive(Debug, Default, PartialEq)]
    struct Plain {
        wall_ns: i64,
        #[serde(rename = "use")]
        used: bool,
    }
    }

    choices! {
    #[derive(Debug, PartialEq)]
    enum Change {
        Nothing,
        Put { job: Box<Job>, pairs: Vec<(String, u64)> },
        One(Job),
    }
    }

    fn text<T: Decode + Default + Serialize>(input: &[u8]) -> String {
        match decode::<T>(input) {
            Ok(value) => String::from_utf8(encode(&value)).unwrap(),
            Err(e) => format!("error: {e}"),
        }
    }

    fn check<T: Decode + Default + Serialize>(input: &str, expected: &str) {
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
        ] {
            assert_eq!(decode::<Change>(&encode(&change)).unwrap(), change);
        }
    }

    #[test]
    fn an_enum_is_one_known_variant() {
        for input in ["null", "{}", "\"Other\"", r#"{"Other":1}"#, r#"{"One":{},"One":{}}"#] {
            assert!(decode::<Change>(input.as_bytes()).is_err(), "{input}");
        }
        check::<(u8, u8)>("[1]", "error: a list of less than two");
        check::<(u8, u8)>("[1,2,3]", "error: a list of more than two");
    }

    #[test]
    fn names_are_those_that_are_printed() {
        check::<Plain>(r#"{"wall_ns":1,"use":true}"#, r#"{"wall_ns":1,"use":true}"#);
        check::<Plain>(r#"{"WallNs":1}"#, r#"{"wall_ns":0,"use":false}"#);
        // A field that is skipped has no name at all.
        check::<Job>(r#"{"":1,"Unread":1,"unread":1}"#, &text::<Job>(b"{}"));
        assert_eq!(decode::<Job>(br#"{"":1,"Unread":2,"unread":3}"#).unwrap().unread, 0);
    }

    #[test]
    fn integers_end_where_their_type_does() {
        check::<Vec<i64>>(
            "[-9223372036854775808,9223372036854775807,-0]",
            "[-9223372036854775808,9223372036854775807,0]",
        );
        check::<Vec<u64>>("[18446744073709551615]", "[18446744073709551615]");
        check::<Vec<i8>>("[-128,127]", "[-128,127]");
        for input in ["[-129]", "[128]", "[1e1]", "[18446744073709551616]"] {
            assert!(decode::<Vec<i8>>(input.as_bytes()).is_err(), "{input}");
        }
        for input in ["[-9223372036854775809]", "[9223372036854775808]"] {
            assert!(decode::<Vec<i64>>(input.as_bytes()).is_err(), "{input}");
        }
    }

    #[test]
    fn a_whole_document_ends_with_its_value() {
        assert_eq!(decode_whole::<Vec<u8>>(b" [1]\n ").unwrap(), [1]);
        for (input, expected) in [
            ("[1]\n x", "invalid character 'x' after top-level value (line 2)"),
            ("[\n1,\n\n}", "invalid character '}' looking for beginning of value (line 4)"),
            ("[1,\n300]", "json: cannot unmarshal number 300 into Go value of type uint8 (line 2)"),
        ] {
            let error = decode_whole::<Vec<u8>>(input.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected);
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
            (r#"{"Job":[]}"#, "array into Go struct field JobRegisterRequest.Job of type api.Job"),
            (r#"{"Job":true}"#, "bool into Go struct field JobRegisterRequest.Job of type api.Job"),
            ("7", "number into Go value of type api.JobRegisterRequest"),
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
