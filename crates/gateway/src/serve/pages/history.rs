//! What administrators may look up: who signed in and who was refused, and what other services said of passwords.
//!
//! Only operators, who sign in here, from listed addresses, and are never federated; to everybody else these pages are not there.
//! Names in them are what strangers typed, so a spreadsheet must not take one for a formula, nor a browser for markup.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::callout::Outcome;
use vestibule_engine::audit::{Callout, Reason, Recorded, Ruling};
use vestibule_engine::identity::Username;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{HISTORY_KEPT, History};

use super::view::HistoryPage;
use super::{Portal, Visit, reply};
use crate::history::{self, CALLOUTS, LOGINS};

/// Rows of a page; an export has all that is kept.
const SHOWN: usize = 200;

/// Where each is.
pub(super) const PATHS: [(&str, History); 2] = [("/history", History::Logins), ("/history/delegated", History::Callouts)];

impl Portal {
    /// GET `/history` and `/history/delegated`.
    pub(super) async fn history(&self, visit: &mut Visit<'_>, of: History) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            let path = visit.request.target.path().replace('/', "%2F");
            return Ok(reply::redirect(&format!("/login?return_to={path}")));
        };
        if self.engine.admission.must_change_password(&identity.user) {
            visit.refusal = Some((Ruling::Deny, Reason::MustChangePassword));
            return Ok(reply::redirect("/password"));
        }
        let (Some(store), true) = (&self.durable, identity.user.is_operator()) else { return Ok(visit.missing()) };
        let first = |name: &str| visit.request.target.query_values(name).into_iter().next().unwrap_or_default();
        let typed = first("user");
        // Names are recorded as they are stored; what is no name is looked for as it stands.
        let user = Username::parse(&typed).map_or(typed.clone(), |name| name.to_string());
        let format = first("format");
        let most = if format.is_empty() { SHOWN } else { HISTORY_KEPT };
        let entries = store.history(of, &visit.tenant.id, Some(user.as_str()).filter(|user| !user.is_empty()), most).await?;
        let entries: Vec<&Recorded> = entries.iter().filter(|entry| of == History::Logins || failed(entry)).collect();
        match format.as_str() {
            "csv" => Ok(export("text/csv; charset=utf-8", name(of, "csv"), csv(of, &entries))),
            "json" => Ok(export("application/json", name(of, "json"), json(of, &entries))),
            _ => Ok(page(visit, of, &entries, &typed)),
        }
    }
}

/// The history of errors is one (`login-saml-delegated.md` §3.5): what went well is not in it.
fn failed(entry: &Recorded) -> bool {
    history::callout(entry).is_some_and(|asked| asked.callout.outcome != Outcome::Ok)
}

fn csv(of: History, entries: &[&Recorded]) -> String {
    match of {
        History::Logins => {
            let rows: Vec<_> = entries.iter().filter_map(|entry| history::login(entry)).map(|row| history::login_cells(&row)).collect();
            history::csv(LOGINS, &rows)
        }
        History::Callouts => {
            let rows: Vec<_> = entries.iter().filter_map(|entry| history::callout(entry)).map(|row| history::callout_cells(&row)).collect();
            history::csv(CALLOUTS, &rows)
        }
    }
}

fn json(of: History, entries: &[&Recorded]) -> String {
    let rows: Vec<serde_json::Value> = match of {
        History::Logins => entries.iter().filter_map(|entry| serde_json::to_value(history::login(entry)?).ok()).collect(),
        History::Callouts => entries.iter().filter_map(|entry| serde_json::to_value(history::callout(entry)?).ok()).collect(),
    };
    serde_json::json!({ "history": rows }).to_string()
}

fn page(visit: &Visit<'_>, of: History, entries: &[&Recorded], user: &str) -> Response<Full<Bytes>> {
    let words = visit.words;
    let (title, empty, head, rows): (_, _, [&str; 7], Vec<Vec<String>>) = match of {
        History::Logins => {
            let cells = |entry: &&Recorded| {
                let row = history::login(entry)?;
                Some(vec![shown(&row.time), row.user, row.source, row.scheme, row.realm, row.status.to_owned(), row.request_id])
            };
            let head = [words.time, words.user, words.from, words.kind, words.vouched, words.verdict, words.number];
            (words.login_history, words.no_logins, head, entries.iter().filter_map(cells).collect())
        }
        History::Callouts => {
            let cells = |entry: &&Recorded| {
                let row = history::callout(entry)?;
                let Callout { subject, endpoint, phase, outcome, fault, .. } = row.callout;
                let phase = format!("{phase:?}").to_lowercase();
                let outcome = fault.map_or(outcome.as_str().to_owned(), |fault| format!("{}: {fault}", outcome.as_str()));
                Some(vec![shown(&row.time), subject, row.source, endpoint, phase, outcome, row.request_id])
            };
            let head = [words.time, words.user, words.from, words.endpoint, words.phase, words.outcome, words.number];
            (words.delegated_errors, words.no_callouts, head, entries.iter().filter_map(cells).collect())
        }
    };
    let path = visit.request.target.path();
    let links = |format: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("user", user).append_pair("format", format);
        format!("{path}?{}", query.finish())
    };
    let exports = [("CSV", links("csv")), ("JSON", links("json"))];
    let page = HistoryPage { shell: visit.shell(), title, empty, path, user, head: &head, rows: &rows, exports: &exports };
    reply::page(visit, StatusCode::OK, &page)
}

/// To the second; the export has the rest.
fn shown(time: &str) -> String {
    let second = time.split(['.', 'Z']).next().unwrap_or(time);
    second.replace('T', " ")
}

const fn name(of: History, format: &'static str) -> &'static str {
    match (of, format.as_bytes()) {
        (History::Logins, b"csv") => "attachment; filename=\"logins.csv\"",
        (History::Logins, _) => "attachment; filename=\"logins.json\"",
        (History::Callouts, b"csv") => "attachment; filename=\"delegated.csv\"",
        (History::Callouts, _) => "attachment; filename=\"delegated.json\"",
    }
}

fn export(media_type: &'static str, name: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(name));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
