//! What stands in a log line, and what a filter lets through.

use std::io::Write;

use super::*;
use crate::redact::Redacted;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let page = self.0.lock();
        page.unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(log_format: LogFormat, events: impl FnOnce(&LogControl)) -> String {
    let page = Page::default();
    let writer = page.clone();
    let (subscriber, control) =
        subscriber(log_format, LogFilter::default(), move || writer.clone());
    tracing::subscriber::with_default(subscriber, || events(&control));
    page.text()
}

fn one_request(_: &LogControl) {
    let request = tracing::info_span!("request", tracking_id = "00ff", side = "downstream");
    let _entered = request.enter();
    let inner = tracing::info_span!("origin", side = "upstream");
    let _inner = inner.enter();
    let user = Redacted::new("alice");
    tracing::warn!(reason = "not_listed", count = 3, %user, "refused");
}

#[test]
fn text_has_time_level_short_target_message_and_the_fields_of_every_span() {
    let line = logged(LogFormat::Text, one_request);

    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.ends_with('Z'), "{line}");
    assert!(
        rest.starts_with("WARN  telemetry::tests: refused reason=\"not_listed\" count=3 user=~"),
        "{line}"
    );
    assert!(rest.contains("tracking_id=\"00ff\""), "{line}");
    assert!(!line.contains("alice"));
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn json_is_one_flat_object_in_which_the_innermost_span_counts() {
    let line = logged(LogFormat::Json, one_request);

    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["message"], "refused");
    assert_eq!(object["level"], "warn");
    assert_eq!(object["tracking_id"], "00ff");
    assert_eq!(object["side"], "upstream");
    assert_eq!(object["reason"], "not_listed");
    assert_eq!(object["count"], 3);
    assert!(object["time"].as_str().unwrap().ends_with('Z'));
    assert!(!line.contains("alice"));
}

#[test]
fn a_value_with_line_breaks_can_not_forge_a_line() {
    let forge = |_: &LogControl| {
        let path = "a\n2026 ERROR x: forged\r\u{1b}[2K";
        let request = tracing::info_span!("request", %path);
        let _entered = request.enter();
        tracing::info!(%path, quoted = path, "refused {path}");
    };

    for log_format in [LogFormat::Text, LogFormat::Json] {
        let text = logged(log_format, forge);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn a_filter_that_is_changed_while_running_counts_at_once() {
    let text = logged(LogFormat::Text, |control| {
        tracing::debug!("not yet");
        let filter: LogFilter = "warn,common::runtime=debug".parse().unwrap();
        control.set_filter(filter.clone()).unwrap();
        assert_eq!(control.filter(), filter);
        tracing::debug!("now");
        tracing::info!(target: "elsewhere", "quiet");
    });

    assert!(text.contains("now"));
    assert!(!text.contains("not yet"));
    assert!(!text.contains("quiet"));
}
