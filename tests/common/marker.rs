//! The library's markers: questions to a guest alone, for the address that it has already, which every guest's system
//! answers by itself. Guests made by hand have them answered here.

/// The answer to a marker; `None` for any other frame.
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let to_group = frame.first()? & 1 == 1;
    match frame.get(12..14)? {
        [0x08, 0x06] if !to_group && frame.get(20..22)? == [0, 1] => Some(arp(frame)),
        [0x86, 0xdd] if !to_group && *frame.get(20)? == 58 && *frame.get(54)? == 135 && frame.len() >= 78 => {
            Some(ndp(frame))
        }
        _ => None,
    }
}

fn arp(frame: &[u8]) -> Vec<u8> {
    let (mac, asker_mac) = (&frame[0..6], &frame[22..28]);
    let mut reply = [asker_mac, mac, &frame[12..20], &[0, 2], mac, &frame[38..42], asker_mac, &frame[28..32]].concat();
    reply.resize(60, 0);
    reply
}

fn ndp(frame: &[u8]) -> Vec<u8> {
    let (asker, target) = (&frame[22..38], &frame[62..78]);
    let mut message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], target].concat();
    let mut sum: u32 =
        [target, asker, &message].concat().chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    sum += message.len() as u32 + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let header = [&[0x60, 0, 0, 0, 0, message.len() as u8, 58, 255][..], target, asker].concat();
    [&frame[6..12], &frame[0..6], &[0x86, 0xdd], &header[..], &message].concat()
}
