//! Job files in HCL: text in, the job in the API's form out, or every mistake with its place.
//!
//! The form is the one that `/v1/jobs/parse` answers: what the file does not say is `null`, and is
//! given its default by whoever registers the job ([`super::admit`]), or here by [`canonical()`].

mod canonical;
mod decode;
mod fixups;
mod json_form;
mod schema;
mod variables;

pub use canonical::canonical;
pub use json_form::is_json;
pub use variables::Inputs;

use serde_json::Value;

use crate::hcl::disk::Files;
use crate::hcl::eval::{Budget, Scope};
use crate::hcl::{Body, Diagnostic, Source, Span, Structure, parse};
use crate::limits::{HCL_SERVER_STEPS_MAX, HCL_STEPS_MAX};
use decode::Decoder;

/// The job of a file, in HCL or in its JSON form, or what is wrong with it.
///
/// `files` reads for the functions of the language that do; on a server there are none.
pub fn job(text: &str, inputs: &Inputs<'_>, files: Files<'_>) -> Result<Value, Vec<Diagnostic>> {
    if !is_json(text) {
        return native(text, inputs, files);
    }
    let written = json_form::written(text)?;
    let wrong = |all: Vec<Diagnostic>| all.into_iter().map(|d| written.placed(d)).collect();
    native(&written.text, inputs, files).map_err(wrong)
}

fn native(text: &str, inputs: &Inputs<'_>, files: Files<'_>) -> Result<Value, Vec<Diagnostic>> {
    let body = parse(text)?;
    let mut d = Decoder::default();
    let budget = Budget::new(if files.is_some() { HCL_STEPS_MAX } else { HCL_SERVER_STEPS_MAX });
    let block = top(&body, &mut d);
    let values = variables::read(&body, text, inputs, files, &budget, &mut d);
    let names = [("var", values.var), ("local", values.local)];
    let scope =
        Scope { text, names: &names, unset: &values.unset, files, budget: &budget, outer: None };
    let job = block.map(|block| {
        let label = block.labels.first().map(|l| l.as_str().to_owned());
        if label.is_none() {
            let detail = "All job blocks must have 1 labels (name).";
            d.say(block.ident.span(), "Missing name for job", detail);
        }
        d.object(&block.body, label, &schema::JOB, &block.ident.span(), &scope)
    });
    match job {
        Some(job) if d.wrong.is_empty() => Ok(Value::Object(job)),
        _ => Err(d.wrong),
    }
}

/// The one job block among what may stand at the top.
fn top<'a>(body: &'a Body, d: &mut Decoder) -> Option<&'a crate::hcl::Block> {
    let mut found = None;
    for structure in body.iter() {
        match structure {
            Structure::Attribute(a) => {
                let detail =
                    format!("An argument named \"{}\" is not expected here.", a.key.as_str());
                d.say(a.key.span(), "Unsupported argument", detail);
            }
            Structure::Block(b) => match b.ident.as_str() {
                "job" if found.is_none() => found = Some(b),
                "job" => {
                    let detail = "Only one job block is allowed.";
                    d.say(b.ident.span(), "Duplicate job block", detail);
                }
                "variable" | "variables" | "locals" => {}
                other => {
                    let known = ["job", "variable", "variables", "locals"];
                    let near = crate::hcl::diag::nearest(other, known.into_iter());
                    let hint = near.map(|n| format!(" Did you mean \"{n}\"?")).unwrap_or_default();
                    let detail = format!("Blocks of type \"{other}\" are not expected here.{hint}");
                    d.say(b.ident.span(), "Unsupported block type", detail);
                }
            },
        }
    }
    if found.is_none() && d.wrong.is_empty() {
        d.say(Some(0..0), "Missing job block", "A job block is required.");
    }
    found
}

/// All mistakes of a file called `name`, a line each.
pub fn lines(name: &str, text: &str, wrong: &[Diagnostic]) -> String {
    Source { name, text }.lines(wrong)
}
