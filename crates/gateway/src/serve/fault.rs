//! SOAP faults as refusals: SOAP 1.1 §4.4 and SOAP 1.2 part 1 §5.4, in the version of the request.
//!
//! The texts are constants of ours and a UUID, so there is nothing to escape.

use vestibule_engine::request::RequestId;
use vestibule_wss::FaultCode;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The request itself.
    Client,
    /// Who the caller is, or failed to prove (WSS core §12).
    Caller,
    /// The security header of the message.
    Header(FaultCode),
    /// A header block that has to be understood.
    NotUnderstood,
    /// The caller is known and may not.
    Denied,
    /// We or those behind us.
    Server,
}

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";

/// A SOAP 1.1 fault: the code is not nested.
pub fn soap11(party: Party, sentence: &str, id: RequestId) -> String {
    let code = match party {
        Party::Client | Party::Denied => "soap:Client".to_owned(),
        Party::Caller => "wsse:FailedAuthentication".to_owned(),
        Party::Header(code) => format!("wsse:{}", code.local()),
        Party::NotUnderstood => "soap:MustUnderstand".to_owned(),
        Party::Server => "soap:Server".to_owned(),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:wsse=\"{WSSE}\" xmlns:v=\"urn:vestibule:fault\"><soap:Body><soap:Fault>\
         <faultcode>{code}</faultcode><faultstring>{sentence}</faultstring>\
         <detail><v:request>{id}</v:request></detail>\
         </soap:Fault></soap:Body></soap:Envelope>"
    )
}

/// A SOAP 1.2 fault: the particular code is nested in the general one.
pub fn soap12(party: Party, sentence: &str, id: RequestId) -> String {
    let (code, subcode) = match party {
        Party::Client => ("soap:Sender", None),
        Party::Caller => ("soap:Sender", Some("wsse:FailedAuthentication".to_owned())),
        Party::Header(code) => ("soap:Sender", Some(format!("wsse:{}", code.local()))),
        Party::NotUnderstood => ("soap:MustUnderstand", None),
        Party::Denied => ("soap:Sender", Some("v:AccessDenied".to_owned())),
        Party::Server => ("soap:Receiver", None),
    };
    let subcode = subcode.map(|code| format!("<soap:Subcode><soap:Value>{code}</soap:Value></soap:Subcode>")).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:wsse=\"{WSSE}\" xmlns:v=\"urn:vestibule:fault\"><soap:Body><soap:Fault>\
         <soap:Code><soap:Value>{code}</soap:Value>{subcode}</soap:Code>\
         <soap:Reason><soap:Text xml:lang=\"en\">{sentence}</soap:Text></soap:Reason>\
         <soap:Detail><v:request>{id}</v:request></soap:Detail>\
         </soap:Fault></soap:Body></soap:Envelope>"
    )
}
