//! `vestibule explain`: how a request would be decided, or was.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use vestibule_engine::audit::{Decided, Event, Recorded, Ruling};
use vestibule_engine::request::{ClientKind, RequestId};
use vestibule_engine::scheme::{Step, Verdict};
use vestibule_engine::secret::Secret;

use super::client::{Connection, ask, unexpected};
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure, ask};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, Confidential, Explanation, Synthetic, Value};

/// Longest header file, in octets.
const MAX_HEADER_FILE: u64 = 64 * 1024;
/// Headers that carry credentials and so never stand among the arguments.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// Show how a request would be decided, or was
#[derive(Debug, Args)]
#[command(after_help = "explain GET https://app.localhost/ shows what would be decided, and changes nothing.\n\
    explain ID shows what was decided: the ID stands on every refusal and in X-Vestibule-Id.")]
pub struct Explain {
    /// The method, or the ID of a logged decision
    #[arg(value_name = "METHOD|ID")]
    subject: String,
    /// The URL with scheme and host
    url: Option<String>,
    /// A header field, or @FILE with one per line (for Cookie and Authorization)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "url")]
    headers: Vec<String>,
    /// Send this user's name and password as HTTP Basic; the password is asked for
    #[arg(short, long, value_name = "USER", requires = "url")]
    user: Option<String>,
    /// Read the password from a file (- for standard input)
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The address the request seems to come from [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", requires = "url")]
    from: Option<IpAddr>,
}

impl Explain {
    /// Asks the running server. Yes, if the request would be allowed; of a logged decision, if it is found.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let Some(url) = self.url else { return logged(&self.subject, common, output) };
        let mut headers = Vec::new();
        for header in &self.headers {
            match header.strip_prefix('@') {
                Some(file) => headers.extend(header_file(file)?),
                None => headers.push(argument(header)?),
            }
        }
        let mut connection = Connection::open(common)?;
        if let Some(user) = &self.user {
            headers.push(basic(user, self.password_file.as_deref())?);
        }
        let request = AdminRequest::Explain(Synthetic { method: self.subject.to_uppercase(), url, headers, from: self.from });
        let AdminReply::Explanation(explanation) = connection.ask(request)? else { return Err(unexpected()) };
        let answer = match explanation.decided.decision {
            Ruling::Allow => Answer::Yes,
            Ruling::Challenge | Ruling::Deny | Ruling::Fail => Answer::No,
        };
        if output.is_json() {
            output.json(&explanation);
        } else {
            print(&explanation, output);
        }
        Ok(answer)
    }
}

fn logged(id: &str, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
    let id: RequestId = serde_json::from_value(serde_json::Value::String(id.to_owned())).map_err(|_| {
        Failure::not_tried(format!("`{id}` is no decision ID"))
            .fix("use `explain ID`, or `explain METHOD URL` as in `explain GET https://app.localhost/`")
    })?;
    let AdminReply::Decision(recorded) = ask(common, AdminRequest::ExplainId { id })? else { return Err(unexpected()) };
    if output.is_json() {
        output.json(&recorded);
    } else {
        print_recorded(&recorded, output);
    }
    Ok(Answer::Yes)
}

/// A header among the arguments.
fn argument(header: &str) -> Result<(String, Confidential), Failure> {
    let (name, value) = field(header)?;
    if CREDENTIALS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Failure::not_tried(format!("`{name}` carries a credential, and arguments can be read by other users"))
            .fix(format!("put it into a file and use -H @FILE{}", if name.eq_ignore_ascii_case("cookie") { "" } else { ", or -u USER" })));
    }
    Ok((name, value))
}

fn field(header: &str) -> Result<(String, Confidential), Failure> {
    match header.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), Confidential(Secret::from(value.trim())))),
        None => Err(Failure::not_tried("a header has the form `Name: value`")),
    }
}

fn header_file(file: &str) -> Result<Vec<(String, Confidential)>, Failure> {
    let unread = |error: std::io::Error| Failure::not_tried(format!("{file}: {error}"));
    let source: Box<dyn Read> = if file == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(file).map_err(unread)?) };
    let mut text = Zeroizing::new(String::new());
    source.take(MAX_HEADER_FILE).read_to_string(&mut text).map_err(unread)?;
    text.lines().filter(|line| !line.trim().is_empty()).map(field).collect()
}

/// RFC 7617 §2.
pub(super) fn basic(user: &str, password_file: Option<&std::path::Path>) -> Result<(String, Confidential), Failure> {
    if user.contains(':') {
        return Err(Failure::not_tried("a user name has no colon").fix("give the name only; the password is asked for"));
    }
    let password = ask::password(&format!("Password of {user}: "), password_file)?;
    let pair = Zeroizing::new(format!("{user}:{}", password.reveal()));
    let token = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Ok(("authorization".to_owned(), Confidential(Secret::new(format!("Basic {}", token.as_str())))))
}

fn print(explanation: &Explanation, output: &mut Output) {
    let Explanation { tenant, decided, open, detail, destination, injected, stripped, opens_session, answers } = explanation;
    head(decided, output);
    let mut facts = facts(decided, tenant.as_deref(), detail.as_deref());
    facts.extend(open.filter(|open| *open).map(|_| ("access", "open: anonymous may pass".into())));
    facts.extend(destination.iter().map(|to| ("forward", to.into())));
    if *opens_session {
        facts.push(("session", "one would be opened".into()));
    }
    pairs(facts, output);
    steps(&decided.steps, output);
    if !injected.is_empty() {
        output.gap();
        let value = |value: &Value| match value {
            Value::Text(text) => text.into(),
            Value::Claims(claims) => Cell::from(format!("signed token of {claims}")),
            Value::Withheld => Cell::new("withheld: a secret", Tone::Quiet),
        };
        let rows = injected.iter().map(|told| vec![told.header.as_str().into(), value(&told.value)]).collect();
        output.table(&["told", "value"], rows);
    }
    if !stripped.is_empty() {
        output.gap();
        output.table(&["stripped"], stripped.iter().map(|part| vec![part.into()]).collect());
    }
    if !answers.is_empty() {
        output.gap();
        output.table(&["client", "answer"], answers.iter().map(|(kind, answer)| vec![client(*kind).into(), answer.into()]).collect());
    }
}

fn print_recorded(recorded: &Recorded, output: &mut Output) {
    let Event::RequestDecided(decided) = &recorded.event else {
        return output.line(words(&recorded.event));
    };
    head(decided, output);
    let mut facts = facts(decided, recorded.tenant.as_ref().map(|tenant| tenant.as_str()), None);
    facts.push(("time", recorded.time.to_string().into()));
    facts.extend(recorded.client.map(|client| ("from", client.to_string().into())));
    facts.extend(recorded.request_id.map(|id| ("id", id.to_string().into())));
    pairs(facts, output);
    steps(&decided.steps, output);
}

fn head(decided: &Decided, output: &mut Output) {
    output.line(Cell::new(format!("{} {}{}", decided.method, decided.host, decided.path), Tone::Strong));
    output.gap();
}

fn facts<'a>(decided: &Decided, tenant: Option<&str>, detail: Option<&str>) -> Vec<(&'a str, Cell)> {
    let (word, tone) = match decided.decision {
        Ruling::Allow => ("allowed", Tone::Good),
        Ruling::Challenge => ("asked to sign in", Tone::Warn),
        Ruling::Deny => ("refused", Tone::Bad),
        Ruling::Fail => ("could not be decided", Tone::Bad),
    };
    let reason = decided.reason.map(|reason| words(&reason));
    let why = [reason.as_deref(), detail].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let decision = if why.is_empty() { word.to_owned() } else { format!("{word}: {why}") };
    let list = |names: Vec<&str>| names.join(", ");
    let mut facts = vec![("decision", Cell::new(decision, tone))];
    facts.extend(decided.detail.as_ref().map(|detail| ("check", detail.as_str().into())));
    facts.push(("tenant", tenant.unwrap_or("none").into()));
    facts.push(("route", decided.route.as_ref().map_or("none", |route| route.as_str()).into()));
    facts.push(("user", decided.subject.as_deref().unwrap_or("nobody we know").into()));
    if !decided.policy.is_empty() {
        let label = if decided.decision == Ruling::Allow { "permits" } else { "policies" };
        facts.push((label, list(decided.policy.iter().map(|policy| policy.as_str()).collect()).into()));
    }
    if !decided.responses.is_empty() {
        facts.push(("responses", list(decided.responses.iter().map(|response| response.as_str()).collect()).into()));
    }
    facts.push(("took", format!("{:.3} ms", decided.ms).into()));
    facts
}

fn pairs(facts: Vec<(&str, Cell)>, output: &mut Output) {
    output.table(&[], facts.into_iter().map(|(name, cell)| vec![Cell::new(name, Tone::Quiet), cell]).collect());
}

/// A decision opens as the chain it went through: the deciding step is marked.
fn steps(steps: &[Step], output: &mut Output) {
    if steps.is_empty() {
        return;
    }
    let deciding = steps
        .iter()
        .position(|step| step.verdict == Verdict::Authenticated)
        .or_else(|| steps.iter().rposition(|step| step.reason.is_some()));
    let row = |(index, step): (usize, &Step)| {
        let (verdict, tone) = match step.verdict {
            Verdict::NotApplicable => ("not applicable", Tone::Quiet),
            Verdict::Authenticated => ("authenticated", Tone::Good),
            Verdict::Rejected => ("rejected", Tone::Bad),
            Verdict::Unavailable => ("unavailable", Tone::Bad),
            Verdict::Skipped => ("skipped", Tone::Quiet),
        };
        vec![
            if deciding == Some(index) { ">" } else { "" }.into(),
            step.scheme.as_str().into(),
            Cell::new(verdict, tone),
            format!("{:>9.3}", step.took.as_secs_f64() * 1e3).into(),
            step.reason.map(|reason| words(&reason)).unwrap_or_default().into(),
        ]
    };
    output.gap();
    output.table(&["", "step", "verdict", "       ms", "reason"], steps.iter().enumerate().map(row).collect());
}

fn client(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Browser => "browser",
        ClientKind::Script => "script in a page",
        ClientKind::Api => "API client",
        ClientKind::Soap11 => "SOAP 1.1 client",
        ClientKind::Soap12 => "SOAP 1.2 client",
    }
}

/// The audit's word for something, with spaces.
fn words(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        Ok(serde_json::Value::Object(parts)) => {
            let word = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), |word| word.replace('_', " "));
            parts.iter().map(|(name, value)| format!("{}: {}", name.replace('_', " "), word(value))).collect::<Vec<_>>().join(", ")
        }
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vestibule_engine::audit::Reason;
    use vestibule_engine::request::Malformed;

    use super::*;
    use crate::cli::FailureKind;
    use crate::cli::output::Form;
    use crate::cli::tests::TempDir;
    use crate::serve::admin::protocol::Told;

    #[test]
    fn credentials_are_not_taken_from_arguments() {
        for header in ["Authorization: Basic eDp5", "cookie: a=b", "Proxy-Authorization : x"] {
            let failure = argument(header).unwrap_err();
            assert_eq!(failure.kind, FailureKind::NotTried);
            assert!(failure.fix.unwrap().contains("@FILE"));
            assert!(!failure.message.contains("eDp5"));
        }
        assert_eq!(argument("Accept: text/html").unwrap().0, "Accept");
        assert!(argument("Accept").is_err());
        assert!(basic("ada:hunter2", None).is_err());
    }

    #[test]
    fn credentials_are_read_from_files() {
        let dir = TempDir::new();
        let file = dir.path().join("headers");
        std::fs::write(&file, "Cookie: a=b\r\n\nX-A: 1\n").unwrap();
        let headers = header_file(file.to_str().unwrap()).unwrap();
        let shown: Vec<_> = headers.iter().map(|(name, Confidential(value))| (name.as_str(), value.reveal().as_str())).collect();
        assert_eq!(shown, [("Cookie", "a=b"), ("X-A", "1")]);
        std::fs::write(&file, "hunter2\n").unwrap();
        let (name, Confidential(value)) = basic("ada", Some(&file)).unwrap();
        assert_eq!((name.as_str(), value.reveal().as_str()), ("authorization", "Basic YWRhOmh1bnRlcjI="));
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(words(&Reason::WrongPassword), "wrong password");
        assert_eq!(words(&Reason::Malformed(Malformed::TargetForm)), "malformed: target form");
    }

    #[test]
    fn a_decision_opens_as_the_chain_it_went_through() {
        let step =
            |scheme: &str, verdict, reason, micros| Step { scheme: scheme.into(), verdict, reason, took: Duration::from_micros(micros) };
        let explanation = Explanation {
            tenant: Some("north".into()),
            decided: Decided {
                method: "GET".into(),
                host: "app.localhost".into(),
                path: "/x".into(),
                route: Some("api".into()),
                decision: Ruling::Allow,
                scheme: Some("basic".into()),
                subject: Some("ada".into()),
                reason: None,
                detail: None,
                policy: vec!["staff".into()],
                responses: vec![],
                steps: vec![
                    step("session", Verdict::NotApplicable, None, 1),
                    step("basic-corp", Verdict::Rejected, Some(Reason::UnknownUser), 12_345),
                    step("basic-local", Verdict::Authenticated, None, 310),
                ],
                ms: 12.8,
            },
            open: Some(false),
            detail: None,
            destination: Some("app".into()),
            injected: vec![
                Told { header: "x-user".into(), value: Value::Text("ada".into()) },
                Told { header: "x-jwt".into(), value: Value::Claims(serde_json::json!({ "sub": "ada" })) },
                Told { header: "authorization".into(), value: Value::Withheld },
            ],
            stripped: vec!["header authorization".into()],
            opens_session: false,
            answers: vec![],
        };
        let mut output = Output::new(Form::Plain);
        print(&explanation, &mut output);
        assert_eq!(
            output.text(),
            "GET app.localhost/x\n\n\
             decision  allowed\n\
             tenant    north\n\
             route     api\n\
             user      ada\n\
             permits   staff\n\
             took      12.800 ms\n\
             forward   app\n\n\
             \u{20}  step         verdict                ms  reason\n\
             \u{20}  session      not applicable      0.001\n\
             \u{20}  basic-corp   rejected           12.345  unknown user\n\
             >  basic-local  authenticated       0.310\n\n\
             told           value\n\
             x-user         ada\n\
             x-jwt          signed token of {\"sub\":\"ada\"}\n\
             authorization  withheld: a secret\n\n\
             stripped\n\
             header authorization\n"
        );
    }
}
