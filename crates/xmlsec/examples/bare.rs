//! The cryptography that no reader of a signed response can do without, and nothing else: `bare KEY INFO SIGNATURE COVERED TIMES`.
//!
//! SHA-256 of what is covered and one RSA verification of the `SignedInfo`, with a key that is parsed once. `bench/acs` reads
//! the processor time of this process. KEY is a `SubjectPublicKeyInfo` in DER; the other files hold canonical octets.
#![expect(clippy::expect_used, reason = "a measurement without its inputs measures nothing")]

use std::hint::black_box;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut file = || std::fs::read(arguments.next().expect("four files and a number")).expect("a readable file");
    let (key, info, signature, covered) = (file(), file(), file(), file());
    let times: u32 = arguments.next().and_then(|times| times.parse().ok()).expect("how many times");
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key).expect("an RSA key");
    for _ in 0..times {
        black_box(digest::digest(&digest::SHA256, black_box(&covered)));
        key.verify_sig(black_box(&info), black_box(&signature)).expect("the signature is good");
    }
}
