//! `vestibule check`: what is wrong with a configuration and where, or what it amounts to.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use vestibule_engine::Timestamp;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_engine::route::{Access, Scope};

use crate::cli::Common;
use crate::config::build;
use crate::config::checked::{Checked, Tenant};
use crate::config::problem::{Colour, Problem, Severity, tame};
use crate::config::{self, PolicyFindings, Purpose, schema};
use crate::serve::proxy::Speaks;

/// Says whether a configuration is valid, and what is wrong with it where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file [default: the one of --config]
    pub file: Option<PathBuf>,
    /// Print the JSON Schema of configuration files instead.
    #[arg(long, conflicts_with = "print_reference")]
    pub print_schema: bool,
    /// Print the reference of all keys, in Markdown, instead.
    #[arg(long)]
    pub print_reference: bool,
}

impl Arguments {
    /// Prints the report.
    pub fn print(self, common: &Common) -> ExitCode {
        let colour = Colour::of(&std::io::stdout());
        let file = self.file.clone().unwrap_or_else(|| common.config_path());
        let report = run(&self, &file, common.json, colour, SystemClock::default().now(), build::policy_problems);
        match std::io::stdout().write_all(report.text.as_bytes()) {
            Ok(()) => ExitCode::from(report.code),
            // Whoever read us has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(report.code),
            Err(_) => ExitCode::from(2),
        }
    }
}

/// What to print on standard output, and the exit code (architecture §13): 0 valid, 1 refused, 2 could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The text.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

/// Runs the command.
pub fn run(arguments: &Arguments, file: &Path, json: bool, colour: Colour, now: Timestamp, policies: PolicyFindings) -> Report {
    if arguments.print_schema {
        return Report { text: schema::schema(), code: 0 };
    }
    if arguments.print_reference {
        return Report { text: schema::reference(), code: 0 };
    }
    let readable = std::fs::metadata(file).is_ok_and(|about| about.is_file()) && std::fs::File::open(file).is_ok();
    let loaded = config::load(file, Purpose::Check, now, policies);
    let code = match (&loaded, readable) {
        (Ok(_), _) => 0,
        (Err(_), true) => 1,
        (Err(_), false) => 2,
    };
    let text = match (loaded, json) {
        (Ok((checked, warnings)), false) => problems(&warnings, colour) + &summary(&checked, &warnings),
        (Err(found), false) => problems(&found, colour) + &refusal(file, &found),
        (Ok((checked, warnings)), true) => line(json!({ "verdict": "accepted", "problems": warnings, "summary": summary_json(&checked) })),
        (Err(found), true) => line(json!({ "verdict": "rejected", "problems": found })),
    };
    Report { text, code }
}

fn line(value: Value) -> String {
    format!("{value}\n")
}

fn problems(problems: &[Problem], colour: Colour) -> String {
    problems.iter().map(|problem| problem.render(colour) + "\n").collect()
}

fn refusal(file: &std::path::Path, problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    format!("{} is not valid: {}\n", file.display(), count(errors, "error"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn summary(checked: &Checked, warnings: &[Problem]) -> String {
    let mut text = format!(
        "{} is valid: {}, {}, {}\n",
        checked.path.display(),
        count(checked.tenants.len(), "tenant"),
        count(checked.routes.len(), "route"),
        count(warnings.len(), "warning")
    );
    let listeners = checked.listeners.iter().map(|listener| {
        let channel = match listener.certificates.len() {
            0 => "plain HTTP".to_owned(),
            number => format!("TLS, {}", count(number, "certificate")),
        };
        let waits = match listener.speaks {
            Speaks::Questions(_) => format!("whoever asks waits {} s or longer", build::longest(checked).as_secs()),
            Speaks::Proxy => String::new(),
        };
        vec![listener.address.to_string(), channel, waits]
    });
    table(&mut text, "listeners", listeners);
    let certificates = checked.certificates.iter().map(|certificate| {
        let file = certificate.file.display().to_string();
        vec![file, certificate.subject.clone(), format!("until {}", certificate.until)]
    });
    table(&mut text, "certificates", certificates);
    let tenants = checked.tenants.iter().map(|tenant| {
        let portal = tenant.portal.as_ref().map_or_else(|| "no portal".to_owned(), |portal| format!("portal {portal}"));
        vec![tenant.id.to_string(), hosts(tenant), portal, chain(tenant)]
    });
    table(&mut text, "tenants", tenants);
    let routes = checked.routes.iter().map(|route| {
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
        vec![
            route.name.to_string(),
            scope(&route.scope),
            methods,
            route.pattern_text.clone(),
            access(route.access).to_owned(),
            route.upstream.as_deref().unwrap_or("the proxy in front").to_owned(),
        ]
    });
    table(&mut text, "routes", routes);
    let concessions = checked.concessions.iter().map(|concession| {
        let until = format!("until {}", concession.expires);
        vec![concession.what.word().to_owned(), concession.what.partner(), until, concession.reason.clone()]
    });
    table(&mut text, "concessions", concessions);
    text
}

fn hosts(tenant: &Tenant) -> String {
    match tenant.hosts.as_slice() {
        [] => "no host".to_owned(),
        hosts => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn chain(tenant: &Tenant) -> String {
    match tenant.chain.as_slice() {
        [] => "nobody is recognised".to_owned(),
        chain => chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(" > "),
    }
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Host(host) => host.to_string(),
        Scope::Tenant(tenant) => format!("tenant {tenant}"),
        Scope::Everywhere => "everywhere".to_owned(),
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Open => "open",
        Access::Protected => "protected",
    }
}

/// A heading and rows whose columns stand under each other; nothing if there are no rows.
fn table(text: &mut String, heading: &str, rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| tame(cell)).collect()).collect();
    if rows.is_empty() {
        return;
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let _ = writeln!(text, "\n{heading}");
    for row in &rows {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.trim_end());
    }
}

fn summary_json(checked: &Checked) -> Value {
    let listeners = checked.listeners.iter().map(|listener| {
        let waits = match listener.speaks {
            Speaks::Questions(_) => Some(build::longest(checked).as_secs()),
            Speaks::Proxy => None,
        };
        json!({ "address": listener.address, "tls": !listener.certificates.is_empty(), "whoever_asks_waits_seconds": waits })
    });
    let tenants = checked.tenants.iter().map(|tenant| {
        let hosts: Vec<String> = tenant.hosts.iter().map(ToString::to_string).collect();
        json!({ "name": tenant.id, "hosts": hosts, "portal": tenant.portal.as_ref().map(ToString::to_string), "chain": tenant.chain })
    });
    let routes = checked.routes.iter().map(|route| {
        let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
        json!({
            "name": route.name, "scope": scope(&route.scope), "methods": methods, "match": route.pattern_text,
            "access": access(route.access), "inject": route.inject.iter().map(|name| name.to_string()).collect::<Vec<_>>(), "forward": route.upstream.as_deref(),
        })
    });
    let concessions = checked.concessions.iter().map(|concession| {
        json!({
            "what": concession.what.word(), "partner": concession.what.partner(),
            "reason": concession.reason, "expires": concession.expires.to_string(),
        })
    });
    json!({
        "listeners": listeners.collect::<Vec<_>>(), "tenants": tenants.collect::<Vec<_>>(),
        "routes": routes.collect::<Vec<_>>(), "concessions": concessions.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(file: &str, json: bool) -> Report {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let arguments = Arguments { file: None, print_schema: false, print_reference: false };
        run(&arguments, &file, json, Colour::Off, "2026-11-21T12:00:00Z".parse().unwrap(), |_| Vec::new())
    }

    #[test]
    fn a_valid_configuration_is_summed_up_in_columns() {
        let Report { text, code } = check("examples/two-tenants/vestibule.toml", false);
        assert_eq!(code, 0);
        let (_, summary) = text.split_once(" is valid: ").unwrap();
        assert_eq!(
            summary,
            "\
2 tenants, 4 routes, 0 warnings

listeners
  127.0.0.1:8080  plain HTTP

tenants
  north  north.example.com, orders.north.example.com  portal login.north.example.com  session > basic > form
  south  south.example.com                            no portal                       basic

routes
  status  everywhere                GET,HEAD  /status  open       portal
  portal  north.example.com         *         /**      protected  portal
  orders  orders.north.example.com  *         /api/**  protected  orders
  south   tenant south              *         /**      protected  http://127.0.0.1:9003
"
        );
    }

    #[test]
    fn whoever_asks_us_is_told_how_long_to_wait() {
        let Report { text, .. } = check("examples/behind-a-proxy/vestibule.toml", false);
        let listeners: Vec<&str> = text.split("\nlisteners\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty()).collect();
        let asking = listeners.iter().filter(|line| line.ends_with("whoever asks waits 11 s or longer")).count();
        assert_eq!((listeners.len(), asking), (6, 5), "{text}");
        let said: Value = serde_json::from_str(&check("examples/behind-a-proxy/vestibule.toml", true).text).unwrap();
        let waits = said["summary"]["listeners"].as_array().unwrap().iter().map(|listener| listener["whoever_asks_waits_seconds"].as_u64());
        assert_eq!(waits.flatten().collect::<Vec<_>>(), [11; 5]);
    }

    #[test]
    fn concessions_are_listed_with_their_end() {
        let report = check("crates/gateway/tests/configurations/concession-ends-soon.toml", false);
        assert_eq!(report.code, 0);
        assert!(
            report.text.ends_with("concessions\n  plain-http  0.0.0.0:8080  until 2026-12-01  the load balancer ends TLS\n"),
            "{}",
            report.text
        );
    }

    #[test]
    fn refused_is_1_and_unreadable_is_2() {
        let refused = check("crates/gateway/tests/configurations/syntax.toml", false);
        assert_eq!(refused.code, 1);
        assert!(refused.text.ends_with("syntax.toml is not valid: 2 errors\n"), "{}", refused.text);
        assert_eq!(check("examples/no-such-file.toml", false).code, 2);
        assert_eq!(check("examples", false).code, 2);
    }

    #[test]
    fn json_says_the_same() {
        let accepted: Value = serde_json::from_str(&check("examples/minimal/vestibule.toml", true).text).unwrap();
        assert_eq!(accepted["verdict"], "accepted");
        assert_eq!(accepted["summary"]["tenants"][0]["chain"], json!(["session", "basic", "form"]));
        let refused: Value = serde_json::from_str(&check("crates/gateway/tests/configurations/unknown-word.toml", true).text).unwrap();
        assert_eq!(refused["verdict"], "rejected");
        assert_eq!(refused["problems"][0]["line"], 13);
        assert_eq!(refused["problems"][0]["help"], "did you mean `open`?");
    }
}
