//! Known devices: a signed cookie that says "somebody signed in as this user from here before".
//!
//! Whoever knows a user's name can close that account's gate by guessing. Its owner passes the closed gate with this
//! cookie (`rulings.md`); it opens nothing else, and the password is still needed. A thief of the cookie gains ten
//! attempts a day at one account.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{TenantId, UserId};
use vestibule_engine::request::{Channel, CheckRequest};
use vestibule_engine::scheme::{Place, Unavailable};
use vestibule_engine::secret::Secret;

/// The cookie's name; the prefix keeps other hosts and plain connections from setting it (RFC 6265bis §4.1.3.2).
pub const COOKIE: &str = "__Host-vestibule-device";
/// Its name on plain loopback, where no cookie can be `Secure`.
pub const COOKIE_ON_LOOPBACK: &str = "vestibule-device";
/// For how many days it is honoured.
pub const DAYS: u32 = 180;

/// Keeps this cookie's signatures apart from everything else signed with an HMAC.
const LABEL: &[u8] = b"vestibule known device v1";
/// Octets of the user's number, the device's number, the day and the signature.
const USER: usize = 16;
const DEVICE: usize = 16;
const DAY: usize = 4;
const LENGTH: usize = USER + DEVICE + DAY + 32;
/// Cookies of the name that are looked at: a client may send more, to keep us busy.
const LOOKED_AT: usize = 4;
const SECONDS_A_DAY: i64 = 24 * 3600;

/// Issues and verifies the cookies of known devices.
pub struct KnownDevices {
    key: hmac::Key,
}

impl KnownDevices {
    /// Signs with `key`, which all nodes share and which serves nothing else.
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.reveal()) }
    }

    /// A cookie's value for a device from which this user just signed in.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn issue(&self, tenant: &TenantId, user: UserId, now: Timestamp) -> Result<Secret<String>, Unavailable> {
        let mut octets = Vec::with_capacity(LENGTH);
        octets.extend(user.0.as_bytes());
        octets.extend(random::<DEVICE>()?);
        octets.extend(day(now).to_be_bytes());
        let signature = self.sign(tenant, &octets).sign();
        octets.extend(signature.as_ref());
        Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets)))
    }

    /// Whose device this cookie's value says it is, if we signed it for this tenant and it is not too old.
    pub fn owner(&self, tenant: &TenantId, value: &str, now: Timestamp) -> Option<UserId> {
        let octets = URL_SAFE_NO_PAD.decode(value).ok().filter(|octets| octets.len() == LENGTH)?;
        let (signed, signature) = octets.split_at_checked(USER + DEVICE + DAY)?;
        hmac::verify(&self.key, &message(tenant, signed), signature).ok()?;
        let (user, rest) = signed.split_at_checked(USER)?;
        let issued = u32::from_be_bytes(rest.get(DEVICE..)?.try_into().ok()?);
        let age = day(now).checked_sub(issued)?;
        (age < DAYS).then_some(UserId(Uuid::from_slice(user).ok()?))
    }

    /// Whose devices this request's cookies say it comes from.
    pub fn owners(&self, request: &CheckRequest, tenant: &TenantId, now: Timestamp) -> Vec<UserId> {
        request.cookies(cookie_name(request)).take(LOOKED_AT).filter_map(|value| self.owner(tenant, value, now)).collect()
    }

    fn sign(&self, tenant: &TenantId, signed: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&message(tenant, signed));
        context
    }
}

impl fmt::Debug for KnownDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownDevices").finish_non_exhaustive()
    }
}

/// The cookie's name for the host and channel of this request.
pub fn cookie_name(request: &CheckRequest) -> &'static str {
    if on_loopback(request) { COOKIE_ON_LOOPBACK } else { COOKIE }
}

/// The `Set-Cookie` field that gives the device its cookie.
pub fn set_cookie(request: &CheckRequest, value: &Secret<String>) -> String {
    let (name, value) = (cookie_name(request), value.reveal());
    let secure = if on_loopback(request) { "" } else { "; Secure" };
    let seconds = i64::from(DAYS) * SECONDS_A_DAY;
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// The places the cookie may be in, never forwarded.
pub fn places() -> [Place; 2] {
    [Place::Cookie(COOKIE.to_owned()), Place::Cookie(COOKIE_ON_LOOPBACK.to_owned())]
}

fn on_loopback(request: &CheckRequest) -> bool {
    request.client.channel == Channel::Plain && request.host.is_localhost()
}

/// Length-prefixed, so that no tenant's name runs into what follows it.
fn message(tenant: &TenantId, signed: &[u8]) -> Vec<u8> {
    let tenant = tenant.as_str().as_bytes();
    let length = (tenant.len() as u64).to_be_bytes();
    [LABEL, &length, tenant, signed].concat()
}

fn day(now: Timestamp) -> u32 {
    u32::try_from(now.as_second() / SECONDS_A_DAY).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use vestibule_engine::scheme::Unavailable;

    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * SECONDS_A_DAY).unwrap()
    }

    #[test]
    fn a_cookie_names_its_owner_for_180_days_in_its_tenant() -> Result<(), Unavailable> {
        let devices = KnownDevices::new(&Secret::new([7; 32]));
        let (north, ada) = (TenantId::from("north"), UserId(Uuid::from_u128(42)));
        let value = devices.issue(&north, ada, at(0))?;
        let value = value.reveal().as_str();
        assert_eq!(devices.owner(&north, value, at(179)), Some(ada));
        assert_eq!(devices.owner(&north, value, at(180)), None);
        assert_eq!(devices.owner(&north, value, at(-1)), None, "issued tomorrow");
        assert_eq!(devices.owner(&TenantId::from("south"), value, at(0)), None);
        assert_eq!(KnownDevices::new(&Secret::new([8; 32])).owner(&north, value, at(0)), None);
        assert_ne!(devices.issue(&north, ada, at(0))?.reveal(), value, "devices are told apart");
        Ok(())
    }

    #[test]
    fn no_octet_of_a_cookie_can_be_changed() {
        let devices = KnownDevices::new(&Secret::new([7; 32]));
        let north = TenantId::from("north");
        let value = devices.issue(&north, UserId(Uuid::from_u128(42)), at(0)).unwrap();
        let octets = URL_SAFE_NO_PAD.decode(value.reveal()).unwrap();
        for index in 0..octets.len() {
            let mut changed = octets.clone();
            changed[index] ^= 1;
            assert_eq!(devices.owner(&north, &URL_SAFE_NO_PAD.encode(&changed), at(0)), None, "{index}");
        }
        for value in ["", "x", "AAAA", &"A".repeat(10_000)] {
            assert_eq!(devices.owner(&north, value, at(0)), None);
        }
    }
}
