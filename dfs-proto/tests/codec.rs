//! Whatever is sent arrives as it was, however the stream is cut into pieces, or not at all.

use bytes::Bytes;
use dfs_proto::{
    payload::{Gathered, Payload},
    wire::{Framed, Link, transport},
};
use futures::{SinkExt, StreamExt};
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tarpc::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A message with payloads of both kinds anywhere in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    before: Vec<u64>,
    payloads: Vec<Payload>,
    text: String,
    gathered: Option<Gathered>,
    last: Payload,
}

type Codec = Framed<Response<Sample>, Response<Sample>>;

/// A stream that gives and takes at most `step` bytes at a time and keeps one waiting every other
/// time. What was written is kept for the test.
struct Choppy {
    incoming: Vec<u8>,
    at: usize,
    written: Arc<Mutex<Vec<u8>>>,
    step: usize,
    waits: bool,
}

impl Choppy {
    fn waits(&mut self, cx: &mut Context<'_>) -> bool {
        self.waits = !self.waits;
        if self.waits {
            cx.waker().wake_by_ref();
        }
        self.waits
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let rest = &self.incoming[self.at..];
        let read = rest.len().min(self.step).min(into.remaining());
        into.put_slice(&rest[..read]);
        self.at += read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let taken = from.len().min(self.step);
        let written = &mut self.written.lock().expect("whole");
        written.extend_from_slice(&from[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let all: Vec<u8> = from
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let taken = all.len().min(self.step);
        let written = &mut self.written.lock().expect("whole");
        written.extend_from_slice(&all[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

/// The bytes of these messages on a stream that takes `step` bytes at a time.
fn sent(messages: &[Response<Sample>], step: usize) -> Vec<u8> {
    let written = Arc::new(Mutex::new(Vec::new()));
    let stream = Choppy {
        incoming: Vec::new(),
        at: 0,
        written: written.clone(),
        step,
        waits: false,
    };
    runtime().block_on(async {
        let mut codec: Codec = transport(Link::other(stream, "test"));
        for message in messages {
            codec.feed(message.clone()).await.expect("accepted");
        }
        codec.flush().await.expect("sent");
    });
    written.lock().expect("whole").clone()
}

/// The messages in these bytes on a stream that gives `step` bytes at a time, and whether it ended
/// without an error.
fn received(bytes: Vec<u8>, step: usize) -> (Vec<Response<Sample>>, bool) {
    let stream = Choppy {
        incoming: bytes,
        at: 0,
        written: Arc::default(),
        step,
        waits: false,
    };
    runtime().block_on(async {
        let mut codec: Codec = transport(Link::other(stream, "test"));
        let mut messages = Vec::new();
        while let Some(next) = codec.next().await {
            match next {
                Ok(message) => messages.push(message),
                Err(_) => return (messages, false),
            }
        }
        (messages, true)
    })
}

/// Lengths around every limit that the codec knows, and others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        0usize..300,
        4090usize..4100,
        8180usize..8200,
        16_300usize..16_500,
        65_500usize..65_600,
        0usize..200_000,
    ]
}

fn payload() -> impl Strategy<Value = Bytes> {
    (length(), any::<u8>()).prop_map(|(len, seed)| {
        let byte = |i: usize| i.wrapping_mul(31).to_le_bytes()[0] ^ seed;
        Bytes::from((0..len).map(byte).collect::<Vec<u8>>())
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let gathered = vec(payload(), 0..4).prop_map(Gathered);
    (
        vec(any::<u64>(), 0..20),
        vec(payload().prop_map(Payload), 0..5),
        ".{0,40}",
        proptest::option::of(gathered),
        payload().prop_map(Payload),
    )
        .prop_map(|(before, payloads, text, gathered, last)| Sample {
            before,
            payloads,
            text,
            gathered,
            last,
        })
}

fn messages() -> impl Strategy<Value = Vec<Response<Sample>>> {
    let message = |(id, sample)| Response {
        request_id: id,
        message: Ok(sample),
    };
    vec((any::<u64>(), sample()).prop_map(message), 1..4)
}

/// How many bytes at a time.
fn step() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..40, 40usize..20_000, Just(usize::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sent_arrives(messages in messages(), out in 200usize..20_000, into in step()) {
        let bytes = sent(&messages, out);
        let into = into.max(bytes.len() / 20_000);
        prop_assert_eq!(received(bytes, into), (messages, true));
    }

    #[test]
    fn a_flipped_bit_is_never_accepted(
        messages in messages(),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
        into in 1000usize..50_000,
    ) {
        let mut bytes = sent(&messages, usize::MAX);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let (arrived, whole) = received(bytes, into);
        prop_assert!(!whole, "byte {}", place);
        prop_assert_eq!(&arrived[..], &messages[..arrived.len()]);
        prop_assert!(arrived.len() < messages.len());
    }

    #[test]
    fn what_is_cut_short_is_an_error(
        messages in messages(),
        place in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sent(&messages, usize::MAX);
        let ends: Vec<usize> = (1..=messages.len())
            .map(|n| sent(&messages[..n], usize::MAX).len())
            .collect();
        bytes.truncate(place.index(bytes.len()));
        let left = bytes.len();
        let (arrived, whole) = received(bytes, 5000);
        prop_assert_eq!(arrived.len(), ends.iter().filter(|end| **end <= left).count());
        prop_assert_eq!(whole, left == 0 || ends.contains(&left));
    }
}

#[test]
fn what_does_not_fit_a_frame_is_said_to_the_asker() {
    let mut sample = Sample {
        before: Vec::new(),
        payloads: vec![Payload(Bytes::from(vec![0; 3 << 20])); 3],
        text: String::new(),
        gathered: None,
        last: Payload::default(),
    };
    let answer = |sample: &Sample| Response {
        request_id: 1,
        message: Ok(sample.clone()),
    };
    let too_large = answer(&sample);
    sample.payloads.pop();
    let fits = answer(&sample);
    let bytes = sent(&[fits.clone(), too_large, fits.clone()], usize::MAX);
    let (arrived, whole) = received(bytes, usize::MAX);
    assert!(whole);
    assert_eq!((&arrived[0], &arrived[2]), (&fits, &fits));
    let error = arrived[1].message.as_ref().expect_err("too large");
    assert!(error.detail.contains("9437184 bytes"), "{error}");
}
