//! The footer of a file with field ids spliced in reads as the file before, and every element has its id.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, ListArray, RecordBatch, types::Int32Type};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaDataReader;
use proptest::prelude::*;

use super::*;

/// A file with an `ARROW:schema` key: a column of numbers and one of lists.
fn file() -> tempfile::NamedTempFile {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let lists = vec![Some(vec![Some(1)]), None];
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("l", lists)]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn metadata() -> Vec<u8> {
    let file = file();
    let bytes = file.as_file().metadata().unwrap().len();
    read(file.as_file(), bytes).unwrap()
}

/// Root, number, list, its repeated group, its element.
fn edits(ids: [i32; 3]) -> [ElementEdit; 5] {
    [None, Some(ids[0]), Some(ids[1]), None, Some(ids[2])].map(|field_id| ElementEdit {
        field_id,
        drops_annotation: false,
    })
}

#[test]
fn ids_come_in_and_are_replaced_and_all_else_stays() {
    let old = metadata();
    let once = splice(&old, &edits([4, 500, 70_000])).unwrap();
    let parsed = ParquetMetaDataReader::decode_metadata(&once).unwrap();
    let before = ParquetMetaDataReader::decode_metadata(&old).unwrap();
    let schema = parsed.file_metadata().schema();
    let ids: Vec<i32> = schema
        .get_fields()
        .iter()
        .map(|field| field.get_basic_info().id())
        .collect();
    assert_eq!(ids, [4, 500]);
    let element = parsed.file_metadata().schema_descr().column(1);
    assert_eq!(element.self_type().get_basic_info().id(), 70_000);
    assert_eq!(parsed.file_metadata().key_value_metadata(), None);
    assert!(before.file_metadata().key_value_metadata().is_some());
    assert_eq!(parsed.num_row_groups(), before.num_row_groups());
    for (new, old) in parsed
        .row_group(0)
        .columns()
        .iter()
        .zip(before.row_group(0).columns())
    {
        assert_eq!(new.statistics(), old.statistics());
        assert_eq!(new.byte_range(), old.byte_range());
    }
    // A second splice gives what one with these ids would have given.
    assert_eq!(
        splice(&once, &edits([1, 2, 3])).unwrap(),
        splice(&old, &edits([1, 2, 3])).unwrap()
    );
}

#[test]
fn a_footer_after_the_old_one_is_what_readers_find() {
    let file = file();
    let sent = std::fs::read(file.path()).unwrap();
    let spliced = splice(&metadata(), &edits([1, 2, 3])).unwrap();
    let handle = file.reopen().unwrap();
    for _ in 0..2 {
        let bytes = append(&handle, sent.len() as u64, &spliced).unwrap();
        let now = std::fs::read(file.path()).unwrap();
        assert_eq!(now.len() as u64, bytes);
        assert!(now.starts_with(&sent));
        assert_eq!(read(&handle, bytes).unwrap(), spliced);
    }
    assert!(read(&handle, 7).is_err() && read(&handle, 11).is_err());
}

#[test]
fn every_cut_and_another_number_of_elements_are_refused() {
    let old = metadata();
    for length in 0..old.len() {
        assert!(
            splice(&old[..length], &edits([1, 2, 3])).is_err(),
            "{length}"
        );
    }
    assert!(splice(&old, &edits([1, 2, 3])[..4]).is_err());
    // Lists in lists in lists, and a list that says it is longer than memory.
    assert!(splice(&[0x19; 100_000], &[]).is_err());
    assert!(splice(&[0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f], &[]).is_err());
}

proptest! {
    #[test]
    fn garbage_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = splice(&bytes, &edits([1, 2, 3]));
    }

    #[test]
    fn changed_bytes_are_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = metadata();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = splice(&bytes, &edits([1, 2, 3]));
    }
}
