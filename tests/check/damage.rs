//! Each way to damage a file is found by its kind, and only it.

use std::path::{Path, PathBuf};

use iceberg::spec::{FormatVersion, ManifestFile, ManifestList, ManifestListWriter};

use calve::store::layout::Layout;
use calve::table::{LocalStorage, TableStorage};
use serde_json::{Value, json};

use crate::world::{Folder, NO_GRACE, World, check, check_with};

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Remove,
    Cut,
    FlipFirstByte,
    FlipLastByte,
}

fn damage(path: &Path, deed: Deed) {
    let mut bytes = std::fs::read(path).expect("read");
    match deed {
        Deed::Remove => return std::fs::remove_file(path).expect("remove"),
        Deed::Cut => bytes.truncate(bytes.len() / 2),
        Deed::FlipFirstByte => bytes[0] ^= 0x20,
        Deed::FlipLastByte => *bytes.last_mut().expect("a byte") ^= 0x20,
    }
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn every_damaged_file_is_found_by_its_kind() {
    use Deed::{Cut, FlipFirstByte, FlipLastByte, Remove};
    let world = World::stopped();
    let staging = world.data_dir().join("staging").join(&world.open);
    let (data, metadata) = (world.table().join("data"), world.table().join("metadata"));
    let is_list = |name: &str| name.starts_with("snap-");
    let is_manifest = |name: &str| name.ends_with("-m0.avro");
    let cases: [(PathBuf, &[(Deed, &str)]); 6] = [
        (
            world.file(&staging, |name| name.ends_with(".csv")),
            &[
                (Remove, "staged_file_missing"),
                (Cut, "staged_file_size"),
                (FlipFirstByte, "staged_file_checksum"),
                (FlipLastByte, "staged_file_checksum"),
            ],
        ),
        (
            world.file(&staging, |name| name.ends_with(".data.parquet")),
            &[
                (Remove, "early_file_missing"),
                (Cut, "early_file_size"),
                (FlipLastByte, "early_file_unreadable"),
            ],
        ),
        (
            world.file(&data, |_| true),
            &[
                (Remove, "data_file_missing"),
                (Cut, "data_file_size"),
                (FlipLastByte, "data_file_unreadable"),
            ],
        ),
        (
            world.file(&metadata, is_manifest),
            &[
                (Remove, "manifest_missing"),
                (Cut, "manifest_size"),
                (FlipFirstByte, "manifest_unreadable"),
                (FlipLastByte, "manifest_unreadable"),
            ],
        ),
        (
            world.file(&metadata, is_list),
            &[
                (Remove, "manifest_list_missing"),
                (Cut, "manifest_list_unreadable"),
                (FlipFirstByte, "manifest_list_unreadable"),
                (FlipLastByte, "manifest_list_unreadable"),
            ],
        ),
        (
            world.metadata(),
            &[
                (Remove, "metadata_missing"),
                (Cut, "metadata_unreadable"),
                (FlipFirstByte, "metadata_unreadable"),
                (FlipLastByte, "metadata_unreadable"),
            ],
        ),
    ];
    for (path, deeds) in cases {
        let relative = path.strip_prefix(world.data_dir()).expect("below");
        for (deed, kind) in deeds {
            let when = format!("{deed:?} of {}", relative.display());
            let checked = world.check_after(&when, &[], 3, &[kind], |_| damage(&path, *deed));
            assert_eq!(checked.paths(kind), [relative.to_string_lossy()], "{when}");
        }
    }
    check(&world.server, &["--deep"]).expect(0, &[], "all put back");
}

#[test]
fn a_page_that_does_not_decode_is_found_by_looking_deep() {
    let world = World::stopped();
    let folders = [
        (
            world.data_dir().join("staging").join(&world.open),
            "early_file_unreadable",
        ),
        (world.table().join("data"), "data_file_unreadable"),
    ];
    for (folder, kind) in folders {
        let path = world.file(&folder, |name| name.ends_with(".parquet"));
        let flip = |_: &World| {
            let mut bytes = std::fs::read(&path).expect("read");
            // The header of the first page follows the file's magic.
            bytes[4] ^= 0xff;
            std::fs::write(&path, bytes).expect("write");
        };
        world.check_after("flipped, not deep", &[], 0, &[], flip);
        world.check_after("flipped, deep", &["--deep"], 3, &[kind], flip);
    }
}

#[test]
fn a_data_file_with_other_rows_and_the_same_size_is_found() {
    let world = World::stopped();
    let data = world.table().join("data");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&data)
        .expect("list")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).expect("a size").len());
    let (smallest, largest) = (&files[0], &files[files.len() - 1]);
    world.find_after("other rows", 3, &["data_file_rows"], |_| {
        let (mut bytes, length) = (
            std::fs::read(smallest).expect("read"),
            std::fs::metadata(largest).expect("a size").len(),
        );
        let end = bytes.len() - 8;
        let footer = u32::from_le_bytes(bytes[end..end + 4].try_into().expect("four bytes"));
        let padding = vec![0; usize::try_from(length).expect("small") - bytes.len()];
        let place = end - footer as usize;
        bytes.splice(place..place, padding);
        std::fs::write(largest, bytes).expect("write");
    });
}

#[test]
fn metadata_that_tells_another_story_is_found() {
    let world = World::stopped();
    world.find_after("parent", 3, &["snapshot_chain_broken"], |world| {
        world.edit_metadata(|metadata| {
            let first = metadata["snapshots"][0]["snapshot-id"].clone();
            metadata["snapshots"][3]["parent-snapshot-id"] = first;
        });
    });
    world.find_after("totals", 3, &["snapshot_counts"], |world| {
        world.edit_metadata(|metadata| {
            metadata["snapshots"][1]["summary"]["total-records"] = json!("201");
        });
    });
    world.find_after("rows", 3, &["receipt_differs"], |world| {
        world.edit_metadata(|metadata| {
            metadata["snapshots"][1]["summary"]["added-records"] = json!("201");
        });
    });
    world.find_after("another session", 3, &["receipt_differs"], |world| {
        world.edit_metadata(|metadata| {
            let id = "20260921141320-00000000000000000000000000000abc";
            metadata["snapshots"][1]["summary"]["calve.session-id"] = json!(id);
        });
    });
    world.find_after(
        "a session twice",
        3,
        &["receipt_differs", "session_doubled"],
        |world| {
            world.edit_metadata(|metadata| {
                metadata["snapshots"][1]["summary"]["calve.session-id"] = json!(world.committed);
            });
        },
    );
    let both = ["receipt_differs", "snapshot_of_open_session"];
    world.find_after("an open session", 3, &both, |world| {
        world.edit_metadata(|metadata| {
            metadata["snapshots"][1]["summary"]["calve.session-id"] = json!(world.open);
        });
    });
    world.find_after("location", 3, &["metadata_misplaced"], |world| {
        world.edit_metadata(|metadata| metadata["location"] = json!("file:///elsewhere"));
    });
}

#[test]
fn history_that_somebody_expired_is_no_damage() {
    let world = World::stopped();
    let kinds = ["table_file_unreferenced"];
    world.find_after("expired history", 2, &kinds, |world| {
        world.edit_metadata(|metadata| remove_snapshot(metadata, 0));
    });
    // In the middle of the history it is.
    let kinds = [
        "receipt_snapshot_missing",
        "snapshot_chain_broken",
        "table_file_unreferenced",
    ];
    world.find_after("a lost snapshot", 3, &kinds, |world| {
        world.edit_metadata(|metadata| remove_snapshot(metadata, 2));
    });
}

#[test]
fn files_of_an_acknowledged_commit_that_its_table_lost_are_kept() {
    let world = World::stopped();
    world.edit_metadata(|metadata| {
        let last = metadata["snapshots"].as_array().expect("a list").len() - 1;
        let before = metadata["snapshots"][last - 1]["snapshot-id"].clone();
        metadata["current-snapshot-id"] = before.clone();
        metadata["refs"]["main"]["snapshot-id"] = before;
        remove_snapshot(metadata, last);
    });
    let changed = Folder::take(&world.data_dir());
    let kinds = ["receipt_snapshot_missing", "table_file_unreferenced"];
    let checked =
        check_with(&world.data_dir(), &["--repair"], &[NO_GRACE]).expect(3, &kinds, "lost");
    // Its data file, its manifest, its manifest list.
    assert_eq!(checked.paths("table_file_unreferenced").len(), 3);
    changed.assert_same("nothing is removed");
}

#[test]
fn old_metadata_files_are_no_damage() {
    let world = World::stopped();
    let oldest = world.file(&world.table().join("metadata"), |name| {
        name.starts_with("00000-")
    });
    world.find_after("gone", 0, &["old_metadata_missing"], |_| {
        std::fs::remove_file(&oldest).expect("remove");
    });
    let before = Folder::take(&world.data_dir());
    let table_files = before.len();
    world.edit_metadata(|metadata| {
        drop(
            metadata["metadata-log"]
                .as_array_mut()
                .expect("a list")
                .remove(0),
        )
    });
    check(&world.server, &[]).expect(0, &["old_metadata_unlisted"], "too old for the log");
    check_with(&world.data_dir(), &["--repair"], &[NO_GRACE]).expect(0, &[], "mended");
    assert!(!oldest.exists());
    assert_eq!(Folder::take(&world.data_dir()).len(), table_files - 1);
    world.assert_tables_hold();
}

fn remove_snapshot(metadata: &mut Value, index: usize) {
    let removed = metadata["snapshots"]
        .as_array_mut()
        .expect("a list")
        .remove(index);
    metadata["snapshot-log"]
        .as_array_mut()
        .expect("a list")
        .retain(|entry| entry["snapshot-id"] != removed["snapshot-id"]);
}

#[test]
fn manifest_lists_that_count_wrong_or_double_files_are_found() {
    let world = World::stopped();
    let add_row = |mut manifests: Vec<ManifestFile>| {
        manifests[0].added_rows_count = manifests[0].added_rows_count.map(|rows| rows + 1);
        manifests
    };
    world.find_after("a wrong count", 3, &["manifest_counts"], |world| {
        rewrite_manifest_list(world, add_row);
    });
    let double = |mut manifests: Vec<ManifestFile>| {
        manifests.push(manifests[0].clone());
        manifests
    };
    let kinds = ["data_file_doubled", "snapshot_counts"];
    world.find_after("a manifest twice", 3, &kinds, |world| {
        rewrite_manifest_list(world, double);
    });
}

/// Writes the current snapshot's manifest list anew.
fn rewrite_manifest_list(world: &World, edit: impl Fn(Vec<ManifestFile>) -> Vec<ManifestFile>) {
    let bytes = std::fs::read(world.metadata()).expect("metadata");
    let metadata: Value = serde_json::from_slice(&bytes).expect("JSON");
    let snapshots = metadata["snapshots"].as_array().expect("a list");
    let is_current = |snapshot: &&Value| snapshot["snapshot-id"] == metadata["current-snapshot-id"];
    let snapshot = snapshots.iter().find(is_current).expect("a snapshot");
    let location = snapshot["manifest-list"].as_str().expect("a location");
    let list = std::fs::read(location.trim_start_matches("file://")).expect("read");
    let list = ManifestList::parse_with_version(&list, FormatVersion::V2).expect("parse");
    let manifests = edit(list.entries().to_vec());
    let storage = LocalStorage::new(Layout::new(world.data_dir()));
    let number = |key: &str| snapshot[key].as_i64().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let output = storage.files().new_output(location).expect("an output");
        let mut writer = ManifestListWriter::v2(
            output.writer().await.expect("a writer"),
            number("snapshot-id"),
            Some(number("parent-snapshot-id")),
            number("sequence-number"),
        );
        writer.add_manifests(manifests.into_iter()).expect("add");
        writer.close().await.expect("close");
    });
}

#[test]
fn an_older_journal_is_found_and_nothing_is_removed_then() {
    let world = World::stopped();
    let metadata = world.table().join("metadata");
    let stray = world.table().join("data/stray.parquet");
    std::fs::write(&stray, b"x").expect("write");
    let ahead = "00099-00000000-0000-0000-0000-000000000abc";
    std::fs::copy(
        world.metadata(),
        metadata.join(format!("{ahead}.metadata.json")),
    )
    .expect("copy");
    std::fs::write(metadata.join("version-hint.text"), ahead).expect("write");
    let elsewhere = world.data_dir().join("staging/nobodys/stray");
    std::fs::create_dir_all(elsewhere.parent().expect("a folder")).expect("make");
    std::fs::write(&elsewhere, b"x").expect("write");
    let ghost = world
        .data_dir()
        .join("warehouse/acme/sales/ghost/metadata/version-hint.text");
    std::fs::create_dir_all(ghost.parent().expect("a folder")).expect("make");
    std::fs::write(&ghost, b"00000-x").expect("write");
    let kinds = [
        "journal_behind_table",
        "staged_file_unreferenced",
        "table_file_unreferenced",
        "table_without_pointer",
    ];
    let changed = Folder::take(&world.data_dir());
    let repaired = check_with(&world.data_dir(), &["--repair"], &[NO_GRACE]);
    repaired.expect(3, &kinds, "the hint is ahead of the journal");
    changed.assert_same("nothing is removed");
}

#[test]
fn a_moved_folder_is_told_from_a_broken_one() {
    let world = World::stopped();
    let moved = world.server.scratch("moved");
    std::fs::rename(world.data_dir(), &moved).expect("move");
    let checked = check_with(&moved, &[], &[]).expect(3, &["metadata_misplaced"], "moved");
    assert_eq!(checked.paths("metadata_misplaced").len(), 3);
}
