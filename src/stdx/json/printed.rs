//! A value with its text, which one pass prints in both forms.
//!
//! A job that is registered goes into the log in the lean form and into its row in the whole one.
//! Printing it twice would be the largest part of the work.

use std::ops::Deref;

use serde::{Serialize, Serializer};

use super::encode::{Edits, Form, Notes, Printer};
use super::{Decode, Reader, Step, encode_edited, print};

/// A value that may bring its text along. Equal to another where the values are.
///
/// Where it has its text, it prints lean whatever is asked for: it is meant for what goes into the
/// log.
#[derive(Clone, Debug, Default)]
pub struct Printed<T> {
    value: Box<T>,
    text: Option<Box<Text>>,
}

#[derive(Clone, Debug)]
struct Text {
    whole: Vec<u8>,
    lean: Vec<u8>,
    /// Members of the whole text, with the places of their values.
    members: Vec<(&'static str, std::ops::Range<usize>)>,
}

impl<T: Serialize> Printed<T> {
    /// Prints a value in both forms.
    pub fn new(value: Box<T>) -> Self {
        let mut whole = Vec::with_capacity(4096);
        let mut notes = Notes { members: Vec::with_capacity(64), left_out: Vec::with_capacity(64) };
        print(&*value, Printer::new(&mut whole, Form::Both(&mut notes), &[]));
        let lean = without(&whole, &notes.left_out);
        Self { value, text: Some(Box::new(Text { whole, lean, members: notes.members })) }
    }

    /// As [`encode_edited`].
    pub(crate) fn encode_edited(&self, edits: Edits<'_>, out: &mut Vec<u8>) {
        let begin = out.len();
        if let Some(text) = &self.text {
            if text.edit(edits, out) {
                return;
            }
            out.truncate(begin);
        }
        encode_edited(&*self.value, edits, out);
    }
}

impl Text {
    /// Writes the whole text with other values for some members, in the order of the fields. False
    /// where one of them is not there.
    fn edit(&self, mut edits: Edits<'_>, out: &mut Vec<u8>) -> bool {
        let mut done = 0;
        for (name, place) in &self.members {
            let Some(((edited, text), rest)) = edits.split_first() else { break };
            if edited == name {
                edits = rest;
                out.extend_from_slice(&self.whole[done..place.start]);
                out.extend_from_slice(text);
                done = place.end;
            }
        }
        out.extend_from_slice(&self.whole[done..]);
        edits.is_empty()
    }
}

/// The text without some members. Where the first of an object goes, the comma behind it goes too.
fn without(whole: &[u8], left_out: &[std::ops::Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(whole.len() / 2);
    let mut done = 0;
    let end = whole.len()..whole.len();
    for gap in left_out.iter().chain([&end]) {
        let mut piece = &whole[done..gap.start];
        // A gap begins behind a value or behind what opens an object.
        if out.last() == Some(&b'{') && piece.first() == Some(&b',') {
            piece = &piece[1..];
        }
        out.extend_from_slice(piece);
        done = gap.end;
    }
    out
}

impl<T> From<T> for Printed<T> {
    /// Without its text.
    fn from(value: T) -> Self {
        Self { value: Box::new(value), text: None }
    }
}

impl<T> Deref for Printed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Printed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Serialize> Serialize for Printed<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.text {
            Some(text) => s.serialize_bytes(&text.lean),
            None => self.value.serialize(s),
        }
    }
}

impl<T: Decode> Decode for Printed<T> {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Step {
        self.text = None;
        self.value.decode(reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Evaluation, Job, Node};
    use crate::stdx::json::{decode, encode, encode_lean};

    fn check<T: Clone + Default + Decode + PartialEq + std::fmt::Debug + Serialize>(value: &T) {
        let printed = Printed::new(Box::new(value.clone()));
        let text = printed.text.as_ref().unwrap();
        let show = String::from_utf8_lossy;
        assert_eq!(show(&text.whole), show(&encode(value)));
        assert_eq!(show(&text.lean), show(&encode_lean(value)));
        assert_eq!(encode_lean(&printed), encode_lean(value));
        assert_eq!(decode::<Printed<T>>(&text.lean).unwrap(), printed);
    }

    fn job() -> Job {
        let text =
            br#"{"ID":"a","Priority":0,"AllAtOnce":true,"Update":{"Stagger":1},"Meta":{"":"{"},
            "TaskGroups":[{},{"Name":"{","Count":0,"RestartPolicy":{"Mode":""},"Tasks":[
            {"Config":{"a":0,"b":[{}],"c":{}},"Resources":{"CPU":0,"Cores":1}},
            {"KillTimeout":0,"LogConfig":{"Disabled":false},"User":"\\","Env":{"a":""}}]}],
            "Constraints":[{},{"Operand":"="}],"Stop":true,"Datacenters":[""],"Status":"x"}"#;
        decode(text).unwrap()
    }

    #[test]
    fn one_pass_prints_both_forms() {
        check(&Job::default());
        check(&job());
        check(&Node::default());
        check(&Evaluation::default());
    }

    #[test]
    fn edits_of_the_text_are_edits_of_the_value() {
        let edits: [(&str, &[u8]); 3] = [("ID", b"\"b\""), ("Status", b"\"y\""), ("Stop", b"7")];
        for edits in [&edits[..], &edits[1..], &[]] {
            let (mut want, mut got) = (b"[".to_vec(), b"[".to_vec());
            encode_edited(&job(), edits, &mut want);
            Printed::new(Box::new(job())).encode_edited(edits, &mut got);
            assert_eq!(String::from_utf8(got).unwrap(), String::from_utf8(want).unwrap());
        }
        // An evaluation leaves members out; the text alone cannot tell where they belong.
        let edits: [(&str, &[u8]); 1] = [("Wait", b"5")];
        let mut got = Vec::new();
        Printed::new(Box::new(Evaluation::default())).encode_edited(&edits, &mut got);
        assert_eq!(String::from_utf8(got).unwrap(), r#"{"Wait":5}"#);
    }
}
