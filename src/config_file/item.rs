//! Single values of the file: words and numbers that become values of the engine where they stand, so that what is wrong has
//! its line. The schema says of each kind what may stand there, beside what reads it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A table, and no list of what is in it: that would be taken by its order.
///
/// # Errors
/// It is none, or something in it makes no sense.
pub(super) fn table<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    struct TableVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    from.deserialize_any(TableVisitor(PhantomData)).map(Some)
}

/// What a text or a number can stand for.
pub(super) trait Item: Sized {
    /// What may stand there, behind the words "this is not".
    const WHAT: &'static str;

    /// The value of a text.
    ///
    /// # Errors
    /// What is wrong with it.
    fn of_text(text: &str) -> Result<Self, String>;

    /// The value of a number; most things have none.
    ///
    /// # Errors
    /// What is wrong with it.
    fn of_number(number: i64) -> Result<Self, String> {
        Err(format!("{number} is not {}", Self::WHAT))
    }

    /// What the schema calls such a value, and what it demands of it.
    #[cfg(feature = "schema")]
    fn form() -> super::schema::Form;
}

/// Values that have a word each; the schema lists the words that are read.
macro_rules! words {
    ($($kind:ty as $name:literal, $what:literal: $($word:literal => $value:expr),+;)+) => {$(
        impl $crate::config_file::item::Item for $kind {
            const WHAT: &'static str = $what;

            fn of_text(text: &str) -> Result<$kind, String> {
                $crate::config_file::item::word(text, &[$(($word, $value)),+])
            }

            #[cfg(feature = "schema")]
            fn form() -> $crate::config_file::schema::Form {
                $crate::config_file::schema::Form::words($name, &[$($word),+])
            }
        }
    )+};
}
pub(super) use words;

/// The value of a word out of a list.
///
/// # Errors
/// It is not in the list.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let is_none = if all.len() == 1 { "is not" } else { "is none of" };
        format!("`{text}` {is_none} {}", all.join(", "))
    })
}

/// One value.
#[derive(Debug)]
pub(super) struct One<T>(pub(super) T);

/// One value, or a list of them. An empty list is refused: nobody knows whether it was meant to be about everything or about
/// nothing.
#[derive(Debug)]
pub(super) struct Several<T>(pub(super) Vec<T>);

struct OneVisitor<T>(PhantomData<T>);
struct SeveralVisitor<T>(PhantomData<T>);

impl<T: Item> Visitor<'_> for OneVisitor<T> {
    type Value = One<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<One<T>, E> {
        T::of_text(text).map(One).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<One<T>, E> {
        T::of_number(number).map(One).map_err(E::custom)
    }
}

impl<'de, T: Item> Visitor<'de> for SeveralVisitor<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list of that", T::WHAT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Several<T>, E> {
        OneVisitor(PhantomData).visit_str(text).map(|One(value)| Several(vec![value]))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Several<T>, E> {
        OneVisitor(PhantomData).visit_i64(number).map(|One(value)| Several(vec![value]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(One(value)) = list.next_element()? {
            values.push(value);
        }
        if values.is_empty() {
            return Err(A::Error::custom("an empty list; leave the field out where it is not to count"));
        }
        Ok(Several(values))
    }
}

impl<'de, T: Item> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<One<T>, D::Error> {
        from.deserialize_any(OneVisitor(PhantomData))
    }
}

impl<'de, T: Item> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Several<T>, D::Error> {
        from.deserialize_any(SeveralVisitor(PhantomData))
    }
}
