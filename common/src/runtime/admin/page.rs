//! The console page: the status and the conditions of readiness as nested lists, without a script.

use serde_json::{Map, Value};

use super::Admin;

pub(super) fn write(admin: &Admin, readiness: &Value) -> String {
    let mut page = String::with_capacity(4096);
    let product = escape(admin.product);
    let verdict = match (admin.is_ready(), admin.is_draining()) {
        (true, _) => "<b class=good>ready</b>",
        (false, true) => "<b class=bad>draining</b>",
        (false, false) => "<b class=bad>not ready</b>",
    };
    page.push_str(HEAD_START);
    page.push_str(&format!("<title>{product}</title>{STYLE}</head><body>"));
    page.push_str(&format!("<h1>{product} <small>{verdict}</small></h1>"));
    section(&mut page, "Readiness", readiness);
    section(&mut page, "Status", &(admin.status)());
    page.push_str(&format!(
        "<h2>Log filter</h2><p><code>{}</code></p>",
        escape(&admin.log.filter().to_string())
    ));
    page.push_str(FOOT);
    page
}

fn section(page: &mut String, title: &str, value: &Value) {
    page.push_str(&format!("<h2>{title}</h2>"));
    write_value(page, value);
}

fn write_value(page: &mut String, value: &Value) {
    match value {
        Value::Array(items) if items.is_empty() => page.push_str("none"),
        Value::Array(items) => write_list(page, items),
        Value::Object(fields) => write_table(page, fields),
        Value::String(text) => page.push_str(&escape(text)),
        Value::Null => page.push('-'),
        Value::Bool(true) => page.push_str("yes"),
        Value::Bool(false) => page.push_str("no"),
        Value::Number(number) => page.push_str(&number.to_string()),
    }
}

fn write_list(page: &mut String, items: &[Value]) {
    page.push_str("<ul>");
    for item in items {
        page.push_str("<li>");
        write_value(page, item);
    }
    page.push_str("</ul>");
}

fn write_table(page: &mut String, fields: &Map<String, Value>) {
    page.push_str("<table>");
    for (name, value) in fields {
        let label = escape(name).replace('_', " ");
        page.push_str(&format!("<tr><th>{label}<td>"));
        write_value(page, value);
    }
    page.push_str("</table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

const HEAD_START: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
<meta name=viewport content=\"width=device-width\"><meta http-equiv=refresh content=5>";

const STYLE: &str = "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem;color-scheme:light dark}\
table{border-collapse:collapse}th{text-align:left;font-weight:normal;opacity:.7;padding-right:1.5rem;vertical-align:top}\
td{vertical-align:top}ul{margin:0;padding-left:1.2rem}small{font-size:60%}.good{color:#2a8a3a}.bad{color:#c0392b}</style>";

const FOOT: &str = "<h2>Also here</h2><p><a href=/metrics>metrics</a> · <a href=/status>status</a> · \
<a href=/ready>ready</a> · <a href=/live>live</a></p>\
<p>Change what is logged: <code>curl -X PUT --data info,common::link=debug http://this-address/log-filter</code><br>\
Stop in order: <code>curl -X POST http://this-address/drain</code></p></body></html>";
