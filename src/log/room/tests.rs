//! When a log dir counts as full.

use std::sync::Arc;

use crate::base::clock::ManualClock;
use crate::base::disk::Space;
use crate::log::health::Health;
use crate::log::room::Room;
use crate::sim::disk::SimDisk;

const GIB: u64 = 1 << 30;

fn room(disk: &SimDisk, clock: &ManualClock, health: &Arc<Health>, bytes: u64) -> Arc<Room> {
    let (disk, clock) = (Arc::new(disk.clone()), Arc::new(clock.clone()));
    Room::new(disk, clock, "/data".into(), Arc::clone(health), bytes)
}

#[test]
fn a_dir_is_full_below_the_reserve_and_has_room_again_well_above_it() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(1_000));
    let room = room(&disk, &clock, &Health::new("/data".as_ref()), GIB);
    let is_full = |total_bytes: u64, usable_bytes: u64| {
        disk.set_space(Space { total_bytes, usable_bytes });
        clock.advance_ms(50);
        room.is_full()
    };
    assert!(!is_full(100 * GIB, GIB));
    assert!(is_full(100 * GIB, GIB - 1));
    assert!(is_full(100 * GIB, GIB + GIB / 4 - 1), "not at once again");
    disk.set_space(Space { total_bytes: 100 * GIB, usable_bytes: 50 * GIB });
    assert!(room.is_full(), "it is not asked again and again");
    assert!(!is_full(100 * GIB, GIB + GIB / 4));
    // Of a small one no more than a twentieth is kept.
    assert!(!is_full(GIB, GIB / 20));
    assert!(is_full(GIB, GIB / 20 - 1));
}

#[test]
fn nothing_need_be_kept() {
    let disk = SimDisk::new(1);
    disk.set_space(Space { total_bytes: GIB, usable_bytes: 0 });
    let health = Health::new("/data".as_ref());
    let room = room(&disk, &ManualClock::new(0), &health, 0);
    assert!(!room.is_full());
    // Unless a write finds no room.
    health.fill(&std::io::ErrorKind::StorageFull.into());
    assert!(room.is_full());
    health.has_room();
    assert!(!room.is_full());
}
