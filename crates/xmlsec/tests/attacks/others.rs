//! Attacks on messages of every kind, encodings, malformed signatures, and forms that only some profiles know.

use aws_lc_rs::hmac;

use super::*;

const HMAC_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256";
const RELATIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";

pub fn cases() -> Vec<Case> {
    let idp = key("idp-rsa2048.key");
    let clean = assertion("_a", "alice@example.org", "");
    let digest = digest_of(&clean);
    let usual = transforms(&[ENVELOPED, EXCLUSIVE]);
    let good_reference = reference(r##" URI="#_a""##, &usual, SHA256, &digest);
    let good_info = info(EXCLUSIVE, RSA_SHA256, &good_reference);
    let good_value = value(&idp, &good_info);
    let good = signature(&good_info, &good_value, "");
    let signed = assertion("_a", "alice@example.org", &good);
    let evil = assertion("_evil", "admin@example.org", "");
    // A response signed as a whole around an assertion that is signed, too.
    let both = response("_r", &signed);
    let both_info = info(EXCLUSIVE, RSA_SHA256, &reference(r##" URI="#_r""##, &usual, SHA256, &digest_of(&both)));
    let both_signature = signature(&both_info, &value(&idp, &both_info), "");
    let both_signed = response("_r", &format!("{both_signature}{signed}"));

    let mut cases = Vec::new();
    let mut add = |name, source, target, profile, expect, document: &[u8]| {
        cases.push(Case { name, source, target, profile, expect, document: document.to_vec() });
    };
    let with_info = |info: &str| response("_r", &assertion("_a", "alice@example.org", &signature(info, &value(&idp, info), "")));
    let with_signature = |sig: &str| response("_r", &assertion("_a", "alice@example.org", sig));

    // 1: both are signed, and the evil one is inside, before, behind or around.
    add("both-good", "-", "response", "saml", "accept", both_signed.as_bytes());
    add("both-good-assertion", "-", "assertion", "saml", "accept", both_signed.as_bytes());
    for (name, target, expect, document) in [
        ("both-evil-before", "response", "digest_mismatch", response("_r", &format!("{both_signature}{evil}{signed}"))),
        ("both-evil-behind", "response", "digest_mismatch", response("_r", &format!("{both_signature}{signed}{evil}"))),
        (
            "both-evil-in-extensions",
            "response",
            "digest_mismatch",
            response("_r", &format!("{both_signature}{}{signed}", extensions(&evil))),
        ),
        ("both-evil-instead", "assertion", "signature_missing", response("_r", &format!("{both_signature}{evil}"))),
        (
            "both-wrapped-in-evil-response",
            "response",
            "signature_missing",
            response("_evil-response", &format!("{}{evil}", extensions(&both_signed))),
        ),
        (
            "both-copied-signature",
            "response",
            "wrapped",
            response("_evil-response", &format!("{both_signature}{}{evil}", extensions(&both))),
        ),
        ("both-original-in-object", "response", "malformed", {
            let object = format!("<ds:Object>{both}</ds:Object>");
            response("_evil-response", &format!("{}{evil}", both_signature.replace("</ds:Signature>", &format!("{object}</ds:Signature>"))))
        }),
        ("both-original-in-the-evil-assertion", "assertion", "wrapped", {
            response("_evil-response", &assertion("_evil", "admin@example.org", &format!("{both_signature}{}", extensions(&both_signed))))
        }),
    ] {
        // Two `Signature`s with one id each are no duplicate ids; where the original is kept whole its id is.
        add(name, "1", target, "saml", expect, document.as_bytes());
    }

    // 2, 19: the original hidden in a status, an error response with an assertion in an object.
    let status = |inside: &str| format!("<samlp:Status><samlp:StatusDetail>{inside}</samlp:StatusDetail></samlp:Status>");
    add(
        "original-in-status-detail",
        "2",
        "assertion",
        "saml",
        "signature_missing",
        response("_r", &format!("{}{evil}", status(&signed))).as_bytes(),
    );
    let object = format!("<ds:Signature xmlns:ds=\"{DS}\"><ds:Object>{evil}</ds:Object></ds:Signature>");
    add("error-response-with-an-object", "19", "response", "saml", "malformed", response("_r", &format!("{object}{clean}")).as_bytes());

    // 16: names that other readers split differently.
    for (name, inside) in [
        ("two-colons", "<a:b:c/>"),
        ("colon-first", "<:a/>"),
        ("colon-attribute", "<a :b=''/>"),
        ("colon-declaration", "<a xmlns:b:c='urn:b'/>"),
        ("colon-instruction", "<?a:b?>"),
        ("empty-prefix-declaration", "<a xmlns:='urn:a'/>"),
    ] {
        add(name, "16", "assertion", "saml", "malformed", response("_r", &format!("{}{signed}", extensions(inside))).as_bytes());
    }

    // 18: references to what is no element.
    for (name, uri) in [
        ("uri-text-node", r##" URI="#xpointer(id('_a')/text())""##),
        ("uri-attribute", r##" URI="#xpointer(/*/@ID)""##),
        ("uri-comment", r##" URI="#xpointer(//comment())""##),
        ("uri-element-scheme", r##" URI="#element(/1/1)""##),
    ] {
        let info = info(EXCLUSIVE, RSA_SHA256, &reference(uri, &usual, SHA256, &digest));
        add(name, "18", "assertion", "saml", "reference_refused", with_info(&info).as_bytes());
    }

    // 20: every message, not only responses.
    for (name, target, local) in
        [("logout-request-around-an-assertion", "logout", "LogoutRequest"), ("request-around-an-assertion", "request", "AuthnRequest")]
    {
        let around = |inside: &str| format!(r#"<samlp:{local} xmlns:samlp="{SAMLP}" ID="_q" Version="2.0">{inside}</samlp:{local}>"#);
        add(name, "20", target, "saml", "signature_missing", around(&signed).as_bytes());
    }
    let around = format!(r#"<samlp:LogoutRequest xmlns:samlp="{SAMLP}" ID="_q" Version="2.0">{good}{clean}</samlp:LogoutRequest>"#);
    add("logout-request-with-a-signature-of-an-assertion", "20", "logout", "saml", "wrapped", around.as_bytes());

    // 21: the octets of a public key as secret, made in earnest, where the profile even admits secrets.
    let pem = std::fs::read_to_string(corpus("recorded/keys/idp-rsa2048.crt")).unwrap();
    let der = STANDARD.decode(certificate("idp-rsa2048.crt")).unwrap();
    for (name, secret) in [("hmac-with-the-certificate", der.as_slice()), ("hmac-with-the-pem", pem.as_bytes())] {
        let info = info(EXCLUSIVE, HMAC_SHA256, &good_reference);
        let standing = info.replacen("<ds:SignedInfo", &format!(r#"<ds:SignedInfo xmlns:ds="{DS}""#), 1);
        let octets = canonicalize(standing.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
        let tag = STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &octets));
        add(name, "21", "assertion", "shared", "algorithm_refused", with_signature(&signature(&info, &tag, "")).as_bytes());
    }
    // 22: no length at all may be asked for.
    for (name, length) in [("hmac-output-length-0", "0"), ("hmac-output-length-1", "1"), ("hmac-output-length-256", "256")] {
        let asked = info(EXCLUSIVE, HMAC_SHA256, &good_reference).replace(
            &format!(r#"<ds:SignatureMethod Algorithm="{HMAC_SHA256}"/>"#),
            &format!(
                r#"<ds:SignatureMethod Algorithm="{HMAC_SHA256}"><ds:HMACOutputLength>{length}</ds:HMACOutputLength></ds:SignatureMethod>"#
            ),
        );
        add(name, "22", "assertion", "shared", "malformed", with_signature(&signature(&asked, "AAAA", "")).as_bytes());
    }

    // 4: nothing is left of what is referred to; the peer's canonicalizer fails.
    let void = STANDARD.encode(digest::digest(&digest::SHA256, b""));
    let nothing = info(EXCLUSIVE, RSA_SHA256, &reference(r#" URI="""#, &usual, SHA256, &void));
    let object = format!("<ds:Object>{evil}</ds:Object>");
    add("void-by-removal", "4", "parts", "any-form", "reference_refused", signature(&nothing, &value(&idp, &nothing), &object).as_bytes());
    let relative = response("_r", &assertion("_a", "alice@example.org", "").replace(" ID=", r#" xmlns:x="1" ID="#));
    let failing = info(EXCLUSIVE, RSA_SHA256, &reference(r##" URI="#_a""##, &transforms(&[ENVELOPED, RELATIVE]), SHA256, &void));
    let failing = relative.replace("</saml:Issuer>", &format!("</saml:Issuer>{}", signature(&failing, &value(&idp, &failing), "")));
    add("void-by-relative-namespace", "4", "assertion", "legacy", "malformed", failing.as_bytes());
    // An object that is covered, and one that is not.
    let enveloped = |id: &str, inside: &str| format!(r#"<ds:Object Id="{id}">{inside}</ds:Object>"#);
    let covered = enveloped("_o", &clean);
    let standing = covered.replacen("<ds:Object", &format!(r#"<ds:Object xmlns:ds="{DS}""#), 1);
    let object_info = info(EXCLUSIVE, RSA_SHA256, &reference(r##" URI="#_o""##, &transforms(&[EXCLUSIVE]), SHA256, &digest_of(&standing)));
    let object_value = value(&idp, &object_info);
    add("object-good", "-", "parts", "any-form", "accept", signature(&object_info, &object_value, &covered).as_bytes());
    let beside = format!("{covered}{}", enveloped("_p", &evil));
    add("object-uncovered-beside", "1", "parts", "any-form", "accept", signature(&object_info, &object_value, &beside).as_bytes());
    let twice = format!("{}{covered}", enveloped("_o", &evil));
    add("object-with-the-same-id", "33", "parts", "any-form", "duplicate_id", signature(&object_info, &object_value, &twice).as_bytes());
    let manifest =
        format!(r#"<ds:Object><ds:Manifest Id="_o">{}</ds:Manifest></ds:Object>"#, reference(r##" URI="#_e""##, &usual, SHA256, &void));
    add(
        "manifest-is-not-followed",
        "28",
        "parts",
        "any-form",
        "digest_mismatch",
        signature(&object_info, &object_value, &manifest).as_bytes(),
    );

    // 25: values of other lengths.
    for (name, length) in [("signature-value-of-255", 255), ("signature-value-of-257", 257), ("signature-value-of-512", 512)] {
        let long = STANDARD.encode(vec![1; length]);
        add(name, "25", "assertion", "saml", "signature_invalid", with_signature(&signature(&good_info, &long, "")).as_bytes());
    }

    // 30: other encodings, and entities in every guise.
    let plain = response("_r", &signed);
    let utf16 = |mark: &[u8], big: bool| {
        let units = plain.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    for (name, octets) in [
        ("utf-16-le", utf16(&[0xff, 0xfe], false)),
        ("utf-16-be", utf16(&[0xfe, 0xff], true)),
        ("utf-16-le-unmarked", utf16(&[], false)),
        ("utf-16-be-unmarked", utf16(&[], true)),
        ("utf-7-declared", format!("<?xml version=\"1.0\" encoding=\"UTF-7\"?>{plain}").into_bytes()),
        ("ebcdic-declared", format!("<?xml version=\"1.0\" encoding=\"IBM037\"?>{plain}").into_bytes()),
        ("latin-1-octet", plain.replace("alice@", "\u{e9}").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()),
    ] {
        add(name, "30", "assertion", "saml", "encoding", &octets);
    }
    let laughs: String = (1..9).map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10))).collect();
    for (name, doctype) in [
        ("billion-laughs", format!("<!DOCTYPE r [<!ENTITY l0 'ha'>{laughs}]>")),
        ("external-entity", "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>".to_owned()),
        ("parameter-entity", "<!DOCTYPE r [<!ENTITY % x SYSTEM 'http://127.0.0.1/x.dtd'>%x;]>".to_owned()),
        ("external-subset", "<!DOCTYPE r SYSTEM 'http://127.0.0.1/x.dtd'>".to_owned()),
        ("default-attribute", "<!DOCTYPE r [<!ATTLIST saml:Assertion ID CDATA '_a'>]>".to_owned()),
    ] {
        add(name, "3, 30", "assertion", "saml", "dtd", format!("{doctype}{plain}").as_bytes());
    }
    add("doctype-after-the-root", "3, 30", "assertion", "saml", "dtd", format!("{plain}<!DOCTYPE r>").as_bytes());
    let include = "<x:include xmlns:x=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/>";
    add(
        "xinclude-is-not-followed",
        "30",
        "assertion",
        "saml",
        "accept",
        response("_r", &format!("{}{signed}", extensions(include))).as_bytes(),
    );

    // 31: key information that would have to be fetched.
    let strange = value(&key("other-rsa2048.key"), &good_info);
    for (name, inside) in [
        (
            "key-info-reference",
            r##"<k:KeyInfoReference xmlns:k="http://www.w3.org/2009/xmldsig11#" URI="http://127.0.0.1/k"/>"##.to_owned(),
        ),
        ("retrieval-in-the-document", r##"<ds:RetrievalMethod URI="#_a"/>"##.to_owned()),
        ("key-value-ec", r##"<ds:KeyValue><k:ECKeyValue xmlns:k="http://www.w3.org/2009/xmldsig11#"/></ds:KeyValue>"##.to_owned()),
        ("certificate-of-nothing", "<ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data>".to_owned()),
        ("many-certificates", format!("<ds:X509Data>{}</ds:X509Data>", "<ds:X509Certificate>AAAA</ds:X509Certificate>".repeat(200))),
    ] {
        let key_info = format!("<ds:KeyInfo>{inside}</ds:KeyInfo>");
        add(
            name,
            "23, 31",
            "assertion",
            "saml",
            "signature_invalid",
            with_signature(&signature(&good_info, &strange, &key_info)).as_bytes(),
        );
    }

    // 36: signatures that lack something, or have it twice.
    let key_info = "<ds:KeyInfo/>";
    for (name, from, to) in [
        ("no-digest-method", format!(r#"<ds:DigestMethod Algorithm="{SHA256}"/>"#), String::new()),
        ("no-signature-method", format!(r#"<ds:SignatureMethod Algorithm="{RSA_SHA256}"/>"#), String::new()),
        ("no-canonicalization-method", format!(r#"<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>"#), String::new()),
        ("no-digest-value", format!("<ds:DigestValue>{digest}</ds:DigestValue>"), String::new()),
        ("no-algorithm", format!(r#"<ds:DigestMethod Algorithm="{SHA256}"/>"#), "<ds:DigestMethod/>".to_owned()),
        ("empty-transforms", usual.clone(), "<ds:Transforms/>".to_owned()),
        ("two-transforms-lists", usual.clone(), format!("{usual}{usual}")),
        (
            "two-signature-values",
            "<ds:SignatureValue>".to_owned(),
            "<ds:SignatureValue>AAAA</ds:SignatureValue><ds:SignatureValue>".to_owned(),
        ),
        ("two-key-infos", "</ds:Signature>".to_owned(), format!("{key_info}{key_info}</ds:Signature>")),
        ("foreign-attribute", "<ds:SignedInfo>".to_owned(), "<ds:SignedInfo xml:lang=\"en\">".to_owned()),
        (
            "content-in-a-digest-method",
            format!(r#"<ds:DigestMethod Algorithm="{SHA256}"/>"#),
            format!(r#"<ds:DigestMethod Algorithm="{SHA256}"><x/></ds:DigestMethod>"#),
        ),
        ("element-in-signature-value", "<ds:SignatureValue>".to_owned(), "<ds:SignatureValue><x/>".to_owned()),
        ("signature-in-a-signature", "<ds:SignatureValue>".to_owned(), format!("{good}<ds:SignatureValue>")),
    ] {
        let broken = good.replacen(&from, &to, 1);
        assert_ne!(broken, good, "{name}");
        add(name, "36", "assertion", "saml", "malformed", with_signature(&broken).as_bytes());
    }
    // 37: documents that end where a careless reader reads on, each signed but for its end.
    let whole = response("_r", &signed);
    for (name, ends_with) in [
        ("cut-in-a-name", "<saml:Na"),
        ("cut-before-a-value", " Version="),
        ("cut-in-a-value", " Version=\"2."),
        ("cut-in-a-start-tag", "<ds:SignatureMethod "),
        ("cut-in-an-end-tag", "</ds:Signed"),
        ("cut-in-a-signature-value", "<ds:SignatureValue>"),
    ] {
        let (before, _) = whole.split_once(ends_with).unwrap();
        add(name, "37", "assertion", "saml", "malformed", format!("{before}{ends_with}").as_bytes());
    }
    for (name, open) in [
        ("cut-in-a-comment", &b"<!-- no end"[..]),
        ("cut-in-cdata", b"<![CDATA[no end]]"),
        ("cut-in-an-instruction", b"<?no end"),
        ("cut-in-a-reference", b"&#x10FFF"),
        ("cut-in-a-character", b"\xf0\x9f\x98"),
    ] {
        let expect = if name == "cut-in-a-character" { "encoding" } else { "malformed" };
        let before = whole.split("alice").next().unwrap();
        add(name, "37", "assertion", "saml", expect, &[before.as_bytes(), open].concat());
    }
    cases
}
