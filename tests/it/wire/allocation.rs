//! No frame makes the guard or the decoder behind it panic, abort, or take more memory than four
//! times the frame and 1 MiB.
//!
//! The counters of the allocator belong to the process, so the work is done by a child: this very
//! binary, running one ignored test. `SEED` repeats a run, `FUZZ_MS` says how long it lasts.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla::wire::shape::{Limits, check};

use super::shapes::writer::{Appetite, Random};
use super::shapes::{Body, codecs, random_body};
use crate::ALLOCATOR;

const FUZZ_MS: u64 = 3_000;

#[test]
fn memory_is_bounded_by_the_frame() {
    let seed = std::env::var("SEED").unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_nanos().to_string()
    });
    println!("SEED={seed}");
    let (_, module) = module_path!().split_once("::").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            &format!("{module}::child"),
            "--test-threads=1",
            "--nocapture",
        ])
        .env("SEED", &seed)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    println!("{out}");
    assert!(child.status.success(), "SEED={seed}, {}:\n{out}\n{err}", child.status);
    assert!(out.contains("1 passed"), "the child is not there:\n{out}");
}

#[test]
#[ignore = "the child of memory_is_bounded_by_the_frame"]
fn child() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut random = Random(number("SEED").unwrap_or(0));
    let time = Duration::from_millis(number("FUZZ_MS").unwrap_or(FUZZ_MS));
    let start = Instant::now();
    let (mut tried, mut passed, mut worst) = (0, 0, 0);
    while start.elapsed() < time {
        let body = body(&mut random);
        let (through, percent) = decode(&body);
        tried += 1;
        passed += u32::from(through);
        worst = worst.max(percent);
        let Body { key, version, bytes } = &body;
        let size = bytes.len();
        assert!(percent <= 100, "{key} v{version}, {size} bytes: {percent} % of the memory taken");
    }
    println!("{tried} bodies, {passed} let through, {worst} % of the memory taken at most");
    assert!(passed > 0 && passed < tried);
}

/// Runs guard and decoder. Returns whether the guard lets the body through, and how much of the
/// memory that may be taken was taken, the body itself included.
fn decode(body: &Body) -> (bool, usize) {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let mut bytes = Bytes::copy_from_slice(&body.bytes);
    let through = check(body.key, body.version, &bytes, &Limits::default()).is_ok();
    if let Some(codecs) = codecs(body.key).filter(|_| through) {
        // An error is as good as a value here: versions that the decoder lacks, broken text.
        let _ = (codecs.request.decode)(&mut bytes, body.version);
    }
    let taken = ALLOCATOR.peak_usage() - before;
    (through, (100 * taken).div_ceil(4 * body.bytes.len() + (1 << 20)))
}

fn body(random: &mut Random) -> Body {
    let modest =
        Appetite { elements_max: 4, text_max: 12, unknown_tags_max: 2, body_soft_max: 2_048 };
    let appetite = match random.below(64) {
        // Many small elements in one array: as large in memory as can be.
        0 => Appetite { elements_max: 30_000, text_max: 0, unknown_tags_max: 0, body_soft_max: 30 },
        1 => Appetite { elements_max: 300, text_max: 1, body_soft_max: 40_000, ..modest },
        // Each struct with tagged fields that nobody knows costs a tree.
        2 => Appetite { elements_max: 200, unknown_tags_max: 64, text_max: 1, ..modest },
        _ => modest,
    };
    let mut body = random_body(random, appetite);
    if random.one_in(10) {
        body.bytes = (0..random.below(200)).map(|_| random.next().to_le_bytes()[0]).collect();
    } else if random.one_in(2) {
        spoil(&mut body.bytes, random);
    }
    body
}

/// Changes some bytes, preferably into lengths that lie.
fn spoil(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(body.len() + 1);
        let lie: &[u8] = match random.below(5) {
            0 => &[0x7f, 0xff, 0xff, 0xff],
            1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
            2 => &[0x00, 0x01, 0x00, 0x00],
            3 => &[0xff],
            _ => &random.next().to_le_bytes()[..1],
        };
        for (byte, lie) in body.iter_mut().skip(at).zip(lie) {
            *byte = *lie;
        }
    }
    if random.one_in(4) {
        body.truncate(random.below(body.len() + 1));
    }
}
