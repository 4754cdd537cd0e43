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

/// Bytes that leave as many slices and arrive as one: what a reader gets of a block whose pieces lie
/// apart in the sender's memory. Rides beside the message as one payload.
#[derive(Clone, Default)]
pub struct Gathered(pub Vec<Bytes>);

impl Gathered {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// All of them in one; copied where they are not yet.
    pub fn joined(mut self) -> Bytes {
        match self.0.len() {
            1 => self.0.swap_remove(0),
            _ => self.0.concat().into(),
        }
    }
}

impl PartialEq for Gathered {
    fn eq(&self, other: &Gathered) -> bool {
        self.0.iter().flatten().eq(other.0.iter().flatten())
    }
}

impl Eq for Gathered {}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gathered({} bytes)", self.len())
    }
}

/// A payload as it stands in a serialised message.
#[derive(Serialize, Deserialize)]
enum Form {
    Inline(Bytes),
    Beside(u32),
}

thread_local! {
    static OUT: RefCell<Option<Vec<Vec<Bytes>>>> = const { RefCell::new(None) };
    static IN: RefCell<Option<VecDeque<Bytes>>> = const { RefCell::new(None) };
}

/// Runs `serialise`; payloads that it meets and that are too large to stand in the message are
/// appended to `payloads`, in order, each as its slices.
pub(crate) fn beside<R>(payloads: &mut Vec<Vec<Bytes>>, serialise: impl FnOnce() -> R) -> R {
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

/// Writes slices as one payload.
fn put<S: serde::Serializer>(slices: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: usize = slices.iter().map(Bytes::len).sum();
    let len = u32::try_from(bytes)
        .map_err(|_| serde::ser::Error::custom("a payload of 4 GiB or more"))?;
    let hung = bytes > INLINE_BYTES_MAX
        && OUT.with_borrow_mut(|out| match out {
            Some(payloads) => {
                payloads.push(slices.to_vec());
                true
            }
            None => false,
        });
    match (hung, slices) {
        (true, _) => Form::Beside(len).serialize(serializer),
        (false, [one]) => Form::Inline(one.clone()).serialize(serializer),
        (false, many) => Form::Inline(many.concat().into()).serialize(serializer),
    }
}

/// Reads one payload.
fn take<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    use serde::de::Error;
    let len = match Form::deserialize(deserializer)? {
        Form::Inline(bytes) => return Ok(bytes),
        Form::Beside(len) => len,
    };
    let next = IN.with_borrow_mut(|payloads| payloads.as_mut().and_then(VecDeque::pop_front));
    match next {
        Some(bytes) if u32::try_from(bytes.len()) == Ok(len) => Ok(bytes),
        Some(_) => Err(D::Error::custom(
            "a payload of another length than announced",
        )),
        None => Err(D::Error::custom(
            "a payload that did not come with the message",
        )),
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(std::slice::from_ref(&self.0), serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        take(deserializer).map(Payload)
    }
}

impl Serialize for Gathered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        put(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Gathered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Gathered, D::Error> {
        take(deserializer).map(|bytes| Gathered(vec![bytes]))
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
        let mut arrived: VecDeque<Bytes> = beside_it.into_iter().flatten().collect();
        let back = from_beside(&mut arrived, || postcard::from_bytes(&text));
        assert_eq!(back, Ok(message));
        assert!(arrived.is_empty());
    }

    #[test]
    fn many_slices_arrive_as_one() {
        for lens in [vec![], vec![3], vec![10, 20], vec![5000, 1, 70_000]] {
            let slices = lens.iter().map(|n| Bytes::from(vec![9; *n])).collect();
            let gathered = Gathered(slices);
            let mut beside_it = Vec::new();
            let text = beside(&mut beside_it, || postcard::to_stdvec(&gathered)).expect("small");
            assert!(beside_it.len() <= 1);
            let mut arrived = beside_it
                .iter()
                .map(|slices| slices.concat().into())
                .collect();
            let back: Gathered =
                from_beside(&mut arrived, || postcard::from_bytes(&text)).expect("reads back");
            assert_eq!(back, gathered);
            assert_eq!(back.0.len(), 1);
            assert_eq!(back.joined().len(), gathered.len());
        }
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
