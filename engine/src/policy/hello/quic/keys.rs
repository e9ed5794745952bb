//! What protects a client's Initial packets (RFC 9001 section 5.2, RFC 9369 section 3.3): from everybody who does not know the
//! standard, since all that the keys are made of is in the first packet.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::AeadInOut;
use hkdf::Hkdf;
use sha2::Sha256;

/// The bytes of a packet by which its header is protected (RFC 9001 section 5.4.2).
pub(super) const SAMPLE: usize = 16;
/// What the protection adds to a packet.
pub(super) const TAG: usize = 16;

/// A version of QUIC whose first packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// RFC 9000.
    One,
    /// RFC 9369.
    Two,
}

impl Version {
    pub(super) fn of(number: u32) -> Option<Version> {
        match number {
            1 => Some(Version::One),
            0x6b33_43cf => Some(Version::Two),
            _ => None,
        }
    }

    fn salt(self) -> &'static [u8; 20] {
        match self {
            Version::One => &[
                0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
                0xbb, 0x7f, 0x0a,
            ],
            Version::Two => &[
                0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9,
                0xbd, 0x2e, 0xd9,
            ],
        }
    }

    /// What the labels of the key, of the vector and of the key for headers begin with.
    fn labels(self) -> [&'static [u8]; 3] {
        match self {
            Version::One => [b"quic key", b"quic iv", b"quic hp"],
            Version::Two => [b"quicv2 key", b"quicv2 iv", b"quicv2 hp"],
        }
    }
}

/// Of one connection.
pub(super) struct Keys {
    header: Aes128,
    payload: Aes128Gcm,
    vector: [u8; 12],
}

impl Keys {
    /// Of the connection whose first packet went to this connection ID.
    pub(super) fn of(version: Version, destination: &[u8]) -> Option<Keys> {
        let initial = Hkdf::<Sha256>::new(Some(version.salt()), destination);
        let mut secret = [0; 32];
        expand(&initial, b"client in", &mut secret)?;
        let client = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let [key, vector, header] = version.labels();
        let (mut key_bytes, mut vector_bytes, mut header_bytes) = ([0; 16], [0; 12], [0; 16]);
        expand(&client, key, &mut key_bytes)?;
        expand(&client, vector, &mut vector_bytes)?;
        expand(&client, header, &mut header_bytes)?;
        Some(Keys {
            header: Aes128::new(&Array(header_bytes)),
            payload: Aes128Gcm::new(&Array(key_bytes)),
            vector: vector_bytes,
        })
    }

    /// What is laid over the first byte of a packet and over its number (RFC 9001 section 5.4.3).
    pub(super) fn mask(&self, sample: [u8; SAMPLE]) -> [u8; 5] {
        let mut block = Array(sample);
        self.header.encrypt_block(&mut block);
        let Array([a, b, c, d, e, ..]) = block;
        [a, b, c, d, e]
    }

    /// Takes the protection off a payload with its tag. `None` when that is not its own.
    pub(super) fn open(&self, number: u64, header: &[u8], mut payload: Vec<u8>) -> Option<Vec<u8>> {
        self.payload.decrypt_in_place(&self.nonce(number), header, &mut payload).ok()?;
        Some(payload)
    }

    /// RFC 9001 section 5.3.
    fn nonce(&self, number: u64) -> Array<u8, aes::cipher::consts::U12> {
        let mut nonce = self.vector;
        for (byte, of_number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= of_number;
        }
        Array(nonce)
    }

    #[cfg(test)]
    pub(super) fn seal(&self, number: u64, header: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
        self.payload.encrypt_in_place(&self.nonce(number), header, &mut payload).unwrap();
        payload
    }
}

/// HKDF-Expand-Label of TLS (RFC 8446 section 7.1), without a context.
fn expand(from: &Hkdf<Sha256>, label: &[u8], to: &mut [u8]) -> Option<()> {
    let length = u16::try_from(to.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(label.len() + 6).ok()?];
    from.expand_multi_info(&[&length, &label_length, b"tls13 ", label, &[0]], to).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// RFC 9001 appendix A.1 and A.2, RFC 9369 appendix A.1 and A.2: the vector shows by what it does to a nonce, and the two keys
    /// by what they make of a block.
    #[test]
    fn keys_are_those_of_the_standards() {
        let connection = hex("8394c8f03e515708");
        let one = Keys::of(Version::One, &connection).unwrap();
        assert_eq!(one.vector.to_vec(), hex("fa044b2f42a3fd3b46fb255c"));
        assert_eq!(one.mask(hex("d1b1c98dd7689fb8ec11d242b123dc9b").try_into().unwrap()).to_vec(), hex("437b9aec36"));
        let two = Keys::of(Version::Two, &connection).unwrap();
        assert_eq!(two.vector.to_vec(), hex("91f73e2351d8fa91660e909f"));
        assert_eq!(two.mask(hex("ffe67b6abcdb4298b485dd04de806071").try_into().unwrap()).to_vec(), hex("94a0c95e80"));
        assert_eq!(one.nonce(2).to_vec(), hex("fa044b2f42a3fd3b46fb255e"));
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        let keys = Keys::of(Version::One, &[1; 8]).unwrap();
        let sealed = keys.seal(7, b"header", b"payload".to_vec());
        assert_eq!(sealed.len(), 7 + TAG);
        assert_eq!(keys.open(7, b"header", sealed.clone()), Some(b"payload".to_vec()));
        assert_eq!(keys.open(8, b"header", sealed.clone()), None);
        assert_eq!(keys.open(7, b"headed", sealed.clone()), None);
        let others = Keys::of(Version::Two, &[1; 8]).unwrap();
        assert_eq!(others.open(7, b"header", sealed.clone()), None);
        assert_eq!(keys.open(7, b"header", sealed[..TAG - 1].to_vec()), None);
    }
}
