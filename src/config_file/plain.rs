//! What the parser of TOML and the reader of its values say, in words for whoever writes the file: without those of the language that this
//! is written in.

/// The same, as a person would say it. What is not known here stays as it is.
pub(super) fn plain(message: &str) -> String {
    let known = unknown_key(message).or_else(|| missing_key(message)).or_else(|| unfit(message));
    known.unwrap_or_else(|| of_syntax(message).to_owned())
}

/// "unknown field `x`, expected one of `a`, `b`".
fn unknown_key(message: &str) -> Option<String> {
    let (name, expected) = message.strip_prefix("unknown field `")?.split_once("`, ")?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    // One letter too many, too few, another or two that have changed places: it is said which was meant.
    let meant = known.iter().find(|known| is_nearly(name, known));
    let meant = meant.map(|meant| format!(" (`{meant}`?)")).unwrap_or_default();
    Some(format!("there is no `{name}` here{meant}, what there is: {}", known.join(", ")))
}

/// Whether one text is the other but for one change.
fn is_nearly(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let front = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let (one, other) = (one.get(front..).unwrap_or_default(), other.get(front..).unwrap_or_default());
    let back = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    let rest = |text: &[u8]| text.get(..text.len() - back).unwrap_or_default().to_vec();
    match (&rest(one)[..], &rest(other)[..]) {
        ([_] | [], [_] | []) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

/// "missing field `x`".
fn missing_key(message: &str) -> Option<String> {
    let name = message.strip_prefix("missing field ")?;
    Some(format!("{name} is missing"))
}

/// "invalid type: string \"x\", expected u16" and "invalid value: integer `-1`, expected u32"; and "invalid length 1, expected struct Bounds with
/// 5 elements", of a list in the place of a table.
fn unfit(message: &str) -> Option<String> {
    if message.starts_with("invalid length ") && message.contains(", expected struct ") {
        return Some("this is a list, and has to be a table".to_owned());
    }
    let said = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    // The value is whatever was written, commas and words like these among it.
    let (found, wanted) = said
        .rsplit_once(", expected ")
        .filter(|(_, wanted)| !wanted.contains('"'))
        .or_else(|| said.split_once(", expected "))?;
    if (found, wanted) == ("map", "a sequence") {
        return Some(
            "this has to be a list: `[[...]]` for each in place of `[...]`, or all in square brackets".to_owned(),
        );
    }
    Some(format!("this is {}, and has to be {}", found_words(found), wanted_words(wanted)))
}

/// What stands there.
fn found_words(found: &str) -> String {
    let quoted = |kind: &str| {
        let quoted = found.strip_prefix(kind)?.strip_prefix(" `")?;
        // Behind a number that is too large for most there may be which one it fits.
        quoted.split_once('`').map(|(value, _)| value.to_owned())
    };
    let number = quoted("integer").or_else(|| quoted("floating point")).or_else(|| quoted("boolean"));
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => match found.strip_prefix("string ") {
            Some(text) => format!("the text {text}"),
            None => number.unwrap_or_else(|| found.to_owned()),
        },
    }
}

/// What may stand there.
fn wanted_words(wanted: &str) -> &str {
    match wanted {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on",
        "i64" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text, in quotation marks",
        "a sequence" => "a list, in square brackets",
        "a map" => "a table",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    }
}

/// What is written without the marks that it needs looks like many things.
const NO_VALUE: &str =
    "this is no value: a text stands in quotation marks, and so do addresses, names and ranges of ports";
const BACKSLASH: &str = "`\\` is written `\\\\` in a text, or the text stands in '...'";

/// What the parser of TOML says, by how that begins, and what is said in its place.
const SYNTAX: [(&str, &str); 32] = [
    ("string values must be quoted", NO_VALUE),
    ("missing assignment", "an equals sign is missing"),
    ("key with no value", "behind the key stands no value"),
    ("missing value", "there is no value"),
    ("extra assignment", "there is one equals sign too many"),
    ("extra `=`", "there is one equals sign too many"),
    ("unexpected `=` in array", "there is one equals sign too many"),
    ("missing comma", "a comma is missing"),
    ("extra comma", "there is one comma too many"),
    ("unclosed array table", "the name of the table does not end with `]]`"),
    ("unclosed array", "the list does not end with `]`"),
    ("unclosed inline table", "the table does not end with `}`"),
    ("unclosed table", "the name of the table does not end with `]`"),
    ("duplicate key", "this is there twice"),
    ("invalid unquoted key", "a key has letters, digits, `-` and `_`, or stands in quotation marks"),
    ("unquoted keys cannot be empty", "there is no name"),
    ("unexpected content", "nothing more may stand in this line"),
    ("unexpected key or value", "nothing more may stand in this line"),
    ("missing opening quote", NO_VALUE),
    ("missing escaped value", BACKSLASH),
    ("unexpected leading zero", "a number has no zero in front"),
    ("integer number overflowed", "this is no number, or one that is too large"),
    ("too few unicode value digits", BACKSLASH),
    ("`_` may only go between digits", "`_` stands between digits of a number only"),
    ("invalid float", NO_VALUE),
    ("invalid integer", NO_VALUE),
    ("invalid date", NO_VALUE),
    ("invalid time", NO_VALUE),
    ("invalid basic string, expected `\"`", "the text does not end with `\"`"),
    ("invalid literal string, expected `'`", "the text does not end with `'`"),
    ("invalid basic string", "a text has no control characters"),
    ("invalid literal string", "a text has no control characters"),
];

/// What the parser of TOML says; the rarest is left as it is.
fn of_syntax(message: &str) -> &str {
    SYNTAX.iter().find(|(begins, _)| message.starts_with(begins)).map_or(message, |(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_says_is_said_to_people() {
        for (message, wanted) in [
            (
                "unknown field `polcy`, expected one of `capture`, `policy`",
                "there is no `polcy` here (`policy`?), what there is: capture, policy",
            ),
            ("unknown field `mru`, expected `mtu`", "there is no `mru` here (`mtu`?), what there is: mtu"),
            ("unknown field `a`, expected `bcd` or `efg`", "there is no `a` here, what there is: bcd, efg"),
            ("missing field `file`", "`file` is missing"),
            ("invalid type: string \"1500\", expected i64", "this is the text \"1500\", and has to be a whole number"),
            (
                "invalid value: integer `-1`, expected u32",
                "this is -1, and has to be a whole number from 0 to 4294967295",
            ),
            (
                "invalid type: map, expected a sequence",
                "this has to be a list: `[[...]]` for each in place of `[...]`, or all in square brackets",
            ),
            ("invalid type: integer `1`, expected a sequence", "this is 1, and has to be a list, in square brackets"),
            ("invalid type: integer `99` as i128, expected u64", "this is 99, and has to be a whole number from 0 on"),
            ("invalid float, expected nothing", NO_VALUE),
            ("invalid type: integer `7`, expected struct Bounds", "this is 7, and has to be a table"),
            (
                "invalid type: boolean `true`, expected a string",
                "this is true, and has to be a text, in quotation marks",
            ),
            (
                "invalid type: string \", expected u8\", expected a boolean",
                "this is the text \", expected u8\", and has to be true or false",
            ),
            ("invalid length 1, expected struct Bounds with 5 elements", "this is a list, and has to be a table"),
            ("whatever else", "whatever else"),
        ] {
            assert_eq!(plain(message), wanted);
        }
    }

    #[test]
    fn one_change_is_nearly_the_same() {
        for near in ["polcy", "policyy", "pollcy", "oplicy", "policy", "poliyc"] {
            assert!(is_nearly(near, "policy"), "{near}");
        }
        for far in ["", "rules", "police-x", "plcy", "ploiyc"] {
            assert!(!is_nearly(far, "policy"), "{far}");
        }
    }
}
