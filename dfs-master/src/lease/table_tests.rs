//! The table of leases against an oracle that remembers every answer that anybody may still keep.

use super::*;
use proptest::prelude::*;

const A: SessionId = SessionId(1);
const B: SessionId = SessionId(2);
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
    let mut leases = Leases::default();
    assert!(leases.grant(A, [FILE], at(0)) && leases.grant(B, [FILE], at(0)));
    let begun = leases.begin(A, file(), at(1));
    let recall = Recall {
        inode: FILE,
        names: Vec::new(),
        whole: false,
        content: true,
    };
    assert_eq!(begun.recalls, [(B, recall)]);
    assert!(!leases.grant(B, [FILE], at(1)), "while it changes");
    assert!(leases.grant(A, [FILE], at(1)), "its own change");
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
    let mut leases = Leases::default();
    assert!(leases.grant(B, [DIR], at(0)));
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
    let mut leases = Leases::default();
    let mut whole = 0;
    for turn in 0..100 {
        let now = Duration::from_millis(turn * 10);
        leases.grant(B, [DIR], now);
        let begun = leases.begin(A, entry("x"), now);
        whole += begun.recalls.iter().filter(|(_, r)| r.whole).count();
        assert!(turn < 4 || begun.recalls.is_empty());
        leases.end(&begun, true, now);
    }
    assert_eq!(whole, 1);
    assert!(!leases.grant(B, [DIR], at(2)));
    assert!(leases.grant(B, [DIR], at(3)));
}

#[test]
fn an_answer_from_before_the_change_of_another_is_not_kept() {
    let mut leases = Leases::default();
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
    let mut leases = Leases::default();
    let both = [(DIR, name("a")), (DIR, name("b"))];
    assert!(leases.take_names(&both));
    assert!(!leases.take_names(&both[1..]));
    assert!(leases.take_names(&[(DIR, name("c"))]));
    leases.give_back(&both);
    assert!(leases.take_names(&both[1..]));
}

#[test]
fn what_is_over_is_swept_away() {
    let mut leases = Leases::default();
    leases.grant(A, (0..1000).map(InodeId), at(0));
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

#[derive(Debug, Clone)]
enum Step {
    Read(u64, u64),
    Begin(u64, u64),
    Apply(usize),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..4, 0u64..3).prop_map(|(s, i)| Step::Read(s, i)),
        (1u64..4, 0u64..3).prop_map(|(s, i)| Step::Begin(s, i)),
        (0usize..8).prop_map(Step::Apply),
        (0usize..8).prop_map(Step::End),
    ];
    prop::collection::vec(step, 1..200)
}

struct Under {
    session: u64,
    inode: u64,
    begun: Begun,
    /// The version that it made.
    applied: Option<u64>,
}

proptest! {
    /// Nobody ever keeps a version of an inode that is not the newest, but the one who is about
    /// to be told so. The oracle is a version for each inode, and for each session the version
    /// that it keeps, and the newest that it has heard of, below which it keeps nothing.
    #[test]
    fn nobody_keeps_what_has_changed(steps in steps()) {
        let mut leases = Leases::default();
        let mut versions = [0u64; 3];
        let mut kept: HashMap<(u64, u64), u64> = HashMap::new();
        let mut heard: HashMap<(u64, u64), u64> = HashMap::new();
        let mut under: Vec<Under> = Vec::new();
        for (tick, step) in steps.into_iter().enumerate() {
            let now = Duration::from_millis(tick as u64 * 700);
            match step {
                Step::Read(session, inode) => {
                    let newest = versions[usize::try_from(inode).unwrap()];
                    heard.insert((session, inode), newest);
                    if leases.grant(SessionId(session), [InodeId(inode)], now) {
                        kept.insert((session, inode), newest);
                    }
                }
                Step::Begin(session, inode) => {
                    let touched = vec![Touched {
                        inode: InodeId(inode),
                        directory: inode == 0,
                        names: Vec::new(),
                        content: false,
                    }];
                    let begun = leases.begin(SessionId(session), touched, now);
                    for (other, _) in &begun.recalls {
                        kept.remove(&(other.0, inode));
                    }
                    under.push(Under { session, inode, begun, applied: None });
                }
                Step::Apply(which) if !under.is_empty() => {
                    let which = which % under.len();
                    let one = &mut under[which];
                    if one.applied.is_none() {
                        let version = &mut versions[usize::try_from(one.inode).unwrap()];
                        *version += 1;
                        one.applied = Some(*version);
                        // Its own answer is on its way and wins by its place in the log.
                        kept.remove(&(one.session, one.inode));
                    }
                }
                Step::End(which) if !under.is_empty() => {
                    let which = which % under.len();
                    if under[which].applied.is_some() {
                        let one = under.swap_remove(which);
                        let version = one.applied.unwrap();
                        let newest = heard.entry((one.session, one.inode)).or_default();
                        let is_news = version >= *newest;
                        *newest = version.max(*newest);
                        let whose = (one.session, one.inode);
                        match leases.end(&one.begun, true, now) {
                            true if is_news => kept.insert(whose, version),
                            // It takes the place of what was kept, and is not.
                            false if is_news => kept.remove(&whose),
                            _ => None,
                        };
                    }
                }
                Step::Apply(_) | Step::End(_) => {}
            }
            for ((session, inode), version) in &kept {
                let mine = under.iter().any(|u| u.session == *session && u.inode == *inode);
                let newest = versions[usize::try_from(*inode).unwrap()];
                prop_assert!(mine || *version == newest, "{session} keeps {version} of {newest}");
            }
        }
    }
}
