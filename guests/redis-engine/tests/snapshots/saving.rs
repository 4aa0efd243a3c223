// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is saved, and when.

use redis_engine::{SaveError, Store, Work};

use crate::{Free, LoadError, NOW, Ram, Random, Server};

#[test]
fn everything_is_loaded_again() {
    let disk = Ram::new(1 << 20);
    let (mut server, loaded) = Server::start(&disk).unwrap();
    assert_eq!(loaded.keys, 0);
    let mut random = Random(1);
    for _ in 0..3000 {
        server.ask(&random.command(200));
    }
    assert_eq!(server.ask("save"), "+OK\r\n");
    let data = server.data();
    assert!(data.len() > 50);
    let (mut again, loaded) = Server::start(&disk).unwrap();
    assert_eq!((loaded.keys, loaded.saved_ms, loaded.other_is_damaged), (data.len(), NOW, false));
    assert_eq!(again.data(), data);
    assert_eq!(again.ask("lastsave"), format!(":{}\r\n", NOW / 1000));
    assert!(again.ask("info persistence").contains(&format!("keys_loaded:{}\r", data.len())));
}

#[test]
fn an_empty_store_is_saved_and_loaded() {
    let disk = Ram::new(16384);
    let (mut server, _) = Server::start(&disk).unwrap();
    server.ask("set a 1");
    assert_eq!(server.ask("save"), "+OK\r\n");
    server.ask("flushall");
    assert_eq!(server.ask("save"), "+OK\r\n");
    let (mut again, loaded) = Server::start(&disk).unwrap();
    assert_eq!((loaded.keys, loaded.saved_ms), (0, NOW));
    assert_eq!(again.ask("dbsize"), ":0\r\n");
}

/// The data changes in every possible way while it is being saved.
#[test]
fn a_snapshot_in_the_background_holds_the_data_of_its_start() {
    let mut written_early = 0;
    for seed in 0..60 {
        let disk = Ram::new(1 << 20);
        let (mut server, _) = Server::start(&disk).unwrap();
        let mut random = Random(seed);
        // More than a slice has.
        for _ in 0..4000 {
            server.ask(&random.command(900));
        }
        let data = server.data();
        assert_eq!(server.ask("bgsave"), "+Background saving started\r\n");
        let mut turns = 0;
        loop {
            for _ in 0..random.below(80) {
                server.ask(&random.command(900));
            }
            // Some keys expire meanwhile.
            server.now += 50;
            server.store.expire(server.now, 10);
            match server.store.work(server.now) {
                Work::Over(result) => break assert_eq!(result, Ok(())),
                Work::Wait => redis_engine::Disk::wait(&mut disk.clone()),
                Work::More => {}
                Work::Nothing => panic!("the snapshot is gone"),
            }
            turns += 1;
        }
        written_early += usize::from(turns > 8);
        let (mut again, _) = Server::start(&disk).unwrap();
        assert_eq!(again.data(), data, "seed {seed}");
        // The marks are right for the next one.
        let data = server.data();
        assert_eq!(server.ask("save"), "+OK\r\n");
        let (mut again, _) = Server::start_at(&disk, server.now, &Free(1 << 30)).unwrap();
        assert_eq!(again.data(), data, "seed {seed}");
    }
    assert!(written_early > 30, "snapshots took too few turns");
}

#[test]
fn flushall_abandons_a_snapshot_and_the_next_one_works() {
    let disk = Ram::new(1 << 20);
    let (mut server, _) = Server::start(&disk).unwrap();
    for key in 0..3000 {
        server.ask(&format!("set k{key} {}", "v".repeat(60)));
    }
    assert_eq!(server.ask("save"), "+OK\r\n");
    let saved = server.data();
    server.ask("bgsave");
    assert_eq!(server.store.work(NOW), Work::More, "it is not over");
    server.ask("flushall");
    assert_eq!(server.store.work(NOW), Work::Nothing);
    assert!(server.ask("info persistence").contains("rdb_last_bgsave_status:ok"));
    let (mut again, loaded) = Server::start(&disk).unwrap();
    assert!(again.data() == saved && !loaded.other_is_damaged);
    server.ask("set a 1");
    server.ask("bgsave");
    assert_eq!(server.finish(&disk), Ok(()));
    let (mut again, _) = Server::start(&disk).unwrap();
    assert_eq!(again.data(), server.data());
}

#[test]
fn keys_that_have_expired_are_not_loaded() {
    let disk = Ram::new(1 << 16);
    let (mut server, _) = Server::start(&disk).unwrap();
    server.ask("set a 1 px 5000");
    server.ask("set b 2 px 7000");
    server.ask("set c 3");
    server.ask("save");
    let (mut again, loaded) = Server::start_at(&disk, NOW + 5000, &Free(1 << 30)).unwrap();
    assert_eq!(loaded.keys, 2);
    assert_eq!(again.ask("mget a b c"), "*3\r\n$-1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert_eq!(again.store.next_expiry(), Some(NOW + 7000));
    assert!(again.ask("info persistence").contains("rdb_last_load_keys_expired:1\r"));
}

#[test]
fn changes_are_counted_until_they_are_saved() {
    let disk = Ram::new(1 << 16);
    let (mut server, _) = Server::start(&disk).unwrap();
    let changes = |server: &mut Server, expected: u32| {
        let info = server.ask("info persistence");
        assert!(info.contains(&format!("rdb_changes_since_last_save:{expected}\r")), "{info}");
    };
    for command in ["set a 1", "get a", "del missing", "lpush a x", "expire a 100", "save x"] {
        server.ask(command);
    }
    changes(&mut server, 2);
    server.ask("bgsave");
    server.ask("incr a");
    assert_eq!(server.finish(&disk), Ok(()));
    changes(&mut server, 1);
    server.ask("save");
    changes(&mut server, 0);
    assert!(server.ask("info persistence").contains("rdb_saves:2\r"));
}

#[test]
fn without_a_disk_that_can_be_written_the_error_says_what_to_do() {
    let mut store = Store::new(7, NOW, &Free(1 << 30));
    let session = redis_engine::Session::new(1, &mut store);
    let mut server = Server { store, session, output: redis_engine::Output::default(), now: NOW };
    for command in ["save", "bgsave", "bgsave schedule"] {
        let reply = server.ask(command);
        assert!(reply.starts_with("-ERR no disk to save to: add disk = ["), "{reply}");
    }
    assert_eq!(server.ask("lastsave"), format!(":{}\r\n", NOW / 1000));
    assert!(server.ask("info persistence").contains("rdb_bgsave_in_progress:0\r"));
    let disk = Ram::new(1 << 16);
    disk.0.borrow_mut().is_read_only = true;
    let (mut server, _) = Server::start(&disk).unwrap();
    assert!(server.ask("save").starts_with("-ERR the disk is read-only: change r to w"));
}

#[test]
fn data_that_does_not_fit_is_not_saved_and_the_old_snapshot_stays() {
    let disk = Ram::new(8192 + 2 * 65536);
    let (mut server, _) = Server::start(&disk).unwrap();
    server.ask("set a 1");
    assert_eq!(server.ask("save"), "+OK\r\n");
    for key in 0..1000 {
        server.ask(&format!("set k{key} {}", "v".repeat(100)));
    }
    let reply = server.ask("save");
    assert_eq!(
        reply,
        "-ERR not saved: the snapshot has more than 65536 bytes, half of the disk; use a larger \
         disk\r\n"
    );
    server.ask("bgsave");
    assert_eq!(server.finish(&disk), Err(SaveError::TooLarge { slot: 65536 }));
    assert!(server.ask("info persistence").contains("rdb_last_bgsave_status:err\r"));
    assert_eq!(Server::start(&disk).unwrap().0.ask("keys *"), "*1\r\n$1\r\na\r\n");
    // There is room again.
    server.ask("flushall");
    server.ask("set b 2");
    assert_eq!(server.ask("save"), "+OK\r\n");
    assert_eq!(Server::start(&disk).unwrap().0.ask("keys *"), "*1\r\n$1\r\nb\r\n");
}

/// Up to the last byte of the slot.
#[test]
fn a_snapshot_may_fill_its_slot() {
    for length in 65000..65536 {
        let disk = Ram::new(8192 + 2 * 65536);
        let (mut server, _) = Server::start(&disk).unwrap();
        server.ask(&format!("set a {}", "v".repeat(length)));
        // 11 before the key, 12 of the key and the value's length, 9 at the end.
        let fits = length + 11 + 1 + 2 + 9 + 9 <= 65536;
        assert_eq!(server.ask("save") == "+OK\r\n", fits, "{length}");
        let expected = if fits { 1 } else { 0 };
        assert_eq!(Server::start(&disk).unwrap().1.keys, expected);
    }
}

#[test]
fn disks_that_cannot_hold_snapshots_are_refused() {
    for (disk, error) in [
        (Ram::new(0), LoadError::TooSmall),
        (Ram::new(16383), LoadError::TooSmall),
        (Ram::with(vec![7; 65536]), LoadError::NotOurs),
    ] {
        assert_eq!(Server::start(&disk).err(), Some(error));
    }
    // A file system whose first blocks are empty in part.
    let disk = Ram::new(65536);
    disk.0.borrow_mut().content[1080] = 0x53;
    assert_eq!(Server::start(&disk).err(), Some(LoadError::NotOurs));
}

#[test]
fn a_failure_of_the_disk_is_reported_and_the_old_snapshot_stays() {
    for after in 0.. {
        let disk = Ram::new(1 << 18);
        let (mut server, _) = Server::start(&disk).unwrap();
        server.ask("set old 1");
        server.ask("save");
        for key in 0..800 {
            server.ask(&format!("set k{key} {}", "v".repeat(100)));
        }
        let whole = server.data();
        disk.0.borrow_mut().fail_after = Some(after);
        let reply = server.ask("save");
        if reply == "+OK\r\n" {
            assert!(after > 6, "there were {after} requests");
            break;
        }
        assert_eq!(reply, "-ERR not saved: the disk failed\r\n");
        let (mut again, _) = Server::start(&disk).unwrap();
        let data = again.data();
        // A header whose flush has failed may be there.
        assert!(data == whole || data.len() == 1, "{} keys", data.len());
        assert_eq!(server.ask("save"), "+OK\r\n", "the next one works");
        assert_eq!(Server::start(&disk).unwrap().0.data(), whole);
    }
}
