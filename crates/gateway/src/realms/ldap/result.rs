//! What a directory's answer to a bind means: result codes (RFC 4511 §4.1.9, §A), Active Directory's sub-codes, and
//! the password-policy control (draft-behera-ldap-password-policy §6.2).
//!
//! An account that may not enter ends the family, or a second password kept elsewhere would survive its lock; and a
//! fault of the directory must never look like a wrong password, or its outage would lock everybody out.

use vestibule_engine::audit::Reason;

use super::Dialect;

/// The control by which a directory says more of a bind.
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// What a bind came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is theirs.
    Accepted,
    /// The directory refused, and why.
    Refused(Reason),
    /// The directory refused for a reason an operator should know of.
    Odd(u32),
    /// The directory could not say.
    Unavailable(u32),
}

/// What a user bind of this result came to.
pub fn judge(code: u32, text: &str, policy: Policy, dialect: Dialect) -> Verdict {
    match (code, policy.error) {
        // Some servers let the bind pass and tell by the control that nothing else will.
        (0 | 49 | 53 | 19, Some(error)) => match error {
            PolicyError::Expired => Verdict::Refused(Reason::PasswordExpired),
            PolicyError::Locked => Verdict::Refused(Reason::Locked),
            PolicyError::MustChange => Verdict::Refused(Reason::MustChangePassword),
        },
        (0, None) => Verdict::Accepted,
        (49, None) => Verdict::Refused(match dialect {
            Dialect::ActiveDirectory => sub_code(text),
            Dialect::OpenLdap | Dialect::Ds389 => Reason::WrongPassword,
        }),
        // noSuchObject, invalidDNSyntax, inappropriateAuthentication, insufficientAccessRights, unwillingToPerform;
        // constraintViolation is how 389 DS says that there were too many attempts.
        (32 | 34 | 48 | 50 | 53, None) => Verdict::Odd(code),
        (19, None) if dialect == Dialect::Ds389 => Verdict::Refused(Reason::Locked),
        // timeLimit, strongerAuthRequired, referral, confidentialityRequired, busy, unavailable, other, and all we do not know.
        (code, _) => Verdict::Unavailable(code),
    }
}

/// `AcceptSecurityContext error, data 52e, v1db1`: why Active Directory answers invalidCredentials.
fn sub_code(text: &str) -> Reason {
    let code = text.split_once("data ").map(|(_, rest)| rest.split([',', ' ', '\0']).next().unwrap_or_default());
    match code {
        Some("530" | "531") => Reason::OutsideHours,
        Some("532") => Reason::PasswordExpired,
        Some("533") => Reason::Disabled,
        Some("701") => Reason::Expired,
        Some("773") => Reason::MustChangePassword,
        Some("775") => Reason::Locked,
        // 525 (no such user) too: the search found it, so later realms must not be asked as if nobody knew the name.
        Some(_) | None => Reason::WrongPassword,
    }
}

/// What the password-policy control says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Why the bind is not enough.
    pub error: Option<PolicyError>,
    /// Seconds until the password expires.
    pub expires_in: Option<u32>,
    /// How often an expired password may still be used.
    pub grace_logins: Option<u32>,
}

/// Why a bind is not enough. Errors about changing a password cannot occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyError {
    /// `passwordExpired`.
    Expired,
    /// `accountLocked`.
    Locked,
    /// `changeAfterReset`.
    MustChange,
}

impl Policy {
    /// Reads the control's value; what cannot be read says nothing, since the result code stands beside it.
    pub fn parse(value: &[u8]) -> Self {
        let mut policy = Self::default();
        let Some((0x30, content, _)) = element(value) else { return policy };
        let mut rest = content;
        while let Some((tag, content, after)) = element(rest) {
            match tag {
                0xa0 => match element(content) {
                    Some((0x80, number, _)) => policy.expires_in = unsigned(number),
                    Some((0x81, number, _)) => policy.grace_logins = unsigned(number),
                    Some(_) | None => {}
                },
                0x81 => {
                    policy.error = match unsigned(content) {
                        Some(0) => Some(PolicyError::Expired),
                        Some(1) => Some(PolicyError::Locked),
                        Some(2) => Some(PolicyError::MustChange),
                        Some(_) | None => None,
                    }
                }
                _ => {}
            }
            rest = after;
        }
        policy
    }
}

/// Tag, content and what follows. The control is shorter than 128 octets, so lengths have the short form.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let length = (length < 0x80).then(|| usize::from(length))?;
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

fn unsigned(octets: &[u8]) -> Option<u32> {
    let first = octets.first()?;
    (*first < 0x80 && octets.len() <= 4).then(|| octets.iter().fold(0, |value, octet| value << 8 | u32::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: u32) -> Verdict {
        judge(code, "", Policy::default(), Dialect::OpenLdap)
    }

    #[test]
    fn the_table_of_result_codes_is_that_of_the_reference() {
        assert_eq!(plain(0), Verdict::Accepted);
        assert_eq!(plain(49), Verdict::Refused(Reason::WrongPassword));
        for odd in [53, 50, 48, 32, 34] {
            assert_eq!(plain(odd), Verdict::Odd(odd));
        }
        for down in [51, 52, 3, 80, 8, 13, 10, 1, 2, 7, 11, 19, 118, 9999] {
            assert_eq!(plain(down), Verdict::Unavailable(down));
        }
        assert_eq!(judge(19, "", Policy::default(), Dialect::Ds389), Verdict::Refused(Reason::Locked));
    }

    #[test]
    fn active_directory_says_in_the_text_why() {
        let text = |code: &str| format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {code}, v1db1\0");
        for (code, reason) in [
            ("525", Reason::WrongPassword),
            ("52e", Reason::WrongPassword),
            ("530", Reason::OutsideHours),
            ("531", Reason::OutsideHours),
            ("532", Reason::PasswordExpired),
            ("533", Reason::Disabled),
            ("701", Reason::Expired),
            ("773", Reason::MustChangePassword),
            ("775", Reason::Locked),
            ("", Reason::WrongPassword),
        ] {
            assert_eq!(judge(49, &text(code), Policy::default(), Dialect::ActiveDirectory), Verdict::Refused(reason), "{code}");
        }
        // Anybody else's text means nothing.
        assert_eq!(judge(49, &text("775"), Policy::default(), Dialect::OpenLdap), Verdict::Refused(Reason::WrongPassword));
    }

    #[test]
    fn the_password_policy_control_is_read_and_counts() {
        let error = |octets: &[u8]| Policy::parse(octets).error;
        assert_eq!(error(&[0x30, 3, 0x81, 1, 0]), Some(PolicyError::Expired));
        assert_eq!(error(&[0x30, 3, 0x81, 1, 1]), Some(PolicyError::Locked));
        assert_eq!(error(&[0x30, 3, 0x81, 1, 2]), Some(PolicyError::MustChange));
        assert_eq!(error(&[0x30, 3, 0x81, 1, 5]), None);
        let warned = Policy::parse(&[0x30, 6, 0xa0, 4, 0x80, 2, 0x0e, 0x10]);
        assert_eq!(warned, Policy { expires_in: Some(3600), ..Policy::default() });
        let grace = Policy::parse(&[0x30, 8, 0xa0, 3, 0x81, 1, 2, 0x81, 1, 0]);
        assert_eq!(grace, Policy { error: Some(PolicyError::Expired), grace_logins: Some(2), expires_in: None });
        for broken in
            [&[][..], &[0x30], &[0x30, 200], &[0x30, 3, 0x81, 9, 1], &[0x31, 0], &[0x30, 2, 0x81, 0], &[0x30, 4, 0xa0, 2, 0x80, 1]]
        {
            assert_eq!(Policy::parse(broken), Policy::default(), "{broken:?}");
        }
        let after_reset = Policy { error: Some(PolicyError::MustChange), ..Policy::default() };
        assert_eq!(judge(0, "", after_reset, Dialect::OpenLdap), Verdict::Refused(Reason::MustChangePassword));
        let locked = Policy { error: Some(PolicyError::Locked), ..Policy::default() };
        assert_eq!(judge(49, "", locked, Dialect::OpenLdap), Verdict::Refused(Reason::Locked));
        assert_eq!(judge(52, "", locked, Dialect::OpenLdap), Verdict::Unavailable(52));
    }
}
