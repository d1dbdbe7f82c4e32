//! What a request that fails is answered with.

/// Status and plain text of a failed request; the text is the whole body (contract: conventions,
/// section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub text: String,
}

impl ApiError {
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// 400: the request itself is wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// 404: no such object.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, text)
    }

    /// 500: what most failed writes and look-ups answer in the reference.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(500, text)
    }

    /// 501: known, but not served today.
    pub fn missing(text: impl Into<String>) -> Self {
        Self::new(501, text)
    }
}

/// Joins errors the way the reference prints several of them at once.
///
/// `1 error occurred:\n\t* a\n\n`, `2 errors occurred:\n\t* a\n\t* b\n\n`; nested ones are pasted
/// as they are.
pub fn multi_error(errors: &[String]) -> String {
    let mut out = match errors.len() {
        1 => "1 error occurred:\n".to_owned(),
        n => format!("{n} errors occurred:\n"),
    };
    for e in errors {
        out.push_str("\t* ");
        out.push_str(e);
        out.push('\n');
    }
    out.push('\n');
    out
}
