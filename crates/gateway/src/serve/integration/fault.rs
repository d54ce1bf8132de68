//! Faults as old clients of integration services look for them (`oracle-stateful-sessions.md` §4, §5).
//!
//! They read codes and phrases out of texts, never a status, so each is written as they know it; and they cannot be asked for a
//! password or sent to a page. Form A is the only one we write; the services' own faults, of either form, pass untouched. All texts
//! are constants of ours, so there is nothing to escape.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use vestibule_engine::audit::Reason;
use vestibule_engine::decision::{Decision, Denial, Shed};
use vestibule_engine::request::{Body, CheckRequest, ClientKind, Malformed};
use vestibule_wss::Era;
use vestibule_wss::integration::{Heading, Lack, Security};
use vestibule_xmlsec::Limits;

/// What a session that is no more is answered with.
pub const SESSION: FormA = FormA { code: "SBL-ODU-01006", message: "Session is invalid or has expired", wait: None };
/// What a login that failed is answered with, whatever was wrong; clients look for "unknown user".
pub const CREDENTIALS: FormA = FormA { code: "SBL-ODU-01006", message: "Unknown user ID or incorrect password", wait: None };
/// A login that cannot be read.
pub const MALFORMED: FormA = FormA { code: "SBL-ODU-01006", message: "malformed login request", wait: None };
/// No place is left, said to who logs in by a command.
pub const QUOTA: FormA = FormA { code: "SBL-ODU-01006", message: "session limit reached", wait: None };
/// A token that does not hold.
pub const TOKEN: FormA = FormA { code: "SBL-ODU-01006", message: "SSO token is not valid", wait: None };
/// Something that we wait for does not answer.
pub const OUTAGE: FormA = FormA { code: "SBL-ODU-01006", message: "RIP_WAIT_ERROR_TIMEOUT", wait: None };
/// No place is left, said to who logs in by a message (§3.1).
const QUOTA_IN_SOAP: FormA =
    FormA { code: "SBL-ODU-01006", message: "com.siebel.occam.integration.IntegrationServletException", wait: None };
const NO_RIGHTS: FormA = FormA { code: "SBL-ODU-01011", message: "You do not have the rights to do this", wait: None };
const ACTION: FormA = FormA { code: "SBL-ODU-01007", message: "The operation is missing or is not the one of the message", wait: None };
const ALLOTMENT: FormA = FormA { code: "SBL-SBL-70172", message: "The allotment has been reached. Please try again later.", wait: None };

/// Seconds after which to try again where something does not answer.
const RETRY: &str = "30";

/// Form A: `detail` holds a code and a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormA {
    code: &'static str,
    message: &'static str,
    /// Milliseconds.
    wait: Option<u32>,
}

impl FormA {
    /// Requests follow each other too quickly.
    pub const fn rate(wait: u32) -> Self {
        Self { code: "SBL-ODU-01005", message: "The maximum rate of requests was exceeded.", wait: Some(wait) }
    }

    /// The document.
    pub fn write(&self) -> String {
        let Self { code, message, wait } = self;
        let more = wait.map(|wait| format!(" Please try again in {wait} ms.")).unwrap_or_default();
        let element = wait.map(|wait| format!("<RequestWait>{wait}</RequestWait>")).unwrap_or_default();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body><soap:Fault>\
             <faultcode>soap:Server</faultcode><faultstring>Server</faultstring>\
             <detail><ErrorCode>{code}</ErrorCode><ErrorMessage>{message}{more}</ErrorMessage>{element}</detail>\
             </soap:Fault></soap:Body></soap:Envelope>"
        )
    }

    /// The answer with this status.
    pub fn answer(&self, status: StatusCode) -> Response<Bytes> {
        xml(status, self.write())
    }
}

/// The answer to a data request whose service does not answer, or not in time (§5.3); `None` for clients of another kind.
pub fn outage(kind: ClientKind, status: StatusCode) -> Option<Response<Bytes>> {
    (kind != ClientKind::Soap12).then(|| later(OUTAGE.answer(status), RETRY))
}

/// The answer to a data request that is not forwarded; `None` where these clients have no form of their own for it.
pub fn refuse(request: &CheckRequest, decision: &Decision) -> Option<Response<Bytes>> {
    // What says SOAP 1.2 is no client of old; it gets the faults of its own version.
    if request.kind() == ClientKind::Soap12 {
        return None;
    }
    const SAID: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    Some(match decision {
        Decision::Allow(_) => return None,
        Decision::Fail(_) => later(OUTAGE.answer(StatusCode::SERVICE_UNAVAILABLE), RETRY),
        Decision::Challenge(challenges) => match heading(request) {
            Some(heading) if !challenges.attempted => token_fault(&heading.security),
            Some(_) | None => SESSION.answer(SAID),
        },
        Decision::Deny(denial) => match denial {
            Denial::Rejected(rejection) => return rejected(request, rejection.reason),
            Denial::Policy(_)
            | Denial::PolicyError(_)
            | Denial::Csrf
            | Denial::CrossOrigin
            | Denial::MustChangePassword
            | Denial::WeakProof => NO_RIGHTS.answer(SAID),
            Denial::Malformed(Malformed::SoapAction) => ACTION.answer(SAID),
            Denial::Shed(Shed::AddressRate | Shed::AddressRequests | Shed::RouteRate, seconds) => {
                let wait = seconds.saturating_mul(1000);
                later(FormA::rate(wait).answer(StatusCode::TOO_MANY_REQUESTS), &seconds.to_string())
            }
            Denial::Shed(Shed::RouteRequests | Shed::Requests, seconds) => {
                later(ALLOTMENT.answer(StatusCode::SERVICE_UNAVAILABLE), &seconds.to_string())
            }
            Denial::Malformed(_) | Denial::NoRoute | Denial::Injection(_) | Denial::Uncarried(_) => return None,
        },
    })
}

fn rejected(request: &CheckRequest, reason: Reason) -> Option<Response<Bytes>> {
    const SAID: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    let security = heading(request).map(|heading| heading.security);
    Some(match reason {
        Reason::RequestRate(wait) => FormA::rate(wait).answer(SAID),
        Reason::Allotment(seconds) => later(ALLOTMENT.answer(SAID), &seconds.to_string()),
        Reason::SessionQuota => QUOTA_IN_SOAP.answer(SAID),
        Reason::TooManyWaiting | Reason::Unavailable => later(OUTAGE.answer(StatusCode::SERVICE_UNAVAILABLE), RETRY),
        Reason::Security(_) => token_fault(&security.unwrap_or(Security::Unusable { era: None, lack: Lack::Malformed })),
        _ => match security {
            Some(security @ (Security::Username { .. } | Security::SsoToken(_))) => token_fault(&security),
            Some(Security::Absent | Security::Unusable { .. }) | None => SESSION.answer(SAID),
        },
    })
}

/// What the framework of these services says of a token (§4), in the namespace of the request.
fn token_fault(security: &Security) -> Response<Bytes> {
    let (era, code, text) = match security {
        Security::Absent => (None, "InvalidSecurity", "Missing &lt;wsse:Security&gt; in SOAP Header"),
        Security::Username { era, .. } => {
            (Some(*era), "FailedAuthentication", "The security token could not be authenticated or authorized.")
        }
        Security::SsoToken(_) => (None, "FailedAuthentication", "The security token could not be authenticated or authorized."),
        Security::Unusable { era, lack } => {
            let (code, text) = match lack {
                Lack::Token => ("InvalidSecurity", "Policy requires authentication token"),
                Lack::Username => ("InvalidSecurity", "Missing user name in security token"),
                Lack::Password => ("InvalidSecurity", "Missing password value"),
                Lack::Unsupported => ("UnsupportedSecurityToken", "An unsupported token was provided."),
                Lack::Malformed => ("InvalidSecurity", "An error was discovered processing the &lt;wsse:Security&gt; header."),
            };
            (*era, code, text)
        }
    };
    let namespace = era.unwrap_or(Era::Standard).extension();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:wsse=\"{namespace}\"><soap:Body><soap:Fault>\
         <faultcode>wsse:{code}</faultcode><faultstring>{text}</faultstring>\
         </soap:Fault></soap:Body></soap:Envelope>"
    );
    xml(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// The head of the message, read once more: only who is refused pays for it. `None` where there is no message.
fn heading(request: &CheckRequest) -> Option<Heading> {
    let Body::Whole(body) = &request.body else { return None };
    Heading::read(body, &Limits::MESSAGE).ok()
}

/// The same answer, to be asked for again after so many seconds.
pub fn later(mut response: Response<Bytes>, seconds: &str) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::from_str(seconds) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// An answer in XML.
pub fn xml(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_a_reads_as_clients_know_it() {
        assert_eq!(
            FormA::rate(12).write(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body><soap:Fault>\
             <faultcode>soap:Server</faultcode><faultstring>Server</faultstring><detail><ErrorCode>SBL-ODU-01005</ErrorCode>\
             <ErrorMessage>The maximum rate of requests was exceeded. Please try again in 12 ms.</ErrorMessage><RequestWait>12</RequestWait></detail>\
             </soap:Fault></soap:Body></soap:Envelope>"
        );
        assert!(!SESSION.write().contains("RequestWait"));
        assert!(CREDENTIALS.write().to_lowercase().contains("unknown user"), "a client searches for it");
        for form in [SESSION, CREDENTIALS, MALFORMED, QUOTA, TOKEN, OUTAGE, QUOTA_IN_SOAP, NO_RIGHTS, ACTION, ALLOTMENT] {
            let digits = form.code.rsplit_once('-').map(|(_, digits)| digits).unwrap_or_default();
            assert!(form.code.starts_with("SBL-") && digits.len() == 5, "{}", form.code);
            vestibule_xmlsec::Document::parse(form.write().as_bytes(), &Limits::MESSAGE).unwrap();
        }
    }

    #[test]
    fn framework_texts_are_in_the_namespace_of_the_request() {
        let text = |security: &Security| String::from_utf8(token_fault(security).into_body().to_vec()).unwrap();
        let unusable = |lack| Security::Unusable { era: Some(Era::Draft200204), lack };
        for (security, code, said) in [
            (Security::Absent, "InvalidSecurity", "Missing &lt;wsse:Security&gt; in SOAP Header"),
            (unusable(Lack::Token), "InvalidSecurity", "Policy requires authentication token"),
            (unusable(Lack::Username), "InvalidSecurity", "Missing user name in security token"),
            (unusable(Lack::Password), "InvalidSecurity", "Missing password value"),
            (unusable(Lack::Unsupported), "UnsupportedSecurityToken", "unsupported token"),
        ] {
            let text = text(&security);
            assert!(text.contains(&format!("<faultcode>wsse:{code}</faultcode>")) && text.contains(said), "{text}");
            let namespace = if matches!(security, Security::Absent) { Era::Standard } else { Era::Draft200204 };
            assert!(text.contains(&format!("xmlns:wsse=\"{}\"", namespace.extension())), "{text}");
        }
    }
}
