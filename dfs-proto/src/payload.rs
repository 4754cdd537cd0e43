//! Bulk bytes as an ordinary argument or answer of a tarpc call.
//!
//! While a codec encodes or decodes one message it opens a scope ([`beside`], [`from_beside`]) on
//! its thread; payloads that are serialised inside the scope leave only their length in the message
//! and are handed to the codec untouched. The scope covers one synchronous call of the serialiser
//! and nothing else. Outside of it, and up to [`INLINE_BYTES_MAX`], the bytes stand in the message.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, collections::VecDeque};

/// Payloads of at most this many bytes are copied into the message: one more copy costs less there
/// than one more buffer and one more slice of a vectored write.
pub const INLINE_BYTES_MAX: usize = 4096;

/// Bytes that ride beside the message they belong to: the codec of [`crate::wire`] hangs them
/// behind the serialised message untouched. Any other serialiser writes them inline.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(pub Bytes);

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        Payload(bytes)
    }
}

/// A payload as it stands in a serialised message.
#[derive(Serialize, Deserialize)]
enum Form {
    Inline(Bytes),
    Beside(u32),
}

thread_local! {
    static OUT: RefCell<Option<Vec<Bytes>>> = const { RefCell::new(None) };
    static IN: RefCell<Option<VecDeque<Bytes>>> = const { RefCell::new(None) };
}

/// Runs `serialise`; payloads that it meets and that are too large to stand in the message are
/// appended to `payloads`, in order.
pub(crate) fn beside<R>(payloads: &mut Vec<Bytes>, serialise: impl FnOnce() -> R) -> R {
    OUT.set(Some(std::mem::take(payloads)));
    let result = serialise();
    *payloads = OUT.take().unwrap_or_default();
    result
}

/// Runs `deserialise`, which takes its payloads from the front of `payloads`; what it leaves there
/// had no place in the message.
pub(crate) fn from_beside<R>(payloads: &mut VecDeque<Bytes>, deserialise: impl FnOnce() -> R) -> R {
    IN.set(Some(std::mem::take(payloads)));
    let result = deserialise();
    *payloads = IN.take().unwrap_or_default();
    result
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let len = u32::try_from(self.0.len())
            .map_err(|_| serde::ser::Error::custom("a payload of 4 GiB or more"))?;
        let hung = self.0.len() > INLINE_BYTES_MAX
            && OUT.with_borrow_mut(|out| match out {
                Some(payloads) => {
                    payloads.push(self.0.clone());
                    true
                }
                None => false,
            });
        match hung {
            true => Form::Beside(len).serialize(serializer),
            false => Form::Inline(self.0.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        use serde::de::Error;
        let len = match Form::deserialize(deserializer)? {
            Form::Inline(bytes) => return Ok(Payload(bytes)),
            Form::Beside(len) => len,
        };
        let next = IN.with_borrow_mut(|payloads| payloads.as_mut().and_then(VecDeque::pop_front));
        match next {
            Some(bytes) if u32::try_from(bytes.len()) == Ok(len) => Ok(Payload(bytes)),
            Some(_) => Err(D::Error::custom(
                "a payload of another length than announced",
            )),
            None => Err(D::Error::custom(
                "a payload that did not come with the message",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> Payload {
        Payload(Bytes::from(vec![7; INLINE_BYTES_MAX + 1]))
    }

    #[test]
    fn outside_a_scope_the_bytes_stand_in_the_message() {
        let text = postcard::to_stdvec(&large()).expect("serialises");
        assert!(text.len() > INLINE_BYTES_MAX);
        assert_eq!(postcard::from_bytes::<Payload>(&text), Ok(large()));
    }

    #[test]
    fn inside_a_scope_only_large_ones_are_hung_beside() {
        let message = (large(), Payload(Bytes::from_static(b"small")), large());
        let mut beside_it = Vec::new();
        let text = beside(&mut beside_it, || postcard::to_stdvec(&message)).expect("serialises");
        assert_eq!(beside_it.len(), 2);
        assert!(text.len() < 32);
        let mut arrived = VecDeque::from(beside_it);
        let back = from_beside(&mut arrived, || postcard::from_bytes(&text));
        assert_eq!(back, Ok(message));
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_missing_or_wrong_payload_is_an_error() {
        let mut payloads = Vec::new();
        let text = beside(&mut payloads, || postcard::to_stdvec(&large())).expect("serialises");
        assert!(postcard::from_bytes::<Payload>(&text).is_err());
        let mut wrong = VecDeque::from([Bytes::from_static(b"no")]);
        assert!(from_beside(&mut wrong, || postcard::from_bytes::<Payload>(&text)).is_err());
    }
}
