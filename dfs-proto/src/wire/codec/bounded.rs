//! Deserialising what a stranger sent, in bounded memory.
//!
//! One byte on the wire can stand for an element of a hundred bytes in a list. So every element of a
//! list is charged with its size, and a message whose lists would become larger
//! than [`LISTS_BYTES_MAX`] is refused half-way. Texts and byte strings need no charge: they are as
//! long as what was received. A wrapper around any deserialiser, which passes all else on.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::{cell::Cell, fmt};

/// The elements of all lists of a message, as they lie in memory. A list that grows holds up to
/// three times its elements for a moment, so this keeps a message within the size of a frame.
pub(super) const LISTS_BYTES_MAX: usize = 2 << 20;

/// A message from the front of `bytes`, and what is left of them.
pub(super) fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), postcard::Error> {
    let mut inner = postcard::Deserializer::from_bytes(bytes);
    let left = Cell::new(LISTS_BYTES_MAX);
    let message = T::deserialize(Bounded {
        inner: &mut inner,
        left: &left,
        list: false,
    })?;
    Ok((message, inner.finalize()?))
}

/// A part of the deserialiser, or of what it deserialises into, with the bound around it.
struct Bounded<'a, T> {
    inner: T,
    /// Bytes that lists may still take.
    left: &'a Cell<usize>,
    /// Whether the parts of what comes are elements of a list.
    list: bool,
}

impl<T> Bounded<'_, T> {
    fn charge<Element, E: Error>(&self) -> Result<(), E> {
        if self.list {
            let left = self.left.get().checked_sub(size_of::<Element>());
            let left = left.ok_or_else(|| E::custom("a message with more in it than allowed"))?;
            self.left.set(left);
        }
        Ok(())
    }
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*) $list:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = Bounded { inner: visitor, left: self.left, list: $list };
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any() false;
        deserialize_bool() false;
        deserialize_i8() false;
        deserialize_i16() false;
        deserialize_i32() false;
        deserialize_i64() false;
        deserialize_i128() false;
        deserialize_u8() false;
        deserialize_u16() false;
        deserialize_u32() false;
        deserialize_u64() false;
        deserialize_u128() false;
        deserialize_f32() false;
        deserialize_f64() false;
        deserialize_char() false;
        deserialize_str() false;
        deserialize_string() false;
        deserialize_bytes() false;
        deserialize_byte_buf() false;
        deserialize_option() false;
        deserialize_unit() false;
        deserialize_unit_struct(name: &'static str) false;
        deserialize_newtype_struct(name: &'static str) false;
        deserialize_seq() true;
        deserialize_tuple(len: usize) false;
        deserialize_tuple_struct(name: &'static str, len: usize) false;
        deserialize_map() true;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) false;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) false;
        deserialize_identifier() false;
        deserialize_ignored_any() false;
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let left = self.left;
        let list = false;
        self.inner.visit_some(Bounded { inner, left, list })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let left = self.left;
        let list = false;
        self.inner
            .visit_newtype_struct(Bounded { inner, left, list })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let (left, list) = (self.left, self.list);
        self.inner.visit_seq(Bounded { inner, left, list })
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let (left, list) = (self.left, self.list);
        self.inner.visit_map(Bounded { inner, left, list })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let left = self.left;
        let list = false;
        self.inner.visit_enum(Bounded { inner, left, list })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let (inner, left, list) = (seed, self.left, false);
        let element = self
            .inner
            .next_element_seed(Bounded { inner, left, list })?;
        if element.is_some() {
            self.charge::<S::Value, A::Error>()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let (inner, left, list) = (seed, self.left, false);
        let key = self.inner.next_key_seed(Bounded { inner, left, list })?;
        if key.is_some() {
            self.charge::<S::Value, A::Error>()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.charge::<S::Value, A::Error>()?;
        let (inner, left, list) = (seed, self.left, false);
        self.inner.next_value_seed(Bounded { inner, left, list })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (left, list) = (self.left, false);
        let seed = Bounded {
            inner: seed,
            left,
            list,
        };
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((value, Bounded { inner, left, list }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let (inner, left, list) = (seed, self.left, false);
        self.inner
            .newtype_variant_seed(Bounded { inner, left, list })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let (inner, left, list) = (visitor, self.left, false);
        self.inner.tuple_variant(len, Bounded { inner, left, list })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let (inner, left, list) = (visitor, self.left, false);
        self.inner
            .struct_variant(fields, Bounded { inner, left, list })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let (left, list) = (self.left, false);
        self.inner.deserialize(Bounded { inner, left, list })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Everything {
        Unit,
        New(Option<Box<Everything>>),
        Tuple(u8, i64, (bool, char)),
        Struct {
            map: BTreeMap<String, Vec<u8>>,
            list: Vec<Everything>,
            bytes: bytes::Bytes,
            text: String,
            float: f64,
            result: Result<u128, ()>,
        },
    }

    #[test]
    fn whatever_is_within_the_bound_reads_back() {
        let message = Everything::Struct {
            map: BTreeMap::from([("a".to_owned(), vec![1, 2, 3])]),
            list: vec![
                Everything::Unit,
                Everything::New(Some(Box::new(Everything::Unit))),
                Everything::New(None),
                Everything::Tuple(1, -5, (true, 'x')),
            ],
            bytes: bytes::Bytes::from_static(b"bytes"),
            text: "text".to_owned(),
            float: 0.5,
            result: Ok(u128::MAX),
        };
        let mut bytes = postcard::to_stdvec(&message).expect("serialises");
        bytes.push(77);
        assert_eq!(take(&bytes), Ok((message, &[77][..])));
    }

    #[test]
    fn lists_are_charged_by_what_they_become() {
        let fits = LISTS_BYTES_MAX / size_of::<String>();
        for (len, taken) in [(fits, true), (fits + 1, false)] {
            let bytes = postcard::to_stdvec(&vec![String::new(); len]).expect("serialises");
            assert_eq!(take::<Vec<String>>(&bytes).is_ok(), taken, "{len}");
        }
        let text = "x".repeat(LISTS_BYTES_MAX + 1);
        let bytes = postcard::to_stdvec(&text).expect("serialises");
        assert_eq!(take::<String>(&bytes), Ok((text, &[][..])));
    }
}
