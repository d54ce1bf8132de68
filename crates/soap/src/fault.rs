//! Faults (SOAP 1.1 §4.4, SOAP 1.2 part 1 §5.4), written in the version of the request and read from the answers of others.
//!
//! What an attacker tries: text of a request that comes back as markup of the fault. Every text is escaped, every name is
//! checked when it is made. A fault that was read is a claim like any other message.

use vestibule_xmlsec::{Document, ElementView, Error as XmlError, FromClaimed, Unsigned};

use crate::envelope::Version;

/// Who is at fault (SOAP 1.2 §5.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The envelope is of an unknown version.
    VersionMismatch,
    /// A header block had to be understood and was not.
    MustUnderstand,
    /// The message is wrong: `Client` in SOAP 1.1.
    Sender,
    /// The message may be right: `Server` in SOAP 1.1.
    Receiver,
}

impl Code {
    /// Its local name in the namespace of the envelope.
    pub fn local(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::VersionMismatch, _) => "VersionMismatch",
            (Self::MustUnderstand, _) => "MustUnderstand",
            (Self::Sender, Version::Soap11) => "Client",
            (Self::Sender, Version::Soap12) => "Sender",
            (Self::Receiver, Version::Soap11) => "Server",
            (Self::Receiver, Version::Soap12) => "Receiver",
        }
    }
}

/// A namespace name and a local name that can be written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QualifiedName {
    namespace: String,
    local: String,
}

impl QualifiedName {
    /// `None` if the namespace is empty or reserved, or the local name is none.
    pub fn new(namespace: &str, local: &str) -> Option<Self> {
        (!namespace.is_empty() && is_free(namespace) && is_name(local))
            .then(|| Self { namespace: namespace.to_owned(), local: local.to_owned() })
    }

    /// The namespace name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The local name.
    pub fn local(&self) -> &str {
        &self.local
    }
}

/// An element of the detail: a name, with or without namespace, and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    namespace: String,
    local: String,
    text: String,
}

impl Detail {
    /// An element in a namespace; an empty namespace name stands for none. `None` if the namespace is reserved or the local
    /// name is none.
    pub fn new(namespace: &str, local: &str, text: &str) -> Option<Self> {
        (is_free(namespace) && is_name(local)).then(|| Self {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
            text: text.to_owned(),
        })
    }

    /// The namespace name; empty for none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The local name.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A fault to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Who is at fault.
    pub code: Code,
    /// What exactly: the `faultcode` of SOAP 1.1 (WSS §12), the `Subcode` of 1.2.
    pub subcode: Option<QualifiedName>,
    /// A sentence for people.
    pub reason: String,
    /// The node that found it.
    pub role: Option<String>,
    /// The elements of the detail.
    pub detail: Vec<Detail>,
    /// With [`Code::MustUnderstand`]: the header blocks, which SOAP 1.2 lists (§5.4.8).
    pub not_understood: Vec<QualifiedName>,
}

impl Fault {
    /// A fault with a code and a sentence.
    pub fn new(code: Code, reason: &str) -> Self {
        Self { code, subcode: None, reason: reason.to_owned(), role: None, detail: Vec::new(), not_understood: Vec::new() }
    }

    /// A whole message.
    pub fn write(&self, version: Version) -> String {
        let mut out = format!(r#"<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="{}">"#, version.namespace());
        if version == Version::Soap12 && !self.not_understood.is_empty() {
            out.push_str("<env:Header>");
            for name in &self.not_understood {
                out.push_str("<env:NotUnderstood xmlns:q=\"");
                escape(&name.namespace, &mut out);
                out.push_str(&format!("\" qname=\"q:{}\"/>", name.local));
            }
            out.push_str("</env:Header>");
        }
        out.push_str("<env:Body><env:Fault>");
        match version {
            Version::Soap11 => self.write_11(&mut out),
            Version::Soap12 => self.write_12(&mut out),
        }
        out.push_str("</env:Fault></env:Body></env:Envelope>");
        out
    }

    fn write_11(&self, out: &mut String) {
        match &self.subcode {
            Some(subcode) => code_value("faultcode", subcode, out),
            None => out.push_str(&format!("<faultcode>env:{}</faultcode>", self.code.local(Version::Soap11))),
        }
        element("faultstring", &self.reason, out);
        if let Some(role) = &self.role {
            element("faultactor", role, out);
        }
        self.write_detail("detail", out);
    }

    fn write_12(&self, out: &mut String) {
        out.push_str(&format!("<env:Code><env:Value>env:{}</env:Value>", self.code.local(Version::Soap12)));
        if let Some(subcode) = &self.subcode {
            out.push_str("<env:Subcode>");
            code_value("env:Value", subcode, out);
            out.push_str("</env:Subcode>");
        }
        out.push_str("</env:Code><env:Reason><env:Text xml:lang=\"en\">");
        escape(&self.reason, out);
        out.push_str("</env:Text></env:Reason>");
        if let Some(role) = &self.role {
            element("env:Role", role, out);
        }
        self.write_detail("env:Detail", out);
    }

    fn write_detail(&self, name: &str, out: &mut String) {
        if self.detail.is_empty() {
            return;
        }
        out.push_str(&format!("<{name}>"));
        for Detail { namespace, local, text } in &self.detail {
            let prefix = if namespace.is_empty() { "" } else { "d:" };
            out.push_str(&format!("<{prefix}{local}"));
            if !namespace.is_empty() {
                out.push_str(" xmlns:d=\"");
                escape(namespace, out);
                out.push('"');
            }
            out.push('>');
            escape(text, out);
            out.push_str(&format!("</{prefix}{local}>"));
        }
        out.push_str(&format!("</{name}>"));
    }
}

/// An element whose text is a qualified name.
fn code_value(name: &str, value: &QualifiedName, out: &mut String) {
    out.push_str(&format!("<{name} xmlns:q=\""));
    escape(&value.namespace, out);
    out.push_str(&format!("\">q:{}</{name}>", value.local));
}

fn element(name: &str, text: &str, out: &mut String) {
    out.push_str(&format!("<{name}>"));
    escape(text, out);
    out.push_str(&format!("</{name}>"));
}

/// A text or an attribute in quotation marks. What XML cannot say becomes U+FFFD.
pub(crate) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

/// Namespaces in XML §3: two namespaces cannot be given another prefix.
fn is_free(namespace: &str) -> bool {
    !matches!(namespace, "http://www.w3.org/XML/1998/namespace" | "http://www.w3.org/2000/xmlns/")
}

/// A name without colon that every version of XML has: letters first, then digits, too.
fn is_name(local: &str) -> bool {
    let mut characters = local.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || matches!(other, '_' | '-' | '.'))
}

/// Elements of a detail that are kept.
const MOST_DETAILS: usize = 32;

/// A fault that somebody sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedFault {
    /// The version of the message.
    pub version: Version,
    /// The local name of the code: `Client`, `Sender`, or one of the sender's own.
    pub code: String,
    /// The local name of the innermost subcode.
    pub subcode: Option<String>,
    /// The first sentence for people.
    pub reason: String,
    /// The elements with nothing but text in the detail, at whatever depth; at most 32.
    pub detail: Vec<Detail>,
}

impl ReceivedFault {
    /// Reads the fault in a message; `None` if the Body holds something else.
    ///
    /// # Errors
    /// What the reader of the envelope refuses, and a fault without code.
    pub fn read(document: &Document) -> Result<Option<Self>, XmlError> {
        document.claim::<Maybe>().map(|claimed| claimed.sender_says().0.clone())
    }
}

struct Maybe(Option<ReceivedFault>);

impl FromClaimed for Maybe {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let versions = [Version::Soap11, Version::Soap12];
        let Some(version) = versions.into_iter().find(|version| root.is(version.namespace(), "Envelope")) else { return Ok(Self(None)) };
        let namespace = version.namespace();
        let Some(fault) = root.child(namespace, "Body")?.map(|body| body.child(namespace, "Fault")).transpose()?.flatten() else {
            return Ok(Self(None));
        };
        let missing = || fault.unreadable("a fault without code");
        let text = |element: Option<ElementView<'_, Unsigned>>| -> Result<Option<String>, XmlError> {
            element.map(|element| element.text().map(|text| text.trim_matches([' ', '\t', '\r', '\n']).to_owned())).transpose()
        };
        let local = |name: String| name.rsplit_once(':').map_or(name.clone(), |(_, local)| local.to_owned());
        let (code, subcode, reason, detail) = match version {
            Version::Soap11 => {
                let code = text(fault.child("", "faultcode")?)?.ok_or_else(missing)?;
                (local(code), None, text(fault.child("", "faultstring")?)?, fault.child("", "detail")?)
            }
            Version::Soap12 => {
                let element = fault.child(namespace, "Code")?.ok_or_else(missing)?;
                let code = text(element.child(namespace, "Value")?)?.ok_or_else(missing)?;
                let mut subcode = None;
                let mut inner = element.child(namespace, "Subcode")?;
                // Bounded by the depth of the document.
                while let Some(element) = inner {
                    subcode = text(element.child(namespace, "Value")?)?.map(local);
                    inner = element.child(namespace, "Subcode")?;
                }
                let reason = fault.child(namespace, "Reason")?;
                let reason = reason.and_then(|reason| reason.children().find(|child| child.is(namespace, "Text")));
                (local(code), subcode, text(reason)?, fault.child(namespace, "Detail")?)
            }
        };
        let mut kept = Vec::new();
        if let Some(detail) = detail {
            leaves(detail, &mut kept)?;
        }
        Ok(Self(Some(ReceivedFault { version, code, subcode, reason: reason.unwrap_or_default(), detail: kept })))
    }
}

fn leaves(element: ElementView<'_, Unsigned>, out: &mut Vec<Detail>) -> Result<(), XmlError> {
    for child in element.children() {
        if out.len() >= MOST_DETAILS {
            break;
        }
        if child.children().next().is_some() {
            leaves(child, out)?;
        } else {
            let (namespace, local) = (child.namespace().to_owned(), child.local().to_owned());
            out.push(Detail { namespace, local, text: child.text()?.into_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vestibule_xmlsec::Limits;

    use super::*;

    const BOTH: [Version; 2] = [Version::Soap11, Version::Soap12];
    const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";

    fn read(text: &str) -> Result<Option<ReceivedFault>, XmlError> {
        ReceivedFault::read(&Document::parse(text.as_bytes(), &Limits::MESSAGE)?)
    }

    #[test]
    fn each_version_has_its_shape() {
        let fault = Fault {
            subcode: QualifiedName::new(WSSE, "FailedAuthentication"),
            role: Some("urn:gateway".to_owned()),
            detail: vec![Detail::new("", "ErrorCode", "SBL-ODU-01006").unwrap()],
            ..Fault::new(Code::Sender, "not authenticated")
        };
        assert_eq!(
            fault.write(Version::Soap11),
            format!(
                r#"<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/"><env:Body><env:Fault><faultcode xmlns:q="{WSSE}">q:FailedAuthentication</faultcode><faultstring>not authenticated</faultstring><faultactor>urn:gateway</faultactor><detail><ErrorCode>SBL-ODU-01006</ErrorCode></detail></env:Fault></env:Body></env:Envelope>"#
            )
        );
        assert_eq!(
            fault.write(Version::Soap12),
            format!(
                r#"<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"><env:Body><env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value xmlns:q="{WSSE}">q:FailedAuthentication</env:Value></env:Subcode></env:Code><env:Reason><env:Text xml:lang="en">not authenticated</env:Text></env:Reason><env:Role>urn:gateway</env:Role><env:Detail><ErrorCode>SBL-ODU-01006</ErrorCode></env:Detail></env:Fault></env:Body></env:Envelope>"#
            )
        );
    }

    #[test]
    fn headers_that_were_not_understood_are_listed() {
        let not_understood = vec![QualifiedName::new("urn:h&\"", "B").unwrap()];
        let fault = Fault { not_understood, ..Fault::new(Code::MustUnderstand, "not understood") };
        let text = fault.write(Version::Soap12);
        assert!(text.contains("<env:Header><env:NotUnderstood xmlns:q=\"urn:h&amp;&quot;\" qname=\"q:B\"/></env:Header>"), "{text}");
        assert!(!fault.write(Version::Soap11).contains("Header"));
    }

    #[test]
    fn a_fault_of_others_is_read() {
        let form_b = r#"<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>failed</faultstring><detail><f:siebdetail xmlns:f="urn:f"><f:errorstack><f:error><f:errorcode>(SBL-EAI-04316)</f:errorcode><f:errormsg>no &amp; no</f:errormsg></f:error></f:errorstack></f:siebdetail></detail></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"#;
        let fault = read(form_b).unwrap().unwrap();
        assert_eq!((fault.code.as_str(), fault.reason.as_str()), ("Server", "failed"));
        let details: Vec<&str> = fault.detail.iter().map(Detail::text).collect();
        assert_eq!(details, ["(SBL-EAI-04316)", "no & no"]);
        assert_eq!(read("<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><a/></s:Body></s:Envelope>"), Ok(None));
        assert_eq!(read("<html/>"), Ok(None));
        let empty = "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><s:Fault/></s:Body></s:Envelope>";
        assert!(matches!(read(empty), Err(XmlError::Unreadable { .. })));
        let twice = empty.replace("<s:Fault/>", "<s:Fault/><s:Fault/>");
        assert!(matches!(read(&twice), Err(XmlError::Ambiguous(_))));
    }

    #[test]
    fn what_is_no_name_cannot_be_written() {
        for wrong in ["", "1", "-", "a b", "a:b", "a>", "é", "a\u{0}"] {
            assert!(QualifiedName::new("urn:a", wrong).is_none() && Detail::new("", wrong, "").is_none(), "{wrong}");
        }
        assert!(QualifiedName::new("", "a").is_none());
        for reserved in ["http://www.w3.org/XML/1998/namespace", "http://www.w3.org/2000/xmlns/"] {
            assert!(QualifiedName::new(reserved, "a").is_none() && Detail::new(reserved, "a", "").is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(reason in any::<String>(), text in any::<String>(), namespace in any::<String>(), role in any::<Option<String>>()) {
            for version in BOTH {
                let fault = Fault {
                    subcode: QualifiedName::new(&format!("urn:{namespace}"), "Sub"),
                    role: role.clone(),
                    detail: vec![Detail::new(&namespace, "D", &text).unwrap()],
                    ..Fault::new(Code::Receiver, &reason)
                };
                let written = fault.write(version);
                let read = read(&written).unwrap().unwrap();
                prop_assert_eq!(read.version, version);
                let said = |text: &str| text.chars().map(|c| if (c < ' ' && !"\t\n\r".contains(c)) || "\u{fffe}\u{ffff}".contains(c) { '\u{fffd}' } else { c }).collect::<String>();
                let sentence = said(&reason);
                prop_assert_eq!(read.reason.as_str(), sentence.trim_matches([' ', '\t', '\r', '\n']));
                prop_assert_eq!(read.detail[0].text(), said(&text));
            }
        }
    }
}
