//! Files whose structure is sound are taken, and damage to any part of it is told with its place.

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::super::footer;
use super::*;

fn file(compression: Compression, version: WriterVersion) -> Vec<u8> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..3000).map(|n| (n % 7 > 0).then_some(n)),
    ));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..3000).map(|n| format!("t{}", n % 11)),
    ));
    let lists = (0..3000).map(|n| (n % 5 > 0).then(|| (0..n % 4).map(Some)));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts), ("l", lists)]).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(1000))
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(50)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// What is wrong with the file; the footer is taken for right.
fn damage(bytes: &[u8]) -> Option<String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let metadata = footer::read(&file, bytes.len() as u64).unwrap();
    check_footer(&metadata).unwrap();
    let pages_end = bytes.len() as u64 - footer::TAIL_BYTES - metadata.len() as u64;
    let metadata = ParquetMetaDataReader::decode_metadata(&metadata).unwrap();
    match check_pages(&file, pages_end, &metadata) {
        Ok(()) => None,
        Err(Damage::Wrong(reason)) => Some(reason),
        Err(Damage::Io(error)) => panic!("{error}"),
    }
}

fn metadata_of(bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    footer::read(&file, bytes.len() as u64).unwrap()
}

/// The thrift of a page header: kind, sizes, and what the header of that kind has.
fn header_bytes(kind: i32, sizes: [i32; 2], inner: (i16, &[i32])) -> Vec<u8> {
    let mut fields = thrift::Writer::default();
    for (id, number) in inner.1.iter().enumerate() {
        fields.field(id as i16 + 1, thrift::I32, &thrift::i32_value(*number));
    }
    let mut writer = thrift::Writer::default();
    writer.field(1, thrift::I32, &thrift::i32_value(kind));
    writer.field(2, thrift::I32, &thrift::i32_value(sizes[0]));
    writer.field(3, thrift::I32, &thrift::i32_value(sizes[1]));
    writer.field(inner.0, thrift::STRUCT, &fields.end());
    writer.end()
}

#[test]
fn sound_files_of_every_codec_and_page_version_pass() {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(parquet::basic::BrotliLevel::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            assert_eq!(damage(&file(codec, version)), None, "{codec:?} {version:?}");
        }
    }
}

#[test]
fn a_page_header_that_lies_is_told_with_its_place() {
    let sound = file(Compression::SNAPPY, WriterVersion::PARQUET_1_0);
    // The first page is a dictionary: kind, unpacked size, stored size.
    let page = page_header(&sound[4..]).unwrap();
    assert_eq!(page.values, None);
    let header = &sound[4..4 + page.header_bytes as usize];
    let sizes =
        [page.uncompressed_bytes, page.compressed_bytes].map(|size| thrift::i32_value(size as i32));
    let at = |size: &[u8]| {
        4 + header
            .windows(size.len())
            .position(|window| window == size)
            .unwrap()
    };
    let mut unknown_kind = sound.clone();
    unknown_kind[5] = 40;
    let mut short = sound.clone();
    short[at(&sizes[1])] ^= 2;
    for lying in [unknown_kind, short] {
        let told = damage(&lying).unwrap();
        assert!(
            told.starts_with("column `n` of row group 1: page "),
            "{told}"
        );
    }
}

#[test]
fn a_page_that_claims_what_its_bytes_cannot_give_is_refused() {
    let claims = |compressed, uncompressed, codec| {
        let header = header_bytes(0, [uncompressed, compressed], (5, &[1, 0, 3, 3]));
        check_sizes(&page_header(&header).unwrap(), codec)
    };
    assert_eq!(claims(100, 60 << 20, Compression::SNAPPY), Ok(()));
    assert_eq!(claims(30 << 20, 1 << 30, Compression::SNAPPY), Ok(()));
    claims(100, i32::MAX, Compression::SNAPPY).unwrap_err();
    claims(1 << 20, i32::MAX, Compression::GZIP(GzipLevel::default())).unwrap_err();
    claims(1 << 10, i32::MAX, Compression::ZSTD(ZstdLevel::default())).unwrap_err();
    for [uncompressed, compressed] in [[-1, 1], [1, -1]] {
        assert!(
            page_header(&header_bytes(
                0,
                [uncompressed, compressed],
                (5, &[1, 0, 3, 3])
            ))
            .is_err()
        );
    }
    assert!(page_header(&header_bytes(0, [1, 1], (5, &[-1, 0, 3, 3]))).is_err());
    // Levels longer than the page.
    assert!(page_header(&header_bytes(3, [9, 9], (8, &[1, 0, 1, 0, 8, 8]))).is_err());
    assert!(page_header(&header_bytes(3, [9, 9], (8, &[1, 0, 1, 0, 8, 1]))).is_ok());
}

#[test]
fn a_page_that_unpacks_to_more_than_it_claims_is_found_without_unpacking_it_all() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bomb).unwrap();
    let within = |claimed| {
        let codec = Compression::GZIP(GzipLevel::default());
        unpacks_within(&file, 0, bomb.len() as u64, claimed, codec).unwrap()
    };
    assert!(!within(1000));
    assert!(!within((100 << 20) - 1));
    assert!(within(100 << 20));
}

#[test]
fn a_column_that_is_not_inside_the_file_is_refused() {
    let sound = file(Compression::SNAPPY, WriterVersion::PARQUET_1_0);
    let metadata = metadata_of(&sound);
    let parsed = ParquetMetaDataReader::decode_metadata(&metadata).unwrap();
    let file = tempfile::tempfile().unwrap();
    let told = match check_pages(&file, 100, &parsed) {
        Err(Damage::Wrong(told)) => told,
        other => panic!("{other:?}"),
    };
    assert!(
        told.contains("are not inside the file, whose pages end at byte 100"),
        "{told}"
    );
}

#[test]
fn a_footer_that_lies_is_malformed_and_every_cut_of_it_is() {
    let metadata = metadata_of(&file(Compression::SNAPPY, WriterVersion::PARQUET_1_0));
    assert_eq!(check_footer(&metadata), Ok(()));
    for length in 0..metadata.len() {
        assert!(check_footer(&metadata[..length]).is_err(), "{length}");
    }
    let with = |id: i16, kind, value: &[u8]| {
        let mut writer = thrift::Writer::default();
        for field in Reader::new(&metadata).fields().unwrap() {
            let is_it = field.id == id;
            writer.field(
                field.id,
                if is_it { kind } else { field.kind },
                if is_it { value } else { field.value },
            );
        }
        if id == 8 {
            writer.field(id, kind, value);
        }
        check_footer(&writer.end())
    };
    const I64: u8 = 6;
    let told = [
        with(3, I64, &thrift::i32_value(2999)),
        with(8, thrift::STRUCT, &[0]),
        // A list that claims two billion row groups.
        with(4, thrift::LIST, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]),
        with(2, thrift::LIST, &thrift::list_of_structs(&[vec![0]])),
    ];
    for (told, expected) in
        told.into_iter()
            .zip(["another number of rows", "encrypted", "", "no name"])
    {
        assert!(told.unwrap_err().0.contains(expected), "{told:?}");
    }
}

#[test]
fn a_column_of_no_rows_starts_at_its_dictionary() {
    let bytes = file(Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0);
    let footer = ParquetMetaDataReader::decode_metadata(&metadata_of(&bytes)).unwrap();
    // As pyarrow writes a table without rows: a dictionary page, and no page of data.
    let chunk = |dictionary: Option<i64>, compressed_bytes: i64| {
        let column = footer.row_group(0).column(0).clone().into_builder();
        let column = column
            .set_num_values(0)
            .set_dictionary_page_offset(dictionary)
            .set_data_page_offset(0)
            .set_total_compressed_size(compressed_bytes);
        chunk_range(&column.build().unwrap(), 100)
    };
    assert_eq!(chunk(Some(4), 14), Ok(4..18));
    assert_eq!(chunk(None, 0), Ok(0..0));
    assert!(chunk(None, 14).is_err(), "the magic is no page");
}

/// What is wrong with a schema of elements that say so many children each, whatever their types.
fn schema_of(children: &[Option<i32>]) -> Walk<()> {
    let element = |children: &Option<i32>| {
        let mut writer = thrift::Writer::default();
        writer.field(4, thrift::BINARY, b"\x01a");
        if let Some(children) = children {
            writer.field(5, thrift::I32, &thrift::i32_value(*children));
        }
        writer.end()
    };
    let elements: Vec<Vec<u8>> = children.iter().map(element).collect();
    check_schema(Field {
        id: 2,
        kind: thrift::LIST,
        value: &thrift::list_of_structs(&elements),
    })
}

#[test]
fn a_schema_is_one_tree_and_no_deeper_than_a_stack() {
    let deep = |levels: usize| [vec![Some(1); levels], vec![None]].concat();
    assert_eq!(schema_of(&deep(63)), Ok(()));
    assert_eq!(
        schema_of(&[Some(2), Some(2), None, Some(0), Some(1), None]),
        Ok(())
    );
    for (children, expected) in [
        (deep(64), "nested more than 64"),
        (deep(100_000), "nested more than 64"),
        (vec![Some(i32::MAX), None], "impossible number"),
        (vec![Some(-1), None], "impossible number"),
        (vec![Some(1), None, None], "more elements"),
        (vec![Some(2), Some(1), None], "fewer elements"),
        (vec![], "fewer elements"),
        (vec![None; 200_000], "more than 131072"),
    ] {
        let told = schema_of(&children).unwrap_err();
        assert!(told.0.contains(expected), "{told:?}");
    }
}

#[test]
fn a_struct_has_each_field_once_and_not_too_many() {
    let with = |ids: &[i16]| {
        let mut writer = thrift::Writer::default();
        for id in ids {
            writer.field(*id, thrift::I32, &thrift::i32_value(1));
        }
        Reader::new(&writer.end())
            .fields()
            .map(|fields| fields.len())
    };
    assert_eq!(with(&[1, 5, 3]), Ok(3));
    assert_eq!(with(&[5, 1, 5]), Err(Malformed("a field stands twice")));
    let many: Vec<i16> = (1..1000).collect();
    assert_eq!(with(&many), Err(Malformed("a struct has too many fields")));
}
