//! TCP options: any bytes are read, and what was read is written so that it reads the same.

use oxislirp::internals::tcp::{Flags, OPTIONS_MAX, Options, Segment};

pub fn run(data: &[u8]) {
    let options = Options::parse(data);
    let mut buffer = [0; OPTIONS_MAX];
    let len = options.emit(&mut buffer);
    assert!(len <= OPTIONS_MAX && len.is_multiple_of(4), "{options:?} take {len} bytes");
    let again = Options::parse(&buffer[..len]);
    // Blocks for which there is no room are left out, and an absent block leaves no gap.
    let blocks: Vec<_> = options.sack.iter().flatten().collect();
    let kept: Vec<_> = again.sack.iter().flatten().collect();
    assert_eq!(blocks.get(..kept.len()), Some(&kept[..]), "{options:?}");
    assert_eq!(Options { sack: options.sack, ..again }, options);

    if let Some(segment) = Segment::parse(data) {
        assert!(segment.payload.len() + 20 <= data.len());
        assert_eq!(
            segment.is_empty(),
            segment.payload.is_empty() && !segment.flags.intersects(Flags::SYN | Flags::FIN)
        );
    }
}
