//! Strangers at the listeners of real daemons: whatever they say or do not say, the daemons live,
//! their memory is bounded, and others are served meanwhile.

use dfs_host::limits;
use dfs_hostile::{Random, mutated};
use dfs_proto::{checksum::Crc32c, wire::PROTOCOL_VERSION};
use dfs_tests::{
    cluster::{Cluster, Shape},
    long,
    process::Daemon,
    stall::Meter,
    wait,
};
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// For a daemon to close what a stranger has ended: it has 5 s for a handshake, and other work.
const PATIENCE: Duration = Duration::from_secs(60);
/// Links that stop amid a frame.
const HELD: usize = 100;
/// Links that take no answers. Few, because a master is to serve others while it answers them.
const DEAF: usize = 4;
/// What a daemon may hold for each of these, and what it may keep besides for later.
const HELD_BYTES_MAX: u64 = HELD as u64 * (128 << 10) + DEAF as u64 * (8 << 20) + (32 << 20);

const MASTER: u8 = 0;
const MINION: u8 = 2;
/// A version that nobody speaks.
const OLD: u16 = 0;

/// A record of the handshake, as docs/protocol.md has it.
fn greeting(version: u16, service: u8) -> Vec<u8> {
    let body = [service, 0];
    let mut record = vec![0xd5, b'd', b'f', b's'];
    record.extend(version.to_le_bytes());
    record.extend([1, 0, 2, 0, 0, 0]);
    let sum = Crc32c::of_parts([&record[..], &body]);
    record.extend(sum.0.to_le_bytes());
    record.extend(body);
    record
}

/// A frame around anything, that announces `more` bytes of message behind it.
fn frame(message: &[u8], more: u32) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("short") + more;
    let mut frame = vec![0xd5, b'F', 1, 1];
    frame.extend(len.to_le_bytes());
    frame.extend([0; 4]);
    frame.extend(Crc32c::of(message).0.to_le_bytes());
    let sum = Crc32c::of(&frame);
    frame.extend(sum.0.to_le_bytes());
    frame.extend(message);
    frame
}

/// Requests that a service understands: who a minion is, and what stands at the root of a master.
fn honest(service: u8) -> Vec<Vec<u8>> {
    // Number of the request, 600 s, which method, and what it asks for.
    let request = |method: &[u8]| [&[0, 5, 0xc0, 0xcf, 0x24], method].concat();
    let methods: &[&[u8]] = match service {
        MINION => &[&[4], &[3, 0, 7], &[2, 0, 7, 0, 9]],
        _ => &[&[5, 0, 1], &[5, 1, 1], &[10, 0, 1]],
    };
    methods.iter().map(|m| frame(&request(m), 0)).collect()
}

/// What one stranger says, and how many frames are in it.
fn said(random: &mut Random, service: u8) -> (Vec<u8>, usize) {
    let hello = greeting(PROTOCOL_VERSION, service);
    let frames = honest(service);
    let any = |random: &mut Random| frames[random.below(frames.len())].clone();
    let mut bytes = match random.below(12) {
        0 => return (random.bytes(400), 1),
        1 => return (hello[..random.below(hello.len())].to_vec(), 1),
        2 => return (mutated(random, std::slice::from_ref(&hello)), 1),
        3 => return (greeting(OLD, service), 1),
        // A replay: the whole of it, greeting and all, where frames are expected.
        4 => [&hello[..], &hello, &any(random)].concat(),
        _ => hello,
    };
    let before = random.below(16);
    for _ in 0..before {
        bytes.extend(any(random));
    }
    let mut last = any(random);
    match random.below(6) {
        // A right prefix before a message that is another one.
        0 => last[20..].fill(7),
        1 => last = frame(&random.bytes(60), 0),
        2 => last.truncate(random.below(last.len())),
        3 => last = frame(&[], u32::MAX >> random.below(32)),
        4 => last = frame(&mutated(random, &[last[20..].to_vec()]), 0),
        _ => last = mutated(random, &frames),
    }
    bytes.extend(last);
    (bytes, before + 1)
}

/// A connection; addresses may be short for a moment when very many have just ended.
fn connect(address: &str) -> TcpStream {
    let there = wait::poll(PATIENCE, || match TcpStream::connect(address) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => None,
        Err(error) => panic!("{address} does not listen: {error}"),
    });
    let there = there.expect("addresses are free again");
    there.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    there
}

/// Says it, ends, and takes what is answered: the daemon ends too.
fn say(address: &str, bytes: &[u8]) {
    let mut link = connect(address);
    // A daemon that has heard enough hangs up amid the rest.
    let _ = link.write_all(bytes);
    let _ = link.shutdown(Shutdown::Write);
    match io::copy(&mut link, &mut io::sink()) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!(
                "{address} holds on to {:02x?}",
                &bytes[..bytes.len().min(300)]
            )
        }
        _ => {}
    }
}

/// Strangers, several at a time, until so many frames were said.
fn storm(address: &str, service: u8, frames: usize) {
    let said_frames = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let said_frames = &said_frames;
            scope.spawn(move || {
                let mut random = Random(seed);
                while said_frames.load(Ordering::Relaxed) < frames {
                    let (bytes, count) = said(&mut random, service);
                    say(address, &bytes);
                    said_frames.fetch_add(count, Ordering::Relaxed);
                }
            });
        }
    });
}

/// Links whose other end waits for more, in many ways, or for its answers to be taken.
fn held(address: &str, service: u8) -> Vec<TcpStream> {
    let hello = greeting(PROTOCOL_VERSION, service);
    let request = &honest(service)[0];
    let mut links = Vec::new();
    for number in 0..HELD {
        let mut link = connect(address);
        link.write_all(&hello).expect("takes a greeting");
        // Announced: the longest message that there may be, of which nothing or little comes.
        let (some, more) = [(0, 2 << 20), (30_000, 1 << 20), (0, 9)][number % 3];
        let half = frame(&vec![0; some], more);
        link.write_all(&half[..20 + some]).expect("takes a half");
        links.push(link);
    }
    for _ in 0..DEAF {
        let mut deaf = connect(address);
        deaf.write_all(&hello).expect("takes a greeting");
        deaf.set_nonblocking(true).expect("is a socket");
        // Until the daemon reads no more, because nobody takes what it answers; or long enough.
        for _ in 0..20_000 {
            if deaf.write(request).is_err() {
                break;
            }
        }
        links.push(deaf);
    }
    links
}

/// Whether a new link is served: it is welcomed, and its request is answered.
fn serves(address: &str, service: u8) {
    let mut link = connect(address);
    link.write_all(&greeting(PROTOCOL_VERSION, service))
        .expect("a greeting");
    link.write_all(&honest(service)[0]).expect("a request");
    let mut welcome = [0; 16];
    link.read_exact(&mut welcome).expect("an answer");
    assert_eq!(welcome[6], 2, "no welcome: {welcome:02x?}");
    let body = usize::from(welcome[8]);
    let mut rest = vec![0; body + 20];
    link.read_exact(&mut rest).expect("an answer");
    assert_eq!(&rest[body..body + 2], &[0xd5, b'F']);
}

fn address_of(cluster: &Cluster, service: u8) -> String {
    let data = match service {
        MINION => cluster.minion_data(0),
        _ => cluster.master_data(),
    };
    let text = fs::read_to_string(data.join("address")).expect("it serves");
    text.lines().next().expect("an address").to_owned()
}

fn daemon(cluster: &mut Cluster, service: u8) -> &mut Daemon {
    match service {
        MINION => &mut cluster.minions[0],
        _ => &mut cluster.master,
    }
}

fn strangers(service: u8) {
    let (minions, copies) = (1, 1);
    let mut cluster = Cluster::of(Shape {
        minions,
        copies,
        ..Shape::default()
    });
    cluster.announce(&["connection refused", "connection closed"]);
    let address = address_of(&cluster, service);
    serves(&address, service);
    let pid = daemon(&mut cluster, service).pid();
    let before = daemon(&mut cluster, service).memory();
    let meter = Meter::start(cluster.path());

    storm(&address, service, if long() { 5_000_000 } else { 50_000 });
    let after = daemon(&mut cluster, service).memory();
    let links = held(&address, service);
    serves(&address, service);
    let most = daemon(&mut cluster, service).memory();
    println!("memory {before} bytes, after a storm {after}, with links that wait {most}");
    assert!(after < before + (64 << 20), "{before} became {after}");
    assert!(most < after + HELD_BYTES_MAX, "{after} became {most}");
    drop(links);

    let stalls = meter.end();
    println!(
        "the longest wait: {:?} for a {}",
        stalls.longest, stalls.what
    );
    assert!(stalls.errors.is_empty(), "{:?}", stalls.errors);
    assert!(stalls.rounds > 3, "{} rounds", stalls.rounds);
    assert!(stalls.longest < Duration::from_secs(30), "{stalls:?}");
    let daemon = daemon(&mut cluster, service);
    assert!(daemon.runs() && daemon.pid() == pid, "it died");
    serves(&address, service);
    cluster.end();
}

/// What a link that asks nothing may cost a daemon: 41 KiB in a debug build, most of it room for
/// answers.
const IDLE_BYTES_MAX: u64 = 64 << 10;

/// Links that are welcomed and ask nothing.
fn idle(address: &str, service: u8, count: usize) -> Vec<TcpStream> {
    let hello = greeting(PROTOCOL_VERSION, service);
    let link = |_| {
        let mut link = connect(address);
        link.write_all(&hello).expect("takes a greeting");
        let mut welcome = [0; 16];
        link.read_exact(&mut welcome).expect("an answer");
        assert_eq!(welcome[6], 2, "no welcome: {welcome:02x?}");
        link
    };
    (0..count).map(link).collect()
}

#[test]
fn very_many_links_are_held_while_others_are_served() {
    limits::open_files();
    let (minions, copies) = (1, 1);
    let mut cluster = Cluster::of(Shape {
        minions,
        copies,
        ..Shape::default()
    });
    let count = if long() { 10_000 } else { 2_000 };
    let meter = Meter::start(cluster.path());
    for service in [MASTER, MINION] {
        let address = address_of(&cluster, service);
        let before = daemon(&mut cluster, service).memory();
        let links = idle(&address, service, count);
        serves(&address, service);
        let after = daemon(&mut cluster, service).memory();
        println!("{count} links: memory of {before} bytes became {after}");
        let most = before + count as u64 * IDLE_BYTES_MAX + (16 << 20);
        assert!(after < most, "{before} became {after}");
        drop(links);
    }
    let stalls = meter.end();
    assert!(stalls.errors.is_empty(), "{:?}", stalls.errors);
    assert!(stalls.rounds > 3, "{} rounds", stalls.rounds);
    assert!(stalls.longest < Duration::from_secs(10), "{stalls:?}");
    cluster.end();
}

#[test]
fn strangers_at_a_master_harm_nobody() {
    strangers(MASTER);
}

#[test]
fn strangers_at_a_minion_harm_nobody() {
    strangers(MINION);
}
