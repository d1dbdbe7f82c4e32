//! What each driver makes of a task's configuration.
//!
//! Two drivers: `raw_exec` runs a program under an executor; `mock_driver` runs nothing and lets
//! time pass, for tests of schedules and deployments.

use crate::client::exec_proto::signal_number;
use crate::client::interpolate::Scope;
use crate::stdx::json::Any;
use crate::stdx::{BTreeMap, duration};

pub const RAW_EXEC: &str = "raw_exec";
pub const MOCK: &str = "mock_driver";

/// A task, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Launch {
    Process {
        command: String,
        args: Vec<String>,
        /// Absolute, or relative to the task directory; empty: the task directory.
        work_dir: String,
        /// Patterns (with `*`) of names that the task does not get.
        denied_env: Vec<String>,
    },
    Mock(Box<Mock>),
}

/// A run of `mock_driver`. Times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mock {
    /// How long it runs; zero: it ends at once.
    pub run_for_ns: u64,
    pub exit_code: i32,
    pub exit_signal: i32,
    pub exit_err_msg: String,
    /// Refused at the start with this text.
    pub start_error: String,
    pub start_error_recoverable: bool,
    /// How long the start takes.
    pub start_block_for_ns: u64,
    /// How long it goes on after it was asked to end.
    pub kill_after_ns: u64,
    /// Signals are refused with this text.
    pub signal_error: String,
    pub stdout: String,
    /// Further copies of `stdout`.
    pub stdout_repeat: u32,
}

/// Reads a task's configuration.
///
/// # Errors
/// The text of `Failed Validation`; a new attempt would not help.
pub fn launch(
    driver: &str,
    config: &BTreeMap<String, Any>,
    scope: &Scope,
) -> Result<Launch, String> {
    let mut fields = BTreeMap::new();
    for (key, value) in config {
        fields.insert(key.clone(), scope.config(value).map_err(|e| config_error(&e))?);
    }
    let mut c = Fields(fields);
    let launch = match driver {
        RAW_EXEC => raw_exec(&mut c),
        MOCK => mock(&mut c),
        _ => return Err(format!("failed to create driver: unknown driver \"{driver}\"")),
    }
    .map_err(|e| config_error(&e))?;
    match c.0.keys().next() {
        Some(extra) => Err(config_error(&format!(
            "Invalid label: No argument or block type is named \"{extra}\"."
        ))),
        None => Ok(launch),
    }
}

fn raw_exec(c: &mut Fields) -> Result<Launch, String> {
    let command = c.text("command")?.filter(|t| !t.is_empty()).ok_or(
        "Missing required argument: The argument \"command\" is required, but no definition was \
         found.",
    )?;
    let args = c.texts("args")?;
    let work_dir = c.text("work_dir")?.unwrap_or_default();
    let denied_env = c.texts("denied_envvars")?;
    // Placement in control groups is the executor's business; these are read and not used.
    for ignored in ["cgroup_v2_override", "cgroup_v1_override", "oom_score_adj"] {
        c.0.remove(ignored);
    }
    Ok(Launch::Process { command, args, work_dir, denied_env })
}

fn mock(c: &mut Fields) -> Result<Launch, String> {
    let mock = Mock {
        run_for_ns: c.duration("run_for")?,
        exit_code: c.int("exit_code")?,
        exit_signal: c.int("exit_signal")?,
        exit_err_msg: c.text("exit_err_msg")?.unwrap_or_default(),
        start_error: c.text("start_error")?.unwrap_or_default(),
        start_error_recoverable: c.bool("start_error_recoverable")?,
        start_block_for_ns: c.duration("start_block_for")?,
        kill_after_ns: c.duration("kill_after")?,
        signal_error: c.text("signal_error")?.unwrap_or_default(),
        stdout: c.text("stdout_string")?.unwrap_or_default(),
        stdout_repeat: u32::try_from(c.int("stdout_repeat")?).unwrap_or(0),
    };
    // Settings of the reference's test driver that have no bearing on what the API shows.
    for ignored in [
        "plugin_exit_after",
        "driver_ip",
        "driver_advertise",
        "driver_port_map",
        "stdout_repeat_duration",
        "exec_command",
    ] {
        c.0.remove(ignored);
    }
    Ok(Launch::Mock(Box::new(mock)))
}

impl Mock {
    /// What it writes to its log.
    pub fn output(&self) -> Vec<u8> {
        let copies = usize::try_from(self.stdout_repeat).unwrap_or(0).min(MOCK_COPIES_MAX) + 1;
        self.stdout.as_bytes().repeat(copies)
    }
}

/// Number of a signal for a task; what is not known counts as an interrupt, as with the reference.
pub fn signal_or_interrupt(name: &str) -> i32 {
    signal_number(name).unwrap_or(INTERRUPT)
}

/// Whether a name matches one of the patterns, in which `*` stands for any text.
pub fn denied(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|p| glob(p.as_bytes(), name.as_bytes()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == text.get(t) {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = star {
            (p, t) = (after, from + 1);
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

fn config_error(text: &str) -> String {
    format!("failed to parse config: \n\t* {text}")
}

/// Fields not yet taken.
struct Fields(BTreeMap<String, Any>);

impl Fields {
    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.0.remove(key).map_or(Ok(None), |v| scalar(key, &v))
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.0.remove(key) {
            None | Some(Any::Null) => Ok(Vec::new()),
            Some(Any::List(items)) => {
                items.iter().map(|v| Ok(scalar(key, v)?.unwrap_or_default())).collect()
            }
            Some(_) => Err(wrong(key, "list of string required")),
        }
    }

    fn bool(&mut self, key: &str) -> Result<bool, String> {
        match self.text(key)?.as_deref() {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong(key, "a bool is required")),
        }
    }

    fn int(&mut self, key: &str) -> Result<i32, String> {
        match self.text(key)? {
            None => Ok(0),
            Some(t) => t.parse().map_err(|_| wrong(key, "a number is required")),
        }
    }

    /// Text in Go's form, or a number of nanoseconds.
    fn duration(&mut self, key: &str) -> Result<u64, String> {
        let Some(text) = self.text(key)?.filter(|t| !t.is_empty()) else { return Ok(0) };
        let ns = text.parse().ok().or_else(|| duration::parse(&text));
        ns.and_then(|ns: i64| u64::try_from(ns).ok()).ok_or_else(|| wrong(key, "invalid duration"))
    }
}

/// Numbers and bools become text, as in the language of job files.
fn scalar(key: &str, value: &Any) -> Result<Option<String>, String> {
    match value {
        Any::Null => Ok(None),
        Any::Text(t) => Ok(Some(t.clone())),
        Any::Bool(b) => Ok(Some(b.to_string())),
        Any::Number(n) => Ok(Some(n.to_string())),
        Any::List(_) | Any::Map(_) => Err(wrong(key, "string required")),
    }
}

fn wrong(key: &str, what: &str) -> String {
    format!("Incorrect attribute value type: Inappropriate value for attribute \"{key}\": {what}.")
}

/// SIGINT: what `raw_exec` asks a task to end with unless told otherwise.
const INTERRUPT: i32 = 2;
/// Copies of a mock task's output, so that a number in a job cannot fill memory.
const MOCK_COPIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Node;

    fn read(driver: &str, config: &str) -> Result<Launch, String> {
        let scope = Scope::new(
            [("NAME".to_owned(), "value".to_owned())].into_iter().collect(),
            &Node::default(),
            "global",
        );
        let Any::Map(config) = crate::stdx::json::decode(config.as_bytes()).unwrap() else {
            panic!("a map")
        };
        launch(driver, &config, &scope)
    }

    #[test]
    fn programs() {
        assert_eq!(
            read(RAW_EXEC, r#"{"command":"/bin/sh","args":["-c","${NAME}",1,true]}"#),
            Ok(Launch::Process {
                command: "/bin/sh".to_owned(),
                args: ["-c", "value", "1", "true"].map(str::to_owned).to_vec(),
                work_dir: String::new(),
                denied_env: Vec::new(),
            })
        );
        for (config, text) in [
            (
                "{}",
                "Missing required argument: The argument \"command\" is required, but no \
                 definition was found.",
            ),
            (
                r#"{"command":"x","zz":1}"#,
                "Invalid label: No argument or block type is named \"zz\".",
            ),
            (
                r#"{"command":"x","args":["${nope}"]}"#,
                "Unknown variable: There is no variable named \"nope\".",
            ),
        ] {
            assert_eq!(read(RAW_EXEC, config), Err(config_error(text)));
        }
        assert!(read(RAW_EXEC, r#"{"command":["x"]}"#).is_err());
        assert!(read("docker", "{}").is_err());
    }

    #[test]
    fn mocks() {
        let Ok(Launch::Mock(m)) = read(
            MOCK,
            r#"{"run_for":"1.5s","exit_code":3,"kill_after":1000,"stdout_string":"a\n",
                "stdout_repeat":2,"start_error":"no","start_error_recoverable":true}"#,
        ) else {
            panic!("a mock")
        };
        assert_eq!((m.run_for_ns, m.exit_code, m.kill_after_ns), (1_500_000_000, 3, 1000));
        assert_eq!(m.output(), b"a\na\na\n");
        assert!(m.start_error_recoverable);
        assert!(read(MOCK, r#"{"run_for":"soon"}"#).is_err());
    }

    #[test]
    fn patterns() {
        let patterns = ["AWS_*".to_owned(), "X".to_owned(), "*_KEY*".to_owned()];
        for (name, want) in
            [("AWS_", true), ("AWS_A", true), ("X", true), ("XY", false), ("MY_KEYS", true)]
        {
            assert_eq!(denied(name, &patterns), want, "{name}");
        }
    }
}
