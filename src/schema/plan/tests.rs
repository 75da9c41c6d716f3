//! What a commit does to a table's schema, case by case.

use iceberg::spec::PrimitiveType;

use super::*;

fn primitive(primitive: PrimitiveType) -> Type {
    Type::Primitive(primitive)
}

fn long() -> Type {
    primitive(PrimitiveType::Long)
}

fn int() -> Type {
    primitive(PrimitiveType::Int)
}

fn text(name: &str, values: &[&str]) -> UnifiedColumn {
    let evidence = crate::testing::evidence(values);
    UnifiedColumn {
        name: name.to_owned(),
        content: match evidence.text_type() {
            Some(_) => UnifiedType::Text(evidence),
            None => UnifiedType::Open,
        },
    }
}

fn typed(name: &str, r#type: Type) -> UnifiedColumn {
    UnifiedColumn {
        name: name.to_owned(),
        content: UnifiedType::Typed(r#type),
    }
}

fn table(fields: &[(i32, &str, Type)], open: &[i32]) -> TableColumns {
    TableColumns {
        fields: fields
            .iter()
            .map(|(id, name, r#type)| NestedField::optional(*id, name, r#type.clone()).into())
            .collect(),
        last_column_id: fields.iter().map(|(id, _, _)| *id).max().unwrap_or(0),
        open: open.iter().copied().collect(),
    }
}

/// Fields as (id, name, type), for comparison.
fn shape(plan: &SchemaPlan) -> Vec<(i32, &str, Type)> {
    plan.fields
        .iter()
        .map(|field| (field.id, field.name.as_str(), (*field.field_type).clone()))
        .collect()
}

#[test]
fn a_new_table_takes_the_columns_and_keeps_empty_ones_open() {
    let columns = [text("a", &["1"]), text("b", &[""]), text("c", &["x"])];
    let plan = create(&columns);
    let string = types::open();
    assert_eq!(
        shape(&plan),
        [(1, "a", long()), (2, "b", string.clone()), (3, "c", string)]
    );
    assert_eq!(plan.open, BTreeSet::from([2]));
}

#[test]
fn appending_matches_by_name_whatever_the_order() {
    let table = table(&[(1, "a", long()), (2, "b", types::open())], &[]);
    let plan = append(
        &[text("b", &["x"]), text("a", &["1"])],
        &table,
        SchemaEvolution::Strict,
    )
    .unwrap();
    assert_eq!(plan.fields, table.fields);
    let plan = append(&[text("b", &["x"])], &table, SchemaEvolution::Strict).unwrap();
    assert_eq!(plan.fields, table.fields, "a missing column is null");
    let plan = append(&[text("a", &["1", ""])], &table, SchemaEvolution::Strict).unwrap();
    assert_eq!(plan.fields, table.fields);
}

#[test]
fn appending_widens_as_iceberg_allows() {
    let (float, double) = (
        primitive(PrimitiveType::Float),
        primitive(PrimitiveType::Double),
    );
    let small = table(&[(1, "a", int()), (2, "b", float)], &[]);
    let fits = append(&[text("a", &["7"])], &small, SchemaEvolution::Strict).unwrap();
    assert_eq!(fits.fields, small.fields);
    let widened = append(
        &[text("a", &["3000000000"]), text("b", &["0.1"])],
        &small,
        SchemaEvolution::Strict,
    )
    .unwrap();
    assert_eq!(shape(&widened), [(1, "a", long()), (2, "b", double)]);
    let from_file = append(&[typed("a", long())], &small, SchemaEvolution::Strict).unwrap();
    assert_eq!(shape(&from_file)[0], (1, "a", long()));
    let narrower = table(&[(1, "a", long())], &[]);
    let kept = append(&[typed("a", int())], &narrower, SchemaEvolution::Strict).unwrap();
    assert_eq!(kept.fields, narrower.fields);
}

#[test]
fn every_difference_is_reported_at_once() {
    let mut table = table(&[(1, "a", long()), (2, "b", long()), (3, "c", long())], &[]);
    table.fields[2] = NestedField::required(3, "c", long()).into();
    let incoming = [text("a", &["x"]), text("b", &["1"]), text("d", &["1"])];
    let differences = append(&incoming, &table, SchemaEvolution::Strict).unwrap_err();
    let found: Vec<_> = differences
        .iter()
        .map(|one| (one.column.as_str(), one.problem))
        .collect();
    assert_eq!(
        found,
        [
            ("a", Problem::IncompatibleType),
            ("c", Problem::MissingRequired),
            ("d", Problem::NewColumn)
        ]
    );
    assert_eq!(differences[0].incoming_type.as_deref(), Some("VARCHAR"));
    assert_eq!(differences[0].table_type.as_deref(), Some("INT64"));
}

#[test]
fn an_open_column_becomes_what_arrives() {
    let table = table(&[(1, "a", types::open()), (2, "b", long())], &[1]);
    let still_open = append(&[text("a", &[""])], &table, SchemaEvolution::Strict).unwrap();
    assert_eq!(still_open.open, table.open);
    let as_text = append(&[text("a", &["x"])], &table, SchemaEvolution::Strict).unwrap();
    assert_eq!(as_text.fields, table.fields);
    assert!(as_text.open.is_empty());
    let as_number = append(&[text("a", &["1"])], &table, SchemaEvolution::Strict).unwrap();
    assert_eq!(shape(&as_number), [(3, "a", long()), (2, "b", long())]);
    assert!(as_number.open.is_empty());
}

#[test]
fn replacing_keeps_the_ids_of_columns_that_stay() {
    let table = table(
        &[(1, "a", long()), (2, "b", types::open()), (3, "c", long())],
        &[2],
    );
    let columns = [
        text("c", &["1"]),
        text("a", &["x"]),
        text("b", &[""]),
        text("n", &[""]),
    ];
    let plan = replace(&columns, &table);
    let string = types::open();
    assert_eq!(
        shape(&plan),
        [
            (3, "c", long()),
            (4, "a", string.clone()),
            (2, "b", string.clone()),
            (5, "n", string)
        ]
    );
    assert_eq!(plan.open, BTreeSet::from([2, 5]));
    let declared = replace(&[text("a", &[""])], &table);
    assert_eq!(shape(&declared), [(1, "a", long())]);
    assert!(
        declared.open.is_empty(),
        "the table's type is a declaration"
    );
}

#[test]
fn a_part_of_a_bound_session_takes_the_tables_fields() {
    let table = table(&[(4, "a", long()), (7, "b", types::open())], &[7]);
    let columns = [text("b", &["1"]), text("new", &["x"]), text("a", &["x"])];
    let fields = arrival(&columns, Some(&table));
    let found: Vec<_> = fields
        .iter()
        .map(|field| (field.id, field.name.as_str(), (*field.field_type).clone()))
        .collect();
    assert_eq!(
        found,
        [
            (8, "b", long()),
            (9, "new", types::open()),
            // Its values do not fit, which converting them will say, by row.
            (4, "a", long())
        ]
    );
}

#[test]
fn new_columns_are_added_behind_the_others_when_asked() {
    let table = table(&[(1, "a", long())], &[]);
    let incoming = [text("n", &[""]), text("b", &["x"]), text("a", &["2"])];
    let plan = append(&incoming, &table, SchemaEvolution::AddColumns).unwrap();
    let found: Vec<(&str, i32)> = plan
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.id))
        .collect();
    assert_eq!(found, [("a", 1), ("n", 2), ("b", 3)]);
    assert_eq!(plan.open, BTreeSet::from([2]));
    assert!(plan.fields.iter().skip(1).all(|field| !field.required));
    let incompatible = [text("a", &["x"]), text("b", &["x"])];
    let differences = append(&incompatible, &table, SchemaEvolution::AddColumns).unwrap_err();
    let columns: Vec<&str> = differences.iter().map(|one| one.column.as_str()).collect();
    assert_eq!(columns, ["a"]);
}
