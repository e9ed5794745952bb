//! Reading a read request (RFC 1350 section 5, options of RFC 2347) and refusing it.

use std::mem::discriminant;

/// Packet types (RFC 1350 section 5; OACK is RFC 2347).
pub(super) mod opcode {
    pub(crate) const READ: u16 = 1;
    pub(crate) const DATA: u16 = 3;
    pub(crate) const ACKNOWLEDGMENT: u16 = 4;
    pub(crate) const ERROR: u16 = 5;
    pub(crate) const OPTION_ACKNOWLEDGMENT: u16 = 6;
}

/// The longest file name, in bytes without its NUL; source: docs/contract/tftp.md section 1.
const NAME_MAX: usize = 511;
/// What has to follow the name: the shortest mode that was ever in use, "octet", with its NUL.
const MODE_MIN: usize = 6;
/// The block sizes of RFC 2348 section 1 start here, in bytes.
const BLOCK_SIZE_MIN: u64 = 8;

/// Why there is no transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    FileNotFound,
    AccessViolation,
    UnsupportedMode,
    /// None of the numbers means this; 0 leaves it to the text.
    TryLater,
}

impl Refusal {
    /// The error packet.
    pub(super) fn packet(self) -> Vec<u8> {
        let (code, text): (u16, &str) = match self {
            Refusal::FileNotFound => (1, "File not found"),
            Refusal::AccessViolation => (2, "Access violation"),
            Refusal::TryLater => (0, "Out of resources, try again later"),
            Refusal::UnsupportedMode => (4, "Unsupported transfer mode"),
        };
        let mut packet = opcode::ERROR.to_be_bytes().to_vec();
        packet.extend(code.to_be_bytes());
        packet.extend(text.as_bytes());
        packet.push(0);
        packet
    }
}

/// How a file's bytes are sent (RFC 1350 section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Octet,
    Netascii,
}

/// A read request up to its mode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// Without the slashes it may have begun with: every name is relative to the directory that is served.
    pub name: &'a [u8],
    pub mode: Mode,
    options: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads what follows the packet type.
    ///
    /// # Errors
    /// What the client is to be told, in the order of docs/contract/tftp.md section 1.
    pub(super) fn parse(body: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let (name, rest) = string(body).ok_or(Refusal::AccessViolation)?;
        if name.len() > NAME_MAX || rest.len() < MODE_MIN {
            return Err(Refusal::AccessViolation);
        }
        let (mode, options) = string(rest).ok_or(Refusal::UnsupportedMode)?;
        let mode = if mode.eq_ignore_ascii_case(b"octet") {
            Mode::Octet
        } else if mode.eq_ignore_ascii_case(b"netascii") {
            Mode::Netascii
        } else {
            return Err(Refusal::UnsupportedMode);
        };
        if name.windows(3).any(|part| part == b"../") || name.is_empty() || name.ends_with(b"/") {
            return Err(Refusal::AccessViolation);
        }
        let slashes = name.iter().take_while(|byte| **byte == b'/').count();
        Ok(Request { name: name.get(slashes..).unwrap_or_default(), mode, options })
    }

    /// The options, to be asked for once the file was found.
    ///
    /// # Errors
    /// The packet does not end with a NUL, or a name is without its value.
    pub(super) fn options(&self) -> Result<Options, Refusal> {
        let mut options = Options::default();
        let mut rest = self.options;
        if rest.last().is_some_and(|byte| *byte != 0) {
            return Err(Refusal::AccessViolation);
        }
        while !rest.is_empty() {
            let (name, after_name) = string(rest).ok_or(Refusal::AccessViolation)?;
            let (value, after_value) = string(after_name).ok_or(Refusal::AccessViolation)?;
            options.add(name, value);
            rest = after_value;
        }
        Ok(options)
    }
}

/// The bytes up to a NUL, and those behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// One of the options that are known, with the client's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// RFC 2348, in bytes.
    BlockSize(u64),
    /// RFC 2349: zero asks for the file's size.
    TransferSize(u64),
    /// RFC 2349: after how many seconds a packet is sent again.
    Timeout(u8),
}

/// What a client asked for and may have, in the order it asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    wishes: [Option<Wish>; 3],
}

impl Options {
    /// Takes an option, unless it is unknown, its value is not allowed, or it was there before: the client is not told of
    /// those, which means that they do not hold (RFC 2347).
    fn add(&mut self, name: &[u8], value: &[u8]) {
        let value = number(value);
        let wish = if name.eq_ignore_ascii_case(b"blksize") && value >= BLOCK_SIZE_MIN {
            Wish::BlockSize(value)
        } else if name.eq_ignore_ascii_case(b"tsize") {
            Wish::TransferSize(value)
        } else if name.eq_ignore_ascii_case(b"timeout")
            && let Some(seconds) = u8::try_from(value).ok().filter(|seconds| *seconds > 0)
        {
            Wish::Timeout(seconds)
        } else {
            return;
        };
        let taken_or_free =
            |place: &&mut Option<Wish>| place.is_none_or(|taken| discriminant(&taken) == discriminant(&wish));
        if let Some(place @ None) = self.wishes.iter_mut().find(taken_or_free) {
            *place = Some(wish);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Wish> {
        self.wishes.iter().flatten().copied()
    }
}

/// A decimal number as C's `atoi` finds one at the beginning of a text, but without overflow: no digits are zero, and
/// what is below zero is zero.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value: u64, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Request<'_>, Refusal> {
        Request::parse(body)
    }

    #[test]
    fn names_and_modes() {
        let request = parse(b"a/b\0octet\0").unwrap();
        assert_eq!((request.name, request.mode), (&b"a/b"[..], Mode::Octet));
        assert_eq!(parse(b"//a\0OcTeT\0").unwrap().name, b"a");
        assert_eq!(parse(b"a\0NetASCII\0").unwrap().mode, Mode::Netascii);
    }

    #[test]
    fn fact_5_names_that_lead_out_or_name_nothing_are_refused() {
        for name in [&b"../x"[..], b"sub/../a", b"sub/", b"", b"/", b"a../b"] {
            let body = [name, b"\0octet\0"].concat();
            assert_eq!(parse(&body), Err(Refusal::AccessViolation), "{name:?}");
        }
    }

    #[test]
    fn fact_6_other_modes_are_refused() {
        assert_eq!(parse(b"a\0mail\0"), Err(Refusal::AccessViolation), "too short to be a mode");
        for rest in [&b"mail\0x"[..], b"octets\0", b"binary", b"octet1"] {
            let body = [b"a\0", rest].concat();
            assert_eq!(parse(&body), Err(Refusal::UnsupportedMode), "{rest:?}");
        }
        assert_eq!(parse(b"../a\0binary\0"), Err(Refusal::UnsupportedMode), "the mode is looked at before the name");
    }

    #[test]
    fn fact_7_a_name_has_at_most_511_bytes() {
        let body = |length| [&vec![b'a'; length][..], b"\0octet\0"].concat();
        assert_eq!(parse(&body(511)).unwrap().name.len(), 511);
        assert_eq!(parse(&body(512)), Err(Refusal::AccessViolation));
    }

    /// The text with every space as a NUL.
    fn nul(text: &str) -> Vec<u8> {
        text.replace(' ', "\0").into_bytes()
    }

    #[test]
    fn a_packet_cut_anywhere_is_refused() {
        let whole = nul("file octet blksize 512 ");
        for length in 0..whole.len() {
            let result = parse(&whole[..length]).and_then(|request| request.options());
            assert_eq!(result.is_ok(), length == 11, "{length} bytes");
        }
    }

    fn options(text: &str) -> Vec<Wish> {
        let body = [b"a\0octet\0", &nul(text)[..]].concat();
        parse(&body).unwrap().options().unwrap().iter().collect()
    }

    #[test]
    fn options_keep_their_order_and_count_once() {
        let all = options("TSIZE 0 multicast  timeout 3 BlkSize 1024 blksize 8 ");
        assert_eq!(all, [Wish::TransferSize(0), Wish::Timeout(3), Wish::BlockSize(1024)]);
        assert!(options("windowsize 4 ").is_empty());
    }

    #[test]
    fn values_that_are_not_allowed_are_ignored() {
        assert!(options("blksize 7 blksize -1 blksize x timeout 0 timeout 256 ").is_empty());
        assert_eq!(options("blksize 99999999999999999999999 "), [Wish::BlockSize(u64::MAX)]);
        assert_eq!(options("tsize -5 "), [Wish::TransferSize(0)]);
    }
}
