//! Hashes of other systems, read once at import.
//!
//! An imported file is input from outside: a hash that asks for 4 GiB or an hour is an attack on whoever checks it,
//! and bcrypt, which reads 72 octets only, accepts any password that begins like the right one (attack 73).

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use argon2::{Algorithm, Version};
use aws_lc_rs::{digest, pbkdf2};
use base64::alphabet;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use vestibule_engine::scheme::Unavailable;
use zeroize::Zeroizing;

use super::{Cost, argon2, argon2_cost};

/// Most memory of an Argon2 or scrypt hash, KiB.
pub const MAX_MEMORY: u32 = 256 * 1024;
/// Most passes of Argon2.
pub const MAX_PASSES: u32 = 16;
/// Most lanes of Argon2 and scrypt.
pub const MAX_LANES: u32 = 16;
/// Costs of bcrypt.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=15;
/// Octets of a password that bcrypt reads, less the NUL that ends it. Longer ones would be cut.
const BCRYPT_READS: usize = 71;
/// Most iterations of PBKDF2.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Rounds of SHA-crypt.
const SHA_CRYPT_ROUNDS: std::ops::RangeInclusive<u32> = 1000..=1_000_000;
/// Rounds of SHA-crypt where a hash does not say.
const SHA_CRYPT_USUAL: u32 = 5000;
/// Octets of a salt that SHA-crypt reads.
const SHA_CRYPT_SALT: usize = 16;
/// Octets of salts.
const SALTS: std::ops::RangeInclusive<usize> = 1..=64;
/// Octets of outputs: fewer could be hit by chance.
const OUTPUTS: std::ops::RangeInclusive<usize> = 16..=64;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// The last character of a bcrypt salt or output has bits to spare, and not every implementation clears them.
const BASE64_BCRYPT: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, LENIENT.with_decode_allow_trailing_bits(true));

/// Why a hash cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Longer than any hash.
    #[error("the hash is too long")]
    TooLong,
    /// None of the kinds we know.
    #[error("the kind of hash is not known: argon2, bcrypt, scrypt, pbkdf2, sha-crypt ($5$, $6$) and {{SSHA…}} are")]
    UnknownKind,
    /// It does not follow its own format.
    #[error("the hash is malformed")]
    Malformed,
    /// Its parameters ask for more memory or time than we give.
    #[error("the parameters of the hash are beyond what is admitted")]
    Parameters,
    /// No memory or random numbers.
    #[error("the hash could not be wrapped now")]
    Unavailable,
}

/// The parameters of a foreign hash, without its output.
pub(super) enum Foreign {
    Argon2 { variant: Algorithm, version: Version, cost: Cost, salt: Vec<u8>, length: usize },
    Bcrypt { cost: u32, salt: [u8; 16] },
    Scrypt { log_n: u8, r: u32, p: u32, salt: Vec<u8>, length: usize },
    Pbkdf2 { sha: Sha, iterations: NonZeroU32, salt: Vec<u8>, length: usize },
    SaltedSha { sha: Sha, salt: Vec<u8> },
    ShaCrypt { sha: Sha, rounds: u32, salt: Vec<u8> },
}

/// A hash function of the SHA family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sha {
    Sha1,
    Sha256,
    Sha512,
}

/// The digest of an offered password.
pub(super) struct Digest {
    pub(super) octets: Zeroizing<Vec<u8>>,
    /// The algorithm read all of the password.
    pub(super) usable: bool,
}

impl Foreign {
    /// Reads a foreign hash into its parameters and its digest.
    pub(super) fn parse(text: &str) -> Result<(Self, Zeroizing<Vec<u8>>), ImportError> {
        let (foreign, digest) = if text.starts_with("$argon2") {
            let Argon2Hash { variant, version, memory, passes, lanes, salt, output } = Argon2Hash::parse(text)?;
            let length = output.len();
            (Self::Argon2 { variant, version, cost: Cost { memory, passes, lanes }, salt, length }, output)
        } else if text.starts_with("$2") {
            bcrypt(text)?
        } else if let Some(rest) = text.strip_prefix("$scrypt$") {
            scrypt(rest)?
        } else if text.starts_with("$pbkdf2") || text.starts_with("pbkdf2_") {
            pbkdf2(text)?
        } else if text.starts_with("$5$") || text.starts_with("$6$") {
            sha_crypt(text)?
        } else if text.starts_with('{') {
            directory(text)?
        } else {
            return Err(ImportError::UnknownKind);
        };
        Ok((foreign.within_limits()?, Zeroizing::new(digest)))
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let (kind, parameters) = text.split_once('$')?;
        let value = |name: &str| parameters.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| value(name)?.parse::<u32>().ok();
        let salt = || STANDARD_NO_PAD.decode(value("s")?).ok();
        let length = || usize::try_from(number("l")?).ok();
        let foreign = match kind {
            "bcrypt" => Self::Bcrypt { cost: number("c")?, salt: salt()?.try_into().ok()? },
            "scrypt" => Self::Scrypt {
                log_n: u8::try_from(number("ln")?).ok()?,
                r: number("r")?,
                p: number("p")?,
                salt: salt()?,
                length: length()?,
            },
            "argon2d" | "argon2i" | "argon2id" => Self::Argon2 {
                variant: Algorithm::new(kind).ok()?,
                version: Version::try_from(number("v")?).ok()?,
                cost: Cost { memory: number("m")?, passes: number("t")?, lanes: number("p")? },
                salt: salt()?,
                length: length()?,
            },
            _ => match kind.split_once('-')? {
                ("pbkdf2", sha) => {
                    Self::Pbkdf2 { sha: Sha::named(sha)?, iterations: NonZeroU32::new(number("i")?)?, salt: salt()?, length: length()? }
                }
                ("salted", sha) => Self::SaltedSha { sha: Sha::named(sha)?, salt: salt()? },
                ("crypt", sha) => Self::ShaCrypt { sha: Sha::named(sha)?, rounds: number("r")?, salt: salt()? },
                _ => return None,
            },
        };
        foreign.within_limits().ok()
    }

    /// Computes the digest of an offered password.
    pub(super) fn digest(&self, password: &[u8]) -> Result<Digest, Unavailable> {
        let usable = |octets: Zeroizing<Vec<u8>>| Digest { octets, usable: true };
        Ok(match self {
            Self::Argon2 { variant, version, cost, salt, length } => usable(argon2(*variant, *version, *cost, password, salt, *length)?),
            Self::Bcrypt { cost, salt } => {
                let mut read = Zeroizing::new(password.iter().copied().take(BCRYPT_READS).collect::<Vec<_>>());
                read.push(0);
                let octets = ::bcrypt::bcrypt(*cost, *salt, &read).into_iter().take(BCRYPT_OUTPUT).collect();
                // A NUL ends the password for other implementations: what follows it would not count.
                let whole = password.len() <= BCRYPT_READS && !password.contains(&0);
                Digest { octets: Zeroizing::new(octets), usable: whole }
            }
            Self::Scrypt { log_n, r, p, salt, length } => {
                let failed = |error: &dyn fmt::Display| Unavailable::new("hashing", error);
                let params = ::scrypt::Params::new(*log_n, *r, *p).map_err(|error| failed(&error))?;
                let mut octets = Zeroizing::new(vec![0; *length]);
                ::scrypt::scrypt(password, salt, &params, &mut octets).map_err(|error| failed(&error))?;
                usable(octets)
            }
            Self::Pbkdf2 { sha, iterations, salt, length } => {
                let algorithm = match sha {
                    Sha::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
                    Sha::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
                    Sha::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
                };
                let mut octets = Zeroizing::new(vec![0; *length]);
                pbkdf2::derive(algorithm, *iterations, salt, password, &mut octets);
                usable(octets)
            }
            Self::ShaCrypt { sha, rounds, salt } => {
                let octets = sha_crypt_digest(*sha, *rounds, salt, password);
                // crypt(3) ends a password at its first NUL.
                Digest { octets, usable: !password.contains(&0) }
            }
            Self::SaltedSha { sha, salt } => {
                let mut context = digest::Context::new(sha.digest());
                context.update(password);
                context.update(salt);
                usable(Zeroizing::new(context.finish().as_ref().to_vec()))
            }
        })
    }

    /// How long a digest takes on a slow machine.
    pub(super) fn cost(&self) -> Duration {
        match self {
            Self::Argon2 { cost, .. } => argon2_cost(*cost),
            // 80 µs per round.
            Self::Bcrypt { cost, .. } => Duration::from_micros(80 << cost.min(&32)),
            // 5 ms per MiB.
            Self::Scrypt { log_n, r, p, .. } => Duration::from_nanos(((640 * u64::from(*r)) << log_n.min(&32)) * u64::from(*p)),
            // 1.2 µs per iteration and block of output.
            Self::Pbkdf2 { sha, iterations, length, .. } => {
                let blocks = u64::try_from(length.div_ceil(sha.digest().output_len())).unwrap_or(1);
                Duration::from_nanos(1_200 * u64::from(iterations.get()) * blocks)
            }
            Self::SaltedSha { .. } => Duration::ZERO,
            // 3 µs per round.
            Self::ShaCrypt { rounds, .. } => Duration::from_nanos(3_000 * u64::from(*rounds)),
        }
    }

    fn within_limits(self) -> Result<Self, ImportError> {
        let lengths = |salt: &[u8], length: usize| SALTS.contains(&salt.len()) && OUTPUTS.contains(&length);
        let fits = match &self {
            Self::Argon2 { cost: Cost { memory, passes, lanes }, salt, length, .. } => {
                argon2_fits(*memory, *passes, *lanes) && salt.len() >= ::argon2::MIN_SALT_LEN && lengths(salt, *length)
            }
            Self::Bcrypt { cost, .. } => BCRYPT_COSTS.contains(cost),
            Self::Scrypt { log_n, r, p, salt, length } => {
                // 128 · N · r octets (RFC 7914 §2).
                let memory = u64::from(*r).checked_shl(u32::from(*log_n)).map(|blocks| blocks / 8);
                (1..=20).contains(log_n)
                    && (1..=64).contains(r)
                    && (1..=MAX_LANES).contains(p)
                    && memory.is_some_and(|memory| memory <= u64::from(MAX_MEMORY))
                    && lengths(salt, *length)
            }
            Self::Pbkdf2 { iterations, salt, length, .. } => iterations.get() <= MAX_ITERATIONS && lengths(salt, *length),
            Self::SaltedSha { salt, .. } => SALTS.contains(&salt.len()),
            Self::ShaCrypt { rounds, salt, sha } => {
                SHA_CRYPT_ROUNDS.contains(rounds) && (1..=SHA_CRYPT_SALT).contains(&salt.len()) && *sha != Sha::Sha1
            }
        };
        if fits { Ok(self) } else { Err(ImportError::Parameters) }
    }
}

/// The form in which parameters are stored: `KIND$NAME=VALUE,…`.
impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |octets: &[u8]| STANDARD_NO_PAD.encode(octets);
        match self {
            Self::Argon2 { variant, version, cost: Cost { memory, passes, lanes }, salt, length } => {
                let (variant, version, salt) = (variant.as_str(), u32::from(*version), base64(salt));
                write!(f, "{variant}$v={version},m={memory},t={passes},p={lanes},l={length},s={salt}")
            }
            Self::Bcrypt { cost, salt } => write!(f, "bcrypt$c={cost},s={}", base64(salt)),
            Self::Scrypt { log_n, r, p, salt, length } => write!(f, "scrypt$ln={log_n},r={r},p={p},l={length},s={}", base64(salt)),
            Self::Pbkdf2 { sha, iterations, salt, length } => {
                write!(f, "pbkdf2-{}$i={iterations},l={length},s={}", sha.name(), base64(salt))
            }
            Self::ShaCrypt { sha, rounds, salt } => write!(f, "crypt-{}$r={rounds},s={}", sha.name(), base64(salt)),
            Self::SaltedSha { sha, salt } => write!(f, "salted-{}$s={}", sha.name(), base64(salt)),
        }
    }
}

impl Sha {
    fn named(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// An Argon2 PHC string, ours or another's, within limits.
pub(super) struct Argon2Hash {
    pub(super) variant: Algorithm,
    pub(super) version: Version,
    pub(super) memory: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
    pub(super) salt: Vec<u8>,
    pub(super) output: Vec<u8>,
}

impl Argon2Hash {
    pub(super) fn parse(text: &str) -> Result<Self, ImportError> {
        let mut fields = text.strip_prefix('$').ok_or(ImportError::Malformed)?.split('$').peekable();
        let mut next = || fields.next().ok_or(ImportError::Malformed);
        let variant = Algorithm::new(next()?).map_err(|_| ImportError::UnknownKind)?;
        let mut costs = next()?;
        // The first version had no field for it.
        let mut version = Version::V0x10;
        if let Some(number) = costs.strip_prefix("v=") {
            version = number.parse::<u32>().ok().and_then(|number| Version::try_from(number).ok()).ok_or(ImportError::Malformed)?;
            costs = next()?;
        }
        let [memory, passes, lanes] = numbers(costs, ["m", "t", "p"])?;
        let (salt, output) = (unpadded(next()?)?, unpadded(next()?)?);
        if fields.next().is_some() {
            return Err(ImportError::Malformed);
        }
        let lengths = SALTS.contains(&salt.len()) && salt.len() >= ::argon2::MIN_SALT_LEN && OUTPUTS.contains(&output.len());
        if !lengths || !argon2_fits(memory, passes, lanes) {
            return Err(ImportError::Parameters);
        }
        Ok(Self { variant, version, memory, passes, lanes, salt, output })
    }
}

fn argon2_fits(memory: u32, passes: u32, lanes: u32) -> bool {
    (1..=MAX_LANES).contains(&lanes) && (8 * lanes..=MAX_MEMORY).contains(&memory) && (1..=MAX_PASSES).contains(&passes)
}

/// Octets of a bcrypt output: 23 of the 24 computed are kept, by custom.
const BCRYPT_OUTPUT: usize = 23;

/// `$2b$COST$` with 22 characters of salt and 31 of output. `$2x$` marks hashes of a broken implementation.
fn bcrypt(text: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let mut fields = text.split('$').skip(1);
    let (Some(version), Some(cost), Some(rest), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err(ImportError::Malformed);
    };
    if !matches!(version, "2a" | "2b" | "2y") {
        return Err(ImportError::UnknownKind);
    }
    let (salt, output) = rest.split_at_checked(22).ok_or(ImportError::Malformed)?;
    let decoded = |text: &str| BASE64_BCRYPT.decode(text).map_err(|_| ImportError::Malformed);
    let salt = decoded(salt)?.try_into().map_err(|_| ImportError::Malformed)?;
    let output = decoded(output)?;
    if output.len() != BCRYPT_OUTPUT || cost.len() != 2 {
        return Err(ImportError::Malformed);
    }
    Ok((Foreign::Bcrypt { cost: number(cost)?, salt }, output))
}

/// `$scrypt$ln=…,r=…,p=…$SALT$OUTPUT`, after its name.
fn scrypt(rest: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let (costs, salt, output) = three(rest, '$')?;
    let [log_n, r, p] = numbers(costs, ["ln", "r", "p"])?;
    let log_n = u8::try_from(log_n).map_err(|_| ImportError::Parameters)?;
    let output = unpadded(output)?;
    Ok((Foreign::Scrypt { log_n, r, p, salt: unpadded(salt)?, length: output.len() }, output))
}

/// `$pbkdf2-sha256$i=…,l=…$SALT$OUTPUT`, `$pbkdf2-sha256$ROUNDS$SALT$OUTPUT` of passlib (with `.` for `+`), and
/// `pbkdf2_sha256$ITERATIONS$salt$OUTPUT` of Django, whose salt is text.
fn pbkdf2(text: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let (sha, iterations, salt, output) = if let Some(rest) = text.strip_prefix("pbkdf2_") {
        let (sha, rest) = rest.split_once('$').ok_or(ImportError::Malformed)?;
        let (iterations, salt, output) = three(rest, '$')?;
        let output = BASE64.decode(output).map_err(|_| ImportError::Malformed)?;
        (sha, number(iterations)?, salt.as_bytes().to_vec(), output)
    } else {
        let rest = text.strip_prefix("$pbkdf2").ok_or(ImportError::Malformed)?;
        let (sha, rest) = rest.split_once('$').ok_or(ImportError::Malformed)?;
        let (costs, salt, output) = three(rest, '$')?;
        let (salt, output) = (unpadded(&salt.replace('.', "+"))?, unpadded(&output.replace('.', "+"))?);
        let iterations = match costs.split(',').find_map(|pair| pair.strip_prefix("i=")) {
            Some(iterations) => number(iterations)?,
            None => number(costs)?,
        };
        // passlib writes SHA-1 without its name.
        (sha.strip_prefix('-').unwrap_or("sha1"), iterations, salt, output)
    };
    let sha = Sha::named(sha).ok_or(ImportError::UnknownKind)?;
    let iterations = NonZeroU32::new(iterations).ok_or(ImportError::Parameters)?;
    Ok((Foreign::Pbkdf2 { sha, iterations, salt, length: output.len() }, output))
}

/// What directories write: the scheme in braces, then its value (RFC 2307 §5.3 and what came after it).
fn directory(text: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let (name, value) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(ImportError::Malformed)?;
    match name.to_ascii_uppercase().as_str() {
        "SSHA" => salted_sha(Sha::Sha1, value),
        "SSHA256" => salted_sha(Sha::Sha256, value),
        "SSHA512" => salted_sha(Sha::Sha512, value),
        "PBKDF2" | "PBKDF2-SHA1" => directory_pbkdf2(Sha::Sha1, value),
        "PBKDF2-SHA256" => directory_pbkdf2(Sha::Sha256, value),
        "PBKDF2-SHA512" => directory_pbkdf2(Sha::Sha512, value),
        "PBKDF2_SHA256" => packed_pbkdf2(value),
        "CRYPT" if value.starts_with("$2") => bcrypt(value),
        "CRYPT" if value.starts_with("$5$") || value.starts_with("$6$") => sha_crypt(value),
        "BCRYPT" => bcrypt(value),
        "ARGON2" => {
            let Argon2Hash { variant, version, memory, passes, lanes, salt, output } = Argon2Hash::parse(value)?;
            let length = output.len();
            Ok((Foreign::Argon2 { variant, version, cost: Cost { memory, passes, lanes }, salt, length }, output))
        }
        _ => Err(ImportError::UnknownKind),
    }
}

/// OpenLDAP's `ITERATIONS$SALT$OUTPUT`, with `.` for `+`.
fn directory_pbkdf2(sha: Sha, value: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let (iterations, salt, output) = three(value, '$')?;
    let iterations = NonZeroU32::new(number(iterations)?).ok_or(ImportError::Parameters)?;
    let (salt, output) = (unpadded(&salt.replace('.', "+"))?, unpadded(&output.replace('.', "+"))?);
    Ok((Foreign::Pbkdf2 { sha, iterations, salt, length: output.len() }, output))
}

/// 389 Directory Server's: base64 of four octets of iterations, 64 of salt, 256 of output. The first 32 are one block of
/// the hash function, and no guess that misses them hits the others.
fn packed_pbkdf2(value: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let octets = BASE64.decode(value).map_err(|_| ImportError::Malformed)?;
    let (iterations, rest) = octets.split_first_chunk::<4>().ok_or(ImportError::Malformed)?;
    let (salt, rest) = rest.split_first_chunk::<64>().ok_or(ImportError::Malformed)?;
    let output = rest.first_chunk::<32>().filter(|_| rest.len() == 256).ok_or(ImportError::Malformed)?;
    let iterations = NonZeroU32::new(u32::from_be_bytes(*iterations)).ok_or(ImportError::Parameters)?;
    Ok((Foreign::Pbkdf2 { sha: Sha::Sha256, iterations, salt: salt.to_vec(), length: output.len() }, output.to_vec()))
}

/// `$5$` and `$6$` of crypt(3), in Ulrich Drepper's specification: `$6$rounds=N$SALT$OUTPUT`, the rounds optional.
fn sha_crypt(text: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let (sha, rest) = match text.split_at_checked(3) {
        Some(("$5$", rest)) => (Sha::Sha256, rest),
        Some(("$6$", rest)) => (Sha::Sha512, rest),
        _ => return Err(ImportError::UnknownKind),
    };
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(ImportError::Malformed)?;
            (number(rounds)?, rest)
        }
        None => (SHA_CRYPT_USUAL, rest),
    };
    let (salt, output) = rest.split_once('$').ok_or(ImportError::Malformed)?;
    let output = sha_crypt_output(sha, output).ok_or(ImportError::Malformed)?;
    Ok((Foreign::ShaCrypt { sha, rounds, salt: salt.as_bytes().to_vec() }, output))
}

/// The output's octets in their own order. They are written three at a time, shuffled, the low six bits first.
fn sha_crypt_output(sha: Sha, text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let length = sha.digest().output_len();
    let third = length / 3;
    let mut places: Vec<Vec<usize>> = Vec::new();
    for first in 0..third {
        let mut triple = [first, first + third, first + 2 * third];
        match sha {
            Sha::Sha512 => triple.rotate_left(first % 3),
            Sha::Sha1 | Sha::Sha256 => triple.rotate_right(first % 3),
        }
        places.push(triple.to_vec());
    }
    places.push((3 * third..length).rev().collect());

    let mut digits = text.bytes();
    let mut octets = vec![0; length];
    for group in places {
        let mut bits: u32 = 0;
        // Six bits a character, the last of a group with some to spare.
        for place in 0..=u32::try_from(group.len()).ok()? {
            let digit = digits.next()?;
            let value = ALPHABET.iter().position(|known| *known == digit)?;
            bits |= u32::try_from(value).ok()? << (6 * place);
        }
        for (place, octet) in group.iter().rev().zip(bits.to_le_bytes()) {
            *octets.get_mut(*place)? = octet;
        }
    }
    digits.next().is_none().then_some(octets)
}

/// Steps 1 to 21 of the specification.
fn sha_crypt_digest(sha: Sha, rounds: u32, salt: &[u8], password: &[u8]) -> Zeroizing<Vec<u8>> {
    let of = |parts: &[&[u8]]| {
        let mut context = digest::Context::new(sha.digest());
        for part in parts {
            context.update(part);
        }
        Zeroizing::new(context.finish().as_ref().to_vec())
    };
    let stretched = |digest: &[u8], length: usize| Zeroizing::new(digest.iter().copied().cycle().take(length).collect::<Vec<_>>());

    let first = of(&[password, salt, password]);
    let filling = stretched(&first, password.len());
    let mut parts: Vec<&[u8]> = vec![password, salt, &filling];
    let mut length = password.len();
    while length > 0 {
        parts.push(if length & 1 == 1 { &first } else { password });
        length >>= 1;
    }
    let mut digest = of(&parts);
    let passwords = stretched(&of(&vec![password; password.len()]), password.len());
    let times = 16 + usize::from(digest.first().copied().unwrap_or(0));
    let salts = stretched(&of(&vec![salt; times]), salt.len());
    for round in 0..rounds {
        let odd = round % 2 == 1;
        let mut parts: [&[u8]; 4] = [&[], &[], &[], &[]];
        let [begin, salted, again, end] = &mut parts;
        *begin = if odd { &passwords } else { &digest };
        *salted = if round % 3 == 0 { &[] } else { &salts };
        *again = if round % 7 == 0 { &[] } else { &passwords };
        *end = if odd { &digest } else { &passwords };
        digest = of(&parts);
    }
    digest
}

/// The kin of `{SSHA}`: base64 of the digest of password and salt, then the salt.
fn salted_sha(sha: Sha, value: &str) -> Result<(Foreign, Vec<u8>), ImportError> {
    let octets = BASE64.decode(value).map_err(|_| ImportError::Malformed)?;
    let (digest, salt) = octets.split_at_checked(sha.digest().output_len()).ok_or(ImportError::Malformed)?;
    Ok((Foreign::SaltedSha { sha, salt: salt.to_vec() }, digest.to_vec()))
}

fn three(text: &str, separator: char) -> Result<(&str, &str, &str), ImportError> {
    let mut fields = text.split(separator);
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(first), Some(second), Some(third), None) => Ok((first, second, third)),
        _ => Err(ImportError::Malformed),
    }
}

/// The values of `a=1,b=2,c=3`, in this order and no others.
fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Result<[u32; N], ImportError> {
    let mut pairs = text.split(',');
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        let pair = pairs.next().and_then(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        *value = number(pair.ok_or(ImportError::Malformed)?)?;
    }
    if pairs.next().is_some() { Err(ImportError::Malformed) } else { Ok(values) }
}

/// Digits that do not fit are parameters beyond any limit, not malformed.
fn number(digits: &str) -> Result<u32, ImportError> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ImportError::Malformed);
    }
    digits.parse().map_err(|_| ImportError::Parameters)
}

fn unpadded(text: &str) -> Result<Vec<u8>, ImportError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| ImportError::Malformed)
}
