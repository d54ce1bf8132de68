//! SOAP faults as refusals: SOAP 1.1 §4.4 and SOAP 1.2 part 1 §5.4, in the version of the request.
//!
//! The texts are constants of ours and a UUID, so there is nothing to escape.

use vestibule_engine::request::RequestId;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The request itself.
    Client,
    /// Who the caller is, or failed to prove (WSS core §12).
    Caller,
    /// The caller is known and may not.
    Denied,
    /// We or those behind us.
    Server,
}

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";

/// A SOAP 1.1 fault: the code is not nested.
pub fn soap11(party: Party, sentence: &str, id: RequestId) -> String {
    let code = match party {
        Party::Client | Party::Denied => "soap:Client",
        Party::Caller => "wsse:FailedAuthentication",
        Party::Server => "soap:Server",
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
        Party::Client => ("soap:Sender", ""),
        Party::Caller => ("soap:Sender", "<soap:Subcode><soap:Value>wsse:FailedAuthentication</soap:Value></soap:Subcode>"),
        Party::Denied => ("soap:Sender", "<soap:Subcode><soap:Value>v:AccessDenied</soap:Value></soap:Subcode>"),
        Party::Server => ("soap:Receiver", ""),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:wsse=\"{WSSE}\" xmlns:v=\"urn:vestibule:fault\"><soap:Body><soap:Fault>\
         <soap:Code><soap:Value>{code}</soap:Value>{subcode}</soap:Code>\
         <soap:Reason><soap:Text xml:lang=\"en\">{sentence}</soap:Text></soap:Reason>\
         <soap:Detail><v:request>{id}</v:request></soap:Detail>\
         </soap:Fault></soap:Body></soap:Envelope>"
    )
}
