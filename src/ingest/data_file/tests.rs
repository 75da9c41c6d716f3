use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::{
    Array, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::DataType;
use iceberg::spec::{ListType, NestedField, PrimitiveType, Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::*;
use crate::ingest::statistics::StatisticsCheck;

fn field(id: i32, name: &str, primitive: PrimitiveType) -> NestedFieldRef {
    Arc::new(NestedField::optional(id, name, Type::Primitive(primitive)))
}

/// What the parquet crate's reader finds in a file that these batches were written to. All of its statistics are true.
fn read_back(
    fields: &[NestedFieldRef],
    batches: &[Vec<ArrayRef>],
    is_tiny: bool,
) -> (Arc<ParquetMetaData>, Option<RecordBatch>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.parquet");
    let mut writer = DataFileWriter::create(&path, fields.to_vec(), is_tiny).unwrap();
    for arrays in batches {
        writer.write(arrays.clone()).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), written.bytes);
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let footer = builder.metadata().clone();
    let rows = usize::try_from(footer.file_metadata().num_rows()).unwrap();
    let mut reader = builder.with_batch_size(rows.max(1)).build().unwrap();
    let found = reader.next().map(|batch| batch.unwrap());
    assert!(reader.next().is_none());
    let mut check = StatisticsCheck::default();
    if let Some(batch) = &found {
        check.add(&footer, batch);
    }
    assert_eq!(check.wrong_column(), None);
    (footer, found)
}

/// The chunks of a file of one column, and that column.
fn column_of(
    primitive: PrimitiveType,
    arrays: Vec<ArrayRef>,
) -> (Vec<ColumnChunkMetaData>, ArrayRef) {
    let batches: Vec<Vec<ArrayRef>> = arrays.into_iter().map(|array| vec![array]).collect();
    let (footer, found) = read_back(&[field(1, "c", primitive)], &batches, false);
    let chunks = footer.row_groups().iter().map(|group| group.column(0));
    (chunks.cloned().collect(), found.unwrap().column(0).clone())
}

fn cut(array: &ArrayRef, rows: usize) -> Vec<ArrayRef> {
    let starts = (0..array.len()).step_by(rows);
    starts
        .map(|start| array.slice(start, rows.min(array.len() - start)))
        .collect()
}

fn has_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    chunk.encodings().any(|one| one == Encoding::RLE_DICTIONARY)
}

#[test]
fn values_that_repeat_have_a_dictionary_and_others_have_none() {
    let repeated: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..50_000).map(|row| format!("name {}", row % 300)),
    ));
    let (chunks, found) = column_of(PrimitiveType::String, vec![repeated.clone()]);
    assert_eq!(&found, &repeated);
    assert!(has_dictionary(&chunks[0]));
    let varied: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50_000));
    let (chunks, found) = column_of(PrimitiveType::Long, vec![varied.clone()]);
    assert_eq!(&found, &varied);
    assert!(!has_dictionary(&chunks[0]));
    // Numbers from a hash do not get smaller; those that count do.
    assert_ne!(chunks[0].compression(), Compression::UNCOMPRESSED);
    let noise = (0..50_000u64).map(|row| f64::from_bits(row.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let noise: ArrayRef = Arc::new(Float64Array::from_iter_values(
        noise.filter(|one| one.is_finite()),
    ));
    let (chunks, found) = column_of(PrimitiveType::Double, vec![noise.clone()]);
    assert_eq!(&found, &noise);
    assert_eq!(chunks[0].compression(), Compression::UNCOMPRESSED);
}

#[test]
fn a_full_dictionary_takes_no_more_and_pages_stay_readable() {
    // Names come in threes, so that they are not many for their rows, and make more than the dictionary may have.
    let batch = |first: usize| -> ArrayRef {
        let names = (first..first + 8192).map(|row| format!("{:090}", row / 3));
        Arc::new(StringArray::from_iter_values(names))
    };
    let arrays: Vec<ArrayRef> = (0..12).map(|number| batch(number * 8192)).collect();
    let (chunks, found) = column_of(PrimitiveType::String, arrays.clone());
    assert!(has_dictionary(&chunks[0]));
    let mut row = 0;
    for array in arrays {
        assert_eq!(&found.slice(row, array.len()), &array);
        row += array.len();
    }
    assert_eq!(found.len(), row);
    let encodings: Vec<Encoding> = chunks[0].encodings().collect();
    assert!(encodings.contains(&Encoding::PLAIN), "{encodings:?}");
}

#[test]
fn a_column_that_is_empty_at_first_is_packed_and_has_a_dictionary_later() {
    let rows = (0..60_000).map(|row| (row >= 20_000).then(|| format!("name {}", row % 3000)));
    let names: ArrayRef = Arc::new(rows.collect::<StringArray>());
    let (chunks, found) = column_of(PrimitiveType::String, cut(&names, 8192));
    assert_eq!(&found, &names);
    assert!(has_dictionary(&chunks[0]));
    assert_ne!(chunks[0].compression(), Compression::UNCOMPRESSED);
    assert_eq!(
        chunks[0].statistics().unwrap().null_count_opt(),
        Some(20_000)
    );
}

#[test]
fn large_values_that_repeat_do_not_make_one_large_page() {
    // Few different values, and then many: given up, the dictionary would unfold to 300 MB.
    let large = "x".repeat(300_000);
    let repeated: ArrayRef = Arc::new(StringArray::from_iter_values(vec![large.as_str(); 100]));
    let others = (0..14_000).map(|row| row.to_string());
    let others: ArrayRef = Arc::new(StringArray::from_iter_values(others));
    let arrays = [vec![repeated.clone(); 10], vec![others.clone()]].concat();
    let (chunks, found) = column_of(PrimitiveType::String, arrays);
    assert_eq!(&found.slice(900, 100), &repeated);
    assert_eq!(&found.slice(1000, 14_000), &others);
    assert!(has_dictionary(&chunks[0]));
    let unpacked = chunks[0].uncompressed_size();
    assert!(unpacked < 1_000_000, "{unpacked} bytes in pages");
}

#[test]
fn row_groups_end_by_size() {
    let text = "x".repeat(1000);
    let arrays: Vec<ArrayRef> = (0..20)
        .map(|batch| -> ArrayRef {
            let rows = (0..2000).map(|row| format!("{text}{batch}/{row}"));
            Arc::new(StringArray::from_iter_values(rows))
        })
        .collect();
    let (chunks, found) = column_of(PrimitiveType::String, arrays.clone());
    assert_eq!(found.len(), 40_000);
    assert_eq!(&found.slice(38_000, 2000), &arrays[19]);
    // Pages are packed to nearly nothing; only their size counts.
    assert_eq!(chunks.len(), 1);
    let statistics = chunks[0].statistics().unwrap();
    assert!(!statistics.min_is_exact() && !statistics.max_is_exact());
    assert_eq!(statistics.min_bytes_opt(), Some(&text.as_bytes()[..64]));
    let max = format!("{}y", "x".repeat(63));
    assert_eq!(statistics.max_bytes_opt(), Some(max.as_bytes()));
    let batch: ArrayRef = Arc::new(Int64Array::from_iter_values(
        (0..1 << 18).map(|row| row % 7),
    ));
    let (chunks, found) = column_of(PrimitiveType::Long, vec![batch; 5]);
    let rows: Vec<i64> = chunks.iter().map(ColumnChunkMetaData::num_values).collect();
    assert_eq!((rows, found.len()), (vec![1 << 20, 1 << 18], 5 << 18));
}

#[test]
fn what_is_no_number_is_no_bound_and_zeros_have_their_signs() {
    let bounds = |values: Vec<Option<f64>>| {
        let array: ArrayRef = Arc::new(Float64Array::from(values));
        let (chunks, found) = column_of(PrimitiveType::Double, vec![array.clone()]);
        // Compared by bits: NaN is like itself, and zeros are not alike.
        assert_eq!(found.to_data(), array.to_data());
        match chunks[0].statistics() {
            Some(Statistics::Double(bounds)) => (
                bounds.min_opt().map(|min| min.to_bits()),
                bounds.max_opt().map(|max| max.to_bits()),
                bounds.null_count_opt(),
            ),
            other => panic!("{other:?}"),
        }
    };
    let (nan, bits) = (f64::NAN, |value: f64| Some(value.to_bits()));
    assert_eq!(
        bounds(vec![Some(nan), Some(2.0), None, Some(-1.0)]),
        (bits(-1.0), bits(2.0), Some(1))
    );
    assert_eq!(
        bounds(vec![Some(0.0), Some(-0.0)]),
        (bits(-0.0), bits(0.0), Some(0))
    );
    assert_eq!(bounds(vec![Some(nan), None]), (None, None, Some(1)));
    assert_eq!(bounds(vec![None, None]), (None, None, Some(2)));
}

/// Rows of a few columns: some flat, some left to the parquet crate, in turns.
#[derive(Debug, Clone)]
struct Row(Option<i32>, Option<String>, Option<bool>, Option<f64>);

fn batch_of(rows: &[Row], zone: &str) -> Vec<ArrayRef> {
    let mut lists = ListBuilder::new(Int32Builder::new()).with_field(element());
    for Row(number, ..) in rows {
        match number {
            Some(number) => lists.append_value((0..number.rem_euclid(4)).map(Some)),
            None => lists.append_null(),
        }
    }
    let numbers = || rows.iter().map(|row| row.0);
    let micros: TimestampMicrosecondArray = numbers().map(|one| one.map(i64::from)).collect();
    vec![
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.2))),
        Arc::new(Date32Array::from_iter(numbers())),
        Arc::new(lists.finish()),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.clone()))),
        Arc::new(micros.with_timezone(zone)),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3))),
    ]
}

fn element() -> arrow_schema::FieldRef {
    let schema = arrow_schema(&columns()).unwrap();
    match schema.field(2).data_type() {
        DataType::List(element) => element.clone(),
        other => panic!("{other}"),
    }
}

fn columns() -> Vec<NestedFieldRef> {
    let element = NestedField::list_element(7, Type::Primitive(PrimitiveType::Int), false);
    let list = Type::List(ListType::new(Arc::new(element)));
    vec![
        field(1, "flag", PrimitiveType::Boolean),
        field(2, "day", PrimitiveType::Date),
        Arc::new(NestedField::optional(3, "list", list)),
        field(4, "text", PrimitiveType::String),
        field(5, "at", PrimitiveType::Timestamptz),
        field(6, "number", PrimitiveType::Double),
    ]
}

/// Rows of which some columns have nulls, or none has.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof![Just("a".to_owned()), "[a-cé]{0,3}", "[ -~]{60,70}"];
    let number = prop_oneof![-3..3i32, any::<i32>()];
    let float = prop_oneof![Just(1.5), any::<f64>()];
    let row = (number, text, any::<bool>(), float, any::<[bool; 4]>());
    (any::<bool>(), prop::collection::vec(row, 1..40)).prop_map(|(has_nulls, rows)| {
        let rows = rows.into_iter().map(|(number, text, flag, float, nulls)| {
            let has = |column: usize| !(has_nulls && nulls[column]);
            Row(
                has(0).then_some(number),
                has(1).then_some(text),
                has(2).then_some(flag),
                has(3).then_some(float),
            )
        });
        rows.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_value_is_read_back(
        batches in prop::collection::vec((rows(), 1..300usize), 0..5),
        is_tiny in any::<bool>(),
    ) {
        // Repeated, so that pages and runs have many rows; then cut, so that arrays do not start at their buffers' start.
        let repeated = batches.iter().map(|(rows, times)| vec![rows.clone(); *times].concat());
        let all: Vec<Row> = repeated.clone().flatten().collect();
        let arrays: Vec<Vec<ArrayRef>> = repeated
            .flat_map(|rows| {
                let (cut, arrays) = (rows.len() / 3, batch_of(&rows, "+00:00"));
                [(0, cut), (cut, rows.len() - cut)].map(|(start, length)| {
                    arrays.iter().map(|array| array.slice(start, length)).collect()
                })
            })
            .collect();
        let (_, found) = read_back(&columns(), &arrays, is_tiny);
        match found {
            None => prop_assert!(all.is_empty()),
            Some(found) => {
                let expected = batch_of(&all, "UTC");
                for (column, expected) in found.columns().iter().zip(&expected) {
                    prop_assert_eq!(column.to_data(), expected.to_data());
                }
            }
        }
    }
}
