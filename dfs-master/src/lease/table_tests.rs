//! The table of leases against an oracle that remembers every answer that anybody may still keep.

use super::*;
use proptest::prelude::*;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
const C: SessionId = SessionId(3);
const FILE: InodeId = InodeId(10);
const DIR: InodeId = InodeId(20);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn file() -> Vec<Touched> {
    vec![Touched {
        inode: FILE,
        directory: false,
        names: Vec::new(),
        content: true,
    }]
}

fn lent(leases: &mut Leases, session: SessionId, inodes: [InodeId; 1], now: Duration) -> bool {
    leases.grant(session, inodes, None, now) == Lend::Kept
}

fn entry(text: &str) -> Vec<Touched> {
    vec![Touched {
        inode: DIR,
        directory: true,
        names: vec![name(text)],
        content: false,
    }]
}

#[test]
fn whoever_holds_a_file_is_recalled_once_and_has_to_ask_again() {
    let mut leases = Leases::of(0);
    assert!(lent(&mut leases, A, [FILE], at(0)) && lent(&mut leases, B, [FILE], at(0)));
    let begun = leases.begin(A, file(), at(1));
    let recall = Recall {
        inode: FILE,
        names: Vec::new(),
        whole: false,
        content: true,
        writes: None,
    };
    assert_eq!(begun.recalls, [(B, recall)]);
    assert!(!lent(&mut leases, B, [FILE], at(1)), "while it changes");
    assert!(lent(&mut leases, A, [FILE], at(1)), "its own change");
    assert!(leases.end(&begun, true, at(1)));
    let again = leases.begin(A, file(), at(2));
    assert_eq!(again.recalls, []);
    leases.end(&again, true, at(2));
    let other = leases.begin(B, file(), at(3));
    assert_eq!(
        other.recalls.len(),
        1,
        "the answer to its own change is kept"
    );
}

#[test]
fn a_directory_loses_the_name_and_keeps_the_rest() {
    let mut leases = Leases::of(0);
    assert!(lent(&mut leases, B, [DIR], at(0)));
    for (second, text) in [(2, "one"), (4, "two")] {
        let begun = leases.begin(A, entry(text), at(second));
        let (who, recall) = &begun.recalls[0];
        assert_eq!((*who, recall.whole), (B, false));
        assert_eq!(recall.names, [name(text)]);
        leases.end(&begun, true, at(second));
    }
}

#[test]
fn what_is_fought_over_is_held_by_nobody_for_a_while() {
    let mut leases = Leases::of(0);
    let mut whole = 0;
    for turn in 0..100 {
        let now = Duration::from_millis(turn * 10);
        lent(&mut leases, B, [DIR], now);
        let begun = leases.begin(A, entry("x"), now);
        whole += begun.recalls.iter().filter(|(_, r)| r.whole).count();
        assert!(turn < 4 || begun.recalls.is_empty());
        leases.end(&begun, true, now);
    }
    assert_eq!(whole, 1);
    assert!(!lent(&mut leases, B, [DIR], at(2)));
    assert!(lent(&mut leases, B, [DIR], at(3)));
}

#[test]
fn an_answer_from_before_the_change_of_another_is_not_kept() {
    let mut leases = Leases::of(0);
    let ours = leases.begin(A, file(), at(0));
    let theirs = leases.begin(B, file(), at(0));
    assert!(
        !leases.end(&theirs, true, at(0)),
        "another may be applied after it"
    );
    assert!(
        !leases.end(&ours, true, at(0)),
        "it may be as it was before"
    );
}

#[test]
fn names_are_changed_one_at_a_time() {
    let mut leases = Leases::of(0);
    let both = [(DIR, name("a")), (DIR, name("b"))];
    assert!(leases.take_names(&both));
    assert!(!leases.take_names(&both[1..]));
    assert!(leases.take_names(&[(DIR, name("c"))]));
    leases.give_back(&both);
    assert!(leases.take_names(&both[1..]));
}

#[test]
fn what_is_over_is_swept_away() {
    let mut leases = Leases::of(0);
    assert_eq!(
        leases.grant(A, (0..1000).map(InodeId), None, at(0)),
        Lend::Kept
    );
    let unfinished = leases.begin(B, file(), at(0));
    assert_eq!(leases.len(), 1000);
    for _ in 0..SHARDS {
        leases.holders_to_sweep();
        leases.sweep(at(100), |_| true);
    }
    assert_eq!(leases.len(), 1000);
    for _ in 0..SHARDS {
        leases.holders_to_sweep();
        leases.sweep(at(331), |_| true);
    }
    assert_eq!(leases.len(), 1, "what changes is not");
    leases.end(&unfinished, false, at(331));
    assert!(leases.is_empty());
}

/// Has A write to the file.
fn written() -> Leases {
    let mut leases = Leases::of(0);
    let begun = leases.begin(A, file(), at(0));
    assert!(leases.end(&begun, true, at(0)) && leases.claim(A, FILE).is_some());
    leases
}

#[test]
fn nobody_is_answered_about_a_file_before_its_writer_has_shared() {
    let mut leases = written();
    assert!(lent(&mut leases, A, [FILE], at(1)), "the writer itself");
    assert_eq!(
        leases.grant(B, [FILE], Some(0), at(1)),
        Lend::Written(vec![FILE])
    );
    let writer = leases.writer(FILE, B).expect("A writes");
    assert_eq!((writer.session, writer.asked), (A, None));
    leases.asked(FILE, writer.claim, 7);
    leases.shared(FILE, writer.claim - 1);
    assert_eq!(leases.writer(FILE, B).expect("still").asked, Some(7));
    leases.shared(FILE, writer.claim);
    assert_eq!(leases.writer(FILE, B), None);
    assert!(lent(&mut leases, B, [FILE], at(1)));
    assert!(leases.claim(A, FILE).is_none(), "B keeps what it was told");
    let again = leases.begin(A, file(), at(2));
    assert_eq!((again.recalls.len(), again.writers.len()), (1, 0));
    assert!(leases.end(&again, true, at(2)) && leases.claim(A, FILE).is_some());
    leases.asked(FILE, writer.claim, 9);
    assert_eq!(leases.writer(FILE, B).expect("anew").asked, None);
}

/// Two readers wait for a writer, and the next one writes before the second of them has noticed that
/// the first has shared.
#[test]
fn who_waited_for_an_earlier_writer_does_not_speak_for_the_next() {
    let mut leases = written();
    let first = leases.writer(FILE, C).expect("A writes").claim;
    leases.asked(FILE, first, 7);
    leases.shared(FILE, first);
    let begun = leases.begin(B, file(), at(1));
    assert!(leases.end(&begun, true, at(1)));
    let second = leases.claim(B, FILE).expect("nobody else holds it");
    // Each session counts its own events.
    leases.asked(FILE, second, 7);
    leases.shared(FILE, first);
    assert!(leases.writer(FILE, C).is_some(), "B has not shared yet");
    leases.shared(FILE, second);
    assert_eq!(leases.writer(FILE, C), None);
}

#[test]
fn who_writes_already_is_told_the_same_lease_unless_it_is_asked_for() {
    let mut leases = written();
    let writer = leases.writer(FILE, B).expect("A writes");
    assert_eq!(leases.claim_or_keep(A, FILE), Some(writer.claim));
    assert_eq!(leases.claim_or_keep(B, FILE), None, "A holds it");
    leases.asked(FILE, writer.claim, 7);
    assert_eq!(leases.claim_or_keep(A, FILE), None, "it is on its way back");
    leases.shared(FILE, writer.claim);
    let next = leases.claim_or_keep(A, FILE).expect("nobody else holds it");
    assert!(next > writer.claim);
    let begun = leases.begin(B, file(), at(1));
    assert_eq!(leases.claim_or_keep(A, FILE), None, "B changes it");
    leases.end(&begun, true, at(1));
}

#[test]
fn a_writer_is_recalled_by_any_change_of_the_file_and_does_not_age() {
    for content in [true, false] {
        let mut leases = written();
        let mut touched = file();
        touched[0].content = content;
        let begun = leases.begin(B, touched, at(1000));
        assert_eq!((begun.recalls[0].0, &begun.writers), (A, &vec![A]));
        assert!(leases.end(&begun, true, at(1000)));
        assert_eq!(leases.writer(FILE, B), None);
    }
}

#[test]
fn a_closed_file_is_written_by_nobody() {
    let mut leases = written();
    leases.closed(B, &[FILE]);
    assert!(leases.writer(FILE, B).is_some());
    leases.closed(A, &[FILE]);
    assert!(lent(&mut leases, B, [FILE], at(1)));
}

#[test]
fn who_wants_bytes_waits_for_a_change_unless_it_is_waited_for() {
    let mut leases = Leases::of(0);
    assert!(lent(&mut leases, B, [FILE], at(0)));
    let begun = leases.begin(A, file(), at(1));
    let third = SessionId(3);
    let bytes =
        |leases: &mut Leases, session, heard| leases.grant(session, [FILE], Some(heard), at(1));
    assert_eq!(bytes(&mut leases, third, 9), Lend::Changing);
    assert_eq!(bytes(&mut leases, B, 9), Lend::NotKept, "not told yet");
    leases.told(FILE, B, 7);
    assert_eq!(bytes(&mut leases, B, 6), Lend::NotKept, "waited for");
    assert_eq!(bytes(&mut leases, B, 7), Lend::Changing, "it has answered");
    let answer = leases.begin(B, file(), at(1));
    assert!(answer.answers && !begun.answers);
    leases.end(&answer, true, at(1));
    leases.end(&begun, true, at(1));
    assert_eq!(bytes(&mut leases, third, 0), Lend::Kept);
}

#[test]
fn who_will_not_hear_of_its_change_is_told_as_little_as_others() {
    let mut leases = written();
    let mut lost = leases.begin(A, file(), at(1));
    let another = leases.begin(A, file(), at(1));
    let recalls = leases.disown(&mut lost);
    let recall = Recall {
        inode: FILE,
        names: Vec::new(),
        whole: true,
        content: true,
        writes: Some(1),
    };
    assert_eq!(recalls, [(A, recall)]);
    leases.told(FILE, A, 7);
    for session in [A, B] {
        assert!(!lent(&mut leases, session, [FILE], at(1)));
    }
    assert!(
        !leases.end(&another, true, at(1)),
        "the lost one may be applied after it"
    );
    leases.end(&lost, false, at(1));
    assert_eq!(leases.holders(FILE), [A], "nobody has waited for it");
    leases.closed(A, &[FILE]);
    assert!(lent(&mut leases, B, [FILE], at(1)));
}

#[derive(Debug, Clone)]
enum Step {
    Read(u64, u64),
    Begin(u64, u64),
    Disown(usize),
    Apply(usize),
    End(usize),
    Write(u64, u64),
    Share(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..4, 0u64..3).prop_map(|(s, i)| Step::Read(s, i)),
        (1u64..4, 0u64..3).prop_map(|(s, i)| Step::Begin(s, i)),
        (0usize..8).prop_map(Step::Disown),
        (0usize..8).prop_map(Step::Apply),
        (0usize..8).prop_map(Step::End),
        (1u64..4, 1u64..3).prop_map(|(s, i)| Step::Write(s, i)),
        (1u64..3).prop_map(Step::Share),
    ];
    prop::collection::vec(step, 1..200)
}

struct Under {
    session: u64,
    inode: u64,
    begun: Begun,
    /// Its session has given up, and does not use what it kept.
    is_disowned: bool,
    /// The version that it made.
    applied: Option<u64>,
}

proptest! {
    /// Nobody ever keeps a version of an inode that is not the newest, but the one who is about
    /// to be told so. The oracle is a version for each inode, and for each session the version
    /// that it keeps, and the newest that it has heard of, below which it keeps nothing; and for
    /// each inode the session that writes to it, telling nobody, which makes a version each time.
    #[test]
    fn nobody_keeps_what_has_changed(steps in steps()) {
        let mut leases = Leases::of(0);
        let mut versions = [0u64; 3];
        let mut kept: HashMap<(u64, u64), u64> = HashMap::new();
        let mut heard: HashMap<(u64, u64), u64> = HashMap::new();
        let mut under: Vec<Under> = Vec::new();
        let mut writers: HashMap<u64, u64> = HashMap::new();
        for (tick, step) in steps.into_iter().enumerate() {
            let now = Duration::from_millis(tick as u64 * 700);
            match step {
                Step::Write(session, inode) => {
                    if writers.get(&inode) == Some(&session) {
                        let version = &mut versions[usize::try_from(inode).unwrap()];
                        *version += 1;
                        kept.insert((session, inode), *version);
                        heard.insert((session, inode), *version);
                    }
                }
                Step::Share(inode) => {
                    let writer = leases.writer(InodeId(inode), SessionId(0));
                    let ours = writers.remove(&inode).map(SessionId);
                    prop_assert!(ours.is_none() || ours == writer.map(|w| w.session));
                    if let Some(writer) = writer {
                        // Each session counts its own events.
                        leases.asked(InodeId(inode), writer.claim, 1);
                        leases.shared(InodeId(inode), writer.claim);
                    }
                }
                Step::Read(session, inode) => {
                    let writer = writers.get(&inode).filter(|writer| **writer != session);
                    if writer.is_some() {
                        let lend = leases.grant(SessionId(session), [InodeId(inode)], None, now);
                        prop_assert_eq!(lend, Lend::Written(vec![InodeId(inode)]));
                        continue;
                    }
                    let newest = versions[usize::try_from(inode).unwrap()];
                    heard.insert((session, inode), newest);
                    if lent(&mut leases, SessionId(session), [InodeId(inode)], now) {
                        kept.insert((session, inode), newest);
                    }
                }
                Step::Begin(session, inode) => {
                    let touched = vec![Touched {
                        inode: InodeId(inode),
                        directory: inode == 0,
                        names: Vec::new(),
                        content: inode != 0,
                    }];
                    let begun = leases.begin(SessionId(session), touched, now);
                    for (other, _) in &begun.recalls {
                        kept.remove(&(other.0, inode));
                        if writers.get(&inode) == Some(&other.0) {
                            writers.remove(&inode);
                        }
                    }
                    under.push(Under { session, inode, begun, is_disowned: false, applied: None });
                }
                Step::Disown(which) if !under.is_empty() => {
                    let which = which % under.len();
                    let one = &mut under[which];
                    if !std::mem::replace(&mut one.is_disowned, true) {
                        leases.disown(&mut one.begun);
                        kept.remove(&(one.session, one.inode));
                        if writers.get(&one.inode) == Some(&one.session) {
                            writers.remove(&one.inode);
                        }
                    }
                }
                Step::Apply(which) if !under.is_empty() => {
                    let which = which % under.len();
                    let one = &mut under[which];
                    if one.applied.is_none() {
                        let version = &mut versions[usize::try_from(one.inode).unwrap()];
                        *version += 1;
                        one.applied = Some(*version);
                        if !one.is_disowned {
                            // Its own answer is on its way and wins by its place in the log.
                            kept.remove(&(one.session, one.inode));
                        }
                    }
                }
                Step::End(which) if !under.is_empty() => {
                    let which = which % under.len();
                    if under[which].applied.is_some() {
                        let one = under.swap_remove(which);
                        if one.is_disowned {
                            leases.end(&one.begun, false, now);
                            continue;
                        }
                        let version = one.applied.unwrap();
                        let newest = heard.entry((one.session, one.inode)).or_default();
                        let is_news = version >= *newest;
                        *newest = version.max(*newest);
                        let whose = (one.session, one.inode);
                        let file = InodeId(one.inode);
                        let told = leases.end(&one.begun, true, now);
                        if told && one.inode != 0 && leases.claim(SessionId(one.session), file).is_some() {
                            writers.insert(one.inode, one.session);
                        }
                        match told {
                            true if is_news => kept.insert(whose, version),
                            // It takes the place of what was kept, and is not.
                            false if is_news => kept.remove(&whose),
                            _ => None,
                        };
                    }
                }
                Step::Disown(_) | Step::Apply(_) | Step::End(_) => {}
            }
            for (inode, writer) in &writers {
                let others = kept.keys().any(|(one, of)| of == inode && one != writer);
                prop_assert!(!others, "{inode} is written by {writer} and kept by others");
            }
            for ((session, inode), version) in &kept {
                let mut own = under.iter().filter(|u| !u.is_disowned);
                let mine = own.any(|u| u.session == *session && u.inode == *inode);
                let newest = versions[usize::try_from(*inode).unwrap()];
                prop_assert!(mine || *version == newest, "{session} keeps {version} of {newest}");
            }
        }
    }
}
