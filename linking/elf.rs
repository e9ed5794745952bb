//! Reads which version node each exported symbol of an ELF file is on. Every platform that has version nodes has them in the
//! same three sections.

/// Types of sections (the ELF standard, and the Linux Standard Base on symbol versioning).
const SHT_DYNSYM: u32 = 11;
const SHT_GNU_VERDEF: u32 = 0x6fff_fffd;
const SHT_GNU_VERSYM: u32 = 0x6fff_ffff;

/// A file with the width and byte order that its head names.
struct Elf<'a> {
    bytes: &'a [u8],
    wide: bool,
    big_endian: bool,
}

/// A section: where its bytes are, and the section that it belongs to.
struct Section {
    kind: u32,
    start: usize,
    size: usize,
    link: usize,
}

/// The pairs of symbol and version node of the symbols that the file defines on one; `None` when it is no such file.
pub fn versions(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    if bytes.get(..4)? != b"\x7fELF" {
        return None;
    }
    let elf = Elf { bytes, wide: *bytes.get(4)? == 2, big_endian: *bytes.get(5)? == 2 };
    let sections = elf.sections()?;
    let of_kind = |kind| sections.iter().find(|section| section.kind == kind);
    let (symbols, numbers, nodes) = (of_kind(SHT_DYNSYM)?, of_kind(SHT_GNU_VERSYM)?, of_kind(SHT_GNU_VERDEF)?);
    let nodes = elf.nodes(nodes, sections.get(nodes.link)?)?;
    let names = sections.get(symbols.link)?;
    let entry = if elf.wide { 24 } else { 16 };
    let mut pairs = Vec::new();
    for index in 0..symbols.size / entry {
        let at = symbols.start + index * entry;
        let section = elf.number(at + if elf.wide { 6 } else { 14 }, 2)?;
        // The highest bit marks a version that new programs are not linked with.
        let number = elf.number(numbers.start + index * 2, 2)? & 0x7fff;
        if section == 0 {
            continue;
        }
        if let Some((_, node)) = nodes.iter().find(|(node, _)| *node == number) {
            pairs.push((elf.text(names.start + elf.number(at, 4)?)?, node.clone()));
        }
    }
    Some(pairs)
}

impl Elf<'_> {
    /// The number of `size` bytes at `at`.
    fn number(&self, at: usize, size: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let join = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) })
    }

    /// The text at `at`, up to its zero byte.
    fn text(&self, at: usize) -> Option<String> {
        let bytes = self.bytes.get(at..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn sections(&self) -> Option<Vec<Section>> {
        let word = if self.wide { 8 } else { 4 };
        let table = self.number(if self.wide { 40 } else { 32 }, word)?;
        let (size, count) = if self.wide { (58, 60) } else { (46, 48) };
        let (size, count) = (self.number(size, 2)?, self.number(count, 2)?);
        let fields = if self.wide { (24, 32, 40) } else { (16, 20, 24) };
        (0..count)
            .map(|index| table + index * size)
            .map(|at| {
                Some(Section {
                    kind: self.number(at + 4, 4)? as u32,
                    start: self.number(at + fields.0, word)?,
                    size: self.number(at + fields.1, word)?,
                    link: self.number(at + fields.2, 4)?,
                })
            })
            .collect()
    }

    /// The nodes with their numbers, without the one that stands for the file itself.
    fn nodes(&self, section: &Section, names: &Section) -> Option<Vec<(usize, String)>> {
        let mut nodes = Vec::new();
        let mut at = section.start;
        loop {
            let (flags, number) = (self.number(at + 2, 2)?, self.number(at + 4, 2)?);
            let name = self.number(at + self.number(at + 12, 4)?, 4)?;
            if flags & 1 == 0 {
                nodes.push((number, self.text(names.start + name)?));
            }
            match self.number(at + 16, 4)? {
                0 => return Some(nodes),
                next => at += next,
            }
        }
    }
}
