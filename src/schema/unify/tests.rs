//! Parts meet the same way in any order.

use proptest::prelude::*;

use super::*;
use crate::domain::ColumnRecord;
use crate::testing;

fn text(values: &[&str]) -> ColumnType {
    ColumnType::Text(testing::evidence(values))
}

fn typed(primitive: PrimitiveType) -> ColumnType {
    ColumnType::Typed {
        r#type: Type::Primitive(primitive),
        null_count: 0,
    }
}

fn part(number: u16, content: ColumnType) -> PartRecord {
    PartRecord {
        columns: vec![ColumnRecord {
            name: "a".to_owned(),
            content,
        }],
        ..testing::part(number)
    }
}

fn meet(contents: &[ColumnType]) -> Result<UnifiedType, usize> {
    let parts: Vec<PartRecord> = contents
        .iter()
        .zip(0..)
        .map(|(content, number)| part(number, content.clone()))
        .collect();
    match unify(&parts) {
        Ok(columns) => Ok(columns[0].content.clone()),
        Err(disagreements) => Err(disagreements.len()),
    }
}

#[test]
fn a_typed_part_decides_over_text() {
    let long = UnifiedType::Typed(Type::Primitive(PrimitiveType::Long));
    let parts = [
        typed(PrimitiveType::Int),
        text(&["5000000000"]),
        typed(PrimitiveType::Long),
    ];
    assert_eq!(meet(&parts), Ok(long));
    let string = UnifiedType::Typed(Type::Primitive(PrimitiveType::String));
    assert_eq!(
        meet(&[text(&["5"]), typed(PrimitiveType::String)]),
        Ok(string)
    );
    assert_eq!(meet(&[text(&["x"]), typed(PrimitiveType::Long)]), Err(1));
    assert_eq!(
        meet(&[typed(PrimitiveType::Int), typed(PrimitiveType::Double)]),
        Err(1)
    );
    assert_eq!(
        meet(&[text(&[""]), ColumnType::Void]),
        Ok(UnifiedType::Open)
    );
}

#[test]
fn text_parts_meet_in_what_all_their_values_allow() {
    let own = |contents: &[ColumnType]| match meet(contents) {
        Ok(UnifiedType::Text(evidence)) => evidence.text_type(),
        other => panic!("not text: {other:?}"),
    };
    assert_eq!(
        own(&[text(&["1"]), text(&["1.5"])]),
        Some(TextType::Float64)
    );
    assert_eq!(own(&[text(&["1"]), text(&["x"])]), Some(TextType::Text));
    assert_eq!(own(&[text(&[""]), text(&["1"])]), Some(TextType::Int64));
}

fn any_content() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        Just(ColumnType::Void),
        Just(typed(PrimitiveType::Int)),
        Just(typed(PrimitiveType::Long)),
        Just(typed(PrimitiveType::Double)),
        Just(typed(PrimitiveType::String)),
        prop::sample::select(vec!["", "1", "5000000000", "1.5", "x", "2024-01-01", "NA"])
            .prop_map(|value| text(&[value])),
    ]
}

proptest! {
    /// Whether parts agree, and on what, is the same in every order of them.
    #[test]
    fn the_order_of_parts_does_not_matter(
        contents in prop::collection::vec(any_content(), 1..6),
        seed in any::<u64>(),
    ) {
        let mut shuffled = contents.clone();
        let length = shuffled.len() as u64;
        for index in 0..shuffled.len() {
            let other = usize::try_from(seed.rotate_left(index as u32) % length).unwrap();
            shuffled.swap(index, other);
        }
        match (meet(&contents), meet(&shuffled)) {
            (Ok(left), Ok(right)) => prop_assert_eq!(left, right),
            (left, right) => prop_assert_eq!(left.is_ok(), right.is_ok()),
        }
    }
}
