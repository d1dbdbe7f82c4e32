//! `/v1/metrics`: what the state tells, and how metrics are written, as JSON and for Prometheus.
//!
//! Names are those of the reference where they mean the same; those that begin with `vardo` are
//! of this agent alone. Gauges are read when they are asked for. Counters and samples are shown
//! for the last whole interval in JSON, and since the start for Prometheus.

use serde::Serialize;

use super::{AgentInfo, Answer, Ctx, Outcome, invalid_method};
use crate::api::{ApiError, JobSummary};
use crate::http::Query;
use crate::limits::METRICS_JOBS_MAX;
use crate::stdx::json;
use crate::stdx::meter::{BOUNDS_NS, Meter, Series};
use crate::stdx::sort;
use crate::stdx::time::Rfc3339;
use crate::store::{Reader, StoreError, Table};

type Labels = Vec<(&'static str, String)>;

/// `/v1/metrics`
pub(super) fn metrics(ctx: &mut Ctx<'_>) -> Result<Outcome, ApiError> {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let format = Query::new(ctx.req.query()).get("format").unwrap_or_default().into_owned();
    Ok(Outcome::Metrics { prometheus: format == "prometheus" })
}

/// What is told, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Length of the intervals of the JSON form, in nanoseconds; not zero.
    pub interval_ns: i64,
    pub prometheus: bool,
    /// The machine's figures as well.
    pub node: bool,
    /// What each task uses as well; tasks are asked whenever the metrics are.
    pub tasks: bool,
    /// The label `host` of all metrics; empty: none.
    pub host: String,
    /// Prefixes of names that are shown (true) or not; the longest that fits decides.
    pub filter: Vec<(bool, String)>,
    /// Whether names that no prefix fits are shown.
    pub unlisted: bool,
    /// Summaries of dispatched jobs as well.
    pub dispatched: bool,
}

impl Telemetry {
    fn shows(&self, name: &str) -> bool {
        let fits = self.filter.iter().filter(|(_, prefix)| name.starts_with(prefix));
        fits.max_by_key(|(_, prefix)| prefix.len()).map_or(self.unlisted, |(show, _)| *show)
    }
}

/// A value as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    pub name: &'static str,
    pub labels: Labels,
    pub value: f64,
}

impl Gauge {
    pub fn of(name: &'static str, value: f64) -> Self {
        Self { name, labels: Vec::new(), value }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub enum Counted<'a> {
    Counter(&'a Series),
    /// Durations; shown in milliseconds, and as a summary without quantiles.
    Summary(&'a Series),
    /// Durations; in JSON as above, for Prometheus as a histogram of seconds.
    Histogram(&'a Meter),
}

/// All that is told.
#[derive(Debug, Default)]
pub struct Metrics<'a> {
    pub gauges: Vec<Gauge>,
    pub counted: Vec<(&'static str, Labels, Counted<'a>)>,
}

impl<'a> Metrics<'a> {
    pub fn gauge(&mut self, name: &'static str, value: f64) {
        self.gauges.push(Gauge::of(name, value));
    }

    pub fn counted(&mut self, name: &'static str, counted: Counted<'a>) {
        self.counted.push((name, Vec::new(), counted));
    }

    /// What the state of the cluster tells; from its leader.
    ///
    /// # Errors
    /// Those of the store.
    pub fn state(
        &mut self,
        reader: Reader<'_>,
        agent: &AgentInfo,
        telemetry: &Telemetry,
    ) -> Result<(), StoreError> {
        let mut status = [0u32; 3];
        for pair in reader.scan(Table::Job, &[], None, false)? {
            match pair?.1.job().status.text() {
                "pending" => status[0] += 1,
                "running" => status[1] += 1,
                _ => status[2] += 1,
            }
        }
        self.gauge("nomad.nomad.job_status.pending", status[0].into());
        self.gauge("nomad.nomad.job_status.running", status[1].into());
        self.gauge("nomad.nomad.job_status.dead", status[2].into());
        let (healthy, tolerance) = super::servers::autopilot(agent);
        self.gauge("nomad.nomad.autopilot.healthy", f64::from(u8::from(healthy)));
        self.gauge("nomad.nomad.autopilot.failure_tolerance", tolerance as f64);
        for pair in reader.scan(Table::JobSummary, &[], None, false)?.take(METRICS_JOBS_MAX) {
            let row = pair?.1;
            let summary: JobSummary = json::decode(row.json)
                .map_err(|e| StoreError::Damaged(format!("a job's summary: {e}")))?;
            self.summary(&summary, telemetry);
        }
        Ok(())
    }

    fn summary(&mut self, s: &JobSummary, telemetry: &Telemetry) {
        let mut child: Labels = Vec::new();
        for (mark, label) in [("/dispatch-", "dispatch_id"), ("/periodic-", "periodic_id")] {
            if let Some((parent, rest)) = s.job_id.split_once(mark) {
                if label == "dispatch_id" && !telemetry.dispatched {
                    return;
                }
                child = vec![("parent_id", parent.to_owned()), (label, rest.to_owned())];
            }
        }
        for (group, n) in s.summary.iter() {
            for (name, value) in [
                ("nomad.nomad.job_summary.queued", n.queued),
                ("nomad.nomad.job_summary.complete", n.complete),
                ("nomad.nomad.job_summary.failed", n.failed),
                ("nomad.nomad.job_summary.running", n.running),
                ("nomad.nomad.job_summary.starting", n.starting),
                ("nomad.nomad.job_summary.lost", n.lost),
                ("nomad.nomad.job_summary.unknown", n.unknown),
            ] {
                let mut labels = vec![
                    ("job", s.job_id.clone()),
                    ("namespace", s.namespace.clone()),
                    ("task_group", group.clone()),
                ];
                labels.extend(child.iter().cloned());
                self.gauges.push(Gauge { name, labels, value: value as f64 });
            }
        }
    }

    /// Leaves out what is not to be shown, names the host, and puts the rest in order.
    fn arrange(&mut self, telemetry: &Telemetry) {
        self.gauges.retain(|g| telemetry.shows(g.name));
        self.counted.retain(|(name, ..)| telemetry.shows(name));
        if !telemetry.host.is_empty() {
            let own = self.gauges.iter_mut().map(|g| &mut g.labels);
            for labels in own.chain(self.counted.iter_mut().map(|(_, labels, _)| labels)) {
                labels.push(("host", telemetry.host.clone()));
            }
        }
        sort::by_key(&mut self.gauges, |g| g.name);
        sort::by_key(&mut self.counted, |c| c.0);
    }

    /// `interval`: number of the last whole one.
    pub fn json(mut self, telemetry: &Telemetry, interval: i64) -> Answer {
        self.arrange(telemetry);
        let start = Rfc3339(interval.saturating_mul(telemetry.interval_ns)).to_string();
        let start = start.replace('T', " ").replace('Z', " +0000 UTC");
        let mut out = b"{\"Counters\":[".to_vec();
        let seconds = telemetry.interval_ns as f64 / 1e9;
        for counters in [true, false] {
            if !counters {
                out.extend_from_slice(b"],\"Gauges\":[");
                for (i, g) in self.gauges.iter().enumerate() {
                    let body = GaugeBody { labels: Named(&g.labels), name: g.name, value: g.value };
                    push(&mut out, i == 0, &body);
                }
                out.extend_from_slice(b"],\"Points\":[],\"PrecisionGauges\":[],\"Samples\":[");
            }
            let mut first = true;
            for (name, labels, counted) in &self.counted {
                let (series, unit) = match counted {
                    Counted::Counter(series) => (*series, 1.0),
                    Counted::Summary(series) => (*series, MS),
                    Counted::Histogram(meter) => (&meter.series, MS),
                };
                let span = series.of(interval);
                if span.count == 0 || matches!(counted, Counted::Counter(_)) != counters {
                    continue;
                }
                let body = SampleBody {
                    count: span.count,
                    labels: Named(labels),
                    max: span.most * unit,
                    mean: span.mean() * unit,
                    min: span.least * unit,
                    name,
                    rate: span.sum * unit / seconds,
                    stddev: span.deviation() * unit,
                    sum: span.sum * unit,
                };
                push(&mut out, std::mem::take(&mut first), &body);
            }
        }
        out.extend_from_slice(format!("],\"Timestamp\":\"{start}\"}}").as_bytes());
        Answer::bytes(out)
    }

    /// # Errors
    /// 415 where the configuration does not want it.
    pub fn prometheus(mut self, telemetry: &Telemetry) -> Result<Answer, ApiError> {
        if !telemetry.prometheus {
            return Err(ApiError::new(415, "Prometheus is not enabled"));
        }
        self.arrange(telemetry);
        let mut out = String::new();
        let mut last = "";
        for g in &self.gauges {
            let name = underscored(g.name);
            if std::mem::replace(&mut last, g.name) != g.name {
                let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
                head(&mut out, &name, kind);
            }
            line(&mut out, &name, &g.labels, None, g.value);
        }
        for (name, labels, counted) in &self.counted {
            let shown = underscored(name);
            let known = std::mem::replace(&mut last, name) == *name;
            match counted {
                Counted::Counter(series) => {
                    if !known {
                        head(&mut out, &shown, "counter");
                    }
                    line(&mut out, &shown, labels, None, series.sum);
                }
                Counted::Summary(series) => {
                    head(&mut out, &shown, "summary");
                    line(&mut out, &format!("{shown}_sum"), labels, None, series.sum * MS);
                    line(&mut out, &format!("{shown}_count"), labels, None, series.count as f64);
                }
                Counted::Histogram(meter) => histogram(&mut out, &shown, labels, meter),
            }
        }
        let mut answer = Answer::text(200, out);
        answer.content_type = Some(EXPOSITION);
        Ok(answer)
    }
}

fn histogram(out: &mut String, name: &str, labels: &Labels, meter: &Meter) {
    let name = format!("{name}_seconds");
    head(out, &name, "histogram");
    let mut sum = 0;
    for (i, n) in meter.buckets.iter().enumerate() {
        sum += n;
        let le = BOUNDS_NS.get(i).map_or("+Inf".to_owned(), |ns| (*ns as f64 / 1e9).to_string());
        line(out, &format!("{name}_bucket"), labels, Some(&le), sum as f64);
    }
    line(out, &format!("{name}_sum"), labels, None, meter.series.sum / 1e9);
    line(out, &format!("{name}_count"), labels, None, meter.series.count as f64);
}

fn head(out: &mut String, name: &str, kind: &str) {
    out.push_str(&format!("# TYPE {name} {kind}\n"));
}

fn line(out: &mut String, name: &str, labels: &Labels, le: Option<&str>, value: f64) {
    out.push_str(name);
    let own = labels.iter().map(|(name, value)| (*name, value.as_str()));
    for (i, (name, value)) in own.chain(le.map(|le| ("le", le))).enumerate() {
        out.push(if i == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '"' | '\\' => out.extend(['\\', c]),
                _ => out.push(c),
            }
        }
        out.push('"');
    }
    if !labels.is_empty() || le.is_some() {
        out.push('}');
    }
    out.push_str(&format!(" {value}\n"));
}

fn underscored(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

fn push<T: Serialize>(out: &mut Vec<u8>, first: bool, value: &T) {
    if !first {
        out.push(b',');
    }
    out.extend_from_slice(&json::encode(value));
}

/// Labels as an object.
struct Named<'a>(&'a Labels);

impl Serialize for Named<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GaugeBody<'a> {
    labels: Named<'a>,
    name: &'a str,
    value: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SampleBody<'a> {
    count: u64,
    labels: Named<'a>,
    max: f64,
    mean: f64,
    min: f64,
    name: &'a str,
    rate: f64,
    stddev: f64,
    sum: f64,
}

/// Milliseconds of a nanosecond.
const MS: f64 = 1e-6;
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> Telemetry {
        Telemetry {
            interval_ns: 10_000_000_000,
            prometheus: true,
            host: "h\"1".to_owned(),
            unlisted: true,
            ..Telemetry::default()
        }
    }

    #[test]
    fn both_forms() {
        let (mut counter, mut meter) = (Series::default(), Meter::default());
        counter.note(3, 1.0, 5);
        meter.note(3, 2_000_000, 1);
        meter.note(3, 4_000_000, 1);
        meter.note(3, 6_000_000, 1);
        let all = || {
            let mut m = Metrics::default();
            m.gauge("nomad.b", 2.0);
            m.gauge("nomad.a", 1.5);
            m.counted("vardo.turn", Counted::Histogram(&meter));
            m.counted("nomad.raft.apply", Counted::Counter(&counter));
            m.counted("nomad.raft.commitTime", Counted::Summary(&meter.series));
            m
        };
        let json = all().json(&telemetry(), 3);
        let json = String::from_utf8(json.body.as_slice().to_vec()).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"Counters":[{"Count":5,"Labels":{"host":"h\"1"},"Max":1.0,"Mean":1.0,"#,
                r#""Min":1.0,"Name":"nomad.raft.apply","Rate":0.5,"Stddev":0.0,"Sum":5.0}],"#,
                r#""Gauges":[{"Labels":{"host":"h\"1"},"Name":"nomad.a","Value":1.5},"#,
                r#"{"Labels":{"host":"h\"1"},"Name":"nomad.b","Value":2.0}],"#,
                r#""Points":[],"PrecisionGauges":[],"#,
                r#""Samples":[{"Count":3,"Labels":{"host":"h\"1"},"Max":6.0,"Mean":4.0,"#,
                r#""Min":2.0,"Name":"nomad.raft.commitTime","Rate":1.2,"Stddev":2.0,"#,
                r#""Sum":12.0},{"Count":3,"Labels":{"host":"h\"1"},"Max":6.0,"Mean":4.0,"#,
                r#""Min":2.0,"Name":"vardo.turn","Rate":1.2,"Stddev":2.0,"Sum":12.0}],"#,
                r#""Timestamp":"1970-01-01 00:00:30 +0000 UTC"}"#
            )
        );
        let none = all().json(&telemetry(), 2);
        assert!(String::from_utf8_lossy(none.body.as_slice()).contains(r#""Samples":[]"#));
        let text = all().prometheus(&telemetry()).unwrap();
        let text = String::from_utf8(text.body.as_slice().to_vec()).unwrap();
        for part in [
            "# TYPE nomad_a gauge\nnomad_a{host=\"h\\\"1\"} 1.5\n# TYPE nomad_b gauge\n",
            "# TYPE nomad_raft_apply counter\nnomad_raft_apply{host=\"h\\\"1\"} 5\n",
            "nomad_raft_commitTime_sum{host=\"h\\\"1\"} 12\n",
            "# TYPE vardo_turn_seconds histogram\n",
            "vardo_turn_seconds_bucket{host=\"h\\\"1\",le=\"0.00005\"} 0\n",
            "vardo_turn_seconds_bucket{host=\"h\\\"1\",le=\"0.0025\"} 1\n",
            "vardo_turn_seconds_bucket{host=\"h\\\"1\",le=\"+Inf\"} 3\n",
            "vardo_turn_seconds_sum{host=\"h\\\"1\"} 0.012\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let mut t = telemetry();
        t.filter = vec![(false, "nomad.nomad".to_owned()), (true, "nomad.nomad.job".to_owned())];
        for (name, shown) in
            [("nomad.raft", true), ("nomad.nomad.broker", false), ("nomad.nomad.job_status", true)]
        {
            assert_eq!(t.shows(name), shown, "{name}");
        }
        t.unlisted = false;
        assert!(!t.shows("nomad.raft"));
        t.prometheus = false;
        assert_eq!(Metrics::default().prometheus(&t).unwrap_err().status, 415);
    }
}
