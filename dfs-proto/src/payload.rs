//! Bulk bytes as an ordinary argument or answer of a tarpc call.

use bytes::Bytes;

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

impl serde::Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        Bytes::deserialize(deserializer).map(Payload)
    }
}
