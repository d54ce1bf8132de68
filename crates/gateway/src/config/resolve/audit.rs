//! Where audit records go.

use std::net::IpAddr;

use super::Resolve;
use crate::audit::syslog::{self, Target};
use crate::config::checked::Audit;
use crate::config::file;
use crate::config::pem;
use crate::config::problem::suggest;
use crate::config::values::At;

/// RFC 5425 §4.1.
const SYSLOG_TLS: u16 = 6514;
/// RFC 5424 §6.2.1.
const LAST_FACILITY: u8 = 23;

impl Resolve<'_> {
    pub(super) fn audit(&mut self) -> Audit {
        let written = &self.file.audit;
        let mut audit = Audit { stdout: false, file: None, syslog: None };
        for at in &written.to.value.0 {
            match at.value.as_str() {
                "stdout" => audit.stdout = true,
                "file" => match &written.path {
                    Some(path) => audit.file = Some(self.path(&path.value)),
                    None => self.lacks(&written.to, "a file", "path = \"audit.jsonl\""),
                },
                "syslog" => match &written.syslog {
                    Some(syslog) => audit.syslog = self.syslog(&syslog.value),
                    None => self.lacks(&written.to, "a syslog collector", "[audit.syslog] with server = \"tls://logs.example.com:6514\""),
                },
                unknown => {
                    let help = suggest(unknown, ["stdout", "file", "syslog"]);
                    self.error(&written.to, format!("the audit cannot go to `{unknown}`")).help = help;
                }
            }
        }
        let goes = |to: &str| written.to.value.0.iter().any(|at| at.value == to);
        if let Some(at) = written.path.as_ref().filter(|_| !goes("file")) {
            self.error(at, "the audit does not go to a file, so nothing would be written here").help =
                Some("add \"file\" to `to`, or remove the path".to_owned());
        }
        if let Some(at) = written.syslog.as_ref().filter(|_| !goes("syslog")) {
            self.error(at, "the audit does not go to syslog, so nothing would be sent there").help =
                Some("add \"syslog\" to `to`, or remove this".to_owned());
        }
        if written.to.value.0.is_empty() {
            self.error(&written.to, "the audit goes nowhere");
        }
        audit
    }

    fn lacks<T>(&mut self, at: &At<T>, what: &str, help: &str) {
        self.error(at, format!("the audit goes to {what}, but none is named")).help = Some(format!("add {help}"));
    }

    fn syslog(&mut self, written: &file::Syslog) -> Option<syslog::Settings> {
        let target = self.collector(&written.server)?;
        let tls = matches!(target, Target::Tls(..));
        if let Some(at) = written.ca.as_ref().or(written.client_certificate.as_ref()).filter(|_| !tls) {
            self.error(at, "certificates mean nothing without TLS").help = Some("write the server with tls://".to_owned());
        }
        let ca = written.ca.as_ref().and_then(|at| {
            let path = self.named_file(at);
            self.or_error(at, pem::certificates(&path))
        });
        let identity = match (&written.client_certificate, &written.client_key) {
            (Some(certificate), Some(key)) => self.client_certificate(certificate, key),
            (Some(at), None) => {
                self.error(at, "a client certificate needs its key").help = Some("add client_key = { file = \"…\" }".to_owned());
                None
            }
            (None, Some(at)) => {
                self.error(at, "this key belongs to no certificate").help = Some("add client_certificate = \"…\"".to_owned());
                None
            }
            (None, None) => None,
        };
        if written.facility.value > LAST_FACILITY {
            self.error(&written.facility, format!("facilities are 0 to {LAST_FACILITY}"));
        }
        Some(syslog::Settings { target, ca: ca.unwrap_or_default(), identity, facility: written.facility.value })
    }

    fn collector(&mut self, at: &At<String>) -> Option<Target> {
        let help = "write it as \"tls://logs.example.com:6514\", \"tcp://127.0.0.1:601\" or \"unix:///run/audit.sock\"";
        let Ok(url) = url::Url::parse(&at.value) else {
            self.error(at, format!("`{}` is not the address of a syslog collector", at.value)).help = Some(help.to_owned());
            return None;
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let stream = bare && !host.is_empty() && matches!(url.path(), "" | "/");
        match url.scheme() {
            "tls" if stream => Some(Target::Tls(host, url.port().unwrap_or(SYSLOG_TLS))),
            "tcp" if stream => {
                let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
                if !local {
                    self.error(at, "records name people, and this would send them in the clear").help = Some("write tls://".to_owned());
                }
                let Some(port) = url.port() else {
                    self.error(at, "there is no usual port for syslog over TCP").help = Some(help.to_owned());
                    return None;
                };
                local.then_some(Target::Tcp(host, port))
            }
            "unix" if bare && host.is_empty() && url.path().len() > 1 => Some(Target::Unix(url.path().into())),
            _ => {
                self.error(at, format!("`{}` is not the address of a syslog collector", at.value)).help = Some(help.to_owned());
                None
            }
        }
    }
}
